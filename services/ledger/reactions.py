"""What other books' events mean here: each is checked and becomes a leaf, or halts its log.

One reader per book. It folds an event only after its cause; it waits for that, with an alert after
30 s, and never halts for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, Protocol

import msgspec

from kernel import metrics
from kernel.clock import monotonic_ms
from kernel.frames import Frame, FrameError, StoredEvent
from kernel.logs import get_logger
from kernel.record import COMMITMENT_BYTES, RawRecord, commit
from services.ledger.books.port import RuleBroken
from services.ledger.domain.state import State
from services.ledger.log import BookLog, Halt, Halted

CAUSE_POLL_S: Final = 0.01
CAUSE_ALERT_MS: Final = 30_000
EVENTS_PER_TURN: Final = 200  # then other parts of the process get their turn

log = get_logger(__name__)

Accepted = Callable[[str, int, str], bool]  # (book, position, rule): two persons took it as it is
# By (book, position, rule) of those that stand: expected and actual, as they were recorded.
StandingHalts = Mapping[tuple[str, int, str], tuple[str, str]]
Halts = Callable[[], StandingHalts]


def reader_of(book: str, logs: Mapping[str, BookLog], state: State) -> LogReader:
    """One log's, which goes by what two persons have said in the ledger's own book."""

    def accepted(book: str, position: int, rule: str) -> bool:
        return (book, position, rule) in state.overrides

    return LogReader(logs[book], logs, accepted, lambda: state.halts)


class LogReader:
    """The frame handler of one log."""

    def __init__(
        self,
        own: BookLog,
        logs: Mapping[str, BookLog],
        accepted: Accepted,
        halts: Halts = dict,
    ) -> None:
        self._log = own
        self._logs = logs
        self._accepted = accepted
        self._halts = halts
        self.waits: tuple[str, int] | None = None  # for an event of another book

    @property
    def waiting_for(self) -> str:
        return "" if self.waits is None else "{} at {}".format(*self.waits)

    async def frame(self, frame: Frame) -> None:
        if frame.first < self._log.next_position:
            await self.repeated_frame(frame)  # what went before in it must be what we took
        await self.take(frame, frame.last + 1)

    async def bad_frame(self, frame: Frame, error: FrameError) -> None:
        """Takes what comes before the bad event; then halts, unless two persons accepted it.

        What a frame's own signature does not cover cannot be accepted by anyone: only a single
        event that differs from its signed commitment can, and its leaf is what was signed.
        """
        own = self._log
        if error.rule != "EVENT_COMMITMENT":
            position = max(error.position, own.next_position)
            raise Halted(Halt(own.book, position, error.rule, error.expected, error.actual))
        for event in frame.events:  # the error names the first, there may be more
            actual = commit(event.salt, event.record)
            if event.position < own.next_position or actual == event.commitment:
                continue
            await self.take(frame, event.position)
            broken = RuleBroken(error.rule, event.commitment.hex(), actual.hex())
            self._halt_unless_accepted(event.position, broken)
            self._compare(event)
            own.append(event.commitment)
        await self.frame(frame)

    async def repeated_frame(self, frame: Frame) -> None:
        """A journal that was restored and went on otherwise says its old positions anew."""
        known = await asyncio.to_thread(self._log.stored.commitments, frame.first, frame.last + 1)
        for i, event in enumerate(frame.events):
            signed = known[i * COMMITMENT_BYTES : (i + 1) * COMMITMENT_BYTES]
            if signed and signed != event.commitment:
                broken = RuleBroken("JOURNAL_DIFFERS", signed.hex(), event.commitment.hex())
                self._halt_unless_accepted(event.position, broken)

    async def take(self, frame: Frame, end: int) -> None:
        """What is new of a verified frame, up to a position."""
        own = self._log
        try:
            for event in frame.events:
                if own.next_position <= event.position < end:
                    read = self._read(event)
                    if read is not None and read[0].cause is not None:
                        await self._cause(read[0])
                    self._take(event, read, frame.book_id)
                if event.position % EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)
        finally:
            own.grow()
            metrics.folded_position.labels(own.book).set(own.next_position)

    def _read(self, event: StoredEvent) -> tuple[RawRecord, msgspec.Struct] | None:
        """What it says; None when two persons have accepted that it says nothing."""
        if self._halts():
            self._stay_halted(event.position)
        self._compare(event)
        try:
            return self._log.decode(event)
        except RuleBroken as broken:
            self._halt_unless_accepted(event.position, broken)
            return None

    def _take(
        self, event: StoredEvent, read: tuple[RawRecord, msgspec.Struct] | None, book_id: bytes
    ) -> None:
        own = self._log
        if read is not None:  # else a leaf without a meaning: nothing follows from it
            raw, body = read
            self._check(raw, body, book_id)
            own.apply(raw, body, book_id)
        own.append(event.commitment)

    def _compare(self, event: StoredEvent) -> None:
        try:
            self._log.compare(event.commitment)
        except RuleBroken as broken:
            self._halt_unless_accepted(event.position, broken)

    def _check(self, raw: RawRecord, body: msgspec.Struct, book_id: bytes) -> None:
        try:
            self._log.check_identity(raw, body, book_id)
        except RuleBroken as broken:
            self._halt_unless_accepted(raw.position, broken)
        for step in self._log.steps(type(body)):
            try:
                step(raw, body)
            except RuleBroken as broken:
                self._halt_unless_accepted(raw.position, broken)

    def _stay_halted(self, position: int) -> None:
        """A recorded halt ends by two persons, not by a restart that finds nothing wrong."""
        for (book, at, rule), found in self._halts().items():
            if (book, at) == (self._log.book, position):
                raise Halted(Halt(book, position, rule, *found))

    def _halt_unless_accepted(self, position: int, broken: RuleBroken) -> None:
        if not self._accepted(self._log.book, position, broken.rule):
            halt = Halt(self._log.book, position, broken.rule, broken.expected, broken.actual)
            raise Halted(halt) from broken

    async def _cause(self, raw: RawRecord) -> None:
        """Until the log of the cause has folded it."""
        if raw.cause is None:
            return
        book, position = raw.cause
        source = self._logs.get(book)
        if source is None:
            broken = RuleBroken("CAUSE_BOOK", f"one of {sorted(self._logs)}", book)
            self._halt_unless_accepted(raw.position, broken)
            return
        if source is self._log and position >= raw.position:  # it would wait for itself for ever
            broken = RuleBroken("CAUSE_BOOK", f"an event before {raw.position}", position)
            self._halt_unless_accepted(raw.position, broken)
            return
        since_ms, alerted = monotonic_ms(), False
        while source.next_position <= position:
            self.waits = (book, position)
            if not alerted and monotonic_ms() - since_ms > CAUSE_ALERT_MS:
                alerted = True
                log.error("ledger.cause_missing", book=raw.book, position=raw.position, cause=book)
            await asyncio.sleep(CAUSE_POLL_S)
        self.waits = None


def heed(book: str, halts: StandingHalts, rules: Collection[str]) -> None:
    """Raises Halted while a recorded halt of one of these rules stands, wherever it is."""
    for (named, position, rule), found in sorted(halts.items()):
        if named == book and rule in rules:
            raise Halted(Halt(book, position, rule, *found))


class HaltedLog(Protocol):
    """What can halt: a book's log, or the log of states."""

    halt: Halt | None

    @property
    def book(self) -> str: ...


async def halt_and_wait(
    own: HaltedLog,
    halt: Halt,
    announce: Callable[[Halt], Awaitable[None]],
    times_accepted: Callable[[Halt], int],
    changed: Callable[[], Awaitable[None]],
) -> None:
    """Records the halt in the ledger's book, and returns once two persons have accepted it anew.

    For a broken rule that means "take the event as it is"; for a frame or a tree that cannot be
    believed it means "look again".
    """
    own.halt = halt
    metrics.halted.labels(own.book).set(1)
    log.error("ledger.halted", **halt._asdict())
    before = times_accepted(halt)
    await announce(halt)
    while times_accepted(halt) == before:
        await changed()
    own.halt = None
    metrics.halted.labels(own.book).set(0)
    log.warning("ledger.resumed", book=halt.book, position=halt.position, rule=halt.rule)
