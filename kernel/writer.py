"""The single writer of a book: decide, group-commit, answer (design section 3, steps 3 to 5).

State lives in memory. The writer drains what is waiting (bounded), decides all of it, commits once,
then answers all; while one batch commits, the next is decided on the evolved state. Nothing is
answered before what it saw has committed, refusals and reads included. When a commit fails the
process stops: memory is then ahead of the journal, and only a fresh replay is to be believed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from kernel import linked
from kernel.asks import Ask, Domain, Result
from kernel.clock import Clock
from kernel.crash import crash_point
from kernel.errors import Conflict, InvariantBroken, Refused
from kernel.fairness import FairQueue
from kernel.frames import Frame, FrameSigner, KeyLookup, StoredEvent
from kernel.ids import Entropy, uuid7
from kernel.journal.port import Batch, Journal, Outcome, Refusal
from kernel.layers import layered
from kernel.logs import get_logger
from kernel.recent import MAX_ID_AHEAD_MS, RECENT_IDS_MS, Fading, RecentOutcomes, id_at
from kernel.record import (
    SALT_BYTES,
    BookOpened,
    RecordMaker,
    WriterStarted,
    commit,
)
from kernel.repeats import id_from_future, refuse_other_command, same_command, unrecorded
from kernel.replica import Replica
from kernel.values import Act, Actor, Caller, Context, Envelope, format_instant
from kernel.waiting import PositionWaiters

MAX_BATCH_ASKS: Final = 8000  # one call's, and so one commit's: a few MB
# A batch takes no further submission beyond this: who asks for one thing waits behind that much.
TARGET_BATCH_ASKS: Final = 2000
SALTS_AT_ONCE: Final = 512
MAX_LOADED: Final = 100_000  # outcomes read at start; older ids are looked up
MIN_POSITION_WAIT_S: Final = 5.0
BOOK_VERSION: Final = 1

S = TypeVar("S")

log = get_logger(__name__)


@dataclass(slots=True)
class _Submission:
    asks: Sequence[Ask]
    answer: asyncio.Future[list[Result]]


@dataclass(slots=True)
class _Decided:
    """A batch between decision and commit."""

    at_ms: int
    maker: RecordMaker
    fading: Fading
    events: list[StoredEvent] = field(default_factory=list)
    # One per event: the outcome that stands on it, or None (see Batch.keys).
    keys: list[Outcome | None] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    answers: list[tuple[_Submission, list[Result]]] = field(default_factory=list)
    # Outcomes of ids that were looked up in the journal.
    found: dict[tuple[str, str], Outcome] = field(default_factory=dict)


class Writer(Replica[S]):
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
        super().__init__(journal, domain, keys)
        self.opening = False  # whether our log stands halted is being found out
        self.halted: str | None = None  # why new commands are refused, when the log has halted
        self.damaged: str | None = None  # why nothing is served: the journal is not what was signed
        self.on_commit: list[Callable[[Sequence[Frame]], None]] = []
        self.fresh: Callable[[], bool] = lambda: True  # is our lease beyond doubt right now?
        self._signer = signer
        self._clock = clock
        self._origin = origin
        self._verify = verify
        self._entropy = entropy
        self.system = Caller(
            Actor(f"book:{self.book}", "writer"), frozenset({"system"}), frozenset()
        )
        self._queue: FairQueue[_Submission] = FairQueue(self.book)
        self._arrived = asyncio.Event()
        self._recent = RecentOutcomes()
        self._salts: list[bytes] = []
        self._waiters = PositionWaiters()
        self._stopped = False
        # One thread: commits and lease renewals of a book follow one another on one connection.
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"journal-{self.book}")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix=f"outcomes-{self.book}")

    def start(self, epoch: int) -> None:
        """Reads the journal to its end and appends WriterStarted; blocks, in the journal's thread.

        From here on whatever an older writer still tries collides with this position.
        """
        self.catch_up()
        at_ms = self.take_instant()
        self._load_recent(at_ms)
        opening: list[msgspec.Struct] = []
        if self.progress.next_position == 0:
            opening.append(BookOpened(self._entropy(16).hex(), self._origin, BOOK_VERSION))
        opening.append(WriterStarted(epoch))
        decided = self._new_batch(at_ms)
        ask = Ask(uuid7(at_ms, self._entropy), self.system, opening[-1])
        self._record(decided, ask, opening, at_ms)
        decided.keys.extend([None] * len(opening))
        self._write(decided)

    def _load_recent(self, at_ms: int) -> None:
        """Every id that repeats could still bring without a look-up is in memory from the start."""
        floor = id_at(at_ms - RECENT_IDS_MS - MAX_ID_AHEAD_MS)
        self._recent.load(*self.journal.newest_outcomes(floor, MAX_LOADED), at_ms)

    # ---- the daily path -------------------------------------------------------------------------

    def check_admission(self, caller: Caller, weight: int, *, while_halted: bool = False) -> None:
        """Would that many of this caller be taken now? Asked before anything is made of them.

        Raises Refused(BOOK_HALTED) while the log has halted, Conflict when the queue is full or we
        are only just starting.
        """
        self._refuse_damaged()
        if self.opening and not while_halted:
            raise Conflict("STARTING", f"{self.book} is only just starting: ask again by id")
        if self.halted is not None and not while_halted:
            raise Refused("BOOK_HALTED", f"{self.book} is halted: {self.halted}", book=self.book)
        self._queue.check_room(caller.principal, weight)

    async def submit(
        self, asks: Sequence[Ask], *, weight: int | None = None, while_halted: bool = False
    ) -> list[Result]:
        """Results in the order of the asks, once all of them are recorded.

        The first one's caller is whose turn it is. `weight` is how many events they may make, where
        that is not one each. Raises as `check_admission`. Reactions go on while it is halted: they
        add no value, and one of them is how it resumes.
        """
        if not asks:
            return []
        caller = asks[0].caller
        weight = len(asks) if weight is None else weight
        self.check_admission(caller, weight, while_halted=while_halted)
        return await self._enqueue(caller.principal, asks, weight)

    async def _enqueue(self, principal: str, asks: Sequence[Ask], weight: int) -> list[Result]:
        if self._stopped:
            raise self._stopped_error()
        submission = _Submission(asks, asyncio.get_running_loop().create_future())
        self._queue.put(principal, weight, submission)
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
                submissions = self._queue.take(TARGET_BATCH_ASKS, MAX_BATCH_ASKS)
                found = await self._look_up(submissions)
                decided = self._decide(submissions, found)
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

    async def _look_up(self, submissions: list[_Submission]) -> dict[tuple[str, str], Outcome]:
        """Outcomes of ids too old to be surely in memory: one query for the batch, seldom any.

        Forgets here and nowhere else: an id is in memory or it is looked up, whatever the clock
        does between here and the decision, back or ahead.
        """
        recent = self._recent
        recent.forget(max(self._clock.now_ms(), self.progress.last_at_ms))
        horizon = recent.horizon
        old = {
            ask.id
            for submission in submissions
            for ask in submission.asks
            if ask.id <= horizon and recent.is_missing(ask.caller.principal, ask.id)
        }
        if not old:
            return {}
        found = await asyncio.get_running_loop().run_in_executor(
            self._reading, self.journal.find_outcomes, sorted(old)
        )
        return {(outcome.principal, outcome.id): outcome for outcome in found}

    def take_instant(self) -> int:
        """The writer's clock, which never goes back within a book."""
        self.progress.last_at_ms = max(self._clock.now_ms(), self.progress.last_at_ms)
        return self.progress.last_at_ms

    def _new_batch(self, at_ms: int) -> _Decided:
        return _Decided(at_ms, RecordMaker(self.book, format_instant(at_ms)), Fading(at_ms))

    def _decide(
        self, submissions: list[_Submission], found: dict[tuple[str, str], Outcome]
    ) -> _Decided:
        """The hot path: everything between two awaits, some microseconds a command."""
        decided = self._new_batch(self.take_instant())
        decided.found = found
        latest_id = id_at(decided.at_ms + MAX_ID_AHEAD_MS, last=True)
        caller: Caller | None = None
        principal = ""
        known: dict[str, Outcome] = {}
        refused: Mapping[str, Refused] = {}
        for submission in submissions:
            results = []
            group: bytes | None = None
            for i, ask in enumerate(submission.asks):
                if ask.caller is not caller:
                    caller, principal = ask.caller, ask.caller.principal
                    known = self._recent.of(principal)
                if ask.group != group:
                    group = ask.group
                    refused = {} if group is None else self._try_group(decided, submission.asks, i)
                doomed = refused.get(ask.id) if refused else None
                results.append(self._decide_one(decided, ask, principal, known, latest_id, doomed))
            decided.answers.append((submission, results))
        return decided

    def _decide_one(
        self,
        decided: _Decided,
        ask: Ask,
        principal: str,
        known: dict[str, Outcome],
        latest_id: str,
        doomed: Refused | None,
    ) -> Result:
        id, at_ms, digest = ask.id, decided.at_ms, ask.digest()
        before = known.get(id) or (decided.found and decided.found.get((principal, id)))
        if before:
            return Result(same_command(before, ask, digest), True)
        # An id derived from its cause carries the cause's own time, of another process's clock.
        if id > latest_id and ask.cause is None:
            return Result(unrecorded(ask, digest, id_from_future(id, at_ms)), False)
        on_ms = at_ms if ask.on_ms is None else ask.on_ms
        context = Context(id, at_ms, on_ms, ask.caller, ask.acts, ask.cause, self._verify)
        try:
            if doomed is not None:
                raise doomed
            events = self.domain.decide(self.state, ask.command, context)
            first = self._record(decided, ask, events, on_ms)
        except Refused as refused:
            if ask.group is not None and doomed is None:
                raise InvariantBroken(f"{id} passed with its group and not alone") from refused
            outcome = Outcome(id, principal, digest, 0, 0, Refusal.of(refused))
            decided.outcomes.append(outcome)
        else:
            outcome = Outcome(id, principal, digest, first, len(events), None)
            decided.keys.append(outcome)
            if len(events) > 1:
                decided.keys.extend([None] * (len(events) - 1))
                decided.outcomes.append(outcome)
        self._recent.add(known, decided.fading, outcome)
        return Result(outcome, False)

    def _try_group(
        self, decided: _Decided, asks: Sequence[Ask], begin: int
    ) -> Mapping[str, Refused]:
        """What each of a group is to be refused with; nothing when all of it can be carried out."""
        group = asks[begin].group
        near = asks[begin : begin + linked.MAX_LINKED]
        members = list(itertools.takewhile(lambda ask: ask.group == group, near))
        principal = members[0].caller.principal
        known = self._recent.of(principal)
        latest_id = id_at(decided.at_ms + MAX_ID_AHEAD_MS, last=True)

        def decide(trial: S, ask: Ask) -> None:
            before = known.get(ask.id) or decided.found.get((principal, ask.id))
            if before is not None:
                return refuse_other_command(before, ask)
            if ask.id > latest_id and ask.cause is None:
                raise id_from_future(ask.id, decided.at_ms)
            self._carry_out_on(trial, decided, ask)

        return linked.refusals(layered(self.state), members, decide)

    def _carry_out_on(self, trial: S, decided: _Decided, ask: Ask) -> None:
        """As every day, but on a state that is thrown away: nothing is kept of it."""
        on_ms = decided.at_ms if ask.on_ms is None else ask.on_ms
        context = Context(
            ask.id, decided.at_ms, on_ms, ask.caller, ask.acts, ask.cause, self._verify
        )
        position, actor, on = self.progress.next_position, ask.caller.actor, format_instant(on_ms)
        for event in self.domain.decide(trial, ask.command, context):
            # Too large a record refuses its command here, before anything of the group is done.
            decided.maker.make(event, actor, ask.acts, ask.id, ask.cause, on, position, ask.sealed)
            if self.domain.told is not None:
                self.domain.told(trial, Envelope(position, ask.id, actor, on_ms, ask.cause))
            self.domain.evolve(trial, event)

    def _record(
        self, decided: _Decided, ask: Ask, events: Sequence[msgspec.Struct], on_ms: int
    ) -> int:
        """Makes the bytes, once; evolves only when all of the command's events could be made.

        Answers the position of the first.
        """
        first = position = self.progress.next_position
        actor, maker, stored = ask.caller.actor, decided.maker, []
        on = maker.at if on_ms == decided.at_ms else format_instant(on_ms)
        acts, salts = ask.acts, self._salts
        for event in events:
            record = maker.make(event, actor, acts, ask.id, ask.cause, on, position, ask.sealed)
            if acts and type(ask.command) in self.domain.acts_once:
                acts = ()
            if not salts:
                salts.extend(self._draw_salts())
            salt = salts.pop()
            stored.append(StoredEvent(position, record, salt, commit(salt, record)))
            position += 1
        told = self.domain.told
        for i, event in enumerate(events):
            if told is not None:
                told(self.state, Envelope(first + i, ask.id, actor, on_ms, ask.cause))
            self.evolve(event, actor, ask.cause)
        decided.events.extend(stored)
        return first

    def _draw_salts(self) -> list[bytes]:
        """One draw for many: each is used once."""
        drawn = self._entropy(SALT_BYTES * SALTS_AT_ONCE)
        return [drawn[i : i + SALT_BYTES] for i in range(0, len(drawn), SALT_BYTES)]

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
        self._recent.committed(decided.fading)
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

    async def find_outcomes(self, principal: str, ids: Sequence[str]) -> list[Outcome]:
        """Committed outcomes of a caller's ids; ids never carried out are left out."""
        self._refuse_damaged()
        # Through the queue: what is being recorded right now, refusals included, is waited for.
        await self._enqueue(principal, (), 0)
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

    async def reached(self, next_position: int) -> int:
        """The same; answers how far the journal goes by then."""
        await self.committed(next_position)
        return self.committed_next

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

    def close(self, *, wait: bool = True) -> None:
        self.thread.shutdown(wait=wait)
        self._reading.shutdown(wait=wait)
