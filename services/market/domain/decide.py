"""Commands into events, or a refusal. Reads the state, never changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from kernel.errors import Kind, Refused
from kernel.values import (
    DAY_MS,
    Context,
    check_on,
    check_operates,
    check_role,
    check_text,
    day_start_ms,
    shanghai_day,
)
from services.market.domain import rules, standing
from services.market.domain.commands import (
    CancelOrder,
    CompleteRelease,
    DefineInstrument,
    EndSettlements,
    ExpireOrder,
    HearStanding,
    PickOrders,
    PlaceOrder,
    ReceiveAllocations,
    RefuseRelease,
    RequestRelease,
    SetTerms,
)
from services.market.domain.events import (
    AllocationsReceived,
    InstrumentDefined,
    MatchingMode,
    OrderCancelled,
    OrderExpired,
    OrderPlaced,
    ReleaseCompleted,
    ReleaseRefused,
    ReleaseRequested,
    SettlementsEnded,
    Side,
    TermsSet,
    Trade,
    TradesMade,
)
from services.market.domain.matching import Fill, Order
from services.market.domain.state import MONEY, Instrument, State

MAX_TRADES: Final = 32  # of one settlement: a pick of more names more counterparties than it should
BEST_LEVELS: Final = 5  # within which a taker picks (domain section 4)


def decide(state: State, command: msgspec.Struct, context: Context) -> Sequence[msgspec.Struct]:
    """The events of one command, at least one; raises Refused."""
    return _DECIDE[type(command)](state, command, context)


def due(state: State, at_ms: int) -> Iterable[tuple[int, str, ExpireOrder]]:
    """Orders whose trading day is over: (its end in ms, what makes it unique, command)."""
    for day, orders in state.orders_by_day.items():
        end_ms = day_start_ms(day) + DAY_MS
        if end_ms <= at_ms:
            yield from ((end_ms, f"expire {order}", ExpireOrder(order)) for order in orders)


def define_instrument(
    state: State, command: DefineInstrument, context: Context
) -> list[InstrumentDefined]:
    rules.check_instrument_name(command.instrument)
    rules.check_asset(command.asset)
    if command.asset == MONEY:
        raise Refused("ASSET_IS_MONEY", "money is what is paid with, not what is traded")
    if command.instrument in state.instruments:
        raise Refused(
            "INSTRUMENT_EXISTS",
            f"{command.instrument} is defined",
            instrument=command.instrument,
        )
    check_text(command.name, "name", 200)
    check_text(command.units_of, "units_of", 40, required=False)
    rules.check_terms(command.terms)
    rules.check_amount(command.reference_price_fen_per_t)
    if command.reference_price_fen_per_t % command.terms.tick_fen:
        raise Refused(
            "TICK",
            f"reference price: expected a multiple of {command.terms.tick_fen} fen,"
            f" got {command.reference_price_fen_per_t}",
            limit=command.terms.tick_fen,
            actual=command.reference_price_fen_per_t,
        )
    check_on(context)
    return [
        InstrumentDefined(
            command.asset,
            command.instrument,
            command.name,
            command.reference_price_fen_per_t,
            command.terms,
            command.units_of,
        )
    ]


def set_terms(state: State, command: SetTerms, context: Context) -> list[TermsSet]:
    """From now on or later: what has been judged stays judged."""
    instrument = rules.known_instrument(state, command.instrument)
    rules.check_terms(command.terms)
    check_on(context)
    asked_ms = command.effective_from_ms
    from_ms = context.at_ms if asked_ms is None else asked_ms
    if from_ms < context.at_ms:
        raise Refused("TERMS_IN_PAST", "expected terms in force from the recording on, or later")
    later = sorted([*instrument.terms, (from_ms, command.terms)], key=lambda one: one[0])
    rules.check_mode_changes(later)
    return [TermsSet(from_ms, command.instrument, command.terms)]


def receive_allocations(
    state: State, command: ReceiveAllocations, context: Context
) -> list[AllocationsReceived]:
    check_role(context, "system")
    return [AllocationsReceived(command.allocations)]


# ---- orders --------------------------------------------------------------------------------------


def place_order(
    state: State, command: PlaceOrder, context: Context
) -> list[OrderPlaced | TradesMade]:
    """Under `pick` it is listed; under `price_time` it crosses first and what is left is listed."""
    check_operates(context, command.holder)
    rules.check_new_name(state, context.id)
    instrument = rules.known_instrument(state, command.instrument)
    terms, day = instrument.terms_at(context.at_ms), shanghai_day(context.at_ms)
    price, quantity_t = command.price_fen_per_t, command.quantity_t
    standing.check_may_trade(state, command.holder, instrument)
    rules.check_session(terms, context.at_ms)
    rules.check_quantity(terms, quantity_t)
    rules.check_price(instrument, terms, price, day)
    means = quantity_t, quantity_t * price
    rules.check_means(state, command.holder, instrument, command.side, means)
    if command.side == Side.SELL and terms.day_turn:
        asset = instrument.defined.asset
        rules.check_day_turn(state, command.holder, asset, quantity_t, day)
    placed = OrderPlaced(
        day,
        command.holder,
        command.instrument,
        context.id,
        price,
        quantity_t,
        command.side,
    )
    if terms.matching_mode == MatchingMode.PICK:
        return [placed]
    fills = instrument.book.against(command.side).take(price, quantity_t, day, None)
    rules.check_not_own(command.holder, fills)
    return [placed, *_trades(instrument, command, context.id, day, fills)]


def pick_orders(state: State, command: PickOrders, context: Context) -> list[TradesMade]:
    """All of the quantity at once, within the best levels, or nothing."""
    check_operates(context, command.holder)
    rules.check_new_name(state, context.id)
    instrument = rules.known_instrument(state, command.instrument)
    terms, day = instrument.terms_at(context.at_ms), shanghai_day(context.at_ms)
    if terms.matching_mode != MatchingMode.PICK:
        raise Refused(
            "MATCHING_MODE",
            f"expected {MatchingMode.PICK}, {command.instrument} is {terms.matching_mode}:"
            " place an order",
            actual=terms.matching_mode.value,
        )
    standing.check_may_trade(state, command.holder, instrument)
    rules.check_session(terms, context.at_ms)
    rules.check_quantity(terms, command.quantity_t)
    rules.check_amount(command.limit_fen_per_t)
    fills = _picked(instrument, command, day)
    rules.check_not_own(command.holder, fills)
    _check_trades(len(fills))
    means = command.quantity_t, sum(one.quantity_t * one.maker.price_fen_per_t for one in fills)
    rules.check_means(state, command.holder, instrument, command.side, means)
    if command.side == Side.SELL and terms.day_turn:
        asset = instrument.defined.asset
        rules.check_day_turn(state, command.holder, asset, command.quantity_t, day)
    return _trades(instrument, command, context.id, day, fills)


def _check_trades(count: int) -> None:
    if count > MAX_TRADES:
        raise Refused(
            "TOO_MANY_TRADES",
            f"expected at most {MAX_TRADES} counterparties, it would take {count}:"
            " take less at a time",
            limit=MAX_TRADES,
            actual=count,
        )


def _picked(instrument: Instrument, command: PickOrders, day: str) -> list[Fill]:
    half = instrument.book.against(command.side)
    if command.orders:
        fills = _named(instrument, command, day)
    else:
        fills = half.take(command.limit_fen_per_t, command.quantity_t, day, BEST_LEVELS)
    found = sum(fill.quantity_t for fill in fills)
    if found < command.quantity_t:
        raise Refused(
            "INSUFFICIENT_LIQUIDITY",
            f"{command.instrument} within {BEST_LEVELS} levels and the limit:"
            f" needed {command.quantity_t}, available {found}",
            needed=command.quantity_t,
            available=found,
        )
    return fills


def _named(instrument: Instrument, command: PickOrders, day: str) -> list[Fill]:
    """The orders the taker chose, in the taker's order, until the quantity is reached."""
    _check_trades(len(command.orders))
    if len(set(command.orders)) != len(command.orders):
        raise Refused("ORDER_DOUBLED", "an order is named twice in a pick", Kind.INVALID)
    reach = _in_reach(instrument, command, day)
    fills, left_t = [], command.quantity_t
    for name in command.orders:
        order = reach.get(name)
        if order is None:
            raise Refused(
                "ORDER_OUT_OF_REACH",
                f"{name[:60]!r} is no live order within the best {BEST_LEVELS} levels and the"
                f" limit {command.limit_fen_per_t}",
                order=name[:60],
            )
        if left_t:
            fills.append(Fill(order, min(order.open_t, left_t)))
            left_t -= fills[-1].quantity_t
    return fills


def _in_reach(instrument: Instrument, command: PickOrders, day: str) -> dict[str, Order]:
    half = instrument.book.against(command.side)
    levels = zip(range(BEST_LEVELS), half.best(day), strict=False)
    return {
        order.order: order
        for _, (price, orders) in levels
        if price * half.sign >= command.limit_fen_per_t * half.sign
        for order in orders
    }


def _trades(
    instrument: Instrument,
    taker: PlaceOrder | PickOrders,
    id: str,
    day: str,
    fills: Sequence[Fill],
) -> list[TradesMade]:
    """All trades of a taker, one event per settlement: only an order that crosses needs several."""
    return [
        _settled_together(instrument, taker, id, day, n, fills[n * MAX_TRADES :][:MAX_TRADES])
        for n in range(-(-len(fills) // MAX_TRADES))
    ]


def _settled_together(
    instrument: Instrument,
    taker: PlaceOrder | PickOrders,
    id: str,
    day: str,
    part: int,
    fills: Sequence[Fill],
) -> TradesMade:
    settlement = f"{id}.{part + 1}" if part else id
    buys = taker.side == Side.BUY
    trades = [
        Trade(
            taker.holder if buys else fill.maker.holder,
            fill.maker.order,
            fill.maker.price_fen_per_t,
            fill.quantity_t,
            fill.maker.holder if buys else taker.holder,
            f"{settlement}/{n}",
        )
        for n, fill in enumerate(fills, start=1)
    ]
    return TradesMade(
        instrument.defined.asset, day, taker.instrument, settlement, id, taker.side, trades
    )


def cancel_order(state: State, command: CancelOrder, context: Context) -> list[OrderCancelled]:
    order = _live_order(state, command.order)
    if "exchange" not in context.caller.roles:
        check_operates(context, order.holder)
    return [OrderCancelled(command.order)]


def expire_order(state: State, command: ExpireOrder, context: Context) -> list[OrderExpired]:
    check_role(context, "system")
    order = _live_order(state, command.order)
    if day_start_ms(order.day) + DAY_MS > context.at_ms:
        raise Refused("ORDER_NOT_DUE", f"order {command.order} is good for {order.day}")
    return [OrderExpired(command.order)]


def _live_order(state: State, id: str) -> Order:
    order = state.orders.get(id)
    if order is None:
        raise Refused(
            "UNKNOWN_ORDER", f"no live order {id[:60]!r}: it never was, or has ended", Kind.UNKNOWN
        )
    return order


# ---- what the accounts book is asked, and answers ------------------------------------------------


def request_release(
    state: State, command: RequestRelease, context: Context
) -> list[ReleaseRequested]:
    check_operates(context, command.holder)
    rules.check_new_name(state, context.id)
    rules.check_asset(command.asset)
    rules.check_amount(command.amount)
    rules.check_free(state, command.holder, command.asset, command.amount)
    return [ReleaseRequested(command.amount, command.asset, command.holder, context.id)]


def end_settlements(
    state: State, command: EndSettlements, context: Context
) -> list[SettlementsEnded]:
    for one in command.settlements:
        _check_open(state.settlements, one.settlement, context)
    return [SettlementsEnded(command.refused, command.settlements)]


def complete_release(
    state: State, command: CompleteRelease, context: Context
) -> list[ReleaseCompleted]:
    _check_open(state.releases, command.release, context)
    return [ReleaseCompleted(command.release)]


def refuse_release(state: State, command: RefuseRelease, context: Context) -> list[ReleaseRefused]:
    _check_open(state.releases, command.release, context)
    return [ReleaseRefused(command.details, command.message, command.reason, command.release)]


def _check_open(requests: dict[str, Any], name: str, context: Context) -> None:
    check_role(context, "system")
    if name not in requests:
        raise Refused("NO_OPEN_REQUEST", f"nothing open is named {name[:60]!r}", Kind.UNKNOWN)


_DECIDE: dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]] = {
    DefineInstrument: define_instrument,
    SetTerms: set_terms,
    ReceiveAllocations: receive_allocations,
    HearStanding: standing.hear_standing,
    PlaceOrder: place_order,
    PickOrders: pick_orders,
    CancelOrder: cancel_order,
    ExpireOrder: expire_order,
    RequestRelease: request_release,
    EndSettlements: end_settlements,
    CompleteRelease: complete_release,
    RefuseRelease: refuse_release,
}
