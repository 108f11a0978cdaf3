"""Has a snapshot made every so many events: by a process of its own, beside the writer.

The process reads the journal like any follower and shares nothing with the writer but two cores and
the database; it runs at the lowest priority. Whom it reads from does not: so it waits for a calm
moment, until the tail has become so long that a start would take too long. When it fails, that
costs a longer start one day and nothing now, so the writer goes on and another one is tried later.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from kernel.journal.snapshots import Snapshots
from kernel.logs import get_logger

SNAPSHOT: Final = "snapshot"  # the verb of `python -m services <name>`
STOP_S: Final = 2.0
# Reading the tail once more costs accounts, PostgreSQL and the ledger nearly what writing it did:
# under full load a quarter of all entries were not taken for it.
LOOK_EVERY_S: Final = 2.0
CALM_PER_S: Final = 1000  # events: a small part of what a book can take
LATEST: Final = 10  # times `every_events`: then it is made under any load

log = get_logger(__name__)


def snapshot_command() -> list[str]:
    """This very process again, told to make a snapshot instead of serving."""
    return [sys.executable, *sys.orig_argv[1:], SNAPSHOT]


class SnapshotKeeper:
    """`run` for as long as the book is ours; `reached` waits for a position, answers the last."""

    def __init__(
        self,
        book: str,
        store: Snapshots,
        reached: Callable[[int], Awaitable[int]],
        every_events: int,
        command: Sequence[str] | None = None,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._book = book
        self._store = store
        self._reached = reached
        self._every = every_events
        self._command = command or snapshot_command()
        self._look_every_s = look_every_s

    async def run(self) -> None:
        if not self._every:
            await asyncio.Event().wait()
        heads = await asyncio.to_thread(self._store.heads)
        due = (heads[0].position if heads else 0) + self._every
        while True:
            due = await self._calm(due) + self._every
            await self._make()

    async def _calm(self, due: int) -> int:
        """Once it is due, and calm or late. Answers how far the book is by then."""
        at, latest = await self._reached(due), due + (LATEST - 1) * self._every
        while at < latest:
            before = at
            await asyncio.sleep(self._look_every_s)
            at = await self._reached(before)
            if at - before <= CALM_PER_S * self._look_every_s:
                break
        return at

    async def _make(self) -> None:
        process = await asyncio.create_subprocess_exec(*self._command)
        try:
            status = await process.wait()
        finally:
            await _end(process)
        if status:
            log.warning("snapshot.failed", book=self._book, status=status)


async def _end(process: Process) -> None:
    """When we stop in its middle: what it has not committed is not there."""
    if process.returncode is None:
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
                return
        process.kill()
