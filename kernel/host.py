"""One book in a process: waits for the lease with warm state, then writes, relays and projects.

`serve` runs until something breaks and then raises: a process never lives on with half of its
parts. A journal that is not what was signed is served for reading only, so that the ledger and an
operator can see where it was changed.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from kernel import metrics
from kernel.bus import Bus
from kernel.clock import monotonic_ms
from kernel.errors import Conflict, InvariantBroken, Refused
from kernel.frames import Frame, FrameError, KeyLookup
from kernel.journal.database import Engine
from kernel.journal.postgres import PostgresJournal
from kernel.journal.snapshots import PostgresSnapshots
from kernel.journal.watermarks import Bookmark
from kernel.lease import LOST_AFTER_S, RENEW_EVERY_MS, Freshness, LeaseLost, PostgresLease
from kernel.logs import get_logger
from kernel.projection import Projector
from kernel.relay import Relay
from kernel.snapshot.image import hash_of, size_of
from kernel.snapshot.recovery import Heard, recover, show_progress
from kernel.tail import Tail
from kernel.timers import run_timers
from kernel.writer import MIN_POSITION_WAIT_S, Writer

CANCEL_AGAIN_S: Final = 2.0
STANDBY_POLL_S: Final = 0.25
# A page of the journal, read and verified, comes long before. Who hears nothing at all is of no use
# as a standby: the next start has a way to the database of its own.
SILENT_AFTER_S: Final = 20.0
MAX_LIVE_HASHED: Final = 100_000  # some tenths of a second, in which the book takes no commands

T = TypeVar("T")

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
        self.standing_by = True  # until the book is ours: it may be read, and is not spoken for
        self._epoch = 0

    async def open(self) -> None:
        """Recovers, waits for the lease (following the journal meanwhile), takes the book over."""
        writer, loop = self.writer, asyncio.get_running_loop()
        on_thread = functools.partial(loop.run_in_executor, writer.thread)
        try:
            await self._reading(functools.partial(recover, writer, self.snapshots, self._keys))
            epoch = await self._take()
            await on_thread(writer.start, epoch)
        except (FrameError, InvariantBroken) as error:
            # The journal is not what was signed. Serve it for reading, refuse everything else.
            writer.damaged = f"the journal is not what was signed: {error}"
            writer.committed_next = await on_thread(writer.journal.head)
            log.error("book.damaged", book=self.book, error=str(error))
            return
        finally:
            self.standing_by = False
            metrics.standby.labels(self.book).set(0)
        log.info("book.open", book=self.book, epoch=epoch, next_position=writer.committed_next)

    async def _take(self) -> int:
        """The new epoch, once nobody else writes; until then a standby, with warm state."""
        writer, told = self.writer, False
        while True:
            await self._reading(writer.catch_up)
            sent_ms = monotonic_ms()
            epoch = await self._answered(self._lease.try_take, writer.progress.epoch)
            if epoch is not None:
                self._freshness.renewed(sent_ms)
                self._epoch = epoch
                return epoch
            if not told:
                told = True
                metrics.standby.labels(self.book).set(1)
                log.info("book.standby", book=self.book, next_position=writer.committed_next)
            await asyncio.sleep(STANDBY_POLL_S)

    async def _reading(self, read: Callable[[Heard], object]) -> None:
        """In the book's thread. Raises LeaseLost when the database says nothing any more."""
        show, beats = show_progress(self.book), 0

        def beat(done: int, total: int) -> None:
            nonlocal beats
            beats += 1
            show(done, total)

        reading = asyncio.get_running_loop().run_in_executor(self.writer.thread, read, beat)
        heard = -1
        while not reading.done():
            if beats == heard:
                raise self._lost("nothing read", SILENT_AFTER_S)
            heard = beats
            await asyncio.wait([reading], timeout=SILENT_AFTER_S)
        await reading

    async def _answered(self, ask: Callable[[int], T], epoch: int) -> T:
        """What the lease's connection answers; raises LeaseLost when that takes too long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOST_AFTER_S):
                return await loop.run_in_executor(self.writer.thread, ask, epoch)
        except TimeoutError:
            # The database, or the way to it, says nothing at all.
            raise self._lost("no answer about the lease", LOST_AFTER_S) from None

    def _lost(self, what: str, after_s: float) -> LeaseLost:
        self._lease.cut()
        return LeaseLost(f"{self.book}: {what} for {after_s:.0f} s")

    async def state_hash(self, min_position: int = 0) -> tuple[bytes, int]:
        """The hash of the book's state here, and the last position in it; waits for min_position.

        Of the one that writes only while it is small: it stands still for that long.
        """
        if not self.standing_by:
            answer: tuple[bytes, int] = await self.writer.read(self._hash_live, min_position)
            return answer
        give_up_ms = monotonic_ms() + round(MIN_POSITION_WAIT_S * 1000)
        while self.writer.committed_next <= min_position:
            if monotonic_ms() > give_up_ms:
                raise Conflict(
                    "POSITION_NOT_REACHED",
                    f"{self.book}: expected position {min_position},"
                    f" got {self.writer.committed_next - 1}",
                )
            await asyncio.sleep(STANDBY_POLL_S)
        # On the thread that folds: nothing changes meanwhile.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.writer.thread, self._hash)

    def _hash(self) -> tuple[bytes, int]:
        writer, progress = self.writer, self.writer.progress
        found = hash_of(self.book, writer.domain, writer.state, progress)
        return found, progress.next_position - 1

    def _hash_live(self, state: Any) -> bytes:
        size = size_of(state)
        if size > MAX_LIVE_HASHED:
            raise Refused(
                "STATE_TOO_LARGE",
                f"{self.book}: expected at most {MAX_LIVE_HASHED} things in the state of a book"
                f" that is written, there are {size}: ask its standby, or run verify",
                limit=MAX_LIVE_HASHED,
                actual=size,
            )
        return self._hash()[0]

    async def settled(self) -> None:
        """Once everything that was asked of the book's thread so far is done."""
        await asyncio.get_running_loop().run_in_executor(self.writer.thread, lambda: None)

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
            functools.partial(run_timers, self.writer),
            self._renew,
            self.relay(bus).run,
            *(projector.run for projector in projectors),
        ]

    def _count(self, frames: Sequence[Frame]) -> None:
        metrics.committed_position.labels(self.book).set(self.writer.committed_next)

    async def _renew(self) -> None:
        """Between commits, on their connection: who cannot renew cannot commit either."""
        while True:
            sent_ms = monotonic_ms()
            await self._answered(self._lease.renew, self._epoch)
            self._freshness.renewed(sent_ms)
            await asyncio.sleep(RENEW_EVERY_MS / 1000)

    def fresh(self) -> bool:
        """Is the book ours beyond doubt right now?"""
        return self._freshness()

    async def close(self) -> None:
        """An orderly stop: the next writer takes over at once."""
        loop, held = asyncio.get_running_loop(), self.fresh()
        if self._epoch and self.writer.damaged is None and held:
            await loop.run_in_executor(self.writer.thread, self._lease.release, self._epoch)
        self.writer.close(wait=held)  # else a thread may wait for a database that never answers
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
