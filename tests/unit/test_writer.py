"""The single writer's promises: at most one effect, nothing answered before it is recorded.

The book is a Shenzhen commuter's metre counter, small enough to see through; journals are the one
in memory, slowed or broken where a test needs that, and the real one for what only it can show.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import kernel.writer
from kernel.acts import key_id, public_bytes, verify_act
from kernel.asks import Ask, Domain, Result, reaction_actor
from kernel.clock import FixedClock
from kernel.errors import Conflict, InvariantBroken, Refused
from kernel.fairness import MAX_OWN_ASKS
from kernel.frames import Frame, FrameError, FrameSigner
from kernel.ids import derived_id, uuid7
from kernel.journal.memory import MemoryJournal
from kernel.journal.port import Batch, Fenced, Journal, Outcome
from kernel.journal.postgres import PostgresJournal
from kernel.lease import PostgresLease
from kernel.recent import MAX_ID_AHEAD_MS, RECENT_IDS_MS
from kernel.record import EventTypes, decode_record
from kernel.timers import run_timers
from kernel.values import Actor, Caller, Context, Envelope, format_instant, parse_instant
from kernel.writer import MAX_BATCH_ASKS, TARGET_BATCH_ASKS, Writer
from tests.support.database import Database

BOOK = "accounts"
KEY = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
SIGNER = FrameSigner(KEY)
START_MS = 1_795_163_400_000
PATIENCE_S = 10.0  # a shared machine; everything awaited normally takes milliseconds


# The book: what a commuter rode


class RideRecorded(msgspec.Struct, frozen=True):
    distance_m: int
    note: str


class BadgeEarned(msgspec.Struct, frozen=True):
    badge: str


class ReminderSet(msgspec.Struct, frozen=True):
    due_ms: int


class Reminded(msgspec.Struct, frozen=True):
    due_ms: int


class RecordRide(msgspec.Struct, frozen=True):
    """A long ride also earns a badge: two events."""

    distance_m: int
    note: str = ""


class SetReminder(msgspec.Struct, frozen=True):
    due_ms: int


class Remind(msgspec.Struct, frozen=True):
    due_ms: int


LONG_RIDE_M = 20_000


@dataclass
class Rides:
    total_m: int = 0
    badges: list[str] = field(default_factory=list)
    reminders: list[int] = field(default_factory=list)
    reminded: list[int] = field(default_factory=list)


def decide(state: Rides, command: msgspec.Struct, context: Context) -> Sequence[msgspec.Struct]:
    if isinstance(command, SetReminder):
        return [ReminderSet(command.due_ms)]
    if isinstance(command, Remind):
        return [Reminded(command.due_ms)]
    assert isinstance(command, RecordRide)
    if command.distance_m < 1:
        raise Refused("RIDE_TOO_SHORT", f"rode so far {state.total_m} m", total_m=state.total_m)
    ride = RideRecorded(command.distance_m, command.note)
    return [ride, BadgeEarned("long ride")] if command.distance_m >= LONG_RIDE_M else [ride]


def evolve(state: Rides, event: msgspec.Struct) -> None:
    match event:
        case RideRecorded(distance_m=distance_m):
            state.total_m += distance_m
        case BadgeEarned(badge=badge):
            state.badges.append(badge)
        case ReminderSet(due_ms=due_ms):
            state.reminders.append(due_ms)
        case Reminded(due_ms=due_ms):
            state.reminders.remove(due_ms)
            state.reminded.append(due_ms)


def due(state: Rides, at_ms: int) -> Iterable[tuple[int, str, msgspec.Struct]]:
    return [(ms, f"remind {ms}", Remind(ms)) for ms in state.reminders if ms <= at_ms]


TYPES = EventTypes(RideRecorded, BadgeEarned, ReminderSet, Reminded)
DOMAIN = Domain(TYPES, Rides, decide, evolve, due)

COMMUTER = Caller(Actor("shenzhen", "commuter"), frozenset(), frozenset())
NEIGHBOUR = Caller(Actor("shenzhen", "neighbour"), frozenset(), frozenset())


class SlowJournal(MemoryJournal):
    """Stays in `append` until it is let go on."""

    def __init__(self, book: str) -> None:
        super().__init__(book)
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def append(self, batch: Batch) -> None:
        self.entered.set()
        assert self.open.wait(PATIENCE_S)
        super().append(batch)


class BrokenJournal(SlowJournal):
    """Its disk is full from some moment on."""

    full = False

    def append(self, batch: Batch) -> None:
        if self.full:
            self.entered.set()
            assert self.open.wait(PATIENCE_S)
            raise OSError("no space left on device")
        super().append(batch)


def frame_keys(book: str, wanted: str) -> bytes | None:
    public = public_bytes(KEY)
    return public if (book, wanted) == (BOOK, key_id(public)) else None


def new_writer(journal: Journal, clock: FixedClock, epoch: int = 1) -> Writer[Rides]:
    """A started writer on this journal."""
    if isinstance(journal, MemoryJournal):
        journal.epoch = epoch
    writer = Writer(
        journal,
        DOMAIN,
        SIGNER,
        frame_keys,
        clock,
        origin="tanzhang.local/accounts",
        verify=verify_act,
    )
    writer.start(epoch)
    return writer


@asynccontextmanager
async def running(writer: Writer[Any], *jobs: Callable[[], Any]) -> AsyncIterator[None]:
    """Serves until the block ends; what broke `run` is for the test to find."""
    tasks = [asyncio.create_task(job()) for job in (writer.run, *jobs)]
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield
    finally:
        if isinstance(writer.journal, SlowJournal):
            writer.journal.open.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START_MS)


@pytest.fixture
def journal() -> SlowJournal:
    return SlowJournal(BOOK)


_rides = iter(range(1_000_000))


def ride(
    distance_m: int = 3000,
    *,
    at_ms: int = START_MS,
    caller: Caller = COMMUTER,
    id: str | None = None,
    **more: Any,
) -> Ask:
    """A ride with an id of its own, made by the client at this instant."""
    id = id or derived_id(at_ms, "ride", next(_rides))
    note = more.pop("note", "")
    return Ask(id, caller, RecordRide(distance_m, note), **more)


def positions(results: Sequence[Result]) -> list[tuple[int, int]]:
    return [(result.outcome.first, result.outcome.events) for result in results]


def reason(result: Result) -> str | None:
    refusal = result.outcome.refusal
    return None if refusal is None else refusal.reason


def recorded(journal: Journal) -> list[msgspec.Struct]:
    """Every event of the book, from the journal alone; checks that positions have no gap."""
    read = [TYPES.decode(e.record) for frame in journal.read_frames(0) for e in frame.events]
    assert [record.position for record in read] == list(range(journal.head()))
    return [record.body for record in read]


def total_m(journal: Journal) -> int:
    return sum(e.distance_m for e in recorded(journal) if isinstance(e, RideRecorded))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread
        await asyncio.sleep(0.001)


# Opening


def test_a_new_book_opens_with_its_identity_and_its_writer(
    journal: SlowJournal, clock: FixedClock
) -> None:
    writer = new_writer(journal, clock)
    first, second = recorded(journal)
    assert type(first).__name__ == "BookOpened"
    assert msgspec.structs.asdict(first)["origin"] == "tanzhang.local/accounts"
    assert bytes.fromhex(msgspec.structs.asdict(first)["book_id"]) == writer.progress.book_id
    assert len(writer.progress.book_id) == 16
    assert msgspec.structs.asdict(second) == {"epoch": 1}
    assert writer.committed_next == 2


def test_two_new_books_have_two_identities(clock: FixedClock) -> None:
    ids = {new_writer(SlowJournal(BOOK), clock).progress.book_id for _ in range(5)}
    assert len(ids) == 5


async def test_a_restart_goes_on_where_the_journal_ends(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(first := new_writer(journal, clock)):
        await first.submit([ride(), ride(LONG_RIDE_M)])
    second = new_writer(journal, clock, epoch=2)
    assert second.state == first.state
    assert second.progress.book_id == first.progress.book_id
    assert second.progress.epoch == 2
    assert [type(event).__name__ for event in recorded(journal)] == [
        *("BookOpened", "WriterStarted", "RideRecorded", "RideRecorded", "BadgeEarned"),
        "WriterStarted",
    ]


async def test_a_state_is_told_of_envelopes_live_and_at_replay_alike(
    journal: SlowJournal, clock: FixedClock
) -> None:
    def listening(heard: list[Envelope]) -> Writer[Rides]:
        domain = dataclasses.replace(DOMAIN, told=lambda state, envelope: heard.append(envelope))
        return Writer(journal, domain, SIGNER, frame_keys, clock, origin="x", verify=verify_act)

    live: list[Envelope] = []
    replayed: list[Envelope] = []
    first, second = listening(live), listening(replayed)
    journal.epoch = 1
    first.start(1)
    ask = ride(LONG_RIDE_M, on_ms=START_MS - 5, cause=("ledger", 7))
    async with running(first):
        await first.submit([ask, ride(0)])
    second.catch_up()
    second.close()
    assert replayed == live
    assert live[2:] == [
        Envelope(position, ask.id, COMMUTER.actor, START_MS - 5, ("ledger", 7))
        for position in (2, 3)
    ]


async def test_a_standby_follows_with_warm_state(journal: SlowJournal, clock: FixedClock) -> None:
    standby = Writer(journal, DOMAIN, SIGNER, frame_keys, clock, origin="x", verify=verify_act)
    async with running(writer := new_writer(journal, clock)):
        for _ in range(3):
            await writer.submit([ride()])
            standby.catch_up()
            assert standby.state == writer.state
    standby.close()


# Deciding and recording


async def test_results_come_in_the_order_of_the_asks(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        results = await writer.submit([ride(), ride(0), ride(LONG_RIDE_M), ride(5)])
    assert positions(results) == [(2, 1), (0, 0), (3, 2), (5, 1)]
    assert [reason(result) for result in results] == [None, "RIDE_TOO_SHORT", None, None]
    assert not any(result.repeated for result in results)


async def test_each_command_is_decided_on_what_those_before_it_did(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        results = await writer.submit([ride(100), ride(0), ride(20), ride(0)])
    told = [r.outcome.refusal.details for r in results if r.outcome.refusal is not None]
    assert told == [{"total_m": 100}, {"total_m": 120}]


async def test_many_callers_at_once_each_get_their_own_answer(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        answers = await asyncio.gather(*(writer.submit([ride(n + 1)]) for n in range(200)))
    events = recorded(journal)
    for n, (result,) in enumerate(answers):
        event = events[result.outcome.first]
        assert isinstance(event, RideRecorded)
        assert event.distance_m == n + 1


async def test_the_record_says_who_when_and_why(journal: SlowJournal, clock: FixedClock) -> None:
    async with running(writer := new_writer(journal, clock)):
        ask = ride(on_ms=START_MS - 5000, cause=("ledger", 7), sealed="c2VhbGVk")
        (result,) = await writer.submit([ask])
    (event,) = journal.read_events([result.outcome.first])
    raw = decode_record(event.record)
    assert raw.actor == COMMUTER.actor
    assert (raw.by, raw.cause, raw.book) == (ask.id, ("ledger", 7), BOOK)
    assert raw.at == format_instant(START_MS)
    assert raw.on == format_instant(START_MS - 5000)
    assert raw.sealed == "c2VhbGVk"


async def test_only_our_own_reaction_moves_the_watermark_of_its_source(
    journal: SlowJournal, clock: FixedClock
) -> None:
    """An errand or another service names causes too, out of order."""
    reaction = Caller(reaction_actor(BOOK, "ledger"), frozenset({"system"}), frozenset())
    async with running(writer := new_writer(journal, clock)):
        await writer.submit([ride(cause=("ledger", 70))])
        assert writer.progress.watermarks == {}
        await writer.submit([ride(cause=("ledger", 7), caller=reaction)])
        assert writer.progress.watermarks == {"ledger": 8}
    again = new_writer(journal, clock)
    again.catch_up()
    assert again.progress.watermarks == {"ledger": 8}


async def test_an_ask_of_nothing_is_answered_with_nothing(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        assert await writer.submit([]) == []


async def test_more_than_one_batch_of_asks_is_recorded_whole(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        half = MAX_BATCH_ASKS // 2 + 1
        answers = await asyncio.gather(*(writer.submit([ride(1)] * half) for _ in range(3)))
    assert [len(results) for results in answers] == [half] * 3
    assert total_m(journal) == 3


# At most one effect


async def test_a_repeated_command_has_one_effect_and_the_same_answer(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        for ask in (ride(), ride(LONG_RIDE_M), ride(0)):
            (first,) = await writer.submit([ask])
            head = journal.head()
            (again,) = await writer.submit([ask])
            assert again == Result(first.outcome, repeated=True)
            assert journal.head() == head


async def test_a_command_twice_in_one_ask_has_one_effect(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        ask, refused = ride(), ride(0)
        results = await writer.submit([ask, refused, ask, refused])
    assert [result.repeated for result in results] == [False, False, True, True]
    assert results[2].outcome == results[0].outcome
    assert results[3].outcome == results[1].outcome
    assert total_m(journal) == 3000


@pytest.mark.parametrize(
    "other",
    [
        {"distance_m": 3001},
        {"note": "via 福田"},
        {"on_ms": START_MS - 1},
        {"cause": ("ledger", 7)},
    ],
    ids=str,
)
async def test_an_id_used_for_another_command_is_refused(
    journal: SlowJournal, clock: FixedClock, other: dict[str, Any]
) -> None:
    async with running(writer := new_writer(journal, clock)):
        first = ride()
        await writer.submit([first])
        (result,) = await writer.submit([ride(id=first.id, **other)])
        assert reason(result) == "ID_REUSED"
        (again,) = await writer.submit([first])
        assert reason(again) is None
    assert total_m(journal) == 3000


async def test_the_same_id_of_another_principal_is_another_command(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        mine = ride()
        results = await writer.submit([mine, ride(id=mine.id, caller=NEIGHBOUR)])
    assert [result.repeated for result in results] == [False, False]
    assert total_m(journal) == 6000


async def test_a_refusal_is_repeated_in_the_same_words_though_the_state_moved_on(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        ask = ride(0)
        (first,) = await writer.submit([ask])
        await writer.submit([ride(777)])
        (again,) = await writer.submit([ask])
        assert again.outcome.refusal == first.outcome.refusal
    async with running(restarted := new_writer(journal, clock, epoch=2)):
        (after,) = await restarted.submit([ask])
        assert after == Result(first.outcome, repeated=True)


async def test_recent_ids_are_answered_from_memory_after_a_restart(
    journal: SlowJournal, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(writer := new_writer(journal, clock)):
        asks = [ride(), ride(LONG_RIDE_M), ride(0), ride(at_ms=START_MS + MAX_ID_AHEAD_MS)]
        first = await writer.submit(asks)
    clock.at_ms += RECENT_IDS_MS - 1
    restarted = new_writer(journal, clock, epoch=2)
    monkeypatch.setattr(journal, "find_outcomes", None)  # a look-up would fail
    async with running(restarted):
        again = await restarted.submit(asks)
    assert [result.outcome for result in again] == [result.outcome for result in first]
    assert all(result.repeated for result in again)


async def test_old_ids_are_looked_up_after_a_restart(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        asks = [ride(), ride(LONG_RIDE_M), ride(0), ride(at_ms=START_MS - 86_400_000)]
        first = await writer.submit(asks)
    clock.at_ms += 10 * RECENT_IDS_MS
    async with running(restarted := new_writer(journal, clock, epoch=2)):
        again = await restarted.submit(asks)
    assert [result.outcome for result in again] == [result.outcome for result in first]
    assert all(result.repeated for result in again)
    assert total_m(journal) == 3000 + LONG_RIDE_M + 3000


@pytest.mark.parametrize("age_ms", [0, 1000, RECENT_IDS_MS, 30 * 86_400_000])
async def test_an_id_repeated_while_its_first_batch_is_not_committed_has_one_effect(
    journal: SlowJournal, clock: FixedClock, age_ms: int
) -> None:
    async with running(writer := new_writer(journal, clock)):
        ask = ride(at_ms=START_MS - age_ms)
        journal.open.clear()
        journal.entered.clear()
        first = asyncio.create_task(writer.submit([ask]))
        await until(journal.entered.is_set)
        second = asyncio.create_task(writer.submit([ask]))
        await asyncio.sleep(0.02)
        assert not first.done()
        assert not second.done()
        journal.open.set()
        (one,), (other,) = await first, await second
    assert (one.repeated, other.repeated) == (False, True)
    assert one.outcome == other.outcome
    assert total_m(journal) == 3000


@pytest.mark.parametrize("distance_m", [3000, 0, LONG_RIDE_M])
async def test_an_uncommitted_id_is_not_forgotten_however_long_its_commit_takes(
    journal: SlowJournal, clock: FixedClock, distance_m: int
) -> None:
    async with running(writer := new_writer(journal, clock)):
        ask = ride(distance_m)
        journal.open.clear()
        journal.entered.clear()
        first = asyncio.create_task(writer.submit([ask]))
        await until(journal.entered.is_set)
        clock.at_ms += 2 * RECENT_IDS_MS
        second = asyncio.create_task(writer.submit([ask]))
        await asyncio.sleep(0.02)
        journal.open.set()
        (one,), (other,) = await first, await second
    assert other == Result(one.outcome, repeated=True)


class ClockMovedDuringLookup(MemoryJournal):
    """Time passes while old ids are looked up, as it does."""

    clock: FixedClock

    def find_outcomes(self, ids: Sequence[str]) -> list[Outcome]:
        found = super().find_outcomes(ids)
        self.clock.at_ms += 1000
        return found


@pytest.mark.parametrize("distance_m", [3000, 0, LONG_RIDE_M])
async def test_an_id_that_grows_old_between_look_up_and_decision_has_one_effect(
    clock: FixedClock, distance_m: int
) -> None:
    journal = ClockMovedDuringLookup(BOOK)
    journal.clock = clock
    async with running(writer := new_writer(journal, clock)):
        ask = ride(distance_m)
        (first,) = await writer.submit([ask])
        clock.at_ms += RECENT_IDS_MS  # just young enough not to be looked up
        ask_old = ride(1, at_ms=START_MS - 86_400_000)
        clock.at_ms -= 1
        _, again = await writer.submit([ask_old, ask])
    assert again == Result(first.outcome, repeated=True)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("distance_m", [3000, 0])
async def test_a_clock_that_leapt_ahead_and_came_back_makes_no_second_effect(
    journal: SlowJournal, clock: FixedClock, distance_m: int, restart: bool
) -> None:
    async with running(writer := new_writer(journal, clock)):
        ask = ride(distance_m)
        (first,) = await writer.submit([ask])
        clock.at_ms += 600_000
        await writer.submit([ride(1)])  # by now the first id has been forgotten
        clock.at_ms -= 600_000
        if not restart:
            (again,) = await writer.submit([ask])
    if restart:
        async with running(writer := new_writer(journal, clock, epoch=2)):
            (again,) = await writer.submit([ask])
    assert again == Result(first.outcome, repeated=True)


async def test_an_id_from_the_future_is_refused_and_leaves_no_row(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        tolerated = ride(at_ms=START_MS + MAX_ID_AHEAD_MS)
        ahead = ride(at_ms=START_MS + MAX_ID_AHEAD_MS + 1)
        results = await writer.submit([tolerated, ahead, ride(at_ms=2**48 - 1)])
        assert [reason(r) for r in results] == [None, "ID_FROM_FUTURE", "ID_FROM_FUTURE"]
        assert journal.find_outcomes([ahead.id]) == []
        clock.at_ms += 1
        (later,) = await writer.submit([ahead])
        assert reason(later) is None


async def test_outcomes_are_told_to_their_own_principal_alone(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        mine, theirs, never = ride(), ride(0, caller=NEIGHBOUR), ride()
        await writer.submit([mine, theirs])
        found = await writer.find_outcomes(COMMUTER.principal, [mine.id, theirs.id, never.id])
    assert [outcome.id for outcome in found] == [mine.id]


async def test_an_outcome_in_the_middle_of_its_commit_is_not_denied(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        accepted, refused = ride(), ride(0)
        for ask in (accepted, refused):
            journal.open.clear()
            journal.entered.clear()
            answer = asyncio.create_task(writer.submit([ask]))
            await until(journal.entered.is_set)
            asked = asyncio.create_task(writer.find_outcomes(COMMUTER.principal, [ask.id]))
            await asyncio.sleep(0.02)
            journal.open.set()
            await answer
            assert [outcome.id for outcome in await asked] == [ask.id]


# Reads


async def test_a_read_is_answered_only_once_what_it_saw_has_committed(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        journal.open.clear()
        journal.entered.clear()
        answer = asyncio.create_task(writer.submit([ride(500)]))
        await until(journal.entered.is_set)
        read = asyncio.create_task(writer.read(lambda state: state.total_m))
        await asyncio.sleep(0.02)
        assert not read.done()
        journal.open.set()
        assert await read == (500, 2)
        await answer


async def test_a_refusal_is_answered_only_once_what_it_saw_has_committed(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        journal.open.clear()
        journal.entered.clear()
        answer = asyncio.create_task(writer.submit([ride(500)]))
        await until(journal.entered.is_set)
        refused = asyncio.create_task(writer.submit([ride(0)]))
        await asyncio.sleep(0.02)
        assert not refused.done()
        journal.open.set()
        await answer
        (result,) = await refused
        assert result.outcome.refusal is not None
        assert result.outcome.refusal.details == {"total_m": 500}


async def test_a_client_reads_its_own_write(journal: SlowJournal, clock: FixedClock) -> None:
    async with running(writer := new_writer(journal, clock)):
        (result,) = await writer.submit([ride(500)])
        position = result.outcome.first
        assert await writer.read(lambda state: state.total_m, position) == (500, position)


async def test_a_read_waits_for_the_position_it_was_asked_for(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        read = asyncio.create_task(writer.read(lambda state: state.total_m, min_position=3))
        await writer.submit([ride(500)])
        await asyncio.sleep(0.02)
        assert not read.done()
        await writer.submit([ride(70)])
        assert await read == (570, 3)


async def test_a_read_does_not_wait_for_ever(
    journal: SlowJournal, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.writer, "MIN_POSITION_WAIT_S", 0.02)
    async with running(writer := new_writer(journal, clock)):
        with pytest.raises(Conflict, match="expected position 2, got 1") as caught:
            await writer.read(lambda state: state.total_m, min_position=2)
        assert caught.value.reason == "POSITION_NOT_REACHED"
        await writer.submit([ride()])
        assert await writer.read(lambda state: state.total_m, min_position=2) == (3000, 2)


async def test_a_read_under_a_lease_in_doubt_is_put_off(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        writer.fresh = lambda: False
        with pytest.raises(Conflict) as caught:
            await writer.read(lambda state: state.total_m)
        assert caught.value.reason == "LEASE_IN_DOUBT"


async def test_listeners_are_told_of_each_commit_before_its_callers(
    journal: SlowJournal, clock: FixedClock
) -> None:
    told: list[Frame] = []
    async with running(writer := new_writer(journal, clock)):
        writer.on_commit.append(told.extend)
        for _ in range(3):
            (result,) = await writer.submit([ride()])
            assert told[-1].last == result.outcome.first
    assert told == list(journal.read_frames(2))


# Bounds, refusals, failures


async def test_a_full_queue_asks_callers_to_come_back(
    journal: SlowJournal, clock: FixedClock
) -> None:
    writer = new_writer(journal, clock)  # not running: nobody takes anything out
    waiting = asyncio.create_task(writer.submit([ride()] * MAX_OWN_ASKS))
    await asyncio.sleep(0)
    with pytest.raises(Conflict) as caught:
        await writer.submit([ride()])
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after_ms > 0
    other = asyncio.create_task(writer.submit([ride(caller=NEIGHBOUR)]))
    async with running(writer):
        assert len(await waiting) == MAX_OWN_ASKS
        await other
        await writer.submit([ride()])


async def test_one_command_does_not_wait_for_all_of_anothers_bulk(
    journal: SlowJournal, clock: FixedClock
) -> None:
    writer = new_writer(journal, clock)
    bulk = [
        asyncio.create_task(writer.submit([ride() for _ in range(TARGET_BATCH_ASKS)]))
        for _ in range(5)
    ]
    await asyncio.sleep(0)
    single = asyncio.create_task(writer.submit([ride(caller=NEIGHBOUR)]))
    await asyncio.sleep(0)
    async with running(writer):
        (result,) = await single
        last = [results[-1].outcome.first for results in await asyncio.gather(*bulk)]
    assert result.outcome.first < sorted(last)[2]


async def test_commands_that_may_make_many_events_are_a_bulk_however_few_they_are(
    journal: SlowJournal, clock: FixedClock
) -> None:
    writer = new_writer(journal, clock)
    files = [
        asyncio.create_task(writer.submit([ride()], weight=TARGET_BATCH_ASKS)) for _ in range(4)
    ]
    await asyncio.sleep(0)
    single = asyncio.create_task(writer.submit([ride(caller=NEIGHBOUR)]))
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="by the events they may make"):
        await writer.submit([ride()], weight=MAX_OWN_ASKS - 4 * TARGET_BATCH_ASKS + 1)
    async with running(writer):
        (result,) = await single
        places = [results[0].outcome.first for results in await asyncio.gather(*files)]
    assert result.outcome.first < sorted(places)[2]
    frames = list(journal.read_frames(min(places)))
    assert len(frames) == len(files)  # a commit for each, and the single one's in one of them


async def test_a_failed_commit_ends_the_writer_and_every_caller_is_told_to_ask_again(
    clock: FixedClock,
) -> None:
    journal = BrokenJournal(BOOK)
    writer = new_writer(journal, clock)
    run = asyncio.create_task(writer.run())
    await writer.submit([ride()])
    journal.full = True
    journal.open.clear()
    journal.entered.clear()
    callers = [asyncio.create_task(writer.submit([ride()]))]
    await until(journal.entered.is_set)
    # One batch is committing, one is decided behind it, one more waits in the queue.
    for _ in range(2):
        callers.append(asyncio.create_task(writer.submit([ride()])))
        await asyncio.sleep(0.01)
    callers.append(asyncio.create_task(writer.submit([ride(0)])))
    reader = asyncio.create_task(writer.read(lambda state: state.total_m))
    await asyncio.sleep(0.01)
    journal.open.set()
    with pytest.raises(OSError, match="no space left"):
        await asyncio.wait_for(run, PATIENCE_S)
    answers = await asyncio.wait_for(
        asyncio.gather(*callers, reader, return_exceptions=True), PATIENCE_S
    )
    assert [getattr(answer, "reason", answer) for answer in answers] == ["WRITER_STOPPED"] * 5
    assert total_m(journal) == 3000
    writer.close()


async def test_a_stopped_writer_says_so_to_whoever_comes_later(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        await writer.submit([ride()])
    for late in (writer.submit([ride()]), writer.read(lambda state: state.total_m, 99)):
        with pytest.raises(Conflict) as caught:
            await asyncio.wait_for(late, 1)
        assert caught.value.reason == "WRITER_STOPPED"


async def test_a_fenced_writer_stops(journal: SlowJournal, clock: FixedClock) -> None:
    writer = new_writer(journal, clock)
    journal.epoch = 2
    run = asyncio.create_task(writer.run())
    with pytest.raises(Conflict):
        await writer.submit([ride()])
    with pytest.raises(Fenced):
        await run
    writer.close()


async def test_a_caller_who_went_away_stops_nobody(journal: SlowJournal, clock: FixedClock) -> None:
    async with running(writer := new_writer(journal, clock)):
        journal.open.clear()
        journal.entered.clear()
        gone = asyncio.create_task(writer.submit([ride()]))
        await until(journal.entered.is_set)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        journal.open.set()
        (result,) = await writer.submit([ride()])
        assert result.outcome.first == 3


async def test_an_event_too_large_is_a_refusal_that_leaves_no_trace(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        large = ride(LONG_RIDE_M, note="x" * 70_000)
        results = await writer.submit([large, ride(5)])
        assert [reason(result) for result in results] == ["EVENT_TOO_LARGE", None]
        assert writer.state == Rides(total_m=5)
        (again,) = await writer.submit([large])
        assert again == Result(results[0].outcome, repeated=True)
    assert recorded(journal)[2:] == [RideRecorded(5, "")]


@pytest.mark.parametrize(
    ("trouble", "expected"), [("halted", "BOOK_HALTED"), ("damaged", "JOURNAL_DIFFERS")]
)
async def test_a_halted_or_damaged_book_refuses_new_commands(
    journal: SlowJournal, clock: FixedClock, trouble: str, expected: str
) -> None:
    async with running(writer := new_writer(journal, clock)):
        setattr(writer, trouble, "CONSERVATION at position 41")
        with pytest.raises(Refused, match="CONSERVATION at position 41") as caught:
            await writer.submit([ride()])
        assert caught.value.reason == expected
        assert journal.head() == 2


async def test_a_halted_book_is_still_read_and_a_damaged_one_is_not(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        writer.halted = "CONSERVATION at position 41"
        assert await writer.read(lambda state: state.total_m) == (0, 1)
        writer.halted, writer.damaged = None, "an edited row"
        with pytest.raises(Refused):
            await writer.read(lambda state: state.total_m)


async def test_a_journal_that_was_edited_is_not_replayed(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        for distance_m in (100, 200, 300):
            await writer.submit([ride(distance_m)])
    frames = list(journal.read_frames(0))
    (event,) = frames[2].events
    forged = event._replace(record=event.record.replace(b"200", b"900"))
    journal._frames[2] = frames[2]._replace(events=[forged])
    late = Writer(journal, DOMAIN, SIGNER, frame_keys, clock, origin="x", verify=verify_act)
    with pytest.raises(FrameError) as caught:
        late.catch_up()
    assert caught.value.position == event.position
    assert late.state.total_m == 100
    late.close()


async def test_a_frame_that_vanished_is_noticed_at_replay(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        for _ in range(3):
            await writer.submit([ride()])
    del journal._frames[2]
    late = Writer(journal, DOMAIN, SIGNER, frame_keys, clock, origin="x", verify=verify_act)
    with pytest.raises(InvariantBroken, match=r"expected accounts at 3, got accounts at 4"):
        late.catch_up()
    late.close()


# Time


async def test_recorded_time_never_goes_back_within_a_book(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        for step_ms in (1000, -5000, 10, -86_400_000, 90_000_000):
            clock.at_ms += step_ms
            await writer.submit([ride()])
    clock.at_ms -= 90_000_000
    new_writer(journal, clock, epoch=2).close()
    raws = [decode_record(e.record) for e in journal.read_events(range(journal.head()))]
    times = [parse_instant(raw.at) for raw in raws]
    assert times == sorted(times)
    assert times[3:6] == [START_MS + 1000] * 3
    assert times[-1] == times[-2]


async def test_what_falls_due_becomes_one_command_however_often_it_is_seen(
    journal: SlowJournal, clock: FixedClock
) -> None:
    writer = new_writer(journal, clock)
    async with running(writer, lambda: run_timers(writer, 0.001)):
        due_ms = START_MS + 60_000
        await writer.submit([Ask(ride().id, COMMUTER, SetReminder(due_ms))])
        await asyncio.sleep(0.02)
        assert writer.state.reminded == []
        clock.at_ms = due_ms
        await until(lambda: writer.state.reminded == [due_ms])
        await asyncio.sleep(0.02)
        head = writer.progress.next_position
        await writer.committed(head)
    raw = decode_record(journal.read_events([head - 1])[0].record)
    assert raw.type == "Reminded"
    assert raw.actor == Actor(f"book:{BOOK}", "writer")
    assert raw.on == format_instant(due_ms)
    assert writer.state.reminded == [due_ms]
    assert journal.head() == head


async def test_timers_rest_while_the_book_is_halted(
    journal: SlowJournal, clock: FixedClock
) -> None:
    writer = new_writer(journal, clock)
    async with running(writer, lambda: run_timers(writer, 0.001)):
        await writer.submit([Ask(ride().id, COMMUTER, SetReminder(START_MS))])
        await until(lambda: writer.state.reminded == [START_MS])
        await writer.submit([Ask(ride().id, COMMUTER, SetReminder(START_MS + 1))])
        writer.halted = "CONSERVATION at position 41"
        clock.at_ms += 1
        await asyncio.sleep(0.02)
        assert writer.state.reminded == [START_MS]
        writer.halted = None
        await until(lambda: writer.state.reminded == [START_MS, START_MS + 1])


# On the real journal


def postgres_journal(database: Database) -> tuple[PostgresJournal, int]:
    """The journal of a new writer, and the epoch of the lease it took."""
    connection = database.writing_connection("accounts", BOOK)
    lease = PostgresLease(connection, BOOK)
    epoch = lease.try_take(0)
    assert epoch is not None
    lease.release(epoch)  # the next of the test need not wait for it to go stale
    return PostgresJournal(database.engine("accounts"), BOOK, connection), epoch


async def test_a_book_in_postgresql_survives_its_writer(
    database: Database, clock: FixedClock
) -> None:
    journal, epoch = postgres_journal(database)
    asks = [ride(), ride(LONG_RIDE_M), ride(0), ride(at_ms=START_MS - 86_400_000)]
    async with running(writer := new_writer(journal, clock, epoch)):
        first = await writer.submit(asks)
    assert positions(first) == [(2, 1), (3, 2), (0, 0), (5, 1)]
    for later_ms in (0, 10 * RECENT_IDS_MS):
        clock.at_ms += later_ms
        journal, epoch = postgres_journal(database)
        async with running(restarted := new_writer(journal, clock, epoch)):
            assert restarted.state == writer.state
            again = await restarted.submit(asks)
        assert again == [Result(result.outcome, repeated=True) for result in first]
    assert total_m(journal) == 3000 + LONG_RIDE_M + 3000


async def test_a_writer_in_postgresql_that_lost_its_lease_writes_nothing_more(
    database: Database, clock: FixedClock
) -> None:
    journal, epoch = postgres_journal(database)
    writer = new_writer(journal, clock, epoch)
    run = asyncio.create_task(writer.run())
    await writer.submit([ride()])
    successor, next_epoch = postgres_journal(database)  # takes over and ends our backend
    with pytest.raises(Conflict) as caught:
        await writer.submit([ride()])
    assert caught.value.reason == "WRITER_STOPPED"
    with pytest.raises(Exception, match=r"terminating connection|connection .*closed|epoch"):
        await run
    writer.close()
    async with running(heir := new_writer(successor, clock, next_epoch)):
        assert await heir.read(lambda state: state.total_m) == (3000, 3)


async def test_thousands_of_asks_go_through_postgresql_in_frames_that_fit(
    database: Database, clock: FixedClock
) -> None:
    journal, epoch = postgres_journal(database)
    async with running(writer := new_writer(journal, clock, epoch)):
        results = await writer.submit([ride(n + 1) for n in range(3000)])
    assert positions(results) == [(n + 2, 1) for n in range(3000)]
    assert total_m(journal) == 3000 * 3001 // 2
    assert len(list(journal.read_frames(0))) > 2
    reader: Writer[Rides] = Writer(
        journal, DOMAIN, SIGNER, frame_keys, clock, origin="x", verify=verify_act
    )
    reader.catch_up()
    assert reader.state == writer.state
    reader.close()


def test_ids_made_here_are_what_clients_make() -> None:
    assert uuid7(START_MS)[:13] == ride().id[:13]


async def test_while_it_is_only_starting_clients_are_told_to_come_back_and_reactions_go_on(
    journal: SlowJournal, clock: FixedClock
) -> None:
    async with running(writer := new_writer(journal, clock)):
        writer.opening = True
        with pytest.raises(Conflict) as caught:
            await writer.submit([again := ride()])
        assert caught.value.reason == "STARTING"
        (reaction,) = await writer.submit([ride()], while_halted=True)
        assert reaction.outcome.refusal is None
        writer.opening = False
        (result,) = await writer.submit([again])
        assert result.outcome.refusal is None
