"""Bars, closes and bands: figures an exchange publishes, from settled trades alone."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tanzhang.market.v1 import market_pb2 as pb

from kernel.errors import Refused
from kernel.values import DAY_MS
from services.market.domain.commands import SetTerms
from services.market.domain.events import Trade
from services.market.domain.prices import Bar, band_of
from services.market.queries import bars, book, quote
from services.market.rpc import set_terms
from tests.support.books import MORNING_MS
from tests.support.lanzhou import CITY_GROUP, QINWANGCHUAN
from tests.support.lanzhou_market import (
    BUY,
    EXCHANGE_STAFF,
    MARKET_SYSTEM,
    SELL,
    TICKETS,
    MarketBook,
    operator,
    pick,
    place,
    settled,
    terms,
    the_market,
)

FRIDAY, SATURDAY, SUNDAY = "2026-11-20", "2026-11-21", "2026-11-22"
ALWAYS = terms(sessions=[], band_bp=1000)


def trade(quantity_t: int, price: int) -> Trade:
    return Trade(CITY_GROUP, "maker", price, quantity_t, QINWANGCHUAN, "trade")


def bar_of(*deals: tuple[int, int]) -> Bar:
    bar = Bar(FRIDAY, deals[0][1], deals[0][1], deals[0][1])
    for quantity_t, price in deals:
        bar.add(trade(quantity_t, price))
    return bar


def deal(market: MarketBook, quantity_t: int, price: int) -> None:
    """One trade, settled."""
    place(market, QINWANGCHUAN, SELL, quantity_t, price)
    market.when(pick(CITY_GROUP, BUY, quantity_t, price), operator(CITY_GROUP))
    asked = [one.event for one in market.state.settlements.values()]
    market.when(settled(*asked), MARKET_SYSTEM)


@pytest.mark.parametrize(
    ("deals", "tick_fen", "close"),
    [
        ([(12_000, 4194)], 1, 4194),
        ([(1, 4100), (1, 4101)], 1, 4101),  # 41.005: halves up
        ([(2, 4100), (1, 4101)], 1, 4100),  # 41.0033
        ([(1, 4100), (2, 4101)], 1, 4101),  # 41.0067
        ([(1, 4100), (1, 4105)], 5, 4105),  # 41.025: halfway between two ticks
        ([(40_736, 7446)], 1, 7446),
        ([(3, 4100), (1, 4105)], 5, 4100),
    ],
)
def test_the_close_is_the_volume_weighted_average_rounded_half_up_to_the_tick(
    deals: list[tuple[int, int]], tick_fen: int, close: int
) -> None:
    assert bar_of(*deals).close_fen_per_t(tick_fen) == close


def test_the_published_composite_of_28_august_2023_is_met() -> None:
    bar = Bar("2023-08-28", 7446, 7446, 7446, volume_t=40_736, turnover_fen=303_328_410)
    assert bar.close_fen_per_t(1) == 7446


def test_a_bar_keeps_first_highest_and_lowest_price_volume_and_turnover() -> None:
    bar = bar_of((10, 4150), (20, 4100), (30, 4200))
    assert (bar.open_fen_per_t, bar.high_fen_per_t, bar.low_fen_per_t) == (4150, 4200, 4100)
    assert (bar.volume_t, bar.turnover_fen, bar.trades) == (60, 249_500, 3)


@pytest.mark.parametrize(
    ("close", "band_bp", "tick_fen", "band"),
    [
        (4194, 1000, 1, (3775, 4613)),  # 37.746 and 46.134: never outside ten per cent
        (4194, 0, 1, (0, 0)),
        (4200, 3000, 10, (2940, 5460)),
        (4, 1000, 1, (4, 4)),
        (1, 10_000, 1, (1, 2)),  # a price is never nothing
    ],
)
def test_the_band_lies_on_the_tick_and_within_its_share_of_the_close(
    close: int, band_bp: int, tick_fen: int, band: tuple[int, int]
) -> None:
    assert band_of(close, band_bp, tick_fen) == band


def test_before_the_first_trade_the_reference_price_stands_for_the_close() -> None:
    found = quote(the_market().state, TICKETS, FRIDAY, MORNING_MS)
    assert (found.last_fen_per_t, found.previous_close_fen_per_t) == (0, 4194)
    assert found.today.bar is None
    assert found.today.close_fen_per_t == 4194


def test_the_previous_close_is_that_of_the_last_day_with_trades() -> None:
    market = the_market(ALWAYS)
    deal(market, 10, 4100)
    deal(market, 20, 4300)
    assert quote(market.state, TICKETS, FRIDAY, MORNING_MS).previous_close_fen_per_t == 4194
    market.clock.at_ms += 2 * DAY_MS
    found = quote(market.state, TICKETS, SUNDAY, market.clock.at_ms)
    assert (found.last_fen_per_t, found.previous_close_fen_per_t) == (4300, 4233)
    assert (found.lowest_fen_per_t, found.highest_fen_per_t) == (3810, 4656)
    deal(market, 5, 4656)
    rows = bars(market.state, TICKETS, "", 10)
    assert [(row.day, row.close_fen_per_t) for row in rows] == [(FRIDAY, 4233), (SUNDAY, 4656)]
    assert [row.day for row in bars(market.state, TICKETS, FRIDAY, 10)] == [SUNDAY]
    assert [row.day for row in bars(market.state, TICKETS, "", 1)] == [FRIDAY]


def test_a_close_is_rounded_to_the_tick_that_was_in_force_on_its_day() -> None:
    market = the_market(ALWAYS)
    deal(market, 1, 4101)
    deal(market, 1, 4102)
    market.clock.at_ms += DAY_MS
    market.when(SetTerms(TICKETS, None, terms(sessions=[], tick_fen=10)), EXCHANGE_STAFF)
    assert market.state.instruments[TICKETS].previous_close(SATURDAY) == 4102


def test_a_trade_that_is_not_settled_yet_is_in_no_bar() -> None:
    market = the_market()
    place(market, QINWANGCHUAN, SELL, 10)
    market.when(pick(CITY_GROUP, BUY, 10), operator(CITY_GROUP))
    assert quote(market.state, TICKETS, FRIDAY, MORNING_MS).today.bar is None


def test_the_book_shows_the_best_levels_first_and_nothing_of_yesterday() -> None:
    market = the_market(ALWAYS)
    place(market, QINWANGCHUAN, SELL, 99, 4190)
    market.clock.at_ms += DAY_MS
    for price in (4210, 4200, 4205):
        place(market, QINWANGCHUAN, SELL, 10, price)
        place(market, CITY_GROUP, BUY, 1, price - 100)
    place(market, QINWANGCHUAN, SELL, 7, 4200)
    bids, asks = book(market.state, TICKETS, 2, SATURDAY)
    assert [level.price_fen_per_t for level in bids] == [4110, 4105]
    assert [level.price_fen_per_t for level in asks] == [4200, 4205]
    assert [order.open_t for order in asks[0].orders] == [10, 7]
    assert asks[0].open_t == 17


def test_terms_of_an_instant_that_has_no_business_day_are_refused_before_they_are_decided() -> None:
    """They once stopped the market: its day in Shanghai falls into the year 10000."""
    change = pb.TermsChange(
        instrument=TICKETS,
        effective_from=Timestamp(seconds=253_402_272_000),
        terms=pb.Terms(matching_mode=pb.MATCHING_MODE_PICK, tick_fen=1, lot_t=1),
    )
    with pytest.raises(Refused) as caught:
        set_terms(change)
    assert caught.value.reason == "INSTANT_MALFORMED"
    change.effective_from.seconds -= 1
    (event,) = the_market().when(set_terms(change), EXCHANGE_STAFF)
    assert event.effective_from_ms == 253_402_271_999_000
