"""One book in a process: waits for the lease with warm state, then writes, relays and projects.

`serve` runs until something breaks and then raises: a process never lives on with half of its
parts. A journal that is not what was signed is served for reading only, so that the ledger and an
operator can see where it was changed.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from kernel import metrics
from kernel.bus import Bus
from kernel.clock import monotonic_ms
from kernel.errors import InvariantBroken
from kernel.frames import Frame, FrameError, KeyLookup
from kernel.journal.database import Engine
from kernel.journal.postgres import PostgresJournal
from kernel.journal.snapshots import PostgresSnapshots
from kernel.journal.watermarks import Bookmark
from kernel.lease import RENEW_EVERY_MS, Freshness, PostgresLease
from kernel.logs import get_logger
from kernel.projection import Projector
from kernel.relay import Relay
from kernel.snapshot.recovery import recover, show_progress
from kernel.tail import Tail
from kernel.writer import Writer

CANCEL_AGAIN_S: Final = 2.0
STANDBY_POLL_S: Final = 0.25

log = get_logger(__name__)

MakeWriter = Callable[[PostgresJournal], Writer[Any]]
Job = Callable[[], Awaitable[object]]


class BookHost:
    """Holds one book's connection, lease and writer."""

    def __init__(
        self, engine: Engine, url: str, book: str, make_writer: MakeWriter, keys: KeyLookup
    ) -> None:
        self.book = book
        self.engine = engine
        self.snapshots = PostgresSnapshots(engine, book)
        self._keys = keys
        self._lease = PostgresLease.open(url, book)
        self._freshness = Freshness()
        self.writer = make_writer(PostgresJournal(engine, book, self._lease.connection))
        self.writer.fresh = self._freshness
        self._epoch = 0

    async def open(self) -> None:
        """Recovers, waits for the lease (following the journal meanwhile), takes the book over."""
        writer, loop = self.writer, asyncio.get_running_loop()
        on_thread = functools.partial(loop.run_in_executor, writer.thread)
        try:
            await on_thread(recover, writer, self.snapshots, self._keys)
            while True:
                await on_thread(writer.catch_up, show_progress(self.book))
                sent_ms = monotonic_ms()
                epoch = await on_thread(self._lease.try_take, writer.progress.epoch)
                if epoch is not None:
                    break
                await asyncio.sleep(STANDBY_POLL_S)
            self._freshness.renewed(sent_ms)
            self._epoch = epoch
            await on_thread(writer.start, epoch)
        except (FrameError, InvariantBroken) as error:
            # The journal is not what was signed. Serve it for reading, refuse everything else.
            writer.damaged = f"the journal is not what was signed: {error}"
            writer.committed_next = await on_thread(writer.journal.head)
            log.error("book.damaged", book=self.book, error=str(error))
            return
        log.info("book.open", book=self.book, epoch=epoch, next_position=writer.committed_next)

    def tail(self) -> Tail:
        """A reader's own view of the book's tail."""
        tail = Tail(self.writer.journal, self.writer.committed_next)
        self.writer.on_commit.append(tail.offer)
        return tail

    def relay(self, bus: Bus) -> Relay:
        bookmark = Bookmark(self.engine, "relay", self.book)
        return Relay(self.book, bookmark, self.tail(), bus, self.writer.progress)

    def jobs(self, bus: Bus, projectors: Sequence[Projector] = ()) -> list[Job]:
        """Everything that runs while the book is ours; none of it while the journal is damaged."""
        if self.writer.damaged is not None:
            return []
        self.writer.on_commit.append(self._count)
        return [
            self.writer.run,
            self.writer.run_timers,
            self._renew,
            self.relay(bus).run,
            *(projector.run for projector in projectors),
        ]

    def _count(self, frames: Sequence[Frame]) -> None:
        metrics.committed_position.labels(self.book).set(self.writer.committed_next)

    async def _renew(self) -> None:
        """Between commits, on their connection: who cannot renew cannot commit either."""
        loop = asyncio.get_running_loop()
        while True:
            sent_ms = monotonic_ms()
            await loop.run_in_executor(self.writer.thread, self._lease.renew, self._epoch)
            self._freshness.renewed(sent_ms)
            await asyncio.sleep(RENEW_EVERY_MS / 1000)

    async def close(self) -> None:
        """An orderly stop: the next writer takes over at once."""
        loop = asyncio.get_running_loop()
        if self._epoch and self.writer.damaged is None:
            await loop.run_in_executor(self.writer.thread, self._lease.release, self._epoch)
        self.writer.close()
        self._lease.connection.close()


async def run_jobs(jobs: Sequence[Job], stop: asyncio.Event) -> None:
    """Runs all until the first fails (raised) or the process is told to stop."""
    tasks = [asyncio.ensure_future(job()) for job in (*jobs, stop.wait)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        left = set(tasks)
        while left:  # a cancellation can get lost on its way: nobody is to live on for that
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        await asyncio.gather(*tasks, return_exceptions=True)
