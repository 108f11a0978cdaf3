"""The single writer of a book: decide, group-commit, answer (design section 3, steps 3 to 5).

State lives in memory. The writer drains what is waiting (bounded), decides all of it, commits once,
then answers all; while one batch commits, the next is decided on the evolved state. Nothing is
answered before what it saw has committed, refusals and reads included. When a commit fails the
process stops: memory is then ahead of the journal, and only a fresh replay is to be believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import msgspec

from kernel.clock import Clock
from kernel.crash import crash_point
from kernel.errors import Conflict, InvariantBroken, Kind, Refused
from kernel.frames import Frame, FrameSigner, KeyLookup, StoredEvent, verify_frame
from kernel.ids import Entropy, derived_id, uuid7, uuid7_ms
from kernel.journal.port import Batch, EventKey, Journal, Outcome, Refusal
from kernel.logs import get_logger
from kernel.record import (
    SALT_BYTES,
    BookOpened,
    EventTypes,
    Record,
    WriterStarted,
    commit,
    decode_record,
    encode_record,
)
from kernel.values import Act, Actor, Caller, Context, Envelope, format_instant, parse_instant
from kernel.waiting import PositionWaiters

MAX_BATCH_ASKS: Final = 8000  # one commit: a few MB, tens of milliseconds to decide
MAX_QUEUED_ASKS: Final = 64_000  # beyond that callers are told to come back
RECENT_IDS_MS: Final = 120_000  # ids this young are answered from memory alone
MAX_ID_AHEAD_MS: Final = 60_000  # how far a client's clock may run ahead of ours
MIN_POSITION_WAIT_S: Final = 5.0
BOOK_VERSION: Final = 1

S = TypeVar("S")

log = get_logger(__name__)


def reaction_actor(book: str, source: str) -> Actor:
    """Who is answerable for what a book does about another book's events."""
    return Actor(f"book:{book}", f"reaction:{source}")


class Ask(msgspec.Struct, frozen=True):
    """One command on its way to the writer. `on_ms` None: business time is the recording.

    `sealed` goes into the record of every event it becomes, unread (base64 of ciphertext). With it
    goes `same`: what stands for the command when the id is used again.
    """

    id: str
    caller: Caller
    command: msgspec.Struct
    on_ms: int | None = None
    acts: tuple[Act, ...] = ()
    cause: tuple[str, int] | None = None
    sealed: str | None = None
    same: bytes | None = None

    def digest(self) -> bytes:
        """What must be the same when an id is used again; not `sealed`, whose key may be gone.

        It is kept for ever and has no salt: of hours and places it would give away what it hashes.
        """
        what = self.command if self.same is None else self.same
        body = msgspec.msgpack.encode(
            (type(self.command).__name__, what, self.on_ms, self.acts, self.cause)
        )
        return hashlib.sha256(body).digest()


@dataclass(frozen=True)
class Domain(Generic[S]):
    """A service's plain functions, as the writer calls them. No I/O, clock or randomness inside."""

    events: EventTypes
    new_state: Callable[[], S]
    # Events, at least one, or raises Refused. Does not change the state.
    decide: Callable[[S, Any, Context], Sequence[msgspec.Struct]]
    # Changes the state; never refuses.
    evolve: Callable[[S, Any], None]
    # Commands that have fallen due: (when, in ms; what makes it this one; command).
    due: Callable[[S, int], Iterable[tuple[int, str, msgspec.Struct]]]
    # For states that fold more than bodies: told of each event's envelope just before `evolve`.
    told: Callable[[S, Envelope], None] | None = None
    # To be raised when `evolve` makes something else of old events: older snapshots are then void.
    version: int = 1


@dataclass
class Progress:
    """What the kernel itself knows of a book; rebuilt from the records like any state."""

    book_id: bytes = b""
    next_position: int = 0
    epoch: int = 0
    last_at_ms: int = 0
    # How far each source book's events have been answered by this one, as next positions.
    watermarks: dict[str, int] = field(default_factory=dict)


class Result(msgspec.Struct, frozen=True):
    """Recorded: the outcome of one ask. `repeated`: it had been carried out before."""

    outcome: Outcome
    repeated: bool


@dataclass
class _Submission:
    asks: Sequence[Ask]
    answer: asyncio.Future[list[Result]]


@dataclass
class _Decided:
    """A batch between decision and commit."""

    events: list[StoredEvent] = field(default_factory=list)
    keys: list[EventKey | None] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    answers: list[tuple[_Submission, list[Result]]] = field(default_factory=list)
    # What memory may forget, and when, but not before this batch has committed.
    fading: list[tuple[int, tuple[str, str]]] = field(default_factory=list)
    next_position: int = 0


class Writer(Generic[S]):
    """Owns one book's state. `start` replays and opens it, `run` serves until something breaks."""

    def __init__(
        self,
        journal: Journal,
        domain: Domain[S],
        signer: FrameSigner,
        keys: KeyLookup,
        clock: Clock,
        *,
        origin: str,
        verify: Callable[[bytes, Act], bool],
        entropy: Entropy = os.urandom,
    ) -> None:
        self.book = journal.book
        self.journal = journal
        self.domain = domain
        self.state = domain.new_state()
        self.progress = Progress()
        self.committed_next = 0  # position after the last committed event
        self.opening = False  # whether our log stands halted is being found out
        self.halted: str | None = None  # why new commands are refused, when the log has halted
        self.damaged: str | None = None  # why nothing is served: the journal is not what was signed
        self.on_commit: list[Callable[[Sequence[Frame]], None]] = []
        self.fresh: Callable[[], bool] = lambda: True  # is our lease beyond doubt right now?
        self._signer = signer
        self._keys = keys
        self._clock = clock
        self._origin = origin
        self._verify = verify
        self._entropy = entropy
        self._system = Caller(
            Actor(f"book:{self.book}", "writer"), frozenset({"system"}), frozenset()
        )
        self._queue: deque[_Submission] = deque()
        self._queued_asks = 0
        self._arrived = asyncio.Event()
        self._recent: dict[tuple[str, str], Outcome] = {}
        self._fading: deque[tuple[int, tuple[str, str]]] = deque()
        self._waiters = PositionWaiters()
        self._stopped = False
        # One thread: commits and lease renewals of a book follow one another on one connection.
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"journal-{self.book}")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix=f"outcomes-{self.book}")

    # ---- recovery: the same evolve as every day -------------------------------------------------

    def begin_at(self, state: S, progress: Progress) -> None:
        """Takes a state from a snapshot that was believed; what came after it is replayed."""
        self.state, self.progress = state, progress
        self.committed_next = progress.next_position

    def catch_up(
        self, progress: Callable[[int, int], None] | None = None, end: int | None = None
    ) -> None:
        """Replays the journal from where memory stands to its end (or `end`), checking every frame.

        Blocks; called before serving, and over and over by a standby. Raises FrameError at the
        first event that is not what was signed.
        """
        head = self.journal.head() if end is None else end
        for frame in self.journal.read_frames(self.progress.next_position, head):
            verify_frame(frame, self._keys)
            for event in frame.events:
                if event.position >= self.progress.next_position:
                    self._replay(event, frame.book_id)
            if progress is not None:
                progress(self.progress.next_position, head)
        self.committed_next = self.progress.next_position

    def _replay(self, event: StoredEvent, book_id: bytes) -> None:
        raw = decode_record(event.record)
        known = self.progress
        if raw.position != known.next_position or raw.book != self.book:
            raise InvariantBroken(
                f"expected {self.book} at {known.next_position}, got {raw.book} at {raw.position}"
            )
        if known.next_position and book_id != known.book_id:
            raise InvariantBroken(
                f"{self.book}: expected book id {known.book_id.hex()}, got {book_id.hex()}"
            )
        if self.domain.told is not None:
            on_ms = parse_instant(raw.on)
            envelope = Envelope(raw.position, raw.by, raw.actor, on_ms, raw.cause)
            self.domain.told(self.state, envelope)
        self._evolve(self.domain.events.decode(raw), raw.actor, raw.cause)
        known.last_at_ms = max(known.last_at_ms, parse_instant(raw.at))

    def _evolve(self, event: msgspec.Struct, actor: Actor, cause: tuple[str, int] | None) -> None:
        known = self.progress
        known.next_position += 1
        # Only a reaction reads its source in order; errands and other services name causes too.
        if cause is not None and actor == reaction_actor(self.book, cause[0]):
            source, position = cause
            known.watermarks[source] = max(known.watermarks.get(source, 0), position + 1)
        if isinstance(event, WriterStarted):
            known.epoch = event.epoch
        elif isinstance(event, BookOpened):
            known.book_id = bytes.fromhex(event.book_id)
        else:
            self.domain.evolve(self.state, event)

    def start(self, epoch: int) -> None:
        """Reads the journal to its end and appends WriterStarted; blocks, in the journal's thread.

        From here on whatever an older writer still tries collides with this position.
        """
        self.catch_up()
        now_ms = self._clock.now_ms()
        self._load_recent(max(now_ms, self.progress.last_at_ms))
        decided = _Decided()
        opening: list[msgspec.Struct] = []
        if self.progress.next_position == 0:
            opening.append(BookOpened(self._entropy(16).hex(), self._origin, BOOK_VERSION))
        opening.append(WriterStarted(epoch))
        ask = Ask(uuid7(now_ms, self._entropy), self._system, opening[-1])
        at_ms = max(now_ms, self.progress.last_at_ms)
        self.progress.last_at_ms = at_ms
        self._record(decided, ask, opening, at_ms, at_ms)
        self._write(decided)

    def _load_recent(self, now_ms: int) -> None:
        """Every id that repeats could still bring without a look-up is in memory from the start."""
        floor_ms = max(now_ms - RECENT_IDS_MS - MAX_ID_AHEAD_MS, 0)
        for outcome in self.journal.outcomes_since(uuid7(floor_ms, bytes)):
            self._fading.append(self._remember(outcome, now_ms))

    # ---- the daily path -------------------------------------------------------------------------

    async def submit(self, asks: Sequence[Ask], *, while_halted: bool = False) -> list[Result]:
        """Results in the order of the asks, once all of them are recorded.

        Raises Refused(BOOK_HALTED) while the log has halted, Conflict when the queue is full or we
        are only just starting.
        Reactions go on while it is halted: they add no value, and one of them is how it resumes.
        """
        self._refuse_damaged()
        if self.opening and not while_halted:
            raise Conflict("STARTING", f"{self.book} is only just starting: ask again by id")
        if self.halted is not None and not while_halted:
            raise Refused("BOOK_HALTED", f"{self.book} is halted: {self.halted}", book=self.book)
        if self._queued_asks + len(asks) > MAX_QUEUED_ASKS:
            raise Conflict(
                "QUEUE_FULL",
                f"{self.book}: expected at most {MAX_QUEUED_ASKS} commands waiting,"
                f" there are {self._queued_asks} and {len(asks)} more came",
            )
        if not asks:
            return []
        return await self._enqueue(asks)

    async def _enqueue(self, asks: Sequence[Ask]) -> list[Result]:
        if self._stopped:
            raise self._stopped_error()
        submission = _Submission(asks, asyncio.get_running_loop().create_future())
        self._queue.append(submission)
        self._queued_asks += len(asks)
        self._arrived.set()
        return await submission.answer

    def _refuse_damaged(self) -> None:
        if self.damaged is not None:
            raise Refused("JOURNAL_DIFFERS", f"{self.book}: {self.damaged}", book=self.book)

    async def run(self) -> None:
        """Decides and commits until cancelled; raises what broke. Then nothing more is answered."""
        committing: asyncio.Task[None] | None = None
        submissions: list[_Submission] = []
        try:
            while True:
                if not self._queue:
                    self._arrived.clear()
                    await self._first_of(self._arrived.wait(), committing)
                    if committing is not None and committing.done():
                        committing.result()
                        committing = None
                    continue
                submissions = self._drain()
                known = await self._look_up(submissions)
                decided = self._decide(submissions, known)
                if committing is not None:
                    await committing
                committing = asyncio.create_task(self._commit(decided))
                submissions = []
        finally:
            if committing is not None:
                committing.cancel()
            self._abandon(submissions)

    @staticmethod
    async def _first_of(arrival: Any, committing: asyncio.Task[None] | None) -> None:
        waiting = asyncio.ensure_future(arrival)
        try:
            await asyncio.wait(
                {waiting, *((committing,) if committing else ())},
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()

    def _drain(self) -> list[_Submission]:
        taken: list[_Submission] = []
        asks = 0
        while self._queue and (not taken or asks + len(self._queue[0].asks) <= MAX_BATCH_ASKS):
            taken.append(self._queue.popleft())
            asks += len(taken[-1].asks)
        self._queued_asks -= asks
        return taken

    async def _look_up(self, submissions: list[_Submission]) -> dict[tuple[str, str], Outcome]:
        """Outcomes of ids too old to be surely in memory: one query for the batch, seldom any.

        Forgets here and nowhere else, by the same instant as the horizon: an id is in memory or
        it is looked up, whatever the clock does between here and the decision, back or ahead.
        """
        now_ms = max(self._clock.now_ms(), self.progress.last_at_ms)
        self._forget(now_ms)
        horizon_ms = now_ms - RECENT_IDS_MS
        old = {
            ask.id
            for submission in submissions
            for ask in submission.asks
            if uuid7_ms(ask.id) <= horizon_ms and (ask.caller.principal, ask.id) not in self._recent
        }
        if not old:
            return {}
        found = await asyncio.get_running_loop().run_in_executor(
            self._reading, self.journal.find_outcomes, sorted(old)
        )
        return {(outcome.principal, outcome.id): outcome for outcome in found}

    def _decide(
        self, submissions: list[_Submission], known: dict[tuple[str, str], Outcome]
    ) -> _Decided:
        at_ms = self.progress.last_at_ms = max(self._clock.now_ms(), self.progress.last_at_ms)
        decided = _Decided()
        for submission in submissions:
            results = [self._decide_one(decided, ask, at_ms, known) for ask in submission.asks]
            decided.answers.append((submission, results))
        decided.next_position = self.progress.next_position
        return decided

    def _decide_one(
        self, decided: _Decided, ask: Ask, at_ms: int, known: dict[tuple[str, str], Outcome]
    ) -> Result:
        key = (ask.caller.principal, ask.id)
        digest = ask.digest()
        before = self._recent.get(key) or known.get(key)
        if before is not None:
            return Result(_same_command(before, ask, digest), repeated=True)
        # An id derived from its cause carries the cause's own time, of another process's clock.
        if ask.cause is None and uuid7_ms(ask.id) > at_ms + MAX_ID_AHEAD_MS:
            return Result(_unrecorded(ask, digest, _id_from_future(ask.id, at_ms)), repeated=False)
        on_ms = at_ms if ask.on_ms is None else ask.on_ms
        context = Context(ask.id, at_ms, on_ms, ask.caller, ask.acts, ask.cause, self._verify)
        first = self.progress.next_position
        try:
            events = self.domain.decide(self.state, ask.command, context)
            self._record(decided, ask, events, at_ms, on_ms, digest)
            outcome = Outcome(ask.id, key[0], digest, first, len(events), None)
        except Refused as refused:
            outcome = Outcome(ask.id, key[0], digest, 0, 0, Refusal.of(refused))
            decided.outcomes.append(outcome)
        decided.fading.append(self._remember(outcome, at_ms))
        return Result(outcome, repeated=False)

    def _record(
        self,
        decided: _Decided,
        ask: Ask,
        events: Sequence[msgspec.Struct],
        at_ms: int,
        on_ms: int,
        digest: bytes | None = None,
    ) -> None:
        """Makes the bytes, once; evolves only when all of the command's events could be made."""
        at, on = format_instant(at_ms), format_instant(on_ms)
        acts = sorted(ask.acts) if ask.acts else msgspec.UNSET
        position = self.progress.next_position
        stored = []
        for i, event in enumerate(events):
            record = encode_record(
                Record(
                    acts=acts,
                    actor=ask.caller.actor,
                    at=at,
                    body=event,
                    book=self.book,
                    by=ask.id,
                    cause=ask.cause,
                    on=on,
                    position=position + i,
                    sealed=msgspec.UNSET if ask.sealed is None else ask.sealed,
                    type=type(event).__name__,
                    v=1,
                )
            )
            salt = self._entropy(SALT_BYTES)
            stored.append(StoredEvent(position + i, record, salt, commit(salt, record)))
        for i, event in enumerate(events):
            if self.domain.told is not None:
                envelope = Envelope(position + i, ask.id, ask.caller.actor, on_ms, ask.cause)
                self.domain.told(self.state, envelope)
            self._evolve(event, ask.caller.actor, ask.cause)
        decided.events.extend(stored)
        key = None if digest is None else EventKey(ask.id, ask.caller.principal, digest)
        decided.keys.extend((key, *[None] * (len(stored) - 1)))
        if digest is not None and len(stored) > 1:
            decided.outcomes.append(
                Outcome(ask.id, ask.caller.principal, digest, position, len(stored), None)
            )

    async def _commit(self, decided: _Decided) -> None:
        """Durable, then known to others, then answered: in this order, whatever dies between."""
        frames: Sequence[Frame] = ()
        try:
            if decided.events or decided.outcomes:
                frames = await asyncio.get_running_loop().run_in_executor(
                    self.thread, self._write, decided
                )
        except BaseException:
            # Whether it was recorded is not known here: the callers ask again by id.
            self._abandon(submission for submission, _ in decided.answers)
            raise
        # A crash here: it happened, nobody knows; a repeat of the id is answered from the journal.
        crash_point("journal.committed")
        self._fading.extend(decided.fading)
        for listener in self.on_commit:
            listener(frames)
        self._waiters.wake(self.committed_next)
        for submission, results in decided.answers:
            if not submission.answer.done():  # the caller may have gone away
                submission.answer.set_result(results)
        # A crash here: recorded and announced, and no caller hears of it.
        if decided.answers:
            crash_point("answer.lost")

    def _write(self, decided: _Decided) -> Sequence[Frame]:
        """In the journal's thread: cut, sign, one transaction."""
        frames = self._signer.cut(self.book, self.progress.book_id, decided.events)
        batch = Batch(self.progress.epoch, decided.events, decided.keys, decided.outcomes, frames)
        self.journal.append(batch)
        if decided.events:
            self.committed_next = decided.events[-1].position + 1
        return frames

    # ---- what memory remembers ------------------------------------------------------------------

    def _remember(self, outcome: Outcome, now_ms: int) -> tuple[int, tuple[str, str]]:
        """Answers when it may be forgotten again, once it is in the journal."""
        key = (outcome.principal, outcome.id)
        self._recent[key] = outcome
        return max(now_ms, uuid7_ms(outcome.id)) + RECENT_IDS_MS, key

    def _forget(self, now_ms: int) -> None:
        """Drops outcomes whose ids are by now old enough to be looked up instead."""
        while self._fading and self._fading[0][0] < now_ms:
            _, key = self._fading.popleft()
            self._recent.pop(key, None)

    async def find_outcomes(self, principal: str, ids: Sequence[str]) -> list[Outcome]:
        """Committed outcomes of a caller's ids; ids never carried out are left out."""
        self._refuse_damaged()
        # Through the queue: what is being recorded right now, refusals included, is waited for.
        await self._enqueue(())
        found = await asyncio.get_running_loop().run_in_executor(
            self._reading, self.journal.find_outcomes, list(ids)
        )
        return [outcome for outcome in found if outcome.principal == principal]

    # ---- reads ----------------------------------------------------------------------------------

    async def read(self, query: Callable[[S], Any], min_position: int = 0) -> tuple[Any, int]:
        """Runs a query on the state; answers it and the last position it saw, once committed.

        Waits (bounded) for min_position. Raises Conflict when our lease is in doubt: another
        writer might already have gone on.
        """
        self._refuse_damaged()
        await self._reached(min_position)
        answer = query(self.state)
        seen = self.progress.next_position
        await self.committed(seen)
        if not self.fresh():
            raise Conflict("LEASE_IN_DOUBT", f"{self.book}: the lease is not fresh, ask again")
        return answer, seen - 1

    async def _reached(self, min_position: int) -> None:
        try:
            async with asyncio.timeout(MIN_POSITION_WAIT_S):
                await self.committed(min_position + 1)
        except TimeoutError:
            raise Conflict(
                "POSITION_NOT_REACHED",
                f"{self.book}: expected position {min_position}, got {self.committed_next - 1}",
            ) from None

    async def committed(self, next_position: int) -> None:
        """Returns once every event below next_position is in the journal."""
        if next_position <= self.committed_next:
            return
        if self._stopped:
            raise self._stopped_error()
        await self._waiters.wait(next_position)

    async def next_commit(self) -> None:
        """Returns once something more is in the journal."""
        await self.committed(self.committed_next + 1)

    def _abandon(self, submissions: Iterable[_Submission]) -> None:
        """We are stopping: what was not answered may or may not have been recorded."""
        self._stopped = True
        error = self._stopped_error()
        for submission in (*submissions, *self._queue):
            if not submission.answer.done():
                submission.answer.set_exception(error)
        self._waiters.fail(error)

    def _stopped_error(self) -> Conflict:
        return Conflict("WRITER_STOPPED", f"{self.book}: the writer stopped, ask again by id")

    # ---- what falls due -------------------------------------------------------------------------

    async def run_timers(self, every_s: float = 0.1) -> None:
        """Turns what has fallen due into commands; a repeat of the same id does nothing."""
        while True:
            if self.halted is None and not self.opening:
                book_id = self.progress.book_id.hex()
                # The decision must not be earlier than this, or what is due would not be.
                at_ms = self.progress.last_at_ms = max(
                    self._clock.now_ms(), self.progress.last_at_ms
                )
                asks = [
                    Ask(derived_id(when_ms, book_id, what), self._system, command, when_ms)
                    for when_ms, what, command in self.domain.due(self.state, at_ms)
                ]
                for i in range(0, len(asks), MAX_BATCH_ASKS):
                    try:
                        await self.submit(asks[i : i + MAX_BATCH_ASKS])
                    except (Conflict, Refused) as error:  # full or just halted: due again next time
                        log.info("timers.postponed", book=self.book, reason=error.reason)
            await asyncio.sleep(every_s)

    def close(self) -> None:
        self.thread.shutdown(wait=True)
        self._reading.shutdown(wait=True)


def _same_command(before: Outcome, ask: Ask, digest: bytes) -> Outcome:
    if before.digest == digest:
        return before
    refused = Refused(
        "ID_REUSED",
        f"id {ask.id} was used for another command: expected digest {before.digest.hex()[:16]},"
        f" got {digest.hex()[:16]}",
        Kind.RULE,
        expected=before.digest.hex()[:16],
        actual=digest.hex()[:16],
    )
    return _unrecorded(ask, digest, refused)


def _id_from_future(id: str, at_ms: int) -> Refused:
    return Refused(
        "ID_FROM_FUTURE",
        f"expected an id of at most {format_instant(at_ms + MAX_ID_AHEAD_MS)},"
        f" got one of {format_instant(min(uuid7_ms(id), 253_402_300_799_999))}",
        Kind.INVALID,
        at=format_instant(at_ms),
    )


def _unrecorded(ask: Ask, digest: bytes, refused: Refused) -> Outcome:
    """A refusal that leaves no row: the id belongs to another command, or to no time of ours."""
    return Outcome(ask.id, ask.caller.principal, digest, 0, 0, Refusal.of(refused))
