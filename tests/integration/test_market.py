"""The market with the real accounts and ledger: allocate, order, trade, settle, release."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tanzhang.accounts.v1 import accounts_pb2
from tanzhang.market.v1 import market_pb2 as pb
from tanzhang.market.v1 import market_pb2_grpc

from cli.stack.provision import venue_key
from kernel.errors import Refused
from kernel.record import decode_record
from kernel.rpc.items import act_message
from kernel.values import DAY_MS, Caller, shanghai_day
from services.accounts.domain.changes import Status
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import SerialRange
from tests.support.books import person
from tests.support.companies import PAPER, WANG
from tests.support.companies import order as signed_order
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    FOREST_T,
    PROGRAMME,
    QINWANGCHUAN,
    TICKET,
    TOTAL_FEN,
    ZHONGCHUAN,
    available,
    leg,
    pay,
    trading,
)
from tests.support.world import AUDITOR, World, Worlds, accepted, details, refusal, until

STAFF = person("exchange clerk", roles=["exchange"])
COMMUTER = person("a Shenzhen commuter")
PRICE = 4194
PICKED, CROSSED = "LZXQ-1", "LZXQ-1-PT"
BUY, SELL = pb.SIDE_BUY, pb.SIDE_SELL
SPARE_FEN = 1_000_000_00


class Floor:
    """The market as its clients meet it, in a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def stub(self) -> Any:
        return market_pb2_grpc.MarketServiceStub(self.world.channel("market"))

    def ask(self, method: str, request: Any, caller: Caller | None = None) -> Any:
        return self.world.call(
            getattr(self.stub, method), request, caller, patience_s=60, deadline_s=20
        )

    def send(self, method: str, field: str, items: Sequence[Any], caller: Caller) -> list[Any]:
        request = getattr(pb, f"{method}Request")(**{field: items})
        return list(self.ask(method, request, caller).results)

    def id(self) -> str:
        return self.world.new_id()

    # ---- the story ------------------------------------------------------------------------------

    def open_for_business(self) -> None:
        """Keys, instruments, the deal's tonnes and money, and some to spare."""
        self.world.register_key("venue:market", venue_key(self.world.directory))
        until(lambda: "venue:market" in self.keys_of_accounts(), "accounts to admit the venue")
        self.await_orders_taken()
        self.define(PICKED, pb.MATCHING_MODE_PICK)
        self.define(CROSSED, pb.MATCHING_MODE_PRICE_TIME)
        self.world.issue("LZXQ-2021", {farm: 2 * t for farm, t in FOREST_T.items()})
        self.world.fund(CITY_GROUP, TOTAL_FEN + SPARE_FEN)
        for farm, quantity_t in FOREST_T.items():
            self.allocate(farm, quantity_t, TICKET)
        self.allocate(CITY_GROUP, TOTAL_FEN, CNY)

    def await_orders_taken(self) -> None:
        until(lambda: bool(self.state().accepts_orders), "the market to take orders")

    def keys_of_accounts(self) -> set[str]:
        records = self.world.records("accounts")
        return {json.loads(bytes(r.body))["subject"] for r in records if r.type == "KeyAdmitted"}

    def define(self, name: str, mode: pb.MatchingMode.ValueType, **changed: Any) -> None:
        terms = pb.Terms(matching_mode=mode, tick_fen=1, lot_t=1, band_bp=1000, **changed)
        message = pb.Instrument(
            id=self.id(),
            instrument=name,
            asset=TICKET,
            name="丝路碳票",
            reference_price_fen_per_t=PRICE,
            terms=terms,
        )
        accepted(self.send("DefineInstruments", "instruments", [message], STAFF)[0])

    def allocate(self, holder: str, amount: int, asset: str, *serials: SerialRange) -> int:
        """Returns once the holder can trade with it."""
        moved = leg(amount, asset, available(holder), trading(holder, "market"), *serials)
        position = self.world.post(PostEntry([moved]), _operator(holder))
        self.position(holder, asset, after_accounts=position)
        return position

    def order(
        self, holder: str, side: int, quantity_t: int, price: int = PRICE, on: str = PICKED
    ) -> Any:
        return pb.Order(
            id=self.id(),
            instrument=on,
            holder=holder,
            side=side,  # type: ignore[arg-type]
            price_fen_per_t=price,
            quantity_t=quantity_t,
        )

    def place(
        self, holder: str, side: int, quantity_t: int, price: int = PRICE, on: str = PICKED
    ) -> str:
        message = self.order(holder, side, quantity_t, price, on)
        accepted(self.send("PlaceOrders", "orders", [message], _operator(holder))[0])
        return str(message.id)

    def pick(self, holder: str, side: int, quantity_t: int, limit: int = PRICE) -> Any:
        message = pb.Pick(
            id=self.id(),
            instrument=PICKED,
            holder=holder,
            side=side,  # type: ignore[arg-type]
            quantity_t=quantity_t,
            limit_fen_per_t=limit,
        )
        return self.send("PickOrders", "picks", [message], _operator(holder))[0]

    def cancel(self, name: str, caller: Caller) -> Any:
        message = pb.Cancellation(id=self.id(), order=name)
        return self.send("CancelOrders", "cancellations", [message], caller)[0]

    def release(self, holder: str, asset: str, amount: int) -> str:
        message = pb.Release(id=self.id(), holder=holder, asset=asset, amount=amount)
        accepted(self.send("RequestReleases", "releases", [message], _operator(holder))[0])
        return str(message.id)

    def set_status(self, holder: str, to: Status, number: str) -> None:
        """By order of the authority of the tickets."""
        status = accounts_pb2.StatusChange(
            holder=holder,
            status=accounts_pb2.Status.Value(f"STATUS_{to.name}"),
            reason="an investigation",
            document=accounts_pb2.Document(digest=PAPER.digest, name=PAPER.name),
        )
        item = accounts_pb2.StatusOrder(
            id=self.id(),
            authority=f"authority:{PROGRAMME}",
            number=number,
            status=status,
            acts=[act_message(signed_order(holder, to, number))],
        )
        accepted(self.world.send("OrderStatuses", [item], WANG)[0])

    # ---- reading --------------------------------------------------------------------------------

    def position(self, holder: str, asset: str, after_accounts: int = 0) -> tuple[int, int, int]:
        """Free, reserved, on the way."""
        request = pb.GetPositionsRequest(holder=holder, min_accounts_position=after_accounts)
        answer = self.ask("GetPositions", request, _operator(holder))
        found = [(p.free, p.reserved, p.on_the_way) for p in answer.positions if p.asset == asset]
        return found[0] if found else (0, 0, 0)

    def trades(self, holder: str, settled: bool = True) -> list[Any]:
        """All of a holder's, page by page."""
        found, token = [], ""
        while True:
            request = pb.ListTradesRequest(
                holder=holder, settled=settled, page_token=token, page_size=20
            )
            answer = self.ask("ListTrades", request, _operator(holder))
            found += answer.trades
            token = answer.next_page_token
            if not token:
                return found

    def trades_of(self, settlement: str, holder: str = CITY_GROUP) -> list[Any]:
        return [one for one in self.trades(holder) if one.settlement == settlement]

    def orders(self, holder: str) -> dict[str, Any]:
        request = pb.ListOrdersRequest(
            holder=holder, page_size=1000, min_position=self.world.head("market") - 1
        )
        answer = self.ask("ListOrders", request, _operator(holder))
        return {one.order.id: one for one in answer.orders}

    def state(self) -> Any:
        return self.ask("GetMarketState", pb.GetMarketStateRequest())

    def held(self, holder: str, asset: str) -> int:
        """In the accounts book, at this market."""
        return self.world.balance(trading(holder, "market"), asset)


def _operator(holder: str) -> Caller:
    return BUYER if holder == CITY_GROUP else FARMER


@pytest.fixture(scope="module")
def floor(worlds: Worlds) -> Iterator[Floor]:
    with worlds.open(("accounts", "market", "ledger")) as world:
        made = Floor(world)
        made.open_for_business()
        yield made


# ---- the deal ------------------------------------------------------------------------------------


def test_the_deal_of_2021_is_listed_picked_and_settled_in_two_proven_entries(floor: Floor) -> None:
    for farm, quantity_t in FOREST_T.items():
        floor.place(farm, SELL, quantity_t)
    result = floor.pick(CITY_GROUP, BUY, 12_000)
    made_at = accepted(result)
    trades = floor.trades_of(result.id)
    assert [(t.seller, t.quantity_t, t.price_fen_per_t) for t in trades] == [
        (QINWANGCHUAN, 7000, PRICE),
        (ZHONGCHUAN, 5000, PRICE),
    ]
    assert {t.state for t in trades} == {pb.PROCESS_STATE_COMPLETED}
    assert {t.position for t in trades} == {made_at}
    records = floor.world.records("accounts")
    entries = [records[t.entry_position] for t in trades]
    assert {entry.cause for entry in entries} == {("market", made_at)}
    named = [json.loads(bytes(entry.body))["trades"] for entry in entries]
    assert named == [[t.trade] for t in trades]
    assert floor.held(CITY_GROUP, TICKET) == 12_000
    assert floor.held(QINWANGCHUAN, CNY) == 29_358_000
    assert floor.position(CITY_GROUP, TICKET) == (12_000, 0, 0)
    assert floor.position(CITY_GROUP, CNY) == (0, 0, 0)
    for entry in entries:
        floor.world.prove("accounts", entry.position)
    floor.world.prove("market", floor.world.head("market") - 1)


def test_quotes_and_bars_show_what_was_settled(floor: Floor) -> None:
    day = shanghai_day(floor.world.clock.now_ms())
    quote = floor.ask("GetQuotes", pb.GetQuotesRequest(instrument=PICKED))
    assert (quote.last_fen_per_t, quote.previous_close_fen_per_t) == (PRICE, PRICE)
    assert (quote.lowest_fen_per_t, quote.highest_fen_per_t) == (3775, 4613)
    (bar,) = floor.ask("ListBars", pb.ListBarsRequest(instrument=PICKED)).bars
    assert bar == quote.day
    assert (bar.day, bar.close_fen_per_t, bar.volume_t) == (day, PRICE, 12_000)
    assert (bar.turnover_fen, bar.trades) == (TOTAL_FEN, 2)


def test_the_book_is_open_to_everybody_and_names_no_holder(floor: Floor) -> None:
    floor.allocate(QINWANGCHUAN, 1000, TICKET)
    name = floor.place(QINWANGCHUAN, SELL, 10, 4200)
    answer = floor.ask("GetBook", pb.GetBookRequest(instrument=PICKED))
    (level,) = answer.asks
    assert (level.price_fen_per_t, level.open_t) == (4200, 10)
    assert [order.order for order in level.orders] == [name]
    assert abs(level.orders[0].placed_at.ToMilliseconds() - floor.world.clock.now_ms()) < DAY_MS
    assert QINWANGCHUAN not in str(answer)
    accepted(floor.cancel(name, FARMER))
    assert not floor.ask("GetBook", pb.GetBookRequest(instrument=PICKED)).asks


def test_an_order_that_crosses_many_is_settled_trade_by_trade(floor: Floor) -> None:
    floor.allocate(CITY_GROUP, 10_000_00, CNY)
    for _ in range(34):
        floor.place(QINWANGCHUAN, SELL, 1, 4100, CROSSED)
    name = floor.place(CITY_GROUP, BUY, 40, PRICE, CROSSED)
    trades = [t for t in floor.trades(CITY_GROUP) if t.trade.startswith(name)]
    assert {t.settlement for t in trades} == {name, f"{name}.2"}
    assert len({t.entry_position for t in trades}) == 34
    assert {t.state for t in trades} == {pb.PROCESS_STATE_COMPLETED}
    assert sum(t.quantity_t for t in trades) == 34
    order = floor.orders(CITY_GROUP)[name]
    assert (order.state, order.open_t) == (pb.ORDER_STATE_PARTLY_FILLED, 6)
    accepted(floor.cancel(name, BUYER))
    ended = floor.orders(CITY_GROUP)[name]
    assert ended.state == pb.ORDER_STATE_CANCELLED
    makers = [one for one in floor.orders(QINWANGCHUAN).values() if one.order.instrument == CROSSED]
    assert {one.state for one in makers} == {pb.ORDER_STATE_FILLED}


def test_units_asked_back_are_available_again(floor: Floor) -> None:
    before = floor.world.balance(available(QINWANGCHUAN), TICKET)
    name = floor.release(QINWANGCHUAN, TICKET, 100)
    request = pb.GetReleasesRequest(releases=[name], settled=True)
    (status,) = floor.ask("GetReleases", request, FARMER).releases
    assert status.state == pb.PROCESS_STATE_COMPLETED
    entry = floor.world.records("accounts")[status.entry_position]
    assert entry.cause == ("market", status.position)
    assert floor.world.balance(available(QINWANGCHUAN), TICKET) == before + 100
    with pytest.raises(Refused, match="does not operate"):
        floor.ask("GetReleases", request, BUYER)


def test_what_the_accounts_book_refuses_is_unwound_and_explained(floor: Floor) -> None:
    """Three hundred single serials are more ranges than one entry may name."""
    floor.world.issue("LZXQ-2022", {ZHONGCHUAN: 600})
    for first in (1, 201, 401):
        odd = [SerialRange("LZXQ-2022", n, n) for n in range(first, first + 200, 2)]
        floor.allocate(ZHONGCHUAN, len(odd), TICKET, *odd)
    floor.allocate(CITY_GROUP, 20_000_00, CNY)
    units, money = floor.position(ZHONGCHUAN, TICKET), floor.position(CITY_GROUP, CNY)
    assert units[0] == 300
    floor.place(ZHONGCHUAN, SELL, 300, 4300)
    result = floor.pick(CITY_GROUP, BUY, 300, 4300)
    (trade,) = floor.trades_of(result.id)
    assert trade.state == pb.PROCESS_STATE_REFUSED
    assert trade.refusal.reason == "TOO_MANY_RANGES"
    assert floor.position(ZHONGCHUAN, TICKET) == units
    assert floor.position(CITY_GROUP, CNY) == money
    quote = floor.ask("GetQuotes", pb.GetQuotesRequest(instrument=PICKED))
    assert quote.day.high_fen_per_t < 4300, "what never settled moves no price"


# ---- who may, and who may see --------------------------------------------------------------------


def test_a_refused_order_says_what_was_needed_and_a_good_one_beside_it_goes_in(
    floor: Floor,
) -> None:
    good = floor.order(ZHONGCHUAN, SELL, 1, 4400)
    bad = floor.order(ZHONGCHUAN, SELL, 50_000, 4400)
    malformed = pb.Order(id=floor.id(), instrument=PICKED, holder=ZHONGCHUAN)
    results = floor.send("PlaceOrders", "orders", [bad, good, malformed], FARMER)
    assert refusal(results[0]) == "INSUFFICIENT_BALANCE"
    assert details(results[0])["needed"] == "50000"
    assert refusal(results[2]) == "UNKNOWN_VALUE"
    accepted(results[1])
    again = floor.send("PlaceOrders", "orders", [good], FARMER)[0]
    assert again.accepted.repeated
    (outcome,) = floor.ask("GetOutcomes", pb.GetOutcomesRequest(ids=[good.id]), FARMER).results
    assert outcome.accepted.first_position == again.accepted.first_position
    accepted(floor.cancel(good.id, STAFF))


def test_whom_the_authority_suspends_has_no_order_in_the_book_and_places_none(floor: Floor) -> None:
    name = floor.place(QINWANGCHUAN, SELL, 10, 4250)
    reserved = floor.position(QINWANGCHUAN, TICKET)[1]
    floor.set_status(QINWANGCHUAN, Status.SUSPENDED, "甘碳 7")
    cancelled = pb.ORDER_STATE_CANCELLED
    until(lambda: floor.orders(QINWANGCHUAN)[name].state == cancelled, "the order to be cancelled")
    assert floor.position(QINWANGCHUAN, TICKET)[1] == reserved - 10
    assert not floor.ask("GetBook", pb.GetBookRequest(instrument=PICKED)).asks

    placed: list[Any] = []

    def place() -> Any:
        message = floor.order(QINWANGCHUAN, SELL, 10, 4250)
        placed.append(floor.send("PlaceOrders", "orders", [message], FARMER)[0])
        return placed[-1]

    refused = place()
    assert refusal(refused) == "STATUS_FORBIDS"
    assert details(refused) == {"flow": "trade", "holder": QINWANGCHUAN, "status": "suspended"}
    floor.set_status(QINWANGCHUAN, Status.ACTIVE, "甘碳 8")
    until(lambda: place().HasField("accepted"), "orders to be taken")
    accepted(floor.cancel(placed[-1].id, FARMER))


def test_positions_orders_and_trades_are_their_holders_and_the_auditors(floor: Floor) -> None:
    for method, request in (
        ("GetPositions", pb.GetPositionsRequest(holder=CITY_GROUP)),
        ("ListOrders", pb.ListOrdersRequest(holder=CITY_GROUP)),
        ("ListTrades", pb.ListTradesRequest(holder=CITY_GROUP)),
    ):
        for stranger in (FARMER, COMMUTER, STAFF):
            with pytest.raises(Refused) as caught:
                floor.ask(method, request, stranger)
            assert caught.value.reason == "NOT_YOUR_ACCOUNT"
        assert floor.ask(method, request, AUDITOR)
    with pytest.raises(Refused) as caught:
        floor.ask("DefineInstruments", pb.DefineInstrumentsRequest(), FARMER)
    assert caught.value.reason == "ROLE_MISSING"


def test_an_event_is_shown_to_its_parties_and_instruments_to_everyone(floor: Floor) -> None:
    records = floor.world.records("market")
    defined = next(r.position for r in records if r.type == "InstrumentDefined")
    made = next(r.position for r in records if r.type == "TradesMade")
    settled = next(r.position for r in records if r.type == "SettlementsEnded")
    request = pb.DiscloseEventsRequest(positions=[defined])
    (shown,) = floor.ask("DiscloseEvents", request, COMMUTER).events
    assert decode_record(shown.record).type == "InstrumentDefined"
    request = pb.DiscloseEventsRequest(positions=[made])
    for party in (FARMER, BUYER, AUDITOR):
        assert len(floor.ask("DiscloseEvents", request, party).events) == 1
    # How a trade ended its parties read in its entry: the event here speaks of other takers too.
    ended = pb.DiscloseEventsRequest(positions=[settled])
    assert len(floor.ask("DiscloseEvents", ended, AUDITOR).events) == 1
    for asked, stranger in ((request, COMMUTER), (ended, BUYER)):
        with pytest.raises(Refused) as caught:
            floor.ask("DiscloseEvents", asked, stranger)
        assert caught.value.reason == "NOT_A_PARTY"
    logged = floor.world.sql("SELECT principal FROM market.disclosures WHERE position = %s", made)
    assert len(logged) == 3


def test_a_question_about_what_does_not_exist_is_refused(floor: Floor) -> None:
    for method, request in (
        ("GetBook", pb.GetBookRequest(instrument="CEA-1999")),
        ("GetQuotes", pb.GetQuotesRequest(instrument="CEA-1999")),
        ("ListBars", pb.ListBarsRequest(instrument="CEA-1999")),
        ("GetInstruments", pb.GetInstrumentsRequest(instrument="CEA-1999")),
    ):
        with pytest.raises(Refused) as caught:
            floor.ask(method, request)
        assert caught.value.reason == "UNKNOWN_INSTRUMENT"
    for request in (
        pb.ListBarsRequest(instrument=PICKED, page_token="yesterday"),
        pb.ListBarsRequest(instrument=PICKED, page_size=-1),
    ):
        with pytest.raises(Refused):
            floor.ask("ListBars", request)
    names = {one.instrument for one in _instruments(floor)}
    assert names == {PICKED, CROSSED}


def _instruments(floor: Floor) -> Sequence[Any]:
    return list(floor.ask("GetInstruments", pb.GetInstrumentsRequest()).instruments)


# ---- when something is away ----------------------------------------------------------------------


def test_a_trade_made_while_accounts_is_away_is_settled_when_it_is_back(floor: Floor) -> None:
    floor.allocate(CITY_GROUP, 10_000_00, CNY)
    held = floor.held(CITY_GROUP, TICKET)
    floor.place(QINWANGCHUAN, SELL, 5)
    floor.world.stop_services("accounts")
    result = floor.pick(CITY_GROUP, BUY, 5)
    request = pb.ListTradesRequest(holder=CITY_GROUP, min_position=accepted(result), page_size=1000)
    listed = floor.ask("ListTrades", request, BUYER).trades
    assert [t.state for t in listed if t.settlement == result.id] == [pb.PROCESS_STATE_REQUESTED]
    assert floor.position(CITY_GROUP, CNY)[2] == 5 * PRICE
    floor.world.bring_back("accounts")
    until(lambda: floor.position(CITY_GROUP, CNY)[2] == 0, "the trade to settle")
    assert floor.held(CITY_GROUP, TICKET) == held + 5


def test_a_market_that_dies_after_the_answer_settles_once(floor: Floor) -> None:
    floor.place(QINWANGCHUAN, SELL, 7)
    floor.world.start_armed("market", "errand.answered")
    floor.world.supervisor.await_serving("market")
    floor.await_orders_taken()
    result = floor.pick(CITY_GROUP, BUY, 7)
    floor.world.await_death("market")
    floor.world.bring_back("market")
    (trade,) = floor.trades_of(result.id)
    assert trade.state == pb.PROCESS_STATE_COMPLETED
    caused = [r for r in floor.world.records("accounts") if r.cause == ("market", trade.position)]
    assert [one.type for one in caused] == ["SettlementReceived", "EntryPosted"]


def test_a_market_that_starts_again_knows_its_orders_and_positions(floor: Floor) -> None:
    name = floor.place(QINWANGCHUAN, SELL, 9, 4250)
    before = [floor.position(holder, TICKET) for holder in (QINWANGCHUAN, CITY_GROUP)]
    floor.world.stop_services("market")
    floor.world.bring_back("market")
    assert before == [floor.position(holder, TICKET) for holder in (QINWANGCHUAN, CITY_GROUP)]
    (level,) = floor.ask("GetBook", pb.GetBookRequest(instrument=PICKED)).asks
    assert [order.order for order in level.orders] == [name]
    floor.await_orders_taken()
    accepted(floor.cancel(name, FARMER))


def test_without_its_ledger_the_market_takes_no_orders_and_still_cancels(floor: Floor) -> None:
    name = floor.place(QINWANGCHUAN, SELL, 9, 4250)
    floor.world.stop_services("ledger")
    until(
        lambda: any("ledger has not answered" in reason for reason in floor.state().reasons),
        "the market to stop",
    )
    assert not floor.state().accepts_orders
    with pytest.raises(Refused) as caught:
        floor.place(QINWANGCHUAN, SELL, 1)
    assert caught.value.reason == "MARKET_STOPPED"
    with pytest.raises(Refused) as caught:
        floor.pick(CITY_GROUP, BUY, 9, 4250)
    assert caught.value.reason == "MARKET_STOPPED"
    until(
        lambda: 'tanzhang_market_stopped{book="market"} 1.0' in floor.world.metrics("market"),
        "the metric to say so as well",
    )
    accepted(floor.cancel(name, FARMER))
    assert floor.position(QINWANGCHUAN, TICKET)[1] == 0
    floor.world.bring_back("ledger")
    floor.await_orders_taken()
    accepted(floor.cancel(floor.place(QINWANGCHUAN, SELL, 1), FARMER))


# ---- a day later ---------------------------------------------------------------------------------


def test_orders_of_yesterday_have_expired_and_its_close_is_todays_measure(floor: Floor) -> None:
    floor.allocate(CITY_GROUP, 30_000_00, CNY)
    floor.place(QINWANGCHUAN, SELL, 500, 4300)
    accepted(floor.pick(CITY_GROUP, BUY, 500, 4300))
    assert floor.trades(CITY_GROUP)
    name = floor.place(QINWANGCHUAN, SELL, 3, 4300)
    (bar,) = floor.ask("ListBars", pb.ListBarsRequest(instrument=PICKED)).bars
    floor.world.advance_clock(DAY_MS)
    until(
        lambda: floor.orders(QINWANGCHUAN)[name].state == pb.ORDER_STATE_EXPIRED,
        "the order to expire",
    )
    assert floor.position(QINWANGCHUAN, TICKET)[1] == 0
    quote = floor.ask("GetQuotes", pb.GetQuotesRequest(instrument=PICKED))
    assert quote.previous_close_fen_per_t == bar.close_fen_per_t != PRICE
    assert quote.day == pb.Bar(
        day=shanghai_day(floor.world.clock.now_ms()), close_fen_per_t=bar.close_fen_per_t
    )


# ---- while the accounts log is halted ------------------------------------------------------------


def test_while_the_accounts_log_is_halted_nothing_trades_and_what_is_asked_back_waits(
    worlds: Worlds,
) -> None:
    with worlds.open(("accounts", "market", "ledger")) as world:
        floor = Floor(world)
        floor.open_for_business()
        listed = floor.place(QINWANGCHUAN, SELL, 10)
        world.stop_services("accounts")
        world.supervisor.start_service("accounts", module="tests.support.faulty")
        world.supervisor.await_serving("accounts")
        overdraft_fen = SPARE_FEN + 1
        world.post(pay(CITY_GROUP, QINWANGCHUAN, overdraft_fen, CNY), BUYER)
        halt = world.await_halt("accounts")
        until(lambda: not floor.state().accepts_orders, "the market to hear of the halt")
        assert floor.state().reasons[0].startswith(f"the accounts log is halted: {halt.rule} at")
        with pytest.raises(Refused) as caught:
            floor.pick(CITY_GROUP, BUY, 10)
        assert caught.value.reason == "MARKET_STOPPED"
        accepted(floor.cancel(listed, FARMER))
        until(lambda: not world.takes_commands(), "accounts to hear of the halt")
        asked = floor.release(QINWANGCHUAN, TICKET, 10)
        assert floor.position(QINWANGCHUAN, TICKET) == (6990, 0, 10)

        accepted(world.approve(world.propose_override("accounts", halt)))
        floor.await_orders_taken()
        until(world.takes_commands, "accounts to take commands")
        world.post(pay(QINWANGCHUAN, CITY_GROUP, overdraft_fen, CNY), FARMER)
        request = pb.GetReleasesRequest(releases=[asked], settled=True)
        until(
            lambda: (
                floor.ask("GetReleases", request, FARMER).releases[0].state
                == pb.PROCESS_STATE_COMPLETED
            ),
            "the release",
        )
