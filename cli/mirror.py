"""A copy of a log in a folder, checked while it is made (c2sp.org/tlog-tiles, static files).

Everything is computed again: entries lead to the hashes of level 0, every full tile to the tile
above it, the edge to the root, and the root is what the log signed. A checkpoint that is in the
folder already must lie on the way to the new one, else the log has shown two histories and both
roots are named. Full tiles in the folder are kept and checked like the others. Speaks no protocol:
who calls brings a function that gets tiles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.errors import NOT_TRIED, CliError
from kernel.errors import Refused
from kernel.tlog import merkle
from kernel.tlog.checkpoint import Checkpoint
from kernel.tlog.encoding import HASH_BYTES, encode_base64
from kernel.tlog.errors import TlogError
from kernel.tlog.policy import Policy
from kernel.tlog.tiles import (
    TILE_BYTES,
    TILE_WIDTH,
    bundles_of,
    decode_bundle,
    edge_of,
    encode_bundle,
    entries_path,
    root_at,
    split_hashes,
    tile_path,
    tiles_of,
)

CHECKPOINT: Final = "checkpoint"
POLICY: Final = "policy.txt"

FetchTile = Callable[[str], Awaitable[bytes]]
"""A C2SP tile path to its bytes; raises Refused when the log does not have it (any more)."""

Progress = Callable[[int, int], None]
"""(tiles and bundles done, of how many)"""


class MirrorRefused(Exception):
    """The log is not what it says, or not what it said before."""


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
) -> Mirrored:
    """Bring `folder` up to the signed checkpoint `note`; raises MirrorRefused, and then leaves the
    folder's checkpoint as it was.
    """
    _check_folder(folder, policy)
    head = _open(note, policy, "the log's checkpoint")
    earlier = _earlier(folder, policy)
    if earlier is not None:
        await _check_history(earlier, head, fetch)
    copy = _Copy(folder, head, fetch)
    await copy.run(progress)
    copy.check()
    if earlier is not None:  # again, of what is kept: a log may answer differently the second time
        copy.check_root(earlier)
    (folder / POLICY).write_bytes(policy.encode())
    (folder / CHECKPOINT).write_bytes(note)
    if earlier is not None:
        _drop_partials(folder, earlier.size, head.size)
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
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CHECKPOINT).exists():
        raise CliError(f"{folder} is neither empty nor the mirror of a log", NOT_TRIED)


def _open(note: bytes, policy: Policy, what: str) -> Checkpoint:
    try:
        return policy.open_checkpoint(note).checkpoint
    except TlogError as error:
        raise MirrorRefused(f"{what}: {error}") from error


def _earlier(folder: Path, policy: Policy) -> Checkpoint | None:
    path = folder / CHECKPOINT
    return _open(path.read_bytes(), policy, f"{path}") if path.exists() else None


async def _check_history(earlier: Checkpoint, head: Checkpoint, fetch: FetchTile) -> None:
    """The new tree must contain the old one; asked of the log's own tiles, before any is kept."""
    if earlier.origin != head.origin:
        raise MirrorRefused(f"expected the log {earlier.origin} of this folder, got {head.origin}")
    if earlier.size > head.size:
        raise MirrorRefused(f"the log went back: had {earlier.size} entries, got {head.size}")
    needed: dict[tuple[int, int], bytes] = {}
    for level, n, _ in [*edge_of(earlier.size), *edge_of(head.size)]:
        width = min(TILE_WIDTH, (head.size >> (8 * level)) - n * TILE_WIDTH)
        needed[level, n] = await fetch_hashes(fetch, level, n, width)
    for size, signed in ((head.size, head.root), (earlier.size, earlier.root)):
        root = root_at(size, lambda level, n, width: needed[level, n])
        if root != signed:
            raise MirrorRefused(
                f"fork at {size} entries: expected the signed root {encode_base64(signed)}, "
                f"the log's tiles of {head.size} entries give {encode_base64(root)}"
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
            f"{tile_path(level, n, width)}: expected {width * HASH_BYTES} bytes, got {len(data)}"
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


class _Copy:
    """The tiles and bundles of one tree, brought into a folder and then read from there."""

    def __init__(self, folder: Path, head: Checkpoint, fetch: FetchTile) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._head = head
        self._fetch = fetch
        self.fetched = 0
        self.kept = 0

    async def run(self, progress: Progress) -> None:
        wanted = [
            *tiles_of(self._head.size),
            *((None, n, w) for n, w in bundles_of(self._head.size)),
        ]
        for done, (level, n, width) in enumerate(wanted, 1):
            path = self._folder / _path(level, n, width)
            full = level is None or (path.exists() and path.stat().st_size == TILE_BYTES)
            if width == TILE_WIDTH and path.exists() and full:
                self.kept += 1
            else:
                data = (
                    await _fetch_bundle(self._fetch, n, width)
                    if level is None
                    else await fetch_hashes(self._fetch, level, n, width)
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                self.fetched += 1
            progress(done, len(wanted))

    def check(self) -> None:
        """Entries to leaves, tiles to the tiles above, edge to the root."""
        for n, width in bundles_of(self._head.size):
            try:
                entries = decode_bundle(self._stored(None, n), width)
            except TlogError as error:
                raise MirrorRefused(f"{_path(None, n, width)}: {error}") from error
            leaves = b"".join(map(merkle.leaf_hash, entries))
            if leaves != self._stored(0, n):
                raise MirrorRefused(
                    f"{_path(None, n, width)}: expected the entries whose hashes are in "
                    f"{_path(0, n, width)}, got others"
                )
        for level, n, width in tiles_of(self._head.size):
            if width == TILE_WIDTH:
                self._check_parent(level, n)
        self.check_root(self._head)

    def check_root(self, signed: Checkpoint) -> None:
        """The stored tiles lead to this checkpoint, the new one's or an earlier one's."""
        root = root_at(signed.size, lambda level, n, width: self._stored(level, n))
        if root != signed.root:
            raise MirrorRefused(
                f"expected the signed root {encode_base64(signed.root)} of {signed.size} entries, "
                f"the tiles give {encode_base64(root)}"
            )

    def _check_parent(self, level: int, n: int) -> None:
        above, place = divmod(n, TILE_WIDTH)
        expected = split_hashes(self._stored(level + 1, above))[place]
        actual = merkle.root(split_hashes(self._stored(level, n)))
        if actual != expected:
            raise MirrorRefused(
                f"{tile_path(level, n)}: expected the hash {encode_base64(expected)} that the tile "
                f"above has, got {encode_base64(actual)}"
            )

    def _stored(self, level: int | None, n: int) -> bytes:
        """What the folder holds of this tile, in the width it has in the new tree."""
        width = min(TILE_WIDTH, (self._head.size >> (8 * (level or 0))) - n * TILE_WIDTH)
        return (self._folder / _path(level, n, width)).read_bytes()


def read_entries(folder: Path, size: int) -> Iterator[bytes]:
    """The entries of a mirrored log of this size, in order."""
    for n, width in bundles_of(size):
        yield from decode_bundle((folder / entries_path(n, width)).read_bytes(), width)


def _path(level: int | None, n: int, width: int) -> str:
    return entries_path(n, width) if level is None else tile_path(level, n, width)


def _drop_partials(folder: Path, earlier_size: int, size: int) -> None:
    """Partial tiles of the earlier tree that the new one has more of."""
    kept = {_path(level, n, width) for level, n, width in edge_of(size)}
    kept |= {_path(None, n, width) for n, width in bundles_of(size) if width < TILE_WIDTH}
    gone = [_path(level, n, width) for level, n, width in edge_of(earlier_size)]
    gone += [_path(None, n, width) for n, width in bundles_of(earlier_size) if width < TILE_WIDTH]
    for name in gone:
        if name not in kept:
            path = folder / name
            path.unlink(missing_ok=True)
            if path.parent.exists() and not any(path.parent.iterdir()):
                path.parent.rmdir()
