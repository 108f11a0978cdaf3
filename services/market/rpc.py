"""Protobuf to command and back, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from tanzhang.kernel.v1 import items_pb2
from tanzhang.market.v1 import market_pb2 as pb
from tanzhang.market.v1 import market_pb2_grpc

from kernel.auth import check_may_see
from kernel.clock import Clock
from kernel.errors import Conflict, Kind, Refused
from kernel.follower import Follower
from kernel.ids import check_uuid7
from kernel.journal.database import Engine
from kernel.projection import Projector
from kernel.record import decode_record
from kernel.rpc.batch import carry_out, disclose, find_outcomes
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import enum_of, instant_of, timestamp_of
from kernel.rpc.pages import page_limit, page_place, page_token
from kernel.values import (
    MAX_INTEGER,
    Caller,
    check_day,
    check_text,
    parse_instant,
    shanghai_day,
)
from kernel.writer import Writer
from services.market import queries
from services.market.domain import commands, events
from services.market.domain.matching import Order
from services.market.domain.state import State
from services.market.stops import TradingStops

SERVICE: Final = "tanzhang.market.v1.MarketService"
MAX_ASKED: Final = 1000  # releases of one call
MAX_WORD_CHARS: Final = 80  # no holder, asset or instrument has a longer name
SETTLED_WAIT_S: Final = 5.0
ACCOUNTS_POLL_S: Final = 0.02  # a follower wakes nobody
ACCOUNTS_POLLS: Final = 250  # five seconds

_SIDES: Final = {pb.Side.Value(f"SIDE_{side.name}"): side for side in events.Side}
_SIDE_NUMBERS: Final = {side: number for number, side in _SIDES.items()}
_MODES: Final = {
    pb.MatchingMode.Value(f"MATCHING_MODE_{mode.name}"): mode for mode in events.MatchingMode
}
_MODE_NUMBERS: Final = {mode: number for number, mode in _MODES.items()}
_ENDED: Final = {"cancelled": pb.ORDER_STATE_CANCELLED, "expired": pb.ORDER_STATE_EXPIRED}
_PUBLIC: Final = frozenset({"BookOpened", "WriterStarted", "InstrumentDefined", "TermsSet"})


class MarketRpc(market_pb2_grpc.MarketServiceServicer):
    def __init__(
        self,
        writer: Writer[State],
        engine: Engine,
        orders: Projector,
        clock: Clock,
        stops: TradingStops,
        accounts: Follower,
    ) -> None:
        self._writer = writer
        self._engine = engine
        self._orders = orders
        self._clock = clock
        self._stops = stops
        self._accounts = accounts

    # ---- commands --------------------------------------------------------------------------------

    async def DefineInstruments(self, request: pb.DefineInstrumentsRequest, context: object) -> Any:
        items = request.instruments
        results = await carry_out(self._writer, "DefineInstruments", items, define_instrument)
        return pb.DefineInstrumentsResponse(results=results)

    async def SetTerms(self, request: pb.SetTermsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "SetTerms", request.changes, set_terms)
        return pb.SetTermsResponse(results=results)

    async def PlaceOrders(self, request: pb.PlaceOrdersRequest, context: object) -> Any:
        self._stops.check()
        results = await carry_out(self._writer, "PlaceOrders", request.orders, place_order)
        return pb.PlaceOrdersResponse(results=results)

    async def PickOrders(self, request: pb.PickOrdersRequest, context: object) -> Any:
        self._stops.check()
        results = await carry_out(self._writer, "PickOrders", request.picks, pick_orders)
        return pb.PickOrdersResponse(results=results)

    async def CancelOrders(self, request: pb.CancelOrdersRequest, context: object) -> Any:
        """Also while our log is halted: a cancelled order binds nobody to anything."""
        items = request.cancellations
        results = await carry_out(
            self._writer, "CancelOrders", items, cancel_order, while_halted=True
        )
        return pb.CancelOrdersResponse(results=results)

    async def RequestReleases(self, request: pb.RequestReleasesRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "RequestReleases", request.releases, request_release
        )
        return pb.RequestReleasesResponse(results=results)

    # ---- what everybody may see ------------------------------------------------------------------

    async def GetInstruments(self, request: pb.GetInstrumentsRequest, context: object) -> Any:
        at_ms = self._clock.now_ms()
        rows, position = await self._writer.read(
            lambda state: queries.instruments(state, request.instrument, at_ms),
            request.min_position,
        )
        found = [_instrument_message(row) for row in rows]
        return pb.GetInstrumentsResponse(instruments=found, as_of_position=position)

    async def GetBook(self, request: pb.GetBookRequest, context: object) -> Any:
        count = _bounded(request.levels, queries.DEFAULT_LEVELS, queries.MAX_LEVELS, "levels")
        day = shanghai_day(self._clock.now_ms())
        (bids, asks), position = await self._writer.read(
            lambda state: queries.book(state, request.instrument, count, day),
            request.min_position,
        )
        return pb.GetBookResponse(
            bids=[_level_message(level) for level in bids],
            asks=[_level_message(level) for level in asks],
            as_of_position=position,
        )

    async def GetQuotes(self, request: pb.GetQuotesRequest, context: object) -> Any:
        at_ms = self._clock.now_ms()
        row, position = await self._writer.read(
            lambda state: queries.quote(state, request.instrument, shanghai_day(at_ms), at_ms),
            request.min_position,
        )
        return pb.GetQuotesResponse(
            instrument=request.instrument,
            last_fen_per_t=row.last_fen_per_t,
            previous_close_fen_per_t=row.previous_close_fen_per_t,
            day=_bar_message(row.today),
            lowest_fen_per_t=row.lowest_fen_per_t,
            highest_fen_per_t=row.highest_fen_per_t,
            as_of_position=position,
        )

    async def ListBars(self, request: pb.ListBarsRequest, context: object) -> Any:
        limit = page_limit(request.page_size)
        after = check_day(request.page_token, "page_token") if request.page_token else ""
        rows, position = await self._writer.read(
            lambda state: queries.bars(state, request.instrument, after, limit),
            request.min_position,
        )
        return pb.ListBarsResponse(
            bars=[_bar_message(row) for row in rows],
            next_page_token=rows[-1].day if len(rows) == limit else "",
            as_of_position=position,
        )

    async def GetMarketState(self, request: pb.GetMarketStateRequest, context: object) -> Any:
        reasons = self._stops.reasons()
        return pb.GetMarketStateResponse(accepts_orders=not reasons, reasons=reasons)

    # ---- what a holder's operators may see -------------------------------------------------------

    async def GetPositions(self, request: pb.GetPositionsRequest, context: object) -> Any:
        check_may_see(current_caller(), request.holder)
        await self._heard_accounts(request.min_accounts_position)
        rows, position = await self._writer.read(
            lambda state: queries.positions(state, request.holder), request.min_position
        )
        found = [
            pb.Position(
                asset=asset, free=one.free, reserved=one.reserved, on_the_way=one.on_the_way
            )
            for asset, one in rows
        ]
        return pb.GetPositionsResponse(positions=found, as_of_position=position)

    async def _heard_accounts(self, min_position: int) -> None:
        """Waits (bounded) until what accounts recorded there has become ours."""
        for _ in range(ACCOUNTS_POLLS):
            if not min_position or self._accounts.next_position > min_position:
                return
            await asyncio.sleep(ACCOUNTS_POLL_S)
        raise Conflict(
            "POSITION_NOT_REACHED",
            f"accounts: expected position {min_position}, got {self._accounts.next_position - 1}",
        )

    async def ListOrders(self, request: pb.ListOrdersRequest, context: object) -> Any:
        check_may_see(current_caller(), request.holder)
        check_text(request.holder, "holder", MAX_WORD_CHARS)
        after, _ = page_place(request.page_token, 2)
        limit = page_limit(request.page_size)
        position = await self._orders.reached(request.min_position)
        rows = await asyncio.to_thread(
            queries.list_orders, self._engine, request.holder, after, limit
        )
        token = page_token(rows[-1].position, 0) if len(rows) == limit else ""
        return pb.ListOrdersResponse(
            orders=[_order_status(row) for row in rows],
            next_page_token=token,
            as_of_position=position,
        )

    async def ListTrades(self, request: pb.ListTradesRequest, context: object) -> Any:
        check_may_see(current_caller(), request.holder)
        check_text(request.holder, "holder", MAX_WORD_CHARS)
        after = page_place(request.page_token, 2)
        limit = page_limit(request.page_size)
        reached = request.min_position
        if request.settled:
            holder = request.holder
            reached = await self._ended(reached, lambda state: queries.is_settling(state, holder))
        position = await self._orders.reached(reached)
        rows = await asyncio.to_thread(
            queries.list_trades, self._engine, request.holder, after, limit
        )
        token = page_token(rows[-1].position, rows[-1].number) if len(rows) == limit else ""
        return pb.ListTradesResponse(
            trades=[_trade_message(row) for row in rows],
            next_page_token=token,
            as_of_position=position,
        )

    async def GetReleases(self, request: pb.GetReleasesRequest, context: object) -> Any:
        """In the order they were asked for; whose they are decides who sees them."""
        _check_asked(len(request.releases))
        for name in request.releases:
            check_uuid7(name, "releases")
        reached, names = request.min_position, list(request.releases)
        if request.settled:
            reached = await self._ended(reached, lambda state: queries.are_open(state, names))
        position = await self._orders.reached(reached)
        rows = await asyncio.to_thread(queries.find_releases, self._engine, names)
        caller = current_caller()
        for row in rows:
            check_may_see(caller, row.holder)
        return pb.GetReleasesResponse(
            releases=[_release_status(row) for row in rows], as_of_position=position
        )

    async def _ended(self, min_position: int, is_open: Callable[[State], bool]) -> int:
        """Waits (bounded) while something is open; the position to show, whatever it is then."""
        still_open, position = await self._writer.read(is_open, min_position)
        try:
            async with asyncio.timeout(SETTLED_WAIT_S):
                while still_open:
                    await self._writer.committed(position + 2)
                    still_open, position = await self._writer.read(is_open)
        except TimeoutError:
            pass  # it is answered as it stands: requested
        return int(position)

    # ---- outcomes and events ---------------------------------------------------------------------

    async def GetOutcomes(self, request: pb.GetOutcomesRequest, context: object) -> Any:
        principal = current_caller().principal
        found = await find_outcomes(self._writer, principal, request.ids)
        return pb.GetOutcomesResponse(results=found)

    async def DiscloseEvents(self, request: pb.DiscloseEventsRequest, context: object) -> Any:
        """Record and salt, to a party of the event; whoever else asks is refused."""
        found = await disclose(
            self._writer,
            self._engine,
            self._clock,
            request.positions,
            self._may_see_event,
            leave_out=request.leave_out,
        )
        return pb.DiscloseEventsResponse(events=found.events, left_out=found.left_out)

    async def _may_see_event(self, caller: Caller, record: bytes) -> bool:
        return await asyncio.to_thread(self._is_party, caller, record)

    def _is_party(self, caller: Caller, record: bytes) -> bool:
        """The holders in the event or of what it ends, whoever asked for it, and auditors."""
        raw = decode_record(record)
        if "auditor" in caller.roles or raw.type in _PUBLIC or raw.actor == caller.actor:
            return True
        body = msgspec.json.decode(raw.body)
        parties = {body.get("holder")}
        parties |= {one["holder"] for one in body.get("allocations", ())}
        for trade in body.get("trades", ()):
            parties |= {trade["buyer"], trade["seller"]}
        for name in {"order", "release", "settlement"} & body.keys():
            parties |= queries.parties_of(self._engine, body[name])
        return bool(parties & caller.holders)


def _check_asked(count: int) -> None:
    if not 1 <= count <= MAX_ASKED:
        raise Refused("POSITIONS_COUNT", f"expected 1 to {MAX_ASKED}, got {count}", Kind.INVALID)


def _bounded(asked: int, default: int, most: int, what: str) -> int:
    count = asked or default
    if not 1 <= count <= most:
        raise Refused("PAGE_SIZE", f"{what}: expected 1..{most}, got {count}", Kind.INVALID)
    return count


# ---- protobuf to command -------------------------------------------------------------------------


def define_instrument(item: pb.Instrument) -> commands.DefineInstrument:
    return commands.DefineInstrument(
        item.asset,
        item.instrument,
        item.name,
        item.reference_price_fen_per_t,
        _terms(item.terms),
        item.units_of,
    )


def set_terms(item: pb.TermsChange) -> commands.SetTerms:
    dated = item.HasField("effective_from")
    from_ms = instant_of(item.effective_from, "effective_from") if dated else None
    return commands.SetTerms(item.instrument, from_ms, _terms(item.terms))


def _terms(terms: pb.Terms) -> events.Terms:
    return events.Terms(
        terms.band_bp,
        terms.day_turn,
        terms.lot_t,
        enum_of(_MODES, terms.matching_mode, "matching_mode"),
        terms.max_quantity_t,
        [
            events.Session(one.first_minute, one.last_minute, sorted(set(one.weekdays)))
            for one in terms.sessions
        ],
        terms.tick_fen,
    )


def place_order(item: pb.Order) -> commands.PlaceOrder:
    return commands.PlaceOrder(
        item.instrument,
        item.holder,
        enum_of(_SIDES, item.side, "side"),
        item.price_fen_per_t,
        item.quantity_t,
    )


def pick_orders(item: pb.Pick) -> commands.PickOrders:
    return commands.PickOrders(
        item.instrument,
        item.holder,
        enum_of(_SIDES, item.side, "side"),
        item.quantity_t,
        item.limit_fen_per_t,
        list(item.orders),
    )


def cancel_order(item: pb.Cancellation) -> commands.CancelOrder:
    return commands.CancelOrder(item.order)


def request_release(item: pb.Release) -> commands.RequestRelease:
    return commands.RequestRelease(item.holder, item.asset, item.amount)


# ---- and back ------------------------------------------------------------------------------------


def _instrument_message(row: queries.InstrumentRow) -> pb.Instrument:
    defined, terms = row.instrument.defined, row.terms
    return pb.Instrument(
        instrument=defined.instrument,
        asset=defined.asset,
        name=defined.name,
        reference_price_fen_per_t=defined.reference_price_fen_per_t,
        units_of=defined.units_of,
        terms=pb.Terms(
            matching_mode=_MODE_NUMBERS[terms.matching_mode],
            tick_fen=terms.tick_fen,
            lot_t=terms.lot_t,
            band_bp=terms.band_bp,
            max_quantity_t=terms.max_quantity_t,
            sessions=[
                pb.Session(
                    weekdays=one.weekdays,
                    first_minute=one.first_minute,
                    last_minute=one.last_minute,
                )
                for one in terms.sessions
            ],
            day_turn=terms.day_turn,
        ),
    )


def _level_message(level: queries.LevelRow) -> pb.Level:
    return pb.Level(
        price_fen_per_t=level.price_fen_per_t,
        open_t=level.open_t,
        orders=[_book_order(order) for order in level.orders],
    )


def _book_order(order: Order) -> pb.BookOrder:
    placed_at = timestamp_of(order.placed_at_ms)
    return pb.BookOrder(order=order.order, open_t=order.open_t, placed_at=placed_at)


def _bar_message(row: queries.BarRow) -> pb.Bar:
    bar = row.bar
    if bar is None:
        return pb.Bar(day=row.day, close_fen_per_t=row.close_fen_per_t)
    return pb.Bar(
        day=row.day,
        open_fen_per_t=bar.open_fen_per_t,
        high_fen_per_t=bar.high_fen_per_t,
        low_fen_per_t=bar.low_fen_per_t,
        close_fen_per_t=row.close_fen_per_t,
        volume_t=bar.volume_t,
        turnover_fen=min(bar.turnover_fen, MAX_INTEGER),
        trades=bar.trades,
    )


def _order_status(row: queries.Row) -> pb.OrderStatus:
    return pb.OrderStatus(
        order=pb.Order(
            id=row.order,
            instrument=row.instrument,
            holder=row.holder,
            side=_SIDE_NUMBERS[events.Side(row.side)],
            price_fen_per_t=row.price_fen_per_t,
            quantity_t=row.quantity_t,
        ),
        state=_order_state(row),
        open_t=row.open_t,
        placed_at=timestamp_of(parse_instant(row.at)),
        position=row.position,
    )


def _order_state(row: queries.Row) -> pb.OrderState.ValueType:
    if row.ended:
        return _ENDED[row.ended]
    if row.open_t == row.quantity_t:
        return pb.ORDER_STATE_NEW
    return pb.ORDER_STATE_PARTLY_FILLED if row.open_t else pb.ORDER_STATE_FILLED


def _trade_message(row: queries.Row) -> pb.Trade:
    return pb.Trade(
        trade=row.trade,
        settlement=row.settlement,
        instrument=row.instrument,
        asset=row.asset,
        buyer=row.buyer,
        seller=row.seller,
        price_fen_per_t=row.price_fen_per_t,
        quantity_t=row.quantity_t,
        at=timestamp_of(parse_instant(row.at)),
        state=_process_state(row),
        refusal=_refusal(row),
        position=row.position,
        entry_position=row.entry_position or 0,
    )


def _release_status(row: queries.Row) -> pb.ReleaseStatus:
    return pb.ReleaseStatus(
        release=pb.Release(id=row.release, holder=row.holder, asset=row.asset, amount=row.amount),
        state=_process_state(row),
        refusal=_refusal(row),
        position=row.position,
        entry_position=row.entry_position or 0,
    )


def _process_state(row: queries.Row) -> pb.ProcessState.ValueType:
    if row.entry_position is not None:
        return pb.PROCESS_STATE_COMPLETED
    return pb.PROCESS_STATE_REFUSED if row.reason else pb.PROCESS_STATE_REQUESTED


def _refusal(row: queries.Row) -> items_pb2.Refusal | None:
    if not row.reason:
        return None
    return items_pb2.Refusal(reason=row.reason, message=row.message, details=row.details)


def register(servicer: MarketRpc) -> Callable[[Any], None]:
    return lambda server: market_pb2_grpc.add_MarketServiceServicer_to_server(servicer, server)
