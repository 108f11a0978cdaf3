"""Has a snapshot made every so many events: by a process of its own, beside the writer.

The process reads the journal like any follower and shares nothing with the writer but two cores and
the database; it runs at the lowest priority. When it fails, that costs a longer start one day and
nothing now, so the writer goes on and another one is tried after as many events again.
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
    ) -> None:
        self._book = book
        self._store = store
        self._reached = reached
        self._every = every_events
        self._command = command or snapshot_command()

    async def run(self) -> None:
        if not self._every:
            await asyncio.Event().wait()
        heads = await asyncio.to_thread(self._store.heads)
        due = (heads[0].position if heads else 0) + self._every
        while True:
            due = await self._reached(due) + self._every
            await self._make()

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
