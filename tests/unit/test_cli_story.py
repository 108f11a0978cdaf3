"""What the demo invents is well formed, how it counts, and how it waits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import grpc
import pytest
from rich.cells import cell_len
from rich.console import Console
from tanzhang.market.v1 import market_pb2

from cli.clients import Books, Outcome, Persona, SerialRange
from cli.directory import await_admitted
from cli.reading import amount, event_lines
from cli.story import CHAPTERS
from cli.story.cast import (
    AREA_MU,
    EACH_LOAN_FEN,
    FORESTS,
    LENDERS,
    LOAN_FEN,
    PLEDGED_T,
    PRICE_FEN,
    QUANTITY_T,
    invented_uscc,
)
from cli.story.checking import TITLE_COLUMNS, percentile, summary
from cli.story.pledging import cut
from cli.story.proving import shortened
from cli.story.riding import FACTORS, POINTS_PER_KG, RIDES
from cli.story.scene import Scene
from cli.telling import Teller, Unexpected, expect
from cli.workspace import Workspace
from kernel.errors import Conflict, Refused
from kernel.frames import StoredEvent
from kernel.ids import new_holder_id
from kernel.values import check_uscc
from tests.support.small_log import sale_body


def test_invented_credit_codes_are_valid_and_differ() -> None:
    codes = {check_uscc(invented_uscc(new_holder_id())) for _ in range(200)}
    assert len(codes) == 200
    assert all(code.startswith("Y1620100") for code in codes)


def test_what_is_chosen_adds_up_to_what_is_published() -> None:
    assert sum(one.area_mu for one in FORESTS) == AREA_MU == 11_700
    assert sum(one.quantity_t for one in FORESTS) == QUANTITY_T == 12_000
    assert PRICE_FEN == 50_328_000
    assert (PLEDGED_T * len(LENDERS), EACH_LOAN_FEN * len(LENDERS)) == (QUANTITY_T, LOAN_FEN)


def test_rides_come_to_what_their_factors_say() -> None:
    factors = {one.mode: one for one in FACTORS}
    for ride in RIDES:
        factor = factors[ride.mode]
        assert ride.reduction_mg == factor.factor_mg_per_km * ride.distance_m // 1000
        assert ride.points == POINTS_PER_KG * ride.reduction_mg // 1_000_000
        assert ride.saleable == (factor.status == "filed")
        assert ride.begun_min_ago > ride.ended_min_ago > 0


def test_no_two_chapters_have_one_title() -> None:
    assert len({title for title, _ in CHAPTERS}) == len(CHAPTERS)


def test_every_title_fits_the_table_of_waits() -> None:
    assert max(cell_len(title) for title, _ in CHAPTERS) <= TITLE_COLUMNS


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert [percentile([3], percent) for percent in (1, 50, 99)] == [3, 3, 3]
    assert percentile(list(range(1, 101)), 99) == 99
    assert percentile([1, 2, 3, 4, 5, 100], 99) == 100


def test_percentiles_are_told_only_of_enough_samples() -> None:
    assert summary([]) == {"n": 0, "p50_ms": None, "p99_ms": None, "max_ms": None}
    assert summary([9, 1, 5, 3]) == {"n": 4, "p50_ms": None, "p99_ms": None, "max_ms": 9}
    assert summary([9, 1, 5, 3, 4]) == {"n": 5, "p50_ms": 4, "p99_ms": None, "max_ms": 9}
    assert summary(list(range(1, 101)))["p99_ms"] == 99


def test_serials_are_cut_from_the_front_across_blocks() -> None:
    blocks = [SerialRange("LZXQ-1", 1, 7_000), SerialRange("LZXQ-1", 7_001, 12_000)]
    first, left = cut(blocks, 6_000)
    assert first == [SerialRange("LZXQ-1", 1, 6_000)]
    second, rest = cut(left, 6_000)
    assert second == [SerialRange("LZXQ-1", 6_001, 7_000), SerialRange("LZXQ-1", 7_001, 12_000)]
    assert rest == []


def test_long_reasons_are_shortened_for_people() -> None:
    assert shortened("checkpoint: forged") == "checkpoint: forged"
    assert shortened("a" * 100, 10) == "a" * 9 + "…"


def test_an_unmet_expectation_says_both_sides() -> None:
    expect("tonnes issued", 12_000, 12_000)
    with pytest.raises(Unexpected, match="tonnes issued: expected 12000, got 11999"):
        expect("tonnes issued", 12_000, 11_999)


def test_money_is_shown_in_yuan_and_units_whole() -> None:
    assert amount("CNY", 50_328_000) == "503,280.00 CNY"
    assert amount("TICKET-LZXQ-1", 12_000) == "12,000 TICKET-LZXQ-1"


def test_an_event_is_told_with_its_legs_and_serials() -> None:
    record = {
        "type": "EntryPosted",
        "at": "2026-11-20T08:30:00.000Z",
        "on": "2026-11-20T08:30:00.000Z",
        "actor": {"iss": "tanzhang.local/issuer", "sub": "sun.venue"},
        "body": sale_body(),
    }
    text = "\n".join(event_lines(record))
    assert "7,000 TICKET-LZXQ-1" in text
    assert "293,580.00 CNY" in text
    assert "serials 1 to 7,000 of LZXQ-1" in text
    assert "sun.venue" in text


# ---- waiting for services that are away ----------------------------------------------------------


class Doorkeeper:
    """Nobody is behind this door yet."""

    def target(self, service: str) -> str:
        return "127.0.0.1:9"

    def token(self, sub: str, roles: Any = (), holders: Any = ()) -> str:
        return f"token of {sub}"


class Gone(grpc.aio.AioRpcError):
    """What a caller sees of a process that has just died."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


class Flickering:
    """A method that fails so many times and then answers."""

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.tokens: list[str] = []

    async def __call__(self, request: Any, **options: Any) -> Any:
        self.tokens.append(dict(options["metadata"]).get("authorization", ""))
        if self.left:
            self.left -= 1
            raise Gone
        return market_pb2.GetMarketStateResponse(accepts_orders=True)


MARKET_STATE = market_pb2.GetMarketStateRequest()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.clients.PATIENCE_S", 0)
    monkeypatch.setattr("cli.clients.RETRY_EVERY_S", 0)
    monkeypatch.setattr("cli.directory.ASK_EVERY_S", 0)
    monkeypatch.setattr("cli.story.scene.ASK_EVERY_S", 0)


async def test_without_patience_what_a_takeover_needs_has_to_do() -> None:
    method = Flickering(failures=1)
    with pytest.raises(Conflict):
        await Books(Doorkeeper()).call(method, MARKET_STATE)
    assert len(method.tokens) == 1


async def test_with_patience_a_service_may_die_and_come_back() -> None:
    method = Flickering(failures=40)
    answer = await Books(Doorkeeper(), 60).call(method, MARKET_STATE, Persona("he.exchange"))
    assert answer.accepts_orders
    assert method.tokens == ["Bearer token of he.exchange"] * 41


@pytest.fixture
async def scene(tmp_path: Path) -> Any:
    async with Books(Doorkeeper()) as books:
        yield Scene(Workspace(tmp_path), books, Teller(Console(file=io.StringIO())))


async def test_a_process_over_two_books_is_asked_for_until_it_has_ended(scene: Scene) -> None:
    states = iter(["requested", "requested", "completed"])

    async def ask() -> str:
        return next(states)

    assert await scene.until("pledge", ask, lambda state: state != "requested") == "completed"


async def test_a_process_that_never_ends_is_given_up(scene: Scene) -> None:
    scene.patience_s = 0

    async def ask() -> str:
        return "requested"

    with pytest.raises(Conflict, match="pledge: expected an end, got requested"):
        await scene.until("pledge", ask, lambda state: state != "requested")


async def test_a_stopped_market_is_asked_again_and_other_refusals_are_final(scene: Scene) -> None:
    refusals = ["MARKET_STOPPED", "MARKET_STOPPED", "MARKET_CLOSED"]

    async def ask() -> str:
        raise Refused(refusals.pop(0), "no orders are taken")

    with pytest.raises(Refused) as refused:
        await scene.while_stopped(ask)
    assert refused.value.reason == "MARKET_CLOSED"


async def test_what_should_have_been_refused_and_was_not_ends_the_story(scene: Scene) -> None:
    async def disclose() -> str:
        return "the other bank's lien"

    with pytest.raises(Unexpected, match="expected NOT_A_PARTY, got answered"):
        await scene.refused_whole(disclose(), "NOT_A_PARTY")
    with pytest.raises(Unexpected, match="expected MAKER_IS_CHECKER, got accepted at 7"):
        scene.refused(Outcome("an id", position=7), "MAKER_IS_CHECKER")
    assert scene.figures.refusals == []


async def test_a_step_that_fails_leaves_nothing_waiting(scene: Scene) -> None:
    async def issue() -> None:
        async with scene.in_step("issuance"):
            scene.take(Outcome("an id", position=3), "registry")
            scene.take(Outcome("another", reason="MAKER_IS_CHECKER"), "registry")

    with pytest.raises(Unexpected, match="the answer: expected accepted"):
        await issue()
    assert (scene.last, scene.samples) == ({"registry": 3}, [])


# ---- keys ----------------------------------------------------------------------------------------


class Journals:
    """Books whose journals grow by one event each time they are read."""

    patience_s = 0.0

    def __init__(self, events: dict[str, list[str]]) -> None:
        self.events = events
        self.asked: list[tuple[str, int]] = []

    async def read_events(self, who: Persona, book: str, from_position: int = 0) -> Any:
        self.asked.append((book, from_position))
        if from_position < len(self.events[book]):
            key = self.events[book][from_position]
            record = f'{{"body":{{"key_id":"{key}"}},"type":"KeyAdmitted"}}'.encode()
            yield StoredEvent(from_position, record, b"", b"")


async def test_a_key_counts_once_every_book_has_admitted_it() -> None:
    journals: Any = Journals({"accounts": ["old", "bank", "rides"], "registry": ["bank", "rides"]})
    await await_admitted(journals, Persona("an"), "rides", {"accounts": 1, "registry": 0}, 60)
    assert journals.asked == [("accounts", 1), ("accounts", 2), ("registry", 0), ("registry", 1)]


async def test_a_book_that_never_hears_of_a_key_is_named() -> None:
    journals: Any = Journals({"inclusive": ["bank"]})
    with pytest.raises(Conflict, match="expected the inclusive book to admit key rides"):
        await await_admitted(journals, Persona("an"), "rides", {"inclusive": 0}, 0)
