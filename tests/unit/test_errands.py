"""What a book asks of another one: sent in order, ended once, sent again after whatever broke."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from tanzhang.accounts.v1 import accounts_pb2
from tanzhang.kernel.v1 import items_pb2

from kernel.acts import public_bytes, verify_act
from kernel.asks import Ask, Domain
from kernel.clock import FixedClock
from kernel.errands import MAX_ATTEMPTS, NOT_YET, Done, Errand, Errands, errand_id
from kernel.errors import Conflict, Fault, InvariantBroken, Kind, Refused
from kernel.frames import FrameSigner
from kernel.ids import derived_id
from kernel.journal.memory import MemoryJournal
from kernel.record import EventTypes, decode_record
from kernel.rpc.answers import conclusive
from kernel.values import Context
from kernel.writer import Writer
from tests.support.books import MORNING_MS, person
from tests.support.ending import end
from tests.support.lanzhou import seeded_key

BOOK = "registry"
PATIENCE_S = 20.0
KEY = seeded_key("the registry's frames")
CLERK = person("clerk at the registry")


class AskPledge(msgspec.Struct, frozen=True):
    lien: str


class EndPledge(msgspec.Struct, frozen=True):
    lien: str
    registered: bool


class PledgeRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    lien: str


class PledgeEnded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lien: str
    registered: bool


@dataclass
class Pledges:
    open: dict[str, Errand[str]] = field(default_factory=dict)
    ended: list[tuple[str, bool]] = field(default_factory=list)
    recorded: int = 2  # BookOpened and WriterStarted come first


def decide(state: Pledges, command: Any, context: Context) -> list[msgspec.Struct]:
    if isinstance(command, AskPledge):
        return [PledgeRequested(context.id, command.lien)]
    if command.lien not in state.open:
        raise Refused("UNKNOWN_LIEN", f"no open lien {command.lien}", Kind.UNKNOWN)
    return [PledgeEnded(command.lien, command.registered)]


def evolve(state: Pledges, event: Any) -> None:
    if isinstance(event, PledgeRequested):
        state.open[event.lien] = Errand(event.id, state.recorded, event.lien)
    else:
        del state.open[event.lien]
        state.ended.append((event.lien, event.registered))
    state.recorded += 1


DOMAIN = Domain(EventTypes(PledgeRequested, PledgeEnded), Pledges, decide, evolve, lambda s, at: ())


class Accounts:
    """The other book, as it is seen from here: does each id once, refuses or fails when told to."""

    def __init__(self, writer: Writer[Pledges]) -> None:
        self.writer = writer
        self.done: dict[str, int] = {}
        self.calls: list[list[str]] = []
        self.trouble: list[Exception] = []
        self.refuses: set[str] = set()
        self.reason = "INSUFFICIENT_BALANCE"
        self.refused: set[str] = set()  # ids: what was refused once is refused for ever

    async def send(self, batch: Sequence[Errand[str]]) -> list[Done]:
        self.calls.append([errand.what for errand in batch])
        if self.trouble:
            raise self.trouble.pop(0)
        return [self._answer(errand) for errand in batch]

    def _answer(self, errand: Errand[str]) -> Done:
        id = errand_id(self.writer, errand)
        if id in self.refused or errand.what in self.refuses:
            self.refused.add(id)
            return Done(EndPledge(errand.what, False), None, self.reason)
        position = self.done.setdefault(id, 100 + len(self.done))
        return Done(EndPledge(errand.what, True), ("accounts", position))


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal(BOOK)


def new_writer(journal: MemoryJournal, epoch: int = 1) -> Writer[Pledges]:
    journal.epoch = epoch
    writer = Writer(
        journal,
        DOMAIN,
        FrameSigner(KEY),
        lambda book, wanted: public_bytes(KEY),
        FixedClock(MORNING_MS),
        origin="tanzhang.local/registry",
        verify=verify_act,
    )
    writer.start(epoch)
    return writer


@asynccontextmanager
async def running(writer: Writer[Any], *jobs: Callable[[], Any]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(job()) for job in (writer.run, *jobs)]
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield
    finally:
        for task in tasks:
            await end(task)
        writer.close()


def errands(writer: Writer[Pledges], other: Accounts) -> Errands[str]:
    return Errands("accounts", writer, lambda state: list(state.open.values()), other.send)


async def ask(writer: Writer[Pledges], *liens: str) -> None:
    asks = [Ask(derived_id(MORNING_MS, lien), CLERK, AskPledge(lien)) for lien in liens]
    for result in await writer.submit(asks):
        assert result.outcome.refusal is None


async def until_ended(writer: Writer[Pledges], count: int) -> None:
    while len(writer.state.ended) < count:
        await writer.next_commit()


async def test_what_is_asked_is_sent_and_its_end_names_the_other_books_event(
    journal: MemoryJournal,
) -> None:
    writer = new_writer(journal)
    other = Accounts(writer)
    async with running(writer, errands(writer, other).run):
        await ask(writer, "l-one", "l-two")
        await until_ended(writer, 2)
    assert writer.state.ended == [("l-one", True), ("l-two", True)]
    records = [decode_record(event.record) for event in journal.read_events([4, 5])]
    assert [raw.cause for raw in records] == [("accounts", 100), ("accounts", 101)]
    assert {raw.actor.sub for raw in records} == {"errand:accounts"}
    assert writer.progress.watermarks == {}  # an errand is no reaction: it answers no source


async def test_a_refusal_of_the_other_book_ends_the_errand_without_a_cause(
    journal: MemoryJournal,
) -> None:
    writer = new_writer(journal)
    other = Accounts(writer)
    other.refuses = {"l-two"}
    async with running(writer, errands(writer, other).run):
        await ask(writer, "l-one", "l-two")
        await until_ended(writer, 2)
    assert writer.state.ended == [("l-one", True), ("l-two", False)]
    (event,) = journal.read_events([5])
    assert decode_record(event.record).cause is None


@pytest.mark.parametrize(
    "trouble",
    [
        Conflict("UNAVAILABLE", "accounts is away"),
        Refused("BOOK_HALTED", "accounts is halted"),
        Fault("INTERNAL: a fault on the side of accounts"),
    ],
)
async def test_an_other_book_that_cannot_answer_now_is_asked_again(
    journal: MemoryJournal, trouble: Exception
) -> None:
    writer = new_writer(journal)
    other = Accounts(writer)
    other.trouble = [trouble, trouble]
    async with running(writer, errands(writer, other).run):
        await ask(writer, "l-one")
        await until_ended(writer, 1)
    assert other.calls == [["l-one"]] * 3
    assert len(other.done) == 1


async def test_what_was_open_at_the_end_of_one_life_is_sent_again_in_the_next_under_the_same_id(
    journal: MemoryJournal,
) -> None:
    writer = new_writer(journal)
    async with running(writer):
        await ask(writer, "l-one")
    before = Accounts(writer)
    await before.send(list(writer.state.open.values()))  # it did it, and we died before recording
    again = new_writer(journal, 2)
    after = Accounts(again)
    after.done = before.done
    async with running(again, errands(again, after).run):
        await until_ended(again, 1)
    assert again.state.ended == [("l-one", True)]
    assert list(after.done.values()) == [100]


async def test_errands_go_on_while_our_own_log_is_halted(journal: MemoryJournal) -> None:
    writer = new_writer(journal)
    other = Accounts(writer)
    other.trouble = [Conflict("UNAVAILABLE", "accounts is away")]
    async with running(writer, errands(writer, other).run):
        await ask(writer, "l-one")
        writer.halted = "SERIALS_PLACE at position 4"
        await until_ended(writer, 1)


async def test_an_end_that_our_book_refuses_stops_the_process(journal: MemoryJournal) -> None:
    """It must always end in an event: anything else is a fault of ours, not of the day."""
    writer = new_writer(journal)

    async def wrongly(batch: Sequence[Errand[str]]) -> list[Done]:
        return [Done(EndPledge("l-other", True), None) for _ in batch]

    broken = Errands("accounts", writer, lambda state: list(state.open.values()), wrongly)
    async with running(writer):
        await ask(writer, "l-one")
        with pytest.raises(InvariantBroken, match="must end in an event"):
            await broken.run()


@pytest.mark.parametrize("reason", sorted(NOT_YET))
async def test_what_is_refused_for_the_moment_is_asked_again_and_holds_nobody_up(
    journal: MemoryJournal, reason: str
) -> None:
    """A bank's key that the registry has and accounts has not must not cost it its lien."""
    writer = new_writer(journal)
    other = Accounts(writer)
    other.refuses, other.reason = {"l-one"}, reason
    async with running(writer, errands(writer, other).run):
        await ask(writer, "l-one", "l-two")
        await until_ended(writer, 1)
        assert writer.state.ended == [("l-two", True)]
        other.refuses = set()
        await until_ended(writer, 2)
    assert writer.state.ended == [("l-two", True), ("l-one", True)]
    assert len(other.done) == 2
    assert other.refused.isdisjoint(other.done)


async def test_whoever_comes_after_a_crash_asks_the_same_attempts_and_ends_it_once(
    journal: MemoryJournal,
) -> None:
    writer = new_writer(journal)
    async with running(writer):
        await ask(writer, "l-one")
    before = Accounts(writer)
    (asked,) = writer.state.open.values()
    before.refuses, before.reason = {"l-one"}, "ACT_KEY_UNKNOWN"
    await before.send([asked])
    before.refuses = set()
    await before.send([asked._replace(attempt=1)])  # the key came, it did it, and we died
    again = new_writer(journal, 2)
    after = Accounts(again)
    after.done, after.refused, after.reason = before.done, before.refused, before.reason
    async with running(again, errands(again, after).run):
        await until_ended(again, 1)
    assert again.state.ended == [("l-one", True)]
    assert list(after.done.values()) == [100]


async def test_what_never_becomes_right_is_refused_in_the_end(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was ended meanwhile: both parties are told, and may sign anew."""
    monkeypatch.setattr("kernel.errands.RETRY_LAST_S", 0.0)
    writer = new_writer(journal)
    other = Accounts(writer)
    other.refuses, other.reason = {"l-one"}, "ACT_KEY_UNKNOWN"
    async with running(writer, errands(writer, other).run):
        await ask(writer, "l-one")
        await until_ended(writer, 1)
    assert writer.state.ended == [("l-one", False)]
    assert len(other.refused) == MAX_ATTEMPTS


def refused(id: str, reason: str) -> items_pb2.ItemResult:
    return items_pb2.ItemResult(id=id, refused=items_pb2.Refusal(reason=reason))


async def test_an_id_used_in_other_words_is_answered_by_what_became_of_it() -> None:
    """Asked under a key of the venue that was replaced since: the trade has settled."""
    first = items_pb2.ItemResult(id="one", accepted=items_pb2.Accepted(first_position=7))
    asked: list[list[str]] = []

    async def outcomes(ids: list[str]) -> Any:
        asked.append(ids)
        return accounts_pb2.GetOutcomesResponse(results=[first])

    short = refused("two", "INSUFFICIENT_BALANCE")
    assert await conclusive([refused("one", "ID_REUSED"), short], outcomes) == [first, short]
    assert asked == [["one"]]


@pytest.mark.parametrize("reason", ["ID_REUSED", "CAUSE_NOT_YOURS"])
async def test_nothing_is_concluded_from_a_refusal_that_is_recorded_nowhere(reason: str) -> None:
    async def nothing(ids: list[str]) -> Any:
        return accounts_pb2.GetOutcomesResponse()

    with pytest.raises(Conflict):
        await conclusive([refused("one", reason)], nothing)
