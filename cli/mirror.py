"""A copy of a log in a folder, checked while it is made (c2sp.org/tlog-tiles, static files).

Everything is computed again: entries lead to the hashes of level 0, every full tile to the tile
above it, the edge to the root, and the root is what the log signed. A checkpoint that is in the
folder already must lie on the way to the new one, else the log has shown two histories and both
roots are named. Full tiles in the folder are kept and checked like the others, unless who calls has
checked them itself. One pass, in order: memory does not grow with the log. The folder is always one
that a static host may serve. Speaks no protocol: who calls brings a function that gets tiles.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from cli.errors import NOT_TRIED, CliError
from kernel.errors import Refused
from kernel.tlog import merkle
from kernel.tlog.checkpoint import Checkpoint, parse_checkpoint
from kernel.tlog.encoding import HASH_BYTES, encode_base64
from kernel.tlog.errors import PolicyError, TlogError
from kernel.tlog.note import parse_note
from kernel.tlog.policy import Policy
from kernel.tlog.tiles import (
    TILE_BYTES,
    TILE_WIDTH,
    TileTree,
    decode_bundle,
    edge_of,
    encode_bundle,
    entries_path,
    parse_tile_path,
    root_at,
    split_hashes,
    tile_path,
)

CHECKPOINT: Final = "checkpoint"
POLICY: Final = "policy.txt"
AT_A_TIME: Final = 8  # bundles on their way, each with its tile; as many as there are connections

FetchTile = Callable[[str], Awaitable[bytes]]
"""A C2SP tile path to its bytes; raises Refused when the log does not have it (any more)."""

Progress = Callable[[int, int], None]
"""(entries done, of how many)"""


class MirrorRefused(Exception):
    """The log is not what it says, or not what it said before. `rule` names which, for programs:

    CHECKPOINT_SIGNATURE, COSIGNATURES, ORIGIN, WENT_BACK, FORK, TILE.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True)
class Mirrored:
    """What the folder holds now; `earlier_size` is that of the checkpoint it held before."""

    origin: str
    size: int
    root: bytes
    earlier_size: int | None
    fetched: int
    kept: int


async def mirror_log(
    folder: Path,
    note: bytes,
    policy: Policy,
    fetch: FetchTile,
    progress: Progress = lambda done, total: None,
    *,
    recheck: bool = True,
    since: Sequence[Checkpoint] = (),
    own: bool = False,
) -> Mirrored:
    """Bring `folder` up to the signed checkpoint `note`; raises MirrorRefused, and then leaves the
    folder's checkpoint as it was.

    `since`: further checkpoints that must lie on the way, and whose signatures have been verified.
    Without `recheck` what the folder's own checkpoint covers is taken as it is, up to its edge. An
    `own` folder is the caller's memory: it keeps no policy, and its checkpoint was verified when it
    came, by the policy of that day.
    """
    if not own:
        _check_folder(folder, policy)
    head = open_head(note, policy, "the log's checkpoint")
    earlier = kept_checkpoint(folder, None if own else policy)
    known = [*([] if earlier is None else [earlier]), *since]
    for one in known:
        await check_history(one, head, fetch)
    copy = _Copy(folder, head, fetch)
    begin = 0 if earlier is None or recheck else earlier.size
    await copy.run(begin, known, progress)
    if not own:
        write_whole(folder / POLICY, policy.encode())
    write_whole(folder / CHECKPOINT, note)
    _drop_filled(folder, [one.size for one in known], head.size)
    return Mirrored(
        head.origin,
        head.size,
        head.root,
        None if earlier is None else earlier.size,
        copy.fetched,
        copy.kept,
    )


def _check_folder(folder: Path, policy: Policy) -> None:
    """Only an empty folder or a mirror is written to, and nobody's policy is replaced."""
    if folder.exists() and not folder.is_dir():
        raise CliError(f"expected a folder, {folder} is a file", NOT_TRIED)
    kept = folder / POLICY
    if kept.exists() and kept.read_bytes() != policy.encode():
        raise CliError(f"{kept} is another policy than the one given: not replaced", NOT_TRIED)
    known = (CHECKPOINT, "tile")  # tiles alone: an earlier run was interrupted
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / n).exists() for n in known):
        raise CliError(f"{folder} is neither empty nor the mirror of a log", NOT_TRIED)


def open_head(note: bytes, policy: Policy, what: str) -> Checkpoint:
    """A checkpoint that its log signed and the policy's quorum cosigned; raises MirrorRefused."""
    try:
        return policy.open_checkpoint(note).checkpoint
    except PolicyError as error:
        rule = "COSIGNATURES" if str(error).startswith("quorum ") else "ORIGIN"
        raise MirrorRefused(rule, f"{what}: {error}") from error
    except TlogError as error:
        raise MirrorRefused("CHECKPOINT_SIGNATURE", f"{what}: {error}") from error


def kept_checkpoint(folder: Path, policy: Policy | None) -> Checkpoint | None:
    """What a folder was brought up to before; None for a policy: it was verified then."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    if policy is None:
        return parse_checkpoint(parse_note(path.read_bytes())[0])
    return open_head(path.read_bytes(), policy, f"{path}")


async def check_history(earlier: Checkpoint, head: Checkpoint, fetch: FetchTile) -> None:
    """The new tree must contain the old one; asked of the log's own tiles, before any is kept."""
    if earlier.origin != head.origin:
        raise MirrorRefused(
            "ORIGIN", f"expected the log {earlier.origin} of this folder, got {head.origin}"
        )
    if earlier.size > head.size:
        raise MirrorRefused(
            "WENT_BACK", f"the log went back: had {earlier.size} entries, got {head.size}"
        )
    needed: dict[tuple[int, int], bytes] = {}
    for level, n, _ in [*edge_of(earlier.size), *edge_of(head.size)]:
        width = min(TILE_WIDTH, (head.size >> (8 * level)) - n * TILE_WIDTH)
        needed[level, n] = await fetch_hashes(fetch, level, n, width)
    for size, signed in ((head.size, head.root), (earlier.size, earlier.root)):
        root = root_at(size, lambda level, n, width: needed[level, n])
        if root != signed:
            raise _fork(size, signed, head.size, root)


def _fork(size: int, signed: bytes, head_size: int, root: bytes) -> MirrorRefused:
    return MirrorRefused(
        "FORK",
        f"fork at {size} entries: expected the signed root {encode_base64(signed)}, "
        f"the log's tiles of {head_size} entries give {encode_base64(root)}",
    )


async def fetch_hashes(fetch: FetchTile, level: int, n: int, width: int) -> bytes:
    """`width` hashes of a tile; of the full one when the partial one is gone by now."""
    try:
        data = await fetch(tile_path(level, n, width))
    except Refused:
        if width == TILE_WIDTH:
            raise
        data = await fetch(tile_path(level, n))
    if len(data) < width * HASH_BYTES or len(data) > TILE_BYTES:
        raise MirrorRefused(
            "TILE",
            f"{tile_path(level, n, width)}: expected {width * HASH_BYTES} bytes, got {len(data)}",
        )
    return data[: width * HASH_BYTES]


async def _fetch_bundle(fetch: FetchTile, n: int, width: int) -> bytes:
    try:
        return await fetch(entries_path(n, width))
    except Refused:
        if width == TILE_WIDTH:
            raise
        full = await fetch(entries_path(n))
        return encode_bundle(decode_bundle(full, TILE_WIDTH)[:width])


class _Brought(NamedTuple):
    """A bundle of entries and its tile of hashes, in the folder now."""

    n: int
    width: int
    bundle: bytes
    hashes: bytes


class _Copy:
    """The tiles and bundles of one tree, brought into a folder and computed again on the way."""

    def __init__(self, folder: Path, head: Checkpoint, fetch: FetchTile) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._head = head
        self._fetch = fetch
        self.fetched = 0
        self.kept = 0

    async def run(self, begin: int, known: Sequence[Checkpoint], progress: Progress) -> None:
        """From the bundle that holds entry `begin`; every known checkpoint beyond it must come by.

        What is before it was brought here by an earlier run.
        """
        first = begin // TILE_WIDTH
        tree = self._tree_before(first)
        marks = {one.size: one for one in known if one.size >= first * TILE_WIDTH}
        async for brought in self._bundles(first):
            leaves = _leaves_of(brought)
            await self._grow(tree, leaves, marks)
            progress(tree.size, self._head.size)
        for tile in tree.edge():
            if tile.level:  # that of level 0 came with its bundle
                await self._compare(tile.level, tile.n, tile.data)
        self._check_root(tree, self._head)

    def _tree_before(self, first: int) -> TileTree:
        """Full bundles only, so its edge begins at level 1: as the earlier run has stored it."""
        size = first * TILE_WIDTH
        edge = [(level, n, self._stored(level, n, width)) for level, n, width in edge_of(size)]
        return TileTree.from_edge(size, edge)

    def _stored(self, level: int, n: int, width: int) -> bytes:
        for stored in (tile_path(level, n, width), tile_path(level, n)):
            path = self._folder / stored
            if path.exists():
                return path.read_bytes()[: width * HASH_BYTES]
        raise MirrorRefused("TILE", f"{tile_path(level, n, width)}: expected in the folder, gone")

    async def _grow(
        self, tree: TileTree, leaves: Sequence[bytes], marks: dict[int, Checkpoint]
    ) -> None:
        end = tree.size + len(leaves)
        cuts = sorted(size - tree.size for size in marks if tree.size <= size < end)
        begin = 0
        for cut in cuts:
            tree.append(leaves[begin:cut])  # less than a bundle: nothing becomes full
            begin = cut
            mark = marks.pop(tree.size)
            if tree.root() != mark.root:
                raise _fork(mark.size, mark.root, self._head.size, tree.root())
        for tile in tree.append(leaves[begin:]):
            if tile.level:
                await self._compare(tile.level, tile.n, tile.data)

    async def _compare(self, level: int, n: int, computed: bytes) -> None:
        """The log's own tile says the same as what its entries give."""
        served = await self._bring_hashes(level, n, len(computed) // HASH_BYTES)
        pairs = zip(split_hashes(computed), split_hashes(served), strict=True)
        for i, (actual, expected) in enumerate(pairs):
            if actual != expected:
                raise MirrorRefused(
                    "TILE",
                    f"{tile_path(level - 1, n * TILE_WIDTH + i)}: expected the hash "
                    f"{encode_base64(expected)} that the tile above has, got "
                    f"{encode_base64(actual)}",
                )

    def _check_root(self, tree: TileTree, signed: Checkpoint) -> None:
        if tree.root() != signed.root:
            raise MirrorRefused(
                "TILE",
                f"expected the signed root {encode_base64(signed.root)} of {signed.size} entries, "
                f"the tiles give {encode_base64(tree.root())}",
            )

    async def _bundles(self, first: int) -> AsyncIterator[_Brought]:
        """In order, several on their way at a time."""
        under_way: deque[asyncio.Task[_Brought]] = deque()
        try:
            for n, width in _bundles_from(first, self._head.size):
                under_way.append(asyncio.create_task(self._bring(n, width)))
                if len(under_way) == AT_A_TIME:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _bring(self, n: int, width: int) -> _Brought:
        path = self._folder / entries_path(n, width)
        bundle = path.read_bytes() if width == TILE_WIDTH and path.exists() else None
        if bundle is None:
            bundle = await _fetch_bundle(self._fetch, n, width)
            self._keep(path, bundle)
        else:
            self.kept += 1
        return _Brought(n, width, bundle, await self._bring_hashes(0, n, width))

    async def _bring_hashes(self, level: int, n: int, width: int) -> bytes:
        path = self._folder / tile_path(level, n, width)
        if width == TILE_WIDTH and path.exists() and path.stat().st_size == TILE_BYTES:
            self.kept += 1
            return path.read_bytes()
        data = await fetch_hashes(self._fetch, level, n, width)
        self._keep(path, data)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
        self.fetched += 1


def _leaves_of(brought: _Brought) -> list[bytes]:
    """The leaf hashes of a bundle, which the tile beside it must have."""
    name = entries_path(brought.n, brought.width)
    try:
        entries = decode_bundle(brought.bundle, brought.width)
    except TlogError as error:
        raise MirrorRefused("TILE", f"{name}: {error}") from error
    leaves = list(map(merkle.leaf_hash, entries))
    if b"".join(leaves) != brought.hashes:
        raise MirrorRefused(
            "TILE",
            f"{name}: expected the entries whose hashes are in "
            f"{tile_path(0, brought.n, brought.width)}, got others",
        )
    return leaves


def _bundles_from(first: int, size: int) -> Iterator[tuple[int, int]]:
    for n in range(first, -(-size // TILE_WIDTH)):
        yield n, min(TILE_WIDTH, size - n * TILE_WIDTH)


def read_entries(folder: Path, size: int, begin: int = 0) -> Iterator[bytes]:
    """The entries of a mirrored log of this size, in order, from entry `begin` on."""
    first = begin // TILE_WIDTH
    for n, width in _bundles_from(first, size):
        entries = decode_bundle((folder / entries_path(n, width)).read_bytes(), width)
        yield from entries[begin - n * TILE_WIDTH :] if n == first else entries


def write_whole(path: Path, data: bytes) -> None:
    """Whole or not at all: a static host may be serving the folder."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    os.replace(fresh, path)


def _drop_filled(folder: Path, earlier_sizes: Sequence[int], size: int) -> None:
    """Partial tiles whose full tile is there; the others stay, their checkpoints were shown."""
    for earlier in earlier_sizes:
        gone = [tile_path(*one) for one in edge_of(earlier)]
        gone += [entries_path(n, w) for n, w in _bundles_from(earlier // TILE_WIDTH, earlier)]
        for name in gone:
            level, n, width = parse_tile_path(name)
            if width == TILE_WIDTH or size >> (8 * (level or 0)) < (n + 1) * TILE_WIDTH:
                continue
            path = folder / name
            path.unlink(missing_ok=True)
            if path.parent.exists() and not any(path.parent.iterdir()):
                path.parent.rmdir()
