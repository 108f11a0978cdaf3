"""Settlement files of a venue that matches elsewhere: one entry per trade, once, and told of."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.kernel.v1 import items_pb2

from kernel.acts import sign_act
from kernel.errors import Refused
from kernel.rpc.items import act_message
from kernel.values import DAY_MS, MAX_INTEGER
from services.accounts.domain.commands import CloseSession, FreezeUnits, PostEntry, SettleTrades
from services.accounts.domain.decide import due
from services.accounts.domain.events import (
    EntryPosted,
    SessionClosed,
    SettlementReceived,
    TradeUnsettled,
)
from services.accounts.domain.sessions import MAX_OPEN_SESSIONS, MAX_SESSION_DAYS
from services.accounts.domain.settling import MAX_PART_TRADES
from services.accounts.settling_rpc import part_weight
from tests.support.books import MORNING_MS, person
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    QINWANGCHUAN,
    REGISTRAR,
    STRANGER,
    SYSTEM,
    TICKET,
    TOTAL_FEN,
    VENUE_KEY,
    ZHONGCHUAN,
    AccountsBook,
    admitted,
    available,
    balance,
    check_books,
    leg,
    seeded_key,
    serials,
    settlement,
    settlement_entry,
)
from tests.support.orders import COURT, COURT_KEY, freeze, freeze_serials
from tests.support.settling import (
    CLOSE,
    CLOSES_AT_MS,
    FEES,
    MEMBER_T,
    SESSION,
    SETTLE,
    WUHAN,
    WUHAN_DESK,
    WUHAN_KEY,
    Trade,
    at_wuhan,
    close,
    fees_of,
    file_of,
    members_in_wuhan,
    part,
    totals,
    trade,
)


@pytest.fixture
def book() -> Iterator[AccountsBook]:
    book = members_in_wuhan()
    yield book
    check_books(book)


def settle(book: AccountsBook, *trades: Trade, **changed: object) -> list[Any]:
    return book.when(SETTLE, WUHAN_DESK, acts=[part(*trades, **changed)])


def why(event: object) -> str:
    assert isinstance(event, TradeUnsettled)
    return event.reason


def test_a_part_weighs_as_many_events_as_it_may_make(book: AccountsBook) -> None:
    for number, count in ((1, 1), (2, 40)):
        trades = [trade(f'"trade":{number}-{n}', 1) for n in range(count)]
        act = part(*trades, part=number)
        events = book.when(SETTLE, WUHAN_DESK, acts=[act])
        item = pb.SettlementPart(acts=[act_message(act)])
        assert part_weight(item) == len(events) == 1 + count
    flood = pb.SettlementPart(acts=[items_pb2.Act(statement='"trade":' * 9000)])
    assert part_weight(flood) == 1 + MAX_PART_TRADES


def test_a_trade_is_delivered_paid_and_charged_in_one_entry(book: AccountsBook) -> None:
    received, entry = settle(book, trade("T-1", 100, 7446, fees=(300, 500)))
    assert isinstance(received, SettlementReceived)
    assert (received.trades, received.known, received.unsettled) == (1, [], [])
    assert isinstance(entry, EntryPosted)
    assert (entry.session, entry.trades, len(entry.legs)) == (SESSION, ["T-1"], 4)
    assert balance(book.state, at_wuhan(CITY_GROUP)) == 100
    assert balance(book.state, at_wuhan(CITY_GROUP), CNY) == TOTAL_FEN - 744_600 - 300
    assert balance(book.state, at_wuhan(QINWANGCHUAN), CNY) == 744_600 - 500
    assert balance(book.state, fees_of(), CNY) == 800
    assert serials(book.state, at_wuhan(CITY_GROUP)) == [("LZXQ-2021", 1, 100)]


def test_without_fees_a_trade_has_two_legs_and_needs_no_fee_holder(book: AccountsBook) -> None:
    _, entry = settle(book, trade("T-1", fees=(0, 0)), fee_holder="")
    assert len(entry.legs) == 2


def test_each_trade_takes_the_oldest_serials_that_those_before_it_left(book: AccountsBook) -> None:
    _, first, second = settle(book, trade("T-1", 10), trade("T-2", 20))
    assert [first.legs[0].serials[0].first, second.legs[0].serials[0].first] == [1, 11]


def test_what_a_trade_brings_can_be_sold_on_in_the_same_part(book: AccountsBook) -> None:
    _, _, sold_on = settle(
        book,
        trade("T-1", 100),
        trade("T-2", 60, seller=CITY_GROUP, buyer=QINWANGCHUAN, price_fen_per_t=7000),
    )
    assert isinstance(sold_on, EntryPosted)
    assert balance(book.state, at_wuhan(CITY_GROUP)) == 40


def test_a_trade_that_is_short_is_told_of_and_holds_up_no_other(book: AccountsBook) -> None:
    received, first, short, last = settle(
        book, trade("T-1", 100), trade("T-2", MEMBER_T), trade("T-3", 100)
    )
    assert received.unsettled == [1]
    assert isinstance(first, EntryPosted)
    assert isinstance(last, EntryPosted)
    assert isinstance(short, TradeUnsettled)
    assert (short.reason, short.holder, short.asset) == (
        "INSUFFICIENT_BALANCE",
        QINWANGCHUAN,
        TICKET,
    )
    assert (short.needed, short.available) == (MEMBER_T, MEMBER_T - 100)
    assert balance(book.state, at_wuhan(CITY_GROUP)) == 200


def test_a_buyer_needs_the_fee_as_well_as_the_price(book: AccountsBook) -> None:
    price = TOTAL_FEN // 100
    _, short = settle(book, trade("T-1", 100, price, fees=(TOTAL_FEN % 100 + 1, 0)))
    assert isinstance(short, TradeUnsettled)
    assert (short.needed, short.available, short.asset) == (TOTAL_FEN + 1, TOTAL_FEN, CNY)


def test_a_seller_pays_the_fee_out_of_the_proceeds(book: AccountsBook) -> None:
    _, entry = settle(book, trade("T-1", 1, 7446, fees=(0, 7446)))
    assert isinstance(entry, EntryPosted)
    assert balance(book.state, at_wuhan(QINWANGCHUAN), CNY) == 0


REFUSED_TRADES = {
    "UNKNOWN_HOLDER": trade("T-1", buyer=STRANGER),
    "UNKNOWN_ASSET": trade("T-1", asset="CEA-1999"),
    "NOT_TRADABLE": trade("T-1", asset=CNY),
    "SELF_TRADE": trade("T-1", buyer=QINWANGCHUAN),
    "FEE_TOO_LARGE": trade("T-1", 1, 100, fees=(101, 0)),
    "INSUFFICIENT_BALANCE": trade("T-1", seller=ZHONGCHUAN),
}


@pytest.mark.parametrize("reason", REFUSED_TRADES)
def test_a_trade_that_cannot_be_settled_says_why_and_leaves_no_trace(
    book: AccountsBook, reason: str
) -> None:
    before = copy.deepcopy(book.state.accounts)
    received, unsettled = settle(book, REFUSED_TRADES[reason])
    assert received.unsettled == [0]
    assert why(unsettled) == reason
    assert book.state.accounts == before


def test_fees_need_somebody_who_gets_them(book: AccountsBook) -> None:
    assert why(settle(book, trade("T-1"), fee_holder="")[1]) == "FEE_HOLDER_MISSING"


REFUSED_PARTS: dict[str, dict[str, Any]] = {
    "TRADES_COUNT": file_of(),
    "TRADE_DOUBLED": file_of(trade("T-1"), trade("T-1")),
    "AMOUNT_OUT_OF_RANGE": file_of(trade("T-1", MAX_INTEGER, 2)),
    "SESSION_END": file_of(trade("T-1"), closes_at_ms=MORNING_MS),
    "UNKNOWN_HOLDER": file_of(trade("T-1"), fee_holder=STRANGER),
    "ACT_DIFFERS": file_of(trade("T-1"), venue="another-exchange"),
    "MISSING_VALUE": file_of(trade("T-1"), session=""),
    "TEXT_TOO_LONG": file_of(trade("T" * 61)),
    "ACT_MALFORMED": file_of({**trade("T-1"), "discount_fen": 1}),
    "ACT_MISSING": {"kind": "settlement", "trades": [], "venue": WUHAN},
}


@pytest.mark.parametrize("reason", REFUSED_PARTS)
def test_a_part_that_makes_no_sense_is_refused_as_a_whole(book: AccountsBook, reason: str) -> None:
    act = sign_act(seeded_key(WUHAN), REFUSED_PARTS[reason])
    assert book.refusal(SETTLE, WUHAN_DESK, acts=[act]).reason == reason


def test_amounts_that_no_record_could_hold_are_refused_before_one_is_made(
    book: AccountsBook,
) -> None:
    for changed in ({"quantity_t": 2**60}, {"buyer_fee_fen": -1}, {"price_fen_per_t": 0}):
        act = sign_act(seeded_key(WUHAN), file_of({**trade("T-1"), **changed}))
        assert book.refusal(SETTLE, WUHAN_DESK, acts=[act]).reason == "AMOUNT_OUT_OF_RANGE"


def test_only_so_many_trades_fit_into_a_part(book: AccountsBook) -> None:
    many = [trade(f"T-{i}", 1) for i in range(MAX_PART_TRADES + 1)]
    assert book.refusal(SETTLE, WUHAN_DESK, acts=[part(*many)]).reason == "TRADES_COUNT"


def test_a_part_is_only_believed_under_the_key_of_its_own_venue(book: AccountsBook) -> None:
    forged = sign_act(VENUE_KEY, file_of(trade("T-1")))
    assert book.refusal(SETTLE, WUHAN_DESK, acts=[forged]).reason == "ACT_SUBJECT"
    good = part(trade("T-1"))
    changed = type(good)(good.key_id, good.signature, good.statement.replace("7446", "7445"))
    assert book.refusal(SETTLE, WUHAN_DESK, acts=[changed]).reason == "ACT_SIGNATURE"


def test_only_the_venue_itself_may_send_its_files(book: AccountsBook) -> None:
    for caller in (BUYER, person("wuhan", roles=["venue:another-exchange"])):
        assert book.refusal(SETTLE, caller, acts=[part(trade("T-1"))]).reason == "ROLE_MISSING"


def test_accounts_of_another_venue_are_out_of_reach(book: AccountsBook) -> None:
    desk = person("shanghai", roles=["venue:shanghai-exchange"])
    stolen = sign_act(VENUE_KEY, file_of(trade("T-1"), venue="shanghai-exchange"))
    refused = book.refusal(SettleTrades("shanghai-exchange"), desk, acts=[stolen])
    assert refused.reason == "ACT_SUBJECT"


def test_the_same_trade_again_is_known_and_moves_nothing(book: AccountsBook) -> None:
    settle(book, trade("T-1"), trade("T-2"))
    received, third = settle(book, trade("T-2"), trade("T-3", 1), file="F-2")
    assert (received.known, received.unsettled) == ([0], [])
    assert third.trades == ["T-3"]
    assert balance(book.state, at_wuhan(CITY_GROUP)) == 201
    (again,) = settle(book, trade("T-1"), trade("T-2"))
    assert again.known == [0, 1]
    assert balance(book.state, at_wuhan(CITY_GROUP)) == 201


@pytest.mark.parametrize(
    "changed",
    [
        {"price_fen_per_t": 7445},
        {"quantity_t": 99},
        {"fees": (300, 301)},
        {"fees": (301, 299)},
        {"buyer": ZHONGCHUAN},
    ],
    ids=str,
)
def test_a_trade_s_name_stands_for_one_content(book: AccountsBook, changed: dict[str, Any]) -> None:
    settle(book, trade("T-1"))
    received, refused = settle(book, trade("T-1", **changed))
    assert received.known == []
    assert why(refused) == "TRADE_DIFFERS"
    assert settle(book, trade("T-1"))[0].known == [0]


def test_an_unsettled_trade_can_be_settled_later_and_only_once(book: AccountsBook) -> None:
    late = trade("T-1", 50, seller=CITY_GROUP, buyer=QINWANGCHUAN, price_fen_per_t=10)
    assert why(settle(book, late)[1]) == "INSUFFICIENT_BALANCE"
    assert why(settle(book, {**late, "price_fen_per_t": 11})[1]) == "TRADE_DIFFERS"
    settle(book, trade("T-2", 100))
    assert isinstance(settle(book, late)[1], EntryPosted)
    assert settle(book, late)[0].known == [0]
    assert book.state.sessions[WUHAN, SESSION].unsettled == {}


def test_every_part_of_a_session_names_the_same_close_and_fee_holder(book: AccountsBook) -> None:
    settle(book, trade("T-1"))
    for changed in ({"closes_at_ms": CLOSES_AT_MS + 1}, {"fee_holder": CITY_GROUP}):
        act = part(trade("T-2"), **changed)
        assert book.refusal(SETTLE, WUHAN_DESK, acts=[act]).reason == "SESSION_DIFFERS"


def test_names_of_trades_are_a_session_s_own(book: AccountsBook) -> None:
    settle(book, trade("T-1"))
    _, entry = settle(book, trade("T-1"), session="2026-11-23")
    assert isinstance(entry, EntryPosted)


def test_a_venue_has_only_so_many_sessions_open(book: AccountsBook) -> None:
    for n in range(MAX_OPEN_SESSIONS):
        settle(book, trade("T-1", 1, fees=(0, 0)), session=f"S-{n}")
    act = part(trade("T-1"), session="one more")
    assert book.refusal(SETTLE, WUHAN_DESK, acts=[act]).reason == "TOO_MANY_SESSIONS"


def test_a_session_cannot_be_kept_open_for_ever(book: AccountsBook) -> None:
    act = part(trade("T-1"), closes_at_ms=MORNING_MS + (MAX_SESSION_DAYS + 1) * DAY_MS)
    assert book.refusal(SETTLE, WUHAN_DESK, acts=[act]).reason == "SESSION_END"


def closed_by_the_venue(book: AccountsBook) -> list[Any]:
    settle(book, trade("T-1", 100), trade("T-2", MEMBER_T))
    return book.when(CLOSE, WUHAN_DESK, acts=[close([totals(1, 100, 744_600, 600)], unsettled=1)])


def test_the_venue_closes_a_session_with_its_totals(book: AccountsBook) -> None:
    (closed,) = closed_by_the_venue(book)
    assert isinstance(closed, SessionClosed)
    assert (closed.totals[0].turnover_fen, closed.unsettled) == (744_600, 1)
    assert book.state.sessions == {}


def test_in_a_closed_session_nothing_is_settled_and_nothing_remembered(book: AccountsBook) -> None:
    closed_by_the_venue(book)
    for again in (trade("T-1", 100), trade("T-9", 1)):
        assert book.refusal(SETTLE, WUHAN_DESK, acts=[part(again)]).reason == "SESSION_CLOSED"
    act = close([totals(1, 100, 744_600, 600)], unsettled=1)
    assert book.refusal(CLOSE, WUHAN_DESK, acts=[act]).reason == "SESSION_CLOSED"


@pytest.mark.parametrize(
    "said",
    [
        close([totals(1, 100, 744_600, 600)], unsettled=0),
        close([totals(1, 100, 744_601, 600)], unsettled=1),
        close([], unsettled=1),
    ],
    ids=["unsettled", "turnover", "none"],
)
def test_a_session_closes_only_on_the_totals_that_are_booked(book: AccountsBook, said: Any) -> None:
    settle(book, trade("T-1", 100), trade("T-2", MEMBER_T))
    assert book.refusal(CLOSE, WUHAN_DESK, acts=[said]).reason == "ACT_DIFFERS"


def test_a_session_that_was_never_opened_cannot_be_closed(book: AccountsBook) -> None:
    refused = book.refusal(CloseSession("2019-01-01", WUHAN), WUHAN_DESK, acts=[close([])])
    assert refused.reason == "UNKNOWN_SESSION"


def test_a_session_closes_by_itself_when_its_time_has_come(book: AccountsBook) -> None:
    settle(book, trade("T-1", 100))
    assert due(book.state, CLOSES_AT_MS - 1) == []
    assert book.refusal(CLOSE, SYSTEM).reason == "SESSION_NOT_DUE"
    book.clock.at_ms = CLOSES_AT_MS
    act = part(trade("T-2"))
    assert book.refusal(SETTLE, WUHAN_DESK, acts=[act]).reason == "SESSION_CLOSED"
    ((at_ms, _, command),) = due(book.state, CLOSES_AT_MS)
    assert (at_ms, command) == (CLOSES_AT_MS, CLOSE)
    (closed,) = book.when(command, SYSTEM)
    assert closed.totals[0].trades == 1


def test_business_time_is_a_rule_for_each_trade_s_asset(book: AccountsBook) -> None:
    events = book.when(SETTLE, WUHAN_DESK, acts=[part(trade("T-1"))], on_ms=MORNING_MS - 6 * DAY_MS)
    assert why(events[1]) == "ON_TOO_OLD"
    with pytest.raises(Refused, match="after the recording"):
        book.when(SETTLE, WUHAN_DESK, acts=[part(trade("T-1"))], on_ms=MORNING_MS + 1)


def test_the_fee_holder_may_be_a_member_too(book: AccountsBook) -> None:
    _, entry = settle(book, trade("T-1", fees=(5, 7)), fee_holder=CITY_GROUP)
    assert isinstance(entry, EntryPosted)
    assert balance(book.state, fees_of(CITY_GROUP), CNY) == 12
    assert FEES not in {account.holder for leg in entry.legs for account in (leg.debit, leg.credit)}


# ---- what is said of holders and units ----------------------------------------------------------


HERE: dict[str, Any] = {"purpose": "trading", "ref": WUHAN}


def frozen(book: AccountsBook, order: Any) -> None:
    book.given(admitted(COURT_KEY, COURT))
    book.when(FreezeUnits(), REGISTRAR, acts=[order])


def test_what_lies_still_is_not_sold(book: AccountsBook) -> None:
    frozen(book, freeze("F-1", holder=QINWANGCHUAN, asset=TICKET, amount=MEMBER_T - 100, **HERE))
    received, first, second = settle(book, trade("T-1", 100), trade("T-2", 1))
    assert received.unsettled == [1]
    assert isinstance(first, EntryPosted)
    assert why(second) == "FROZEN"


def test_no_payment_and_no_fee_is_taken_from_frozen_money(book: AccountsBook) -> None:
    frozen(book, freeze("F-1", asset=CNY, amount=TOTAL_FEN - 744_600 - 299, **HERE))
    assert why(settle(book, trade("T-1", 100, 7446, fees=(300, 0)))[1]) == "FROZEN"
    assert isinstance(settle(book, trade("T-2", 100, 7446, fees=(299, 0)))[1], EntryPosted)


def test_frozen_serials_are_passed_over(book: AccountsBook) -> None:
    frozen(book, freeze_serials("F-1", ("LZXQ-2021", 1, 50), ("LZXQ-2021", 61, 70)))
    _, entry = settle(book, trade("T-1", 20))
    taken = [(block.first, block.last) for block in entry.legs[0].serials]
    assert taken == [(51, 60), (71, 80)]
    assert why(settle(book, trade("T-2", MEMBER_T - 60 - 20 + 1))[1]) == "FROZEN"


# ---- random parts over a model of ten lines -----------------------------------------------------

MEMBERS = (QINWANGCHUAN, CITY_GROUP, ZHONGCHUAN)
random_trades = st.builds(
    trade,
    st.sampled_from(["T-1", "T-2", "T-3", "T-4", "T-5"]),
    st.integers(1, 4000),
    st.integers(1, 20_000),
    fees=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    seller=st.sampled_from(MEMBERS),
    buyer=st.sampled_from(MEMBERS),
)
random_parts = st.lists(random_trades, min_size=1, max_size=5, unique_by=lambda one: one["trade"])


class Model:
    """Who has what at the venue, which trades are settled, and what each name stands for."""

    def __init__(self) -> None:
        self.has = {(QINWANGCHUAN, TICKET): MEMBER_T, (CITY_GROUP, CNY): TOTAL_FEN}
        self.fees_fen = 0
        self.stands_for: dict[str, Trade] = {}
        self.settled: set[str] = set()

    def settle(self, one: Trade) -> str:
        """known, settled or unsettled."""
        value = one["quantity_t"] * one["price_fen_per_t"]
        if self.stands_for.setdefault(one["trade"], one) != one:
            return "unsettled"
        if one["trade"] in self.settled:
            return "known"
        seller, buyer = one["seller"], one["buyer"]
        paid = value + one["buyer_fee_fen"]
        good = (
            seller != buyer
            and max(one["buyer_fee_fen"], one["seller_fee_fen"]) <= value
            and self.has.get((seller, TICKET), 0) >= one["quantity_t"]
            and self.has.get((buyer, CNY), 0) >= paid
        )
        if not good:
            return "unsettled"
        self._add(seller, TICKET, -one["quantity_t"])
        self._add(buyer, TICKET, one["quantity_t"])
        self._add(buyer, CNY, -paid)
        self._add(seller, CNY, value - one["seller_fee_fen"])
        self.fees_fen += one["buyer_fee_fen"] + one["seller_fee_fen"]
        self.settled.add(one["trade"])
        return "settled"

    def _add(self, holder: str, asset: str, amount: int) -> None:
        self.has[holder, asset] = self.has.get((holder, asset), 0) + amount


@given(st.lists(random_parts, max_size=6))
@settings(max_examples=60, deadline=None)
def test_random_files_agree_with_a_naive_model(parts: list[list[Trade]]) -> None:
    book, model = members_in_wuhan(), Model()
    for trades in parts:
        expected = [model.settle(one) for one in trades]
        received, *told = settle(book, *trades)
        assert received.known == [i for i, how in enumerate(expected) if how == "known"]
        assert received.unsettled == [i for i, how in enumerate(expected) if how == "unsettled"]
        kinds = [EntryPosted if how == "settled" else TradeUnsettled for how in expected]
        assert [type(one) for one in told] == [
            kind for kind, how in zip(kinds, expected, strict=True) if how != "known"
        ]
    for holder in MEMBERS:
        for asset in (TICKET, CNY):
            has = model.has.get((holder, asset), 0)
            assert balance(book.state, at_wuhan(holder), asset) == has
    assert balance(book.state, fees_of(), CNY) == model.fees_fen
    check_books(book)


DEAL = ("T-1", QINWANGCHUAN, CITY_GROUP, 100, 7446)
BY_ENTRY = settlement_entry(DEAL, venue=WUHAN)
SIGNED = settlement(DEAL, key=WUHAN_KEY, venue=WUHAN)


def test_a_trade_that_an_entry_has_settled_is_not_settled_again_in_a_file(
    book: AccountsBook,
) -> None:
    book.when(BY_ENTRY, WUHAN_DESK, acts=[SIGNED])
    _, again, other = settle(book, trade("T-1"), trade("T-2", 5))
    assert why(again) == "TRADE_SETTLED"
    assert other.trades == ["T-2"]
    assert balance(book.state, at_wuhan(CITY_GROUP)) == 105


def test_a_venue_that_sends_files_settles_nothing_by_an_entry_beside_them(
    book: AccountsBook,
) -> None:
    """Not even when the session is closed, and which trades it settled is forgotten."""
    settle(book, trade("T-1"))
    refused = book.refusal(BY_ENTRY, WUHAN_DESK, acts=[SIGNED])
    assert refused.reason == "VENUE_SETTLES_BY_FILE"
    book.clock.at_ms = CLOSES_AT_MS
    book.when(CLOSE, SYSTEM)
    assert book.refusal(BY_ENTRY, WUHAN_DESK, acts=[SIGNED]).reason == "VENUE_SETTLES_BY_FILE"
    back = leg(10, TICKET, at_wuhan(CITY_GROUP), available(CITY_GROUP))
    book.when(PostEntry([back]), WUHAN_DESK)  # a release is no trade
