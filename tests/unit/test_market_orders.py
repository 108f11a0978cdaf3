"""Orders, picks, cancels, releases: what the market book decides, without I/O."""

from __future__ import annotations

import pytest

from kernel.ids import derived_id
from kernel.values import DAY_MS
from services.market.domain.commands import (
    CompleteRelease,
    DefineInstrument,
    ExpireOrder,
    PlaceOrder,
    ReceiveAllocations,
    RefuseRelease,
    SetTerms,
)
from services.market.domain.decide import MAX_TRADES, due
from services.market.domain.events import (
    Allocation,
    MatchingMode,
    OrderExpired,
    OrderPlaced,
    Session,
    Terms,
    TradesMade,
)
from services.market.domain.state import MONEY
from tests.support.books import MORNING_MS, person
from tests.support.lanzhou import CITY_GROUP, QINWANGCHUAN, STRANGER, TICKET, ZHONGCHUAN
from tests.support.lanzhou_market import (
    BUY,
    EXCHANGE_STAFF,
    MARKET_SYSTEM,
    REFERENCE_FEN,
    SELL,
    TICKETS,
    TRADER,
    MarketBook,
    allocated,
    cancel,
    check_market,
    operator,
    order,
    pick,
    place,
    position,
    release,
    settled,
    terms,
    the_market,
    trades_of,
    unwound,
)

HOUR_MS = 3_600_000
NEVER = derived_id(MORNING_MS, "nobody placed this")
PRICE_TIME = terms(MatchingMode.PRICE_TIME)


def settle(book: MarketBook) -> None:
    """The accounts book has carried out everything asked so far."""
    asked = [one.event for one in book.state.settlements.values()]
    book.when(settled(*asked), MARKET_SYSTEM)


# ---- placing -------------------------------------------------------------------------------------


def test_a_sell_order_reserves_its_tonnes_and_a_buy_order_its_money() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 3000)
    place(book, CITY_GROUP, BUY, 100, 4000)
    assert position(book, QINWANGCHUAN, TICKET) == (4000, 3000, 0)
    assert position(book, CITY_GROUP, MONEY) == (49_928_000, 400_000, 0)
    check_market(book)


def test_cannot_sell_more_than_was_allocated_to_this_market() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 6999)
    refused = book.refusal(order(QINWANGCHUAN, SELL, 2), operator(QINWANGCHUAN))
    assert refused.reason == "INSUFFICIENT_BALANCE"
    assert (refused.details["needed"], refused.details["available"]) == (2, 1)
    assert refused.details["asset"] == TICKET


def test_cannot_bid_more_money_than_is_free_here() -> None:
    refused = the_market().refusal(order(CITY_GROUP, BUY, 12_001), operator(CITY_GROUP))
    assert refused.reason == "INSUFFICIENT_BALANCE"
    assert (refused.details["needed"], refused.details["available"]) == (50_332_194, 50_328_000)


def test_cannot_order_for_a_holder_one_does_not_operate_for() -> None:
    refused = the_market().refusal(order(QINWANGCHUAN, SELL, 1), operator(ZHONGCHUAN))
    assert refused.reason == "NOT_YOUR_ACCOUNT"


def test_cannot_order_what_is_not_listed_here() -> None:
    asked = PlaceOrder("CEA-2024", QINWANGCHUAN, SELL, REFERENCE_FEN, 1)
    assert the_market().refusal(asked, operator(QINWANGCHUAN)).reason == "UNKNOWN_INSTRUMENT"


def test_a_name_counts_once_whoever_uses_it_and_also_after_its_order_has_ended() -> None:
    book = the_market()
    name = place(book, QINWANGCHUAN, SELL, 1)
    asked = order(ZHONGCHUAN, SELL, 1)
    assert book.refusal(asked, operator(ZHONGCHUAN), id=name).reason == "ORDER_EXISTS"
    book.when(cancel(name), operator(QINWANGCHUAN))
    assert book.refusal(asked, operator(ZHONGCHUAN), id=name).reason == "ORDER_EXISTS"
    back = release(ZHONGCHUAN, TICKET, 1)
    assert book.refusal(back, operator(ZHONGCHUAN), id=name).reason == "ORDER_EXISTS"


@pytest.mark.parametrize(
    ("rules", "quantity_t", "price", "reason"),
    [
        (terms(), 0, 4194, "AMOUNT_OUT_OF_RANGE"),
        (terms(), 1, 0, "AMOUNT_OUT_OF_RANGE"),
        (terms(), -5, 4194, "AMOUNT_OUT_OF_RANGE"),
        (terms(), 2**53, 4194, "AMOUNT_OUT_OF_RANGE"),
        (terms(max_quantity_t=0, band_bp=0), 2**30, 2**30, "AMOUNT_OUT_OF_RANGE"),
        (terms(tick_fen=5), 1, 4194, "TICK"),
        (terms(lot_t=100), 150, 4194, "LOT"),
        (terms(), 100_000, 4194, "QUANTITY_TOO_LARGE"),
        (terms(), 1, 3774, "PRICE_OUT_OF_BAND"),
        (terms(), 1, 4614, "PRICE_OUT_OF_BAND"),
    ],
)
def test_an_order_outside_the_terms_is_refused(
    rules: Terms, quantity_t: int, price: int, reason: str
) -> None:
    book = the_market(rules)
    refused = book.refusal(order(CITY_GROUP, BUY, quantity_t, price), operator(CITY_GROUP))
    assert refused.reason == reason


@pytest.mark.parametrize("price", [3775, 4194, 4613])
def test_a_price_ten_per_cent_around_the_previous_close_is_taken(price: int) -> None:
    assert place(the_market(), TRADER, BUY, 1, price)


def test_the_largest_listed_order_is_smaller_than_a_block() -> None:
    book = the_market().given(allocated(QINWANGCHUAN, TICKET, 100_000))
    assert place(book, QINWANGCHUAN, SELL, 99_999)


def test_cannot_ask_for_more_money_than_can_be_booked() -> None:
    book = the_market(terms(band_bp=0, max_quantity_t=0))
    book.given(allocated(QINWANGCHUAN, TICKET, 2**50))
    refused = book.refusal(order(QINWANGCHUAN, SELL, 2**50, 8), operator(QINWANGCHUAN))
    assert refused.reason == "AMOUNT_OUT_OF_RANGE"
    assert place(book, QINWANGCHUAN, SELL, 2**50, 7)


def test_a_refused_price_names_the_band_and_the_close_it_is_measured_by() -> None:
    refused = the_market().refusal(order(TRADER, BUY, 1, 4700), operator(TRADER))
    said = dict(refused.details)
    assert said == {"lowest": 3775, "highest": 4613, "previous_close": 4194, "actual": 4700}


# ---- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after_ms", "opens"),
    [
        (2 * HOUR_MS, "2026-11-20T05:00:00.000Z"),  # 11:30, Friday: the afternoon session
        (5 * HOUR_MS + HOUR_MS // 2, "2026-11-23T01:30:00.000Z"),  # 15:00: Monday
        (DAY_MS, "2026-11-23T01:30:00.000Z"),  # Saturday morning
        (3 * DAY_MS - 1, "2026-11-23T01:30:00.000Z"),  # Monday, a millisecond before 9:30
    ],
)
def test_outside_the_sessions_an_order_is_refused_with_the_next_opening(
    after_ms: int, opens: str
) -> None:
    book = the_market()
    book.clock.at_ms = MORNING_MS + after_ms
    for asked in (order(QINWANGCHUAN, SELL, 1), pick(QINWANGCHUAN, SELL, 1)):
        refused = book.refusal(asked, operator(QINWANGCHUAN))
        assert (refused.reason, refused.details["next_opening"]) == ("MARKET_CLOSED", opens)


@pytest.mark.parametrize("after_ms", [0, 2 * HOUR_MS - 1, 5 * HOUR_MS + HOUR_MS // 2 - 1])
def test_within_the_sessions_an_order_is_taken(after_ms: int) -> None:
    book = the_market()
    book.clock.at_ms = MORNING_MS + after_ms
    assert place(book, QINWANGCHUAN, SELL, 1)


def test_a_market_without_sessions_is_open_on_a_sunday_night() -> None:
    book = the_market(terms(sessions=[]))
    book.clock.at_ms = MORNING_MS + 2 * DAY_MS + 12 * HOUR_MS
    assert place(book, QINWANGCHUAN, SELL, 1)


# ---- pick ----------------------------------------------------------------------------------------


def test_a_listing_never_crosses_by_itself() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 10, 4100)
    (placed,) = book.when(order(CITY_GROUP, BUY, 10, 4200), operator(CITY_GROUP))
    assert isinstance(placed, OrderPlaced)
    assert len(book.state.orders) == 2
    check_market(book)


def test_a_buyer_picks_the_cheapest_first_and_the_earliest_of_a_level() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 10, 4200)
    place(book, ZHONGCHUAN, SELL, 10, 4100)
    place(book, QINWANGCHUAN, SELL, 10, 4100)
    made = book.when(pick(CITY_GROUP, BUY, 25, 4300), operator(CITY_GROUP))
    assert trades_of(made) == [
        (ZHONGCHUAN, CITY_GROUP, 10, 4100),
        (QINWANGCHUAN, CITY_GROUP, 10, 4100),
        (QINWANGCHUAN, CITY_GROUP, 5, 4200),
    ]
    assert [one.trade for one in made[0].trades] == [f"{made[0].taker}/{n}" for n in (1, 2, 3)]
    assert made[0].settlement == made[0].taker
    check_market(book)


def test_a_seller_picks_the_dearest_bid_first() -> None:
    book = the_market()
    place(book, CITY_GROUP, BUY, 10, 4100)
    place(book, TRADER, BUY, 10, 4200)
    made = book.when(pick(QINWANGCHUAN, SELL, 15, 4000), operator(QINWANGCHUAN))
    assert trades_of(made) == [
        (QINWANGCHUAN, TRADER, 10, 4200),
        (QINWANGCHUAN, CITY_GROUP, 5, 4100),
    ]
    check_market(book)


def test_a_pick_is_all_or_none() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 10, 4194)
    place(book, ZHONGCHUAN, SELL, 10, 4300)
    refused = book.refusal(pick(CITY_GROUP, BUY, 11), operator(CITY_GROUP))
    assert refused.reason == "INSUFFICIENT_LIQUIDITY"
    assert refused.details == {"needed": 11, "available": 10}


def test_a_pick_reaches_five_levels_and_not_the_sixth() -> None:
    book = the_market()
    for step in range(6):
        place(book, QINWANGCHUAN, SELL, 10, 4194 + step)
    refused = book.refusal(pick(CITY_GROUP, BUY, 51, 4300), operator(CITY_GROUP))
    assert refused.details["available"] == 50
    assert len(trades_of(book.when(pick(CITY_GROUP, BUY, 50, 4300), operator(CITY_GROUP)))) == 5


def test_a_taker_chooses_counterparties_by_name_and_in_the_named_order() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 10, 4100)
    second = place(book, ZHONGCHUAN, SELL, 10, 4100)
    third = place(book, QINWANGCHUAN, SELL, 10, 4200)
    made = book.when(pick(CITY_GROUP, BUY, 15, 4200, [third, second]), operator(CITY_GROUP))
    assert trades_of(made) == [
        (QINWANGCHUAN, CITY_GROUP, 10, 4200),
        (ZHONGCHUAN, CITY_GROUP, 5, 4100),
    ]
    check_market(book)


def test_cannot_name_an_order_beyond_reach() -> None:
    book = the_market()
    listed = [place(book, QINWANGCHUAN, SELL, 10, 4194 + step) for step in range(6)]
    bid = place(book, TRADER, BUY, 10, 4000)
    for name, limit in ((listed[5], 4300), (listed[4], 4197), (bid, 4300), (NEVER, 4300)):
        asked = pick(CITY_GROUP, BUY, 10, limit, [name])
        refused = book.refusal(asked, operator(CITY_GROUP))
        assert (refused.reason, refused.details["order"]) == ("ORDER_OUT_OF_REACH", name)


def test_named_orders_that_hold_too_little_are_refused() -> None:
    book = the_market()
    name = place(book, QINWANGCHUAN, SELL, 10)
    place(book, ZHONGCHUAN, SELL, 10)
    refused = book.refusal(pick(CITY_GROUP, BUY, 11, 4194, [name]), operator(CITY_GROUP))
    assert refused.details == {"needed": 11, "available": 10}


def test_cannot_name_an_order_twice() -> None:
    book = the_market()
    name = place(book, QINWANGCHUAN, SELL, 10)
    refused = book.refusal(pick(CITY_GROUP, BUY, 10, 4194, [name, name]), operator(CITY_GROUP))
    assert refused.reason == "ORDER_DOUBLED"


def test_cannot_pick_ones_own_order() -> None:
    book = the_market().given(allocated(CITY_GROUP, TICKET, 10))
    name = place(book, CITY_GROUP, SELL, 10)
    refused = book.refusal(pick(CITY_GROUP, BUY, 10), operator(CITY_GROUP))
    assert (refused.reason, refused.details["order"]) == ("SELF_TRADE", name)


def test_a_taker_is_funded_before_anything_is_taken() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 7000, 4194)
    place(book, ZHONGCHUAN, SELL, 5000, 4195)
    refused = book.refusal(pick(CITY_GROUP, BUY, 12_000, 4200), operator(CITY_GROUP))
    assert refused.reason == "INSUFFICIENT_BALANCE"
    assert (refused.details["needed"], refused.details["available"]) == (50_333_000, 50_328_000)
    place(book, CITY_GROUP, BUY, 10, 4194)
    refused = book.refusal(pick(TRADER, SELL, 10, 4194), operator(TRADER))
    assert (refused.details["asset"], refused.details["available"]) == (TICKET, 0)


def test_a_pick_of_more_orders_than_an_entry_has_room_for_is_refused() -> None:
    book = the_market()
    for _ in range(MAX_TRADES + 1):
        place(book, QINWANGCHUAN, SELL, 1)
    refused = book.refusal(pick(CITY_GROUP, BUY, MAX_TRADES + 1), operator(CITY_GROUP))
    assert (refused.reason, refused.details["limit"]) == ("TOO_MANY_TRADES", MAX_TRADES)
    made = book.when(pick(CITY_GROUP, BUY, MAX_TRADES), operator(CITY_GROUP))
    assert len(trades_of(made)) == MAX_TRADES


def test_where_orders_cross_nobody_picks() -> None:
    refused = the_market(PRICE_TIME).refusal(pick(CITY_GROUP, BUY, 1), operator(CITY_GROUP))
    assert refused.reason == "MATCHING_MODE"


def test_the_deal_of_2021_moves_12000_t_against_503280_yuan() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 7000)
    place(book, ZHONGCHUAN, SELL, 5000)
    book.when(pick(CITY_GROUP, BUY, 12_000), operator(CITY_GROUP))
    assert position(book, CITY_GROUP, MONEY) == (0, 0, 50_328_000)
    assert position(book, QINWANGCHUAN, TICKET) == (0, 0, 7000)
    settle(book)
    assert position(book, CITY_GROUP, TICKET) == (12_000, 0, 0)
    assert position(book, CITY_GROUP, MONEY) == (0, 0, 0)
    assert position(book, QINWANGCHUAN, MONEY) == (29_358_000, 0, 0)
    assert position(book, ZHONGCHUAN, MONEY) == (20_970_000, 0, 0)
    check_market(book)


# ---- price_time ----------------------------------------------------------------------------------


def test_an_order_crosses_at_the_makers_prices_and_what_is_left_is_listed() -> None:
    book = the_market(PRICE_TIME)
    place(book, QINWANGCHUAN, SELL, 10, 4100)
    place(book, ZHONGCHUAN, SELL, 10, 4150)
    events = book.when(order(CITY_GROUP, BUY, 30, 4194), operator(CITY_GROUP))
    assert [type(event) for event in events] == [OrderPlaced, TradesMade]
    assert trades_of(events) == [
        (QINWANGCHUAN, CITY_GROUP, 10, 4100),
        (ZHONGCHUAN, CITY_GROUP, 10, 4150),
    ]
    (left,) = book.state.orders.values()
    assert (left.holder, left.open_t, left.price_fen_per_t) == (CITY_GROUP, 10, 4194)
    check_market(book)


def test_what_a_buyer_saves_against_the_limit_is_free_at_once() -> None:
    book = the_market(PRICE_TIME)
    place(book, QINWANGCHUAN, SELL, 10, 4100)
    place(book, CITY_GROUP, BUY, 10, 4194)
    assert position(book, CITY_GROUP, MONEY) == (50_328_000 - 41_000, 0, 41_000)
    check_market(book)


def test_a_seller_gets_the_better_bid_that_stood() -> None:
    book = the_market(PRICE_TIME)
    place(book, CITY_GROUP, BUY, 10, 4200)
    events = book.when(order(QINWANGCHUAN, SELL, 4, 4000), operator(QINWANGCHUAN))
    assert trades_of(events) == [(QINWANGCHUAN, CITY_GROUP, 4, 4200)]
    assert position(book, CITY_GROUP, MONEY)[1:] == (6 * 4200, 4 * 4200)
    check_market(book)


def test_orders_that_do_not_meet_stand_beside_each_other() -> None:
    book = the_market(PRICE_TIME)
    place(book, QINWANGCHUAN, SELL, 10, 4195)
    place(book, CITY_GROUP, BUY, 10, 4194)
    assert len(book.state.orders) == 2
    assert not book.state.settlements


def test_an_incoming_order_that_would_meet_ones_own_is_refused() -> None:
    book = the_market(PRICE_TIME).given(allocated(CITY_GROUP, TICKET, 10))
    name = place(book, CITY_GROUP, SELL, 10, 4100)
    refused = book.refusal(order(CITY_GROUP, BUY, 1, 4100), operator(CITY_GROUP))
    assert (refused.reason, refused.details["order"]) == ("SELF_TRADE", name)
    assert place(book, CITY_GROUP, BUY, 1, 4099)


def test_an_order_that_meets_many_settles_in_several_entries() -> None:
    book = the_market(PRICE_TIME)
    for _ in range(MAX_TRADES + 3):
        place(book, QINWANGCHUAN, SELL, 1)
    placed, *made = book.when(order(CITY_GROUP, BUY, 50), operator(CITY_GROUP))
    assert [len(event.trades) for event in made] == [MAX_TRADES, 3]
    assert [event.settlement for event in made] == [placed.order, f"{placed.order}.2"]
    names = [one.trade for event in made for one in event.trades]
    assert len(set(names)) == len(names)
    check_market(book)
    settle(book)
    assert position(book, CITY_GROUP, TICKET) == (MAX_TRADES + 3, 0, 0)
    check_market(book)


# ---- cancel and expiry ---------------------------------------------------------------------------


def test_a_cancelled_order_gives_back_what_nobody_took() -> None:
    book = the_market()
    name = place(book, QINWANGCHUAN, SELL, 10)
    book.when(pick(CITY_GROUP, BUY, 4), operator(CITY_GROUP))
    book.when(cancel(name), operator(QINWANGCHUAN))
    assert position(book, QINWANGCHUAN, TICKET) == (6996, 0, 4)
    assert book.refusal(cancel(name), operator(QINWANGCHUAN)).reason == "UNKNOWN_ORDER"
    check_market(book)


def test_only_its_holder_and_the_exchange_cancel_an_order() -> None:
    book = the_market()
    names = [place(book, QINWANGCHUAN, SELL, 1) for _ in range(2)]
    assert book.refusal(cancel(names[0]), operator(ZHONGCHUAN)).reason == "NOT_YOUR_ACCOUNT"
    book.when(cancel(names[0]), operator(QINWANGCHUAN))
    book.when(cancel(names[1]), EXCHANGE_STAFF)
    assert not book.state.orders


def test_a_filled_order_cannot_be_cancelled() -> None:
    book = the_market()
    name = place(book, QINWANGCHUAN, SELL, 10)
    book.when(pick(CITY_GROUP, BUY, 10), operator(CITY_GROUP))
    assert book.refusal(cancel(name), operator(QINWANGCHUAN)).reason == "UNKNOWN_ORDER"


def test_orders_expire_when_their_day_in_shanghai_is_over() -> None:
    book = the_market()
    names = [place(book, QINWANGCHUAN, SELL, 10), place(book, CITY_GROUP, BUY, 1, 4000)]
    midnight_ms = MORNING_MS + 14 * HOUR_MS + HOUR_MS // 2
    assert list(due(book.state, midnight_ms - 1)) == []
    assert book.refusal(ExpireOrder(names[0]), MARKET_SYSTEM).reason == "ORDER_NOT_DUE"
    book.clock.at_ms = midnight_ms
    found = list(due(book.state, midnight_ms))
    assert [(when_ms, one.order) for when_ms, _, one in found] == [
        (midnight_ms, name) for name in names
    ]
    assert len({what for _, what, _ in found}) == 2
    for _, _, command in found:
        assert book.when(command, MARKET_SYSTEM) == [OrderExpired(command.order)]
    assert list(due(book.state, midnight_ms)) == []
    assert position(book, QINWANGCHUAN, TICKET) == (7000, 0, 0)
    assert position(book, CITY_GROUP, MONEY) == (50_328_000, 0, 0)
    check_market(book)


def test_nobody_but_the_timer_expires_orders() -> None:
    book = the_market()
    name = place(book, QINWANGCHUAN, SELL, 10)
    book.clock.at_ms += DAY_MS
    assert book.refusal(ExpireOrder(name), EXCHANGE_STAFF).reason == "ROLE_MISSING"


@pytest.mark.parametrize("mode", list(MatchingMode))
def test_yesterdays_order_is_not_taken_even_before_the_timer_has_come(mode: MatchingMode) -> None:
    book = the_market(terms(mode, sessions=[]))
    old = place(book, QINWANGCHUAN, SELL, 10)
    book.clock.at_ms += DAY_MS
    if mode == MatchingMode.PRICE_TIME:
        place(book, CITY_GROUP, BUY, 10)
        assert not book.state.settlements
        return
    refused = book.refusal(pick(CITY_GROUP, BUY, 1), operator(CITY_GROUP))
    assert refused.details == {"needed": 1, "available": 0}
    refused = book.refusal(pick(CITY_GROUP, BUY, 1, 4194, [old]), operator(CITY_GROUP))
    assert refused.reason == "ORDER_OUT_OF_REACH"
    for step in range(5):
        place(book, ZHONGCHUAN, SELL, 1, 4195 + step)
    made = book.when(pick(CITY_GROUP, BUY, 5, 4300), operator(CITY_GROUP))
    assert len(trades_of(made)) == 5, "a level of yesterday is none of the best five"


# ---- day turn ------------------------------------------------------------------------------------


def bought_some(rules: Terms) -> MarketBook:
    """The city group has bought 100 t today, and had 30 before."""
    book = the_market(rules).given(allocated(CITY_GROUP, TICKET, 30))
    place(book, QINWANGCHUAN, SELL, 100)
    book.when(pick(CITY_GROUP, BUY, 100), operator(CITY_GROUP))
    settle(book)
    return book


def test_units_bought_today_are_not_sold_today() -> None:
    book = bought_some(terms(day_turn=True, sessions=[]))
    place(book, TRADER, BUY, 200)
    for asked in (order(CITY_GROUP, SELL, 31), pick(CITY_GROUP, SELL, 31)):
        refused = book.refusal(asked, operator(CITY_GROUP))
        assert refused.reason == "BOUGHT_TODAY"
        assert refused.details == {"needed": 31, "available": 30, "bought": 100}
    place(book, CITY_GROUP, SELL, 30)
    assert book.refusal(order(CITY_GROUP, SELL, 1), operator(CITY_GROUP)).reason == "BOUGHT_TODAY"


def test_units_bought_today_are_sold_tomorrow() -> None:
    book = bought_some(terms(day_turn=True, sessions=[]))
    book.clock.at_ms += DAY_MS
    assert place(book, CITY_GROUP, SELL, 130)


def test_without_the_rule_units_are_sold_the_day_they_were_bought() -> None:
    assert place(bought_some(terms()), CITY_GROUP, SELL, 130)


def test_what_was_bought_today_can_be_taken_out_of_the_market() -> None:
    book = bought_some(terms(day_turn=True))
    assert book.when(release(CITY_GROUP, TICKET, 130), operator(CITY_GROUP))


def test_a_purchase_that_settles_after_midnight_counts_for_the_day_of_the_trade() -> None:
    book = the_market(terms(day_turn=True, sessions=[]))
    place(book, QINWANGCHUAN, SELL, 100)
    book.when(pick(CITY_GROUP, BUY, 100), operator(CITY_GROUP))
    book.clock.at_ms += DAY_MS
    settle(book)
    assert place(book, CITY_GROUP, SELL, 100)
    assert list(book.state.instruments[TICKETS].bars) == ["2026-11-20"]


# ---- settlement and release ----------------------------------------------------------------------


def test_sale_proceeds_buy_on_the_same_day_once_they_are_settled() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 100)
    place(book, ZHONGCHUAN, SELL, 100, 4200)
    book.when(pick(CITY_GROUP, BUY, 100), operator(CITY_GROUP))
    asked = pick(QINWANGCHUAN, BUY, 50, 4200)
    assert book.refusal(asked, operator(QINWANGCHUAN)).reason == "INSUFFICIENT_BALANCE"
    settle(book)
    assert book.when(asked, operator(QINWANGCHUAN))


def test_a_refused_settlement_gives_both_sides_back_what_was_theirs() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 100)
    (made,) = book.when(pick(CITY_GROUP, BUY, 60), operator(CITY_GROUP))
    (ended,) = book.when(unwound(made), MARKET_SYSTEM)
    (refused,) = ended.refused
    assert (refused.trade, refused.reason) == (made.trades[0].trade, "TOO_MANY_RANGES")
    assert position(book, CITY_GROUP, MONEY) == (50_328_000, 0, 0)
    assert position(book, QINWANGCHUAN, TICKET) == (6960, 40, 0)
    assert not book.state.instruments[TICKETS].bars, "what never settled moves no price"
    check_market(book)


def test_a_settlement_ends_once() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 100)
    (made,) = book.when(pick(CITY_GROUP, BUY, 60), operator(CITY_GROUP))
    book.when(settled(made), MARKET_SYSTEM)
    for again in (settled(made), unwound(made)):
        assert book.refusal(again, MARKET_SYSTEM).reason == "NO_OPEN_REQUEST"


def test_what_is_asked_back_is_set_aside_and_gone_when_it_is_booked() -> None:
    book = the_market()
    (asked,) = book.when(release(CITY_GROUP, MONEY, 28_000), operator(CITY_GROUP))
    assert position(book, CITY_GROUP, MONEY) == (50_300_000, 0, 28_000)
    book.when(CompleteRelease(asked.release), MARKET_SYSTEM)
    assert position(book, CITY_GROUP, MONEY) == (50_300_000, 0, 0)
    assert book.refusal(CompleteRelease(asked.release), MARKET_SYSTEM).reason == "NO_OPEN_REQUEST"
    check_market(book)


def test_a_refused_release_is_free_again() -> None:
    book = the_market()
    (asked,) = book.when(release(QINWANGCHUAN, TICKET, 7000), operator(QINWANGCHUAN))
    book.when(RefuseRelease(asked.release, "TOO_MANY_RANGES", "less", {}), MARKET_SYSTEM)
    assert position(book, QINWANGCHUAN, TICKET) == (7000, 0, 0)
    check_market(book)


def test_cannot_take_out_what_an_order_needs() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 6000)
    refused = book.refusal(release(QINWANGCHUAN, TICKET, 1001), operator(QINWANGCHUAN))
    assert (refused.reason, refused.details["available"]) == ("INSUFFICIENT_BALANCE", 1000)
    asked = release(QINWANGCHUAN, TICKET, 1)
    assert book.refusal(asked, operator(ZHONGCHUAN)).reason == "NOT_YOUR_ACCOUNT"


def test_nobody_but_the_system_says_what_the_accounts_book_did() -> None:
    book = the_market()
    place(book, QINWANGCHUAN, SELL, 100)
    (made,) = book.when(pick(CITY_GROUP, BUY, 60), operator(CITY_GROUP))
    (asked,) = book.when(release(QINWANGCHUAN, TICKET, 1), operator(QINWANGCHUAN))
    everything = person("a thief", roles=["exchange", "venue:market"], holders=[QINWANGCHUAN])
    for command in (
        ReceiveAllocations([Allocation(1, TICKET, QINWANGCHUAN)]),
        settled(made),
        unwound(made),
        CompleteRelease(asked.release),
        RefuseRelease(asked.release, "NO", "no", {}),
    ):
        assert book.refusal(command, everything).reason == "ROLE_MISSING"


def test_what_is_allocated_can_be_ordered_with() -> None:
    book = the_market()
    book.when(ReceiveAllocations([Allocation(5, TICKET, STRANGER)]), MARKET_SYSTEM)
    assert position(book, STRANGER, TICKET) == (5, 0, 0)
    check_market(book)


# ---- instruments and terms -----------------------------------------------------------------------


def define(**changed: object) -> DefineInstrument:
    fields: dict[str, object] = {
        "asset": "CEA-2024",
        "instrument": "CEA-2024",
        "name": "national allowances",
        "reference_price_fen_per_t": 9000,
        "terms": terms(),
    }
    return DefineInstrument(**{**fields, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (define(instrument="lower case"), "INSTRUMENT_MALFORMED"),
        (define(instrument="A" * 61), "INSTRUMENT_MALFORMED"),
        (define(instrument=TICKETS), "INSTRUMENT_EXISTS"),
        (define(asset="no asset"), "ASSET_MALFORMED"),
        (define(asset=MONEY), "ASSET_IS_MONEY"),
        (define(name=""), "MISSING_VALUE"),
        (define(reference_price_fen_per_t=0), "AMOUNT_OUT_OF_RANGE"),
        (define(terms=terms(tick_fen=7)), "TICK"),
        (define(terms=terms(tick_fen=0)), "TERMS_OUT_OF_RANGE"),
        (define(terms=terms(lot_t=0)), "TERMS_OUT_OF_RANGE"),
        (define(terms=terms(band_bp=10_001)), "TERMS_OUT_OF_RANGE"),
        (define(terms=terms(max_quantity_t=-1)), "TERMS_OUT_OF_RANGE"),
        (define(terms=terms(sessions=[Session(570, 570, [1])])), "TERMS_OUT_OF_RANGE"),
        (define(terms=terms(sessions=[Session(570, 1441, [1])])), "TERMS_OUT_OF_RANGE"),
        (define(terms=terms(sessions=[Session(-1, 600, [1])])), "TERMS_OUT_OF_RANGE"),
        (define(terms=terms(sessions=[Session(570, 690, [8])])), "TERMS_OUT_OF_RANGE"),
        (define(terms=terms(sessions=[Session(570, 690, [])])), "TERMS_OUT_OF_RANGE"),
    ],
)
def test_an_instrument_that_makes_no_sense_is_refused(
    command: DefineInstrument, reason: str
) -> None:
    assert the_market().refusal(command, EXCHANGE_STAFF).reason == reason


def test_an_instrument_is_not_defined_in_the_future() -> None:
    book = the_market()
    assert book.refusal(define(), EXCHANGE_STAFF, on_ms=MORNING_MS + 1).reason == "ON_IN_FUTURE"
    assert book.when(define(), EXCHANGE_STAFF)


def test_an_order_is_judged_by_the_terms_in_force_when_it_is_taken() -> None:
    book = the_market()
    later_ms = MORNING_MS + HOUR_MS
    book.when(SetTerms(TICKETS, later_ms, terms(lot_t=100)), EXCHANGE_STAFF)
    assert place(book, QINWANGCHUAN, SELL, 150)
    book.clock.at_ms = later_ms
    assert book.refusal(order(QINWANGCHUAN, SELL, 150), operator(QINWANGCHUAN)).reason == "LOT"


def test_of_two_terms_from_one_instant_the_later_recorded_counts() -> None:
    book = the_market()
    for lot_t in (100, 10):
        book.when(SetTerms(TICKETS, None, terms(lot_t=lot_t)), EXCHANGE_STAFF)
    assert place(book, QINWANGCHUAN, SELL, 150)
    assert book.refusal(order(QINWANGCHUAN, SELL, 15), operator(QINWANGCHUAN)).reason == "LOT"


def test_terms_do_not_change_what_was() -> None:
    asked = SetTerms(TICKETS, MORNING_MS - 1, terms(lot_t=100))
    assert the_market().refusal(asked, EXCHANGE_STAFF).reason == "TERMS_IN_PAST"
    asked = SetTerms("CEA-2024", None, terms())
    assert the_market().refusal(asked, EXCHANGE_STAFF).reason == "UNKNOWN_INSTRUMENT"


def test_another_matching_mode_begins_on_a_day_of_its_own() -> None:
    book = the_market()
    refused = book.refusal(SetTerms(TICKETS, None, PRICE_TIME), EXCHANGE_STAFF)
    assert refused.reason == "MODE_CHANGE_WITHIN_DAY"
    midnight_ms = MORNING_MS + 14 * HOUR_MS + HOUR_MS // 2
    assert book.when(SetTerms(TICKETS, midnight_ms, PRICE_TIME), EXCHANGE_STAFF)
    # Nor may terms be slipped in between that would make that change one within a day.
    slipped = SetTerms(TICKETS, midnight_ms + HOUR_MS, terms())
    assert book.refusal(slipped, EXCHANGE_STAFF).reason == "MODE_CHANGE_WITHIN_DAY"
