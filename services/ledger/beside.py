"""The checkers' snapshots, made and verified by a process beside the one that serves.

It shares nothing with that one: it reads every book from its owner, believes what verifies, checks
it by all the rules, and makes the trees anew. A snapshot is of where it stands once it has reached
what is proven, and only if its own roots are those that were proven. `verify` folds from zero to
where each stored snapshot was made, and compares.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from kernel.auth import service_tokens
from kernel.clock import SystemClock
from kernel.config import Environment
from kernel.errors import Conflict
from kernel.frames import Frame, FrameError, verify_frame
from kernel.journal.snapshots import Head, PostgresSnapshots
from kernel.keys import load_private_key
from kernel.logs import get_logger
from kernel.rpc.client import Channel, OwnerSource, open_channel
from kernel.snapshot.offline import Reading
from kernel.snapshot.recovery import NotBelieved, OtherVersion
from kernel.tlog.tiles import TileTree
from services.ledger.books.followed import make_checkers, owner_of
from services.ledger.books.memory import Memory
from services.ledger.config import BOOK, SERVICE, Config, load_config
from services.ledger.log import BookLog, Halted, Standing
from services.ledger.logkeys import KeyFolder, open_keys
from services.ledger.queries import CommitmentReader, TileStore
from services.ledger.reactions import LogReader, reader_of
from services.ledger.sealing import CheckpointFile
from services.ledger.snapshots import (
    CHECKERS,
    CheckerSnapshots,
    ProvenTree,
    progress_of,
    proven_tree,
)

POLL_S: Final = 0.02

log = get_logger(__name__)

Say = Callable[[str], None]


class Refold:
    """All books once more. `begin` first, then `fold_to` as often as wanted."""

    def __init__(self, config: Config, book: Reading) -> None:
        self._config = config
        self._own = book
        self._checkers = make_checkers(config.books)
        self._origins: dict[str, str] = {}
        self.trees: dict[str, ProvenTree] = {}
        folder = KeyFolder(config.log_keys, config.settings.log_prefix)
        keys = open_keys(folder, config.books, book.writer.state)
        for name in config.books:
            file = CheckpointFile(config.checkpoints / f"{name}.checkpoint")
            self._origins[name] = keys[name].origin
            tiles = TileStore(book.engine, name)
            self.trees[name] = proven_tree(file, keys[name], tiles, tiles.load_tree().size)
        self.snapshots = CheckerSnapshots(
            PostgresSnapshots(book.engine, CHECKERS),
            book.keys,
            self.trees,
            Memory(self._checkers),
            book.writer.state,
        )
        self._logs: dict[str, BookLog] = {}
        self._readers: dict[str, LogReader] = {}
        self._channels: dict[str, Channel] = {}

    @property
    def standings(self) -> dict[str, Standing]:
        return {name: one.standing() for name, one in self._logs.items()}

    def begin(self, standings: Mapping[str, Standing]) -> None:
        """Where a snapshot was read, at zero without one."""
        for name in self._config.books:
            standing = standings.get(name)
            size = 0 if standing is None else standing.next_position
            tree = self.trees[name].tiles.tree_at(size) if size else TileTree()
            stored = CommitmentReader(self._own.engine, name)
            fresh = BookLog(name, self._origins[name], self._checkers[name], tree, stored)
            if standing is not None:
                fresh.begin_at(standing)
            self._logs[name] = fresh
        for name in self._config.books:
            self._readers[name] = reader_of(name, self._logs, self._own.writer.state)

    async def fold_to(self, ends: Mapping[str, int]) -> None:
        """As far as causes allow: what another book has not told by its end, this one waits for.

        So wherever it stands afterwards, every event there stands behind its cause.
        """
        async with AsyncExitStack() as stack:
            for owner, target in self._config.peers.items():
                self._channels[owner] = open_channel(
                    target, self._config.settings.root_certificate()
                )
                stack.push_async_callback(self._channels[owner].close, None)
            tasks = {name: asyncio.create_task(self._fold(name, ends[name])) for name in ends}
            try:
                while self._goes_on(tasks):
                    await asyncio.wait(tasks.values(), timeout=POLL_S)
            finally:
                for task in tasks.values():
                    task.cancel()
                await asyncio.gather(*tasks.values(), return_exceptions=True)

    def _goes_on(self, tasks: Mapping[str, asyncio.Task[None]]) -> bool:
        """Is there one that could get further? Raises what broke one of them."""
        for task in tasks.values():
            if task.done():
                task.result()
        return not all(task.done() or self._is_stuck(name) for name, task in tasks.items())

    def _is_stuck(self, name: str) -> bool:
        waits = self._readers[name].waits
        return waits is not None and self._logs[waits[0]].next_position <= waits[1]

    async def _fold(self, name: str, end: int) -> None:
        own = self._logs[name]
        while own.next_position < end:
            begun = own.next_position
            try:
                async for frame in self._frames(name, begun):
                    await self._take(name, frame, end)
                    if own.next_position >= end:
                        return
            except Halted as halted:  # what the ledger stands at, or what it has not seen
                log.warning("snapshot.halted", **halted.halt._asdict())
                return
            except Conflict:
                if own.next_position == begun:
                    raise
            if own.next_position == begun:
                raise Conflict("OWNER_AWAY", f"{name}: expected events up to {end}, got {begun}")

    async def _take(self, name: str, frame: Frame, end: int) -> None:
        reader, own = self._readers[name], self._logs[name]
        try:
            verify_frame(frame, self._own.keys)
        except FrameError as error:
            await reader.bad_frame(frame, error)
        else:
            await reader.take(frame, end)
        own.take_pending()  # the tables have it already

    async def _frames(self, name: str, begin: int) -> AsyncIterator[Frame]:
        if name == BOOK:
            for frame in self._own.writer.journal.read_frames(begin):
                yield frame
            return
        settings = self._config.settings
        token = service_tokens(
            load_private_key(settings.token_key),
            SERVICE,
            [f"follow:{name}"],
            SystemClock(settings.clock_file),
        )
        source = OwnerSource(self._channels[owner_of(name)], token)
        async for frame in source.frames(name, begin):
            yield frame

    def require_proven(self) -> None:
        """The trees that were made here are those that were signed. Raises NotBelieved."""
        for name, own in self._logs.items():
            proven, found = self.trees[name].root(own.next_position), own.root()
            if proven != found:
                raise NotBelieved(
                    f"{name} at {own.next_position}: expected the root {proven.hex()},"
                    f" got {found.hex()}"
                )


async def make_checker_snapshot(config: Config, book: Reading) -> Head | None:
    """The next one; None when nothing was proven since the last."""
    fold = Refold(config, book)
    begun = fold.snapshots.restore()
    fold.begin(begun)
    await fold.fold_to({name: tree.size for name, tree in fold.trees.items()})
    if progress_of(fold.standings).next_position == progress_of(begun).next_position:
        return None
    fold.require_proven()
    return fold.snapshots.make(fold.standings, book.signer)


async def verify_checker_snapshots(config: Config, book: Reading, say: Say) -> bool:
    """Folds from zero to each; False when one is not what was signed, or differs."""
    fold, equal = Refold(config, book), True
    fold.begin({})
    for head in reversed(fold.snapshots.store.heads()):
        name = f"{CHECKERS}: the snapshot at {head.position}"
        try:
            known = fold.snapshots.read(head)
        except OtherVersion as why:
            say(f"{name} is not used: {why}")
            continue
        except NotBelieved as why:
            say(f"{name} is not to be believed: {why}")
            equal = False
            continue
        await fold.fold_to({one: at.next_position for one, at in known.logs.items()})
        same = fold.standings == known.logs and fold.snapshots.equals(head, known.logs)
        say(f"{name} {'equals' if same else 'DIFFERS FROM'} a replay from zero")
        equal &= same
    return equal


def beside(env: Environment, book: Reading, verb: str, say: Say) -> bool:
    """For `python -m services ledger snapshot` and `verify`, once the ledger's own book is done."""
    config = load_config(env)
    if verb == "verify":
        return asyncio.run(verify_checker_snapshots(config, book, say))
    made = asyncio.run(make_checker_snapshot(config, book))
    say(f"{CHECKERS}: " + ("nothing new" if made is None else f"at {made.position}"))
    return True
