"""Checks a market's book: what an order needs is reserved before it exists, trades take live orders
at the maker's price and within both limits, and every outcome agrees with its entry.

Not checked here: tick, lot, band, sessions, day turn, and who came first. They are the market's own
rules, shown by its events to whoever asks; nobody's holdings hang on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from kernel.record import EventTypes, RawRecord
from services.ledger.books.barred import Barred
from services.ledger.books.crossings import (
    ACCOUNTS,
    MONEY,
    Asked,
    At,
    Crossings,
    Deal,
    DealRow,
    told_of,
)
from services.ledger.books.days import day_of, parse_day
from services.ledger.books.directory import check_no_acts
from services.ledger.books.market_events import (
    AllocationsReceived,
    EndedSettlement,
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
    StandingHeard,
    Terms,
    TermsSet,
    Trade,
    TradesMade,
)
from services.ledger.books.means import Means
from services.ledger.books.port import (
    Checker,
    RuleBroken,
    Step,
    instant_ms,
    require,
    require_holds,
    require_no_cause,
)
from services.ledger.books.terms import Timeline

BUY, SELL = "buy", "sell"
PICK: Final = "pick"


@dataclass(slots=True)
class Instrument:
    asset: str
    terms: Timeline[Terms]
    units_of: str  # the programme, where the market says it


@dataclass(slots=True)
class LiveOrder:
    placed: OrderPlaced
    asset: str  # what it reserves: money, or the instrument's own
    per_t: int  # how much of that for each tonne
    open_t: int


@dataclass(slots=True)
class Settlement:
    made: TradesMade
    asked_at: At


@dataclass(slots=True)
class Release:
    asked: ReleaseRequested
    asked_at: At


class MarketBook(Checker):
    """A market's book again, by other means; `book` is its name and its venue's."""

    types = EventTypes(
        InstrumentDefined,
        TermsSet,
        AllocationsReceived,
        OrderPlaced,
        TradesMade,
        SettlementCompleted,
        SettlementRefused,
        OrderCancelled,
        OrderExpired,
        StandingHeard,
        ReleaseRequested,
        ReleaseCompleted,
        ReleaseRefused,
        SettlementsEnded,
    )

    def __init__(self, book: str, crossings: Crossings) -> None:
        self._book = book
        self._crossings = crossings
        self.means = Means()
        self._barred = Barred(book, crossings)
        self._instruments: dict[str, Instrument] = {}
        self._orders: dict[str, LiveOrder] = {}
        self._named: set[str] = set()  # orders, picks and releases there ever were
        self._settled: set[str] = set()  # names of settlements
        self._settlements: dict[str, Settlement] = {}  # those without an end
        self._releases: dict[str, Release] = {}

    def steps(self, kind: type[msgspec.Struct]) -> list[Step]:
        groups: list[Step] = [partial(_CHECKS[kind], self), check_no_acts]
        if kind not in TOLD:
            groups.append(require_no_cause)
        return groups

    # ---- instruments, and what holders bring ----------------------------------------------------

    def _check_instrument(self, raw: RawRecord, event: InstrumentDefined) -> None:
        require("INSTRUMENT_NEW", False, event.instrument in self._instruments)
        require_holds("INSTRUMENT_ASSET", event.asset != MONEY, "units", event.asset)

    def _check_terms(self, raw: RawRecord, event: TermsSet) -> None:
        self._instrument(event.instrument)
        ahead = event.effective_from_ms >= instant_ms(raw.at)
        require_holds("TERMS_AHEAD", ahead, f"from {raw.at} on", event.effective_from_ms)

    def _check_allocations(self, raw: RawRecord, event: AllocationsReceived) -> None:
        """The oldest entry nobody has told of, and all that it brought."""
        waiting = self._crossings.allocations.get(self._book, {})
        oldest = next(iter(waiting), None)
        if oldest is None:
            raise RuleBroken("ALLOCATION_ORDER", "an allocation to tell of", raw.cause)
        require("ALLOCATION_ORDER", (ACCOUNTS, oldest), raw.cause)
        rows = sorted((row.holder, row.asset, row.amount) for row in event.allocations)
        require("ALLOCATION", waiting[oldest], rows)

    def _instrument(self, name: str) -> Instrument:
        instrument = self._instruments.get(name)
        if instrument is None:
            raise RuleBroken("INSTRUMENT_KNOWN", "a defined instrument", name)
        return instrument

    # ---- orders ---------------------------------------------------------------------------------

    def _check_placed(self, raw: RawRecord, event: OrderPlaced) -> None:
        instrument = self._instrument(event.instrument)
        require("NAME_NEW", False, event.order in self._named)
        self._barred.require_may_trade(event.holder, instrument.units_of)
        require("TRADING_DAY", day_of(raw.at).isoformat(), event.day)
        require_holds("SIDE", event.side in (BUY, SELL), f"{BUY} or {SELL}", event.side)
        _check_amounts(event.quantity_t, event.price_fen_per_t)
        order = _live(event, instrument.asset)
        self.means.require_free(event.holder, order.asset, order.open_t * order.per_t)

    def _check_cancelled(self, raw: RawRecord, event: OrderCancelled) -> None:
        placed = self._order(event.order).placed
        units_of = self._instrument(placed.instrument).units_of
        self._barred.check_cancelled(raw, event, placed.holder, units_of)

    def _check_standing(self, raw: RawRecord, event: StandingHeard) -> None:
        self._barred.check_heard(raw, event)

    def _check_expired(self, raw: RawRecord, event: OrderExpired) -> None:
        day = parse_day(self._order(event.order).placed.day)
        require_holds("ORDER_NOT_DUE", day_of(raw.at) > day, f"after {day}", raw.at)

    def _order(self, name: str) -> LiveOrder:
        order = self._orders.get(name)
        if order is None:
            raise RuleBroken("ORDER_LIVE", "a live order", name)
        return order

    # ---- trades ---------------------------------------------------------------------------------

    def _check_trades(self, raw: RawRecord, event: TradesMade) -> None:
        instrument = self._instrument(event.instrument)
        require("TRADED_ASSET", instrument.asset, event.asset)
        require("NAME_NEW", False, event.settlement in self._settled)
        require("TRADING_DAY", day_of(raw.at).isoformat(), event.day)
        side = event.taker_side
        require_holds("SIDE", side in (BUY, SELL), f"{BUY} or {SELL}", side)
        require_holds("TRADES", bool(event.trades), "a trade", "none")
        names = [trade.trade for trade in event.trades]
        own = [f"{event.settlement}/{n}" for n in range(1, len(names) + 1)]
        require("TRADE_NAMES", own, names)
        taken: dict[str, int] = {}
        for trade in event.trades:
            self._check_trade(event, trade, taken)
            for holder in (trade.buyer, trade.seller):
                self._barred.require_may_trade(holder, instrument.units_of)
        self._check_taker(raw, event, instrument)

    def _check_trade(self, event: TradesMade, trade: Trade, taken: dict[str, int]) -> None:
        """Against its maker; `taken` is what the trades before it took of each."""
        require_holds("TWO_HOLDERS", trade.buyer != trade.seller, "two holders", trade.buyer)
        maker = self._order(trade.maker)
        placed = maker.placed
        require("MAKER_INSTRUMENT", event.instrument, placed.instrument)
        require("MAKER_DAY", event.day, placed.day)
        require("MAKER_SIDE", SELL if event.taker_side == BUY else BUY, placed.side)
        require("MAKER_PRICE", placed.price_fen_per_t, trade.price_fen_per_t)
        require("MAKER", placed.holder, trade.seller if event.taker_side == BUY else trade.buyer)
        _check_amounts(trade.quantity_t, trade.price_fen_per_t)
        taken[trade.maker] = taken.get(trade.maker, 0) + trade.quantity_t
        limit = f"at most {maker.open_t} t of {trade.maker}"
        require_holds("MAKER_OPEN", taken[trade.maker] <= maker.open_t, limit, taken[trade.maker])

    def _check_taker(self, raw: RawRecord, event: TradesMade, instrument: Instrument) -> None:
        """A listed order that crossed, or a pick: funded on the spot, under the mode of its day."""
        holders = sorted({_taker_of(event, trade) for trade in event.trades})
        require("ONE_TAKER", 1, len(holders))
        total_t = sum(trade.quantity_t for trade in event.trades)
        picked = event.taker not in self._orders
        mode = instrument.terms.at(instant_ms(raw.at)).matching_mode
        require("MATCHING_MODE", mode == PICK, picked)
        if picked:
            require("NAME_NEW", False, event.taker in self._named)
            asset, amount = _paid_by_taker(event)
            self.means.require_free(holders[0], asset, amount)
            return
        taker = self._orders[event.taker]
        placed = taker.placed
        require("TAKER", (placed.holder, placed.side), (holders[0], event.taker_side))
        require("TAKER_INSTRUMENT", event.instrument, placed.instrument)
        require("TAKER_DAY", event.day, placed.day)
        limit = f"at most {taker.open_t} t of {event.taker}"
        require_holds("TAKER_OPEN", total_t <= taker.open_t, limit, total_t)
        for trade in event.trades:
            price, worst = trade.price_fen_per_t, placed.price_fen_per_t
            within = price <= worst if placed.side == BUY else price >= worst
            require_holds("TAKER_LIMIT", within, f"{placed.side} at {worst} or better", price)

    def _check_settled(self, raw: RawRecord, event: SettlementCompleted) -> None:
        self._crossings.carried_out(self._settlement(event.settlement).asked_at, raw.cause)

    def _check_unwound(self, raw: RawRecord, event: SettlementRefused) -> None:
        self._crossings.check_refused(self._settlement(event.settlement).asked_at, raw.cause)

    def _check_ended(self, raw: RawRecord, event: SettlementsEnded) -> None:
        """What the accounts book has told of each trade; and of those that no part has told of."""
        names = [one.settlement for one in event.settlements]
        require("ENDED_ONCE", len(names), len(set(names)))
        require_holds("ENDED_SOME", bool(names), "a settlement", "none")
        refused = {one.trade for one in event.refused}
        ended: set[str] = set()
        for one in event.settlements:
            asked_at = self._settlement(one.settlement).asked_at
            deals = self._crossings.traded.get(asked_at, [])
            ended.update(deal.row.trade for deal in deals)
            if one.entries:
                _check_told(raw.cause, one, deals, refused)
            else:
                _check_never_told(raw.cause, deals, refused)
        require("ENDED_TRADES", [], sorted(refused - ended))

    def _settlement(self, name: str) -> Settlement:
        settlement = self._settlements.get(name)
        if settlement is None:
            raise RuleBroken("REQUEST_OPEN", "a settlement without an end", name)
        return settlement

    # ---- releases -------------------------------------------------------------------------------

    def _check_release(self, raw: RawRecord, event: ReleaseRequested) -> None:
        require("NAME_NEW", False, event.release in self._named)
        _check_amounts(event.amount, 1)
        self.means.require_free(event.holder, event.asset, event.amount)

    def _check_released(self, raw: RawRecord, event: ReleaseCompleted) -> None:
        self._crossings.carried_out(self._release(event.release).asked_at, raw.cause)

    def _check_kept(self, raw: RawRecord, event: ReleaseRefused) -> None:
        self._crossings.check_refused(self._release(event.release).asked_at, raw.cause)

    def _release(self, name: str) -> Release:
        release = self._releases.get(name)
        if release is None:
            raise RuleBroken("REQUEST_OPEN", "a release without an end", name)
        return release

    # ---- applying -------------------------------------------------------------------------------

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        match event:
            case InstrumentDefined():
                self._instruments[event.instrument] = Instrument(
                    event.asset, Timeline(event.terms), event.units_of
                )
            case TermsSet():
                known = self._instruments.get(event.instrument)
                if known is not None:
                    known.terms.set(event.effective_from_ms, event.terms)
            case AllocationsReceived():
                for row in event.allocations:
                    self.means.receive(row.holder, row.asset, row.amount)
                told_of(self._crossings.allocations.get(self._book, {}), raw.cause)
            case OrderPlaced():
                self._place(event)
            case OrderCancelled() | OrderExpired():
                order = self._orders.pop(event.order, None)
                if order is not None:
                    amount = order.open_t * order.per_t
                    self.means.unbind(order.placed.holder, order.asset, amount)
            case StandingHeard():
                self._barred.take(raw, event)
            case TradesMade():
                self._trade(raw, event)
            case SettlementCompleted() | SettlementRefused():
                self._end_settlement(raw, event)
            case SettlementsEnded():
                refused = {one.trade for one in event.refused}
                for one in event.settlements:
                    self._end(one.settlement, None, refused)
            case ReleaseRequested():
                self._ask_release(raw, event)
            case ReleaseCompleted() | ReleaseRefused():
                self._end_release(raw, event)
            case _:
                raise TypeError(f"not an event of a market's book: {event!r}")

    def _place(self, event: OrderPlaced) -> None:
        instrument = self._instruments.get(event.instrument)
        self._named.add(event.order)
        if instrument is not None:
            order = self._orders[event.order] = _live(event, instrument.asset)
            self.means.bind(event.holder, order.asset, order.open_t * order.per_t)

    def _trade(self, raw: RawRecord, event: TradesMade) -> None:
        self._named.add(event.taker)
        self._settled.add(event.settlement)
        at = (self._book, raw.position)
        self._settlements[event.settlement] = Settlement(event, at)
        for trade in event.trades:
            for name in (trade.maker, event.taker):
                self._take(name, trade.quantity_t)
            self.means.bind(trade.seller, event.asset, trade.quantity_t)
            self.means.bind(trade.buyer, MONEY, trade.quantity_t * trade.price_fen_per_t)
        self._crossings.ask_deals(self._book, at, event.day, _rows(event))

    def _take(self, name: str, quantity_t: int) -> None:
        """So much of an order is an order no more; at its own limit, so what is cheaper is free."""
        order = self._orders.get(name)
        if order is None:
            return
        order.open_t -= quantity_t
        self.means.unbind(order.placed.holder, order.asset, quantity_t * order.per_t)
        if order.open_t <= 0:
            del self._orders[name]

    def _end_settlement(
        self, raw: RawRecord, event: SettlementCompleted | SettlementRefused
    ) -> None:
        settlement = self._settlements.get(event.settlement)
        refused: set[str] = set()
        if settlement is not None and isinstance(event, SettlementRefused):
            refused.update(trade.trade for trade in settlement.made.trades)
        self._end(event.settlement, raw.cause, refused)

    def _end(self, name: str, entry: At | None, refused: set[str]) -> None:
        settlement = self._settlements.pop(name, None)
        if settlement is None:
            return
        self._crossings.end(settlement.asked_at, entry)
        asset = settlement.made.asset
        for trade in settlement.made.trades:
            value_fen = trade.quantity_t * trade.price_fen_per_t
            if trade.trade in refused:
                self.means.unbind(trade.seller, asset, trade.quantity_t)
                self.means.unbind(trade.buyer, MONEY, value_fen)
            else:
                self.means.leave(trade.seller, asset, trade.quantity_t)
                self.means.leave(trade.buyer, MONEY, value_fen)
                self.means.receive(trade.buyer, asset, trade.quantity_t)
                self.means.receive(trade.seller, MONEY, value_fen)

    def _ask_release(self, raw: RawRecord, event: ReleaseRequested) -> None:
        at = (self._book, raw.position)
        self._named.add(event.release)
        self._releases[event.release] = Release(event, at)
        self.means.bind(event.holder, event.asset, event.amount)
        source = (event.holder, event.asset, "trading", self._book)
        target = (event.holder, event.asset, "available", "")
        self._crossings.asked[at] = Asked([(source, target, event.amount)], [])

    def _end_release(self, raw: RawRecord, event: ReleaseCompleted | ReleaseRefused) -> None:
        release = self._releases.pop(event.release, None)
        if release is None:
            return
        self._crossings.end(release.asked_at, raw.cause)
        asked = release.asked
        if isinstance(event, ReleaseCompleted):
            self.means.leave(asked.holder, asked.asset, asked.amount)
        else:
            self.means.unbind(asked.holder, asked.asset, asked.amount)


def _check_told(
    cause: At | None, ended: EndedSettlement, deals: list[Deal], refused: set[str]
) -> None:
    """Each trade as the event at its position tells of it; 0: settled, and told of before."""
    require("ENDED_ENTRIES", len(deals), len(ended.entries))
    for deal, entry in zip(deals, ended.entries, strict=True):
        name = deal.row.trade
        require("OUTCOME_SETTLED", (name, deal.settled), (name, name not in refused))
        told_at = deal.told_at if entry or not deal.settled else 0
        require("OUTCOME_ENTRY", (name, told_at), (name, entry))
        checked = cause is not None and cause[0] == ACCOUNTS and cause[1] >= (deal.told_at or 0)
        require_holds("OUTCOME_CAUSE", checked, f"accounts, from {deal.told_at} on", cause)


def _check_never_told(cause: At | None, deals: list[Deal], refused: set[str]) -> None:
    """Of a part that was refused as a whole nothing stands in the accounts book."""
    require("CAUSE_NONE", None, cause)
    for deal in deals:
        require("OUTCOME_REFUSED", (deal.row.trade, None), (deal.row.trade, deal.told_at))
        require_holds("OUTCOME_REFUSED", deal.row.trade in refused, "refused", deal.row.trade)


def _live(event: OrderPlaced, asset: str) -> LiveOrder:
    if event.side == BUY:
        return LiveOrder(event, MONEY, event.price_fen_per_t, event.quantity_t)
    return LiveOrder(event, asset, 1, event.quantity_t)


def _check_amounts(quantity: int, price: int) -> None:
    require_holds("QUANTITY", quantity > 0, "1 or more", quantity)
    require_holds("PRICE", price > 0, "1 or more", price)


def _taker_of(event: TradesMade, trade: Trade) -> str:
    return trade.buyer if event.taker_side == BUY else trade.seller


def _paid_by_taker(event: TradesMade) -> tuple[str, int]:
    if event.taker_side == BUY:
        return MONEY, sum(trade.quantity_t * trade.price_fen_per_t for trade in event.trades)
    return event.asset, sum(trade.quantity_t for trade in event.trades)


def _rows(event: TradesMade) -> list[DealRow]:
    """The trades as the venue has to sign them."""
    return [
        DealRow(
            event.asset,
            trade.buyer,
            trade.price_fen_per_t,
            trade.quantity_t,
            trade.seller,
            trade.trade,
        )
        for trade in event.trades
    ]


# What tells of another book's event; the rest is somebody's command, or the timer's.
TOLD: Final = (
    AllocationsReceived,
    StandingHeard,
    OrderCancelled,  # which may follow from a status: barred.py
    SettlementCompleted,
    SettlementRefused,
    SettlementsEnded,
    ReleaseCompleted,
    ReleaseRefused,
)

_CHECKS: dict[type[msgspec.Struct], Callable[[MarketBook, RawRecord, Any], None]] = {
    InstrumentDefined: MarketBook._check_instrument,
    TermsSet: MarketBook._check_terms,
    AllocationsReceived: MarketBook._check_allocations,
    OrderPlaced: MarketBook._check_placed,
    TradesMade: MarketBook._check_trades,
    SettlementCompleted: MarketBook._check_settled,
    SettlementRefused: MarketBook._check_unwound,
    SettlementsEnded: MarketBook._check_ended,
    OrderCancelled: MarketBook._check_cancelled,
    OrderExpired: MarketBook._check_expired,
    StandingHeard: MarketBook._check_standing,
    ReleaseRequested: MarketBook._check_release,
    ReleaseCompleted: MarketBook._check_released,
    ReleaseRefused: MarketBook._check_kept,
}
