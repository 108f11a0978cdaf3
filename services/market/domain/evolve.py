"""Events into state. Never refuses, never looks at a clock: it is what replays the book."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Any

import msgspec

from services.market.domain.events import (
    AllocationsReceived,
    InstrumentDefined,
    OrderCancelled,
    OrderExpired,
    OrderPlaced,
    ReleaseCompleted,
    ReleaseRefused,
    ReleaseRequested,
    SettlementCompleted,
    SettlementRefused,
    SettlementsEnded,
    Side,
    StandingHeard,
    TermsSet,
    Trade,
    TradesMade,
)
from services.market.domain.matching import Order
from services.market.domain.prices import Bar
from services.market.domain.standing import on_standing_heard
from services.market.domain.state import MONEY, Bought, Instrument, Open, State


def evolve(state: State, event: msgspec.Struct) -> None:
    """Applies one event."""
    _EVOLVE[type(event)](state, event)


def on_instrument_defined(state: State, event: InstrumentDefined) -> None:
    state.instruments[event.instrument] = Instrument(event, [(0, event.terms)])


def on_terms_set(state: State, event: TermsSet) -> None:
    # Of two from the same instant the later recorded one counts: it is inserted after the other.
    terms = state.instruments[event.instrument].terms
    insort(terms, (event.effective_from_ms, event.terms), key=lambda one: one[0])


def on_allocations_received(state: State, event: AllocationsReceived) -> None:
    for one in event.allocations:
        state.position(one.holder, one.asset).free += one.amount


def on_order_placed(state: State, event: OrderPlaced) -> None:
    order = Order(
        event.order,
        event.instrument,
        event.holder,
        event.side,
        event.price_fen_per_t,
        event.quantity_t,
        event.quantity_t,
        event.day,
        state.stands_at()[2],
    )
    state.names.add(event.order)
    state.orders[event.order] = order
    state.orders_by_day.setdefault(event.day, {})[event.order] = None
    instrument = state.instruments[event.instrument]
    instrument.book.side(event.side).add(order)
    asset, amount = _needs(instrument, order)
    position = state.position(event.holder, asset)
    position.free -= amount
    position.reserved += amount


def _needs(instrument: Instrument, order: Order) -> tuple[str, int]:
    """What is reserved for the open part of an order."""
    if order.side == Side.BUY:
        return MONEY, order.open_t * order.price_fen_per_t
    return instrument.defined.asset, order.open_t


def on_trades_made(state: State, event: TradesMade) -> None:
    """The hot path: both sides of every trade, from reserved (or, picked, from free) on its way."""
    book = state.instruments[event.instrument].book
    state.names.add(event.taker)
    id, position, _ = state.stands_at()
    state.settlements[event.settlement] = Open(id, position, event)
    taker = state.orders.get(event.taker)
    for trade in event.trades:
        maker = state.orders[trade.maker]
        buying, selling = (maker, taker) if maker.side == Side.BUY else (taker, maker)
        _pay(state, buying, trade)
        _deliver(state, selling, trade, event.asset)
        for order in (maker, taker):
            if order is not None:
                book.fill(order, trade.quantity_t)
                if not order.open_t:
                    _forget(state, order)


def _pay(state: State, order: Order | None, trade: Trade) -> None:
    """Reserved at the order's own limit: what the trade is cheaper is free again at once."""
    money = state.position(trade.buyer, MONEY)
    value_fen = trade.quantity_t * trade.price_fen_per_t
    money.on_the_way += value_fen
    if order is None:
        money.free -= value_fen
    else:
        reserved_fen = trade.quantity_t * order.price_fen_per_t
        money.reserved -= reserved_fen
        money.free += reserved_fen - value_fen


def _deliver(state: State, order: Order | None, trade: Trade, asset: str) -> None:
    units = state.position(trade.seller, asset)
    units.on_the_way += trade.quantity_t
    if order is None:
        units.free -= trade.quantity_t
    else:
        units.reserved -= trade.quantity_t


def _forget(state: State, order: Order) -> None:
    """Of an order that has ended."""
    del state.orders[order.order]
    of_day = state.orders_by_day[order.day]
    del of_day[order.order]
    if not of_day:
        del state.orders_by_day[order.day]


def on_settlement_completed(state: State, event: SettlementCompleted) -> None:
    made = state.settlements.pop(event.settlement).event
    for trade in made.trades:
        _settle(state, trade, made)


def on_settlements_ended(state: State, event: SettlementsEnded) -> None:
    refused = {one.trade for one in event.refused}
    for ended in event.settlements:
        made = state.settlements.pop(ended.settlement).event
        for trade in made.trades:
            (_unwind if trade.trade in refused else _settle)(state, trade, made)


def _settle(state: State, trade: Trade, made: TradesMade) -> None:
    value_fen = trade.quantity_t * trade.price_fen_per_t
    state.position(trade.buyer, MONEY).on_the_way -= value_fen
    state.position(trade.seller, MONEY).free += value_fen
    state.position(trade.seller, made.asset).on_the_way -= trade.quantity_t
    state.position(trade.buyer, made.asset).free += trade.quantity_t
    _count_bought(state, trade, made)
    _count_price(state.instruments[made.instrument], trade, made.day)


def _count_bought(state: State, trade: Trade, made: TradesMade) -> None:
    known = state.bought.get((trade.buyer, made.asset))
    if known is None or known.day < made.day:
        state.bought[trade.buyer, made.asset] = Bought(made.day, trade.quantity_t)
    elif known.day == made.day:
        known.quantity_t += trade.quantity_t


def _count_price(instrument: Instrument, trade: Trade, day: str) -> None:
    bar = instrument.bars.get(day)
    if bar is None:
        price = trade.price_fen_per_t
        bar = instrument.bars[day] = Bar(day, price, price, price)
        # A settlement that took until the next day counts on the day of its trades.
        instrument.bars = dict(sorted(instrument.bars.items()))
    bar.add(trade)
    instrument.last_fen_per_t = trade.price_fen_per_t


def on_settlement_refused(state: State, event: SettlementRefused) -> None:
    made = state.settlements.pop(event.settlement).event
    for trade in made.trades:
        _unwind(state, trade, made)


def _unwind(state: State, trade: Trade, made: TradesMade) -> None:
    """To both sides their own stuff; what the orders were filled by is not listed again."""
    value_fen = trade.quantity_t * trade.price_fen_per_t
    money = state.position(trade.buyer, MONEY)
    money.on_the_way -= value_fen
    money.free += value_fen
    units = state.position(trade.seller, made.asset)
    units.on_the_way -= trade.quantity_t
    units.free += trade.quantity_t


def on_order_cancelled(state: State, event: OrderCancelled) -> None:
    _end_order(state, event.order)


def on_order_expired(state: State, event: OrderExpired) -> None:
    _end_order(state, event.order)


def _end_order(state: State, id: str) -> None:
    order = state.orders[id]
    instrument = state.instruments[order.instrument]
    instrument.book.side(order.side).remove(order)
    asset, amount = _needs(instrument, order)
    position = state.position(order.holder, asset)
    position.reserved -= amount
    position.free += amount
    _forget(state, order)


def on_release_requested(state: State, event: ReleaseRequested) -> None:
    state.names.add(event.release)
    id, at_position, _ = state.stands_at()
    state.releases[event.release] = Open(id, at_position, event)
    position = state.position(event.holder, event.asset)
    position.free -= event.amount
    position.on_the_way += event.amount


def on_release_completed(state: State, event: ReleaseCompleted) -> None:
    asked = state.releases.pop(event.release).event
    state.position(asked.holder, asked.asset).on_the_way -= asked.amount


def on_release_refused(state: State, event: ReleaseRefused) -> None:
    asked = state.releases.pop(event.release).event
    position = state.position(asked.holder, asked.asset)
    position.on_the_way -= asked.amount
    position.free += asked.amount


_EVOLVE: dict[type[msgspec.Struct], Callable[[State, Any], None]] = {
    InstrumentDefined: on_instrument_defined,
    TermsSet: on_terms_set,
    AllocationsReceived: on_allocations_received,
    OrderPlaced: on_order_placed,
    TradesMade: on_trades_made,
    SettlementCompleted: on_settlement_completed,
    SettlementRefused: on_settlement_refused,
    SettlementsEnded: on_settlements_ended,
    OrderCancelled: on_order_cancelled,
    OrderExpired: on_order_expired,
    StandingHeard: on_standing_heard,
    ReleaseRequested: on_release_requested,
    ReleaseCompleted: on_release_completed,
    ReleaseRefused: on_release_refused,
}
