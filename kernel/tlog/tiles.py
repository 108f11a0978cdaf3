"""Tiles: how a tree is stored, served and grown. c2sp.org/tlog-tiles, tiles of 256 hashes.

Paths both ways, which tiles a tree has, entry bundles, proofs out of stored tiles, and TileTree:
the growing edge that the ledger keeps. Does no I/O: who reads or writes tiles brings a function.

A level-l tile holds the roots of 256 full level-(l-1) tiles; partial tiles are never hashed upward.
Tiles are not trusted: what is computed from them must be compared with a signed root.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from kernel.tlog import merkle
from kernel.tlog.encoding import HASH_BYTES, MAX_UINT63, shorten
from kernel.tlog.errors import FormatError, ProofError, TileError
from kernel.tlog.merkle import EMPTY_ROOT

TILE_WIDTH = 256
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_ENTRY_BYTES = 65_535  # the length prefix of an entry has two bytes
MAX_LEVEL = 63
_LEVEL_BITS = 8

ReadTile = Callable[[int, int, int], bytes]
"""(level, n, width) -> at least the first `width` hashes of that tile, concatenated.

More is allowed, so that a store may keep only a full tile where a partial one is asked for.
"""

_PATH = re.compile(
    r"tile/(0|[1-9][0-9]?|entries)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)


class Tile(NamedTuple):
    """A tile with its place: `data` is 32 bytes per hash, 8,192 when it is full."""

    level: int
    n: int
    data: bytes


class TilePath(NamedTuple):
    """Where a tile stands: `level` is None for a bundle of entries, `width` 256 for a full tile."""

    level: int | None
    n: int
    width: int


def tile_path(level: int, n: int, width: int = TILE_WIDTH) -> str:
    """`tile/<L>/<N>[.p/<W>]` below the log's prefix. FormatError outside the format's bounds."""
    if not 0 <= level <= MAX_LEVEL:
        raise FormatError(f"tile: expected a level in 0..{MAX_LEVEL}, got {level}")
    return f"tile/{level}/{_number_path(n, width)}"


def entries_path(n: int, width: int = TILE_WIDTH) -> str:
    """`tile/entries/<N>[.p/<W>]` below the log's prefix."""
    return f"tile/entries/{_number_path(n, width)}"


def parse_tile_path(path: str) -> TilePath:
    """The inverse of tile_path and entries_path. FormatError on any other spelling."""
    match = _PATH.fullmatch(path) if len(path) <= 64 else None
    if match is not None:
        level = None if match[1] == "entries" else int(match[1])
        n = int(match[2].replace("x", "").replace("/", ""))
        width = int(match[3] or TILE_WIDTH)
        canonical = (level or 0) <= MAX_LEVEL and n <= MAX_UINT63
        if canonical and (match[3] is None or width < TILE_WIDTH):
            again = entries_path(n, width) if level is None else tile_path(level, n, width)
            if again == path:  # x000/001 is not how 1 is written
                return TilePath(level, n, width)
    raise FormatError(
        f"expected tile/<level 0..63 or entries>/<n>[.p/<1..255>], got {shorten(path)}"
    )


def partial_width(size: int, level: int) -> int:
    """Hashes in the partial tile at `level` of a tree of `size` leaves; 0 if there is none."""
    return (size >> (_LEVEL_BITS * level)) % TILE_WIDTH


def edge_of(size: int) -> list[tuple[int, int, int]]:
    """(level, n, width) of every partial tile of a tree of `size` leaves, lowest level first."""
    return [(level, n, width) for level, n, width in _rightmost(size) if width]


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, n, width) of every tile of a tree of `size` leaves, level by level."""
    for level, full, width in _rightmost(size):
        for n in range(full):
            yield level, n, TILE_WIDTH
        if width:
            yield level, full, width


def bundles_of(size: int) -> Iterator[tuple[int, int]]:
    """(n, width) of every entry bundle of a log of `size` entries."""
    return ((n, width) for level, n, width in tiles_of(size) if level == 0)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """1..256 entries as an entry bundle. FormatError if there are more or one is too long."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise FormatError(f"bundle: expected 1..{TILE_WIDTH} entries, got {len(entries)}")
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise FormatError(f"entry: expected at most {MAX_ENTRY_BYTES} bytes, got {len(entry)}")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle that must hold exactly `width` of them. FormatError."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data) or start > len(data):
            raise FormatError(f"bundle: expected {at} bytes or more, got {len(data)}")
        entries.append(data[start:at])
        if len(entries) > width:
            break
    if len(entries) != width:
        raise FormatError(f"bundle: expected {width} entries, got {len(entries)} or more")
    return entries


class StoredTiles:
    """A SubtreeReader over the stored tiles of a tree of `size` leaves.

    Keeps what it has read: make one per request or per batch of proofs, not one per process.
    """

    def __init__(self, size: int, read_tile: ReadTile) -> None:
        self.size = size
        self._read_tile = read_tile
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def subtree(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]), reading only tiles that a tree of this size has."""
        span = end - start
        if not 0 <= start < end <= self.size:
            raise ProofError(f"expected a range within 0..{self.size}, got {start}..{end}")
        if span & (span - 1):
            middle = start + merkle.split_point(span)
            return merkle.node_hash(self.subtree(start, middle), self.subtree(middle, end))
        if start % span:
            raise ProofError(f"expected a subtree aligned to its {span} leaves, got start {start}")
        level = (span.bit_length() - 1) // _LEVEL_BITS
        count = span >> (_LEVEL_BITS * level)  # hashes of that level the subtree consists of
        n, first = divmod(start >> (_LEVEL_BITS * level), TILE_WIDTH)
        return merkle.root(self._hashes(level, n)[first : first + count])

    def root(self) -> bytes:
        """The root of the whole tree, from its partial tiles alone."""
        result: list[bytes] = []
        for level, n, _width in edge_of(self.size):
            result = [merkle.root([*self._hashes(level, n), *result])]
        return result[0] if result else EMPTY_ROOT

    def _hashes(self, level: int, n: int) -> list[bytes]:
        known = self._tiles.get((level, n))
        if known is None:
            width = min(TILE_WIDTH, (self.size >> (_LEVEL_BITS * level)) - n * TILE_WIDTH)
            data = self._read_tile(level, n, width)
            if not width * HASH_BYTES <= len(data) <= TILE_BYTES:
                raise TileError(
                    f"{tile_path(level, n, width)}: expected {width * HASH_BYTES} bytes, "
                    f"got {len(data)}"
                )
            known = split_hashes(data[: width * HASH_BYTES])
            self._tiles[level, n] = known
        return known


def root_at(size: int, read_tile: ReadTile) -> bytes:
    """The root the tree had at `size` leaves, from the tiles stored since."""
    return StoredTiles(size, read_tile).root()


def prove_inclusion(index: int, size: int, read_tile: ReadTile) -> list[bytes]:
    """PATH(index, D[size]) from stored tiles."""
    return merkle.prove_inclusion(index, size, StoredTiles(size, read_tile))


def prove_consistency(old_size: int, new_size: int, read_tile: ReadTile) -> list[bytes]:
    """PROOF(old_size, D[new_size]) from stored tiles."""
    return merkle.prove_consistency(old_size, new_size, StoredTiles(new_size, read_tile))


class TileTree:
    """The growing edge of a tree: its size and one partial tile per level.

    Never holds a full tile: `append` hands those out once, and whoever stores them stores `edge()`
    in the same transaction. Afterwards `from_edge` is the whole recovery.
    """

    __slots__ = ("_edge", "size")

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[bytes] = []  # per level the partial tile's bytes, shorter than TILE_BYTES

    @classmethod
    def from_edge(cls, size: int, edge: Iterable[tuple[int, int, bytes]]) -> TileTree:
        """The tree of `size` leaves with these partial tiles, in any order.

        TileError unless they are exactly the partial tiles such a tree has. That they are the
        *right* hashes only a comparison of `root()` with a signed checkpoint can tell.
        """
        given = sorted(edge)
        actual = [(level, n, len(data)) for level, n, data in given]
        expected = [(level, n, width * HASH_BYTES) for level, n, width in edge_of(size)]
        if actual != expected:
            raise TileError(
                f"edge of a tree of {size}: expected (level, n, bytes) {expected}, got {actual}"
            )
        tree = cls()
        tree.size = size
        tree._edge = [b""] * len(list(_rightmost(size)))
        for level, _n, data in given:
            tree._edge[level] = bytes(data)
        return tree

    def append(self, leaf_hashes: Sequence[bytes]) -> list[Tile]:
        """Append leaf hashes in order; return the tiles that became full, lowest level first.

        Costs one SHA-256 per leaf, and that only when a tile fills. TileError, and nothing
        appended, if a hash is not 32 bytes long.
        """
        if not set(map(len, leaf_hashes)) <= {HASH_BYTES}:
            raise TileError(
                f"expected leaf hashes of {HASH_BYTES} bytes, "
                f"got {sorted(set(map(len, leaf_hashes)))}"
            )
        completed: list[Tile] = []
        hashes: Sequence[bytes] = leaf_hashes
        level = 0
        before = self.size
        self.size += len(leaf_hashes)
        while hashes:
            if level == len(self._edge):
                self._edge.append(b"")
            data = self._edge[level] + b"".join(hashes)
            n = before >> (_LEVEL_BITS * (level + 1))  # the tile that was partial
            rest = len(data) - len(data) % TILE_BYTES
            self._edge[level] = data[rest:]
            full = [data[at : at + TILE_BYTES] for at in range(0, rest, TILE_BYTES)]
            completed += (Tile(level, n + i, tile) for i, tile in enumerate(full))
            hashes = [merkle.root(split_hashes(tile)) for tile in full]
            level += 1
        return completed

    def edge(self) -> tuple[Tile, ...]:
        """The partial tiles, lowest level first: what `from_edge` needs beside the size."""
        return tuple(
            Tile(level, self.size >> (_LEVEL_BITS * (level + 1)), data)
            for level, data in enumerate(self._edge)
            if data
        )

    def root(self) -> bytes:
        """The tree's root; hashes at most 255 nodes per level, so ask once per checkpoint."""
        result: list[bytes] = []
        for data in self._edge:
            if data:
                # what is below this level is one incomplete subtree to the right of its hashes
                result = [merkle.root([*split_hashes(data), *result])]
        return result[0] if result else EMPTY_ROOT


def split_hashes(data: bytes) -> list[bytes]:
    """The 32-byte hashes in a tile's bytes."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _rightmost(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, number of full tiles, width of the partial one) for every level with any hash."""
    level = 0
    while size:
        yield level, size // TILE_WIDTH, size % TILE_WIDTH
        size //= TILE_WIDTH
        level += 1


def _number_path(n: int, width: int) -> str:
    if not 0 <= n <= MAX_UINT63 or not 1 <= width <= TILE_WIDTH:
        raise FormatError(f"tile: expected n >= 0 and a width in 1..256, got {n} and {width}")
    path = f"{n % 1000:03d}"
    while n := n // 1000:
        path = f"x{n % 1000:03d}/{path}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"
