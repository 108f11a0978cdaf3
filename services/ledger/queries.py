"""Reads the stored trees: tiles, entry bundles, proofs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from kernel.errors import InvariantBroken, Kind, Refused
from kernel.record import COMMITMENT_BYTES
from kernel.tlog.errors import TlogError
from kernel.tlog.merkle import prove_inclusion
from kernel.tlog.proof import TlogProof
from kernel.tlog.receipt import leaf_data
from kernel.tlog.states import STATE_BOOK
from kernel.tlog.tiles import (
    StoredTiles,
    TileTree,
    edge_of,
    encode_bundle,
    parse_tile_path,
)
from services.ledger.tables import checkpoints, commitments, state_entries, tiles

KEPT_TILES: Final = 2048  # full tiles of 8 KiB, immutable: 16 MiB
READ_AHEAD: Final = 65_536  # commitments read at a time while a book is folded again

HASH_BYTES: Final = 32
TILE_WIDTH: Final = 256


class TileStore:
    """The stored tiles of one log."""

    def __init__(self, engine: sa.Engine, book: str) -> None:
        self._engine = engine
        self._book = book
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def read_tile(self, level: int, n: int, width: int) -> bytes:
        """At least `width` hashes of a tile; raises InvariantBroken when they are not stored."""
        kept = self._kept.get((level, n))
        if kept is not None:
            return kept
        query = sa.select(tiles.c.data).where(
            tiles.c.book == self._book, tiles.c.level == level, tiles.c.n == n
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).scalar()
        data = b"" if found is None else bytes(found)
        if len(data) < width * HASH_BYTES:
            raise InvariantBroken(
                f"{self._book}: tile {level}/{n}: expected {width} hashes,"
                f" got {len(data) // HASH_BYTES}"
            )
        if len(data) == TILE_WIDTH * HASH_BYTES:
            self._kept[level, n] = data
            while len(self._kept) > KEPT_TILES:
                self._kept.popitem(last=False)
        return data

    def load_tree(self) -> TileTree:
        """The tree as the last fold stored it, to go on from."""
        with self._engine.connect() as connection:
            last = connection.execute(self._last()).scalar()
        return self.tree_at(0 if last is None else last + 1)

    def _last(self) -> sa.Select[Any]:
        return sa.select(sa.func.max(commitments.c.last)).where(commitments.c.book == self._book)

    def entries(self, begin: int, end: int) -> list[bytes]:
        """The leaves begin..end-1, all of which are stored."""
        data = read_commitments(self._engine, self._book, begin, end)
        return [
            leaf_data(self._book, begin + i, data[at : at + COMMITMENT_BYTES])
            for i, at in enumerate(range(0, len(data), COMMITMENT_BYTES))
        ]

    def tree_at(self, size: int) -> TileTree:
        """The tree as it was at a size that was stored."""
        edge = [
            (level, n, self.read_tile(level, n, width)[: width * HASH_BYTES])
            for level, n, width in edge_of(size)
        ]
        return TileTree.from_edge(size, edge)


class StateTiles(TileStore):
    """The same of the log of states, whose leaves are stored as they are."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine, STATE_BOOK)

    def _last(self) -> sa.Select[Any]:
        return sa.select(sa.func.max(state_entries.c.position))

    def entries(self, begin: int, end: int) -> list[bytes]:
        query = (
            sa.select(state_entries.c.data)
            .where(state_entries.c.position >= begin, state_entries.c.position < end)
            .order_by(state_entries.c.position)
        )
        with self._engine.connect() as connection:
            return [bytes(data) for data in connection.execute(query).scalars()]


class CommitmentReader:
    """The stored commitments of one log, read ahead: for folding a book again from 0."""

    def __init__(self, engine: sa.Engine, book: str) -> None:
        self._engine = engine
        self._book = book
        self._first = 0
        self._data = b""

    def commitment(self, position: int) -> bytes | None:
        at = position - self._first
        if not 0 <= at < len(self._data) // COMMITMENT_BYTES:
            self._first = position
            self._data = self.commitments(position, position + READ_AHEAD)
            at = 0
        found = self._data[at * COMMITMENT_BYTES : (at + 1) * COMMITMENT_BYTES]
        return found or None

    def commitments(self, begin: int, end: int) -> bytes:
        return read_commitments(self._engine, self._book, begin, end)


def read_commitments(engine: sa.Engine, book: str, begin: int, end: int) -> bytes:
    """Commitments begin..end-1 one after the other, or as many of them as are stored."""
    query = (
        sa.select(commitments)
        .where(commitments.c.book == book, commitments.c.last >= begin, commitments.c.first < end)
        .order_by(commitments.c.first)
    )
    parts = []
    with engine.connect() as connection:
        for row in connection.execute(query):
            low, high = max(begin, row.first), min(end, row.last + 1)
            begin_byte = (low - row.first) * COMMITMENT_BYTES
            end_byte = (high - row.first) * COMMITMENT_BYTES
            parts.append(bytes(row.data)[begin_byte:end_byte])
    return b"".join(parts)


def read_path(store: TileStore, path: str, size: int) -> bytes:
    """The bytes at a tile path of a log of this size; refuses tiles that no checkpoint covers."""
    try:
        asked = parse_tile_path(path)
    except TlogError as error:
        raise Refused("TILE_PATH_MALFORMED", str(error), Kind.INVALID, path=path[:80]) from error
    level = 0 if asked.level is None else asked.level
    begin = asked.n * TILE_WIDTH
    if begin + asked.width > size >> (8 * level):
        raise Refused(
            "TILE_NOT_COVERED",
            f"no checkpoint covers {path[:80]}: the log has {size} entries",
            Kind.UNKNOWN,
            size=size,
        )
    if asked.level is not None:
        return store.read_tile(level, asked.n, asked.width)[: asked.width * HASH_BYTES]
    return encode_bundle(store.entries(begin, begin + asked.width))


def make_proofs(
    store: TileStore, positions: Sequence[int], size: int, checkpoint: bytes
) -> list[bytes]:
    """A tlog-proof for each position, all under one checkpoint of this size."""
    stored = StoredTiles(size, store.read_tile)  # one for all: they share most of their hashes
    return [
        TlogProof(position, tuple(prove_inclusion(position, size, stored)), checkpoint).encode()
        for position in positions
    ]


def last_checkpoint(engine: sa.Engine, book: str) -> bytes | None:
    """The note of the largest published checkpoint, as the database has it."""
    query = (
        sa.select(checkpoints.c.note)
        .where(checkpoints.c.book == book)
        .order_by(checkpoints.c.size.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        return connection.execute(query).scalar()


def proven_at_ms(engine: sa.Engine, book: str, position: int) -> int | None:
    """When the first checkpoint that covers a position was published."""
    query = (
        sa.select(checkpoints.c.published_at_ms)
        .where(checkpoints.c.book == book, checkpoints.c.size > position)
        .order_by(checkpoints.c.size)
        .limit(1)
    )
    with engine.connect() as connection:
        return connection.execute(query).scalar()
