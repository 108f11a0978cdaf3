"""The market as the tools call it: instruments, listings, picks, trades, releases, quotes.

Plain values in and out, as cli/clients.py, through the same door and with its patience. Trades and
releases are read with `settled`: the service waits a few seconds for their end and then answers
what is, so who asks looks at `state` and asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tanzhang.market.v1 import market_pb2 as market
from tanzhang.market.v1 import market_pb2_grpc

from cli.clients import Books, Outcome, Persona, Refusal, answered_in_order, instant_ms, refusal_of
from kernel.rpc.items import timestamp_of


@dataclass(frozen=True)
class Instrument:
    """Open all day; `matching_mode` is pick or price_time."""

    id: str
    instrument: str
    asset: str
    name: str
    reference_price_fen_per_t: int
    matching_mode: str
    on_ms: int
    tick_fen: int = 1
    lot_t: int = 1
    band_bp: int = 0
    max_quantity_t: int = 0
    day_turn: bool = False


@dataclass(frozen=True)
class Order:
    """`side` is buy or sell; `id` is the order's name from here on."""

    id: str
    instrument: str
    holder: str
    side: str
    price_fen_per_t: int
    quantity_t: int


@dataclass(frozen=True)
class Pick:
    """Takes from the best five levels of the other side, all of it or none."""

    id: str
    instrument: str
    holder: str
    side: str
    quantity_t: int
    limit_fen_per_t: int


@dataclass(frozen=True)
class Release:
    """Back to the holder's available account; `asset` may be CNY."""

    id: str
    holder: str
    asset: str
    amount: int


@dataclass(frozen=True)
class Level:
    price_fen_per_t: int
    open_t: int


@dataclass(frozen=True)
class Quotes:
    """Last price and the day's bar; `close_fen_per_t` is its volume-weighted average."""

    last_fen_per_t: int
    day: str
    open_fen_per_t: int
    high_fen_per_t: int
    low_fen_per_t: int
    close_fen_per_t: int
    volume_t: int
    turnover_fen: int
    trades: int


@dataclass(frozen=True)
class Position:
    """What a holder has at the market, by asset."""

    asset: str
    free: int
    reserved: int
    on_the_way: int


@dataclass(frozen=True)
class Trade:
    """`state`: requested, completed or refused; `entry_position` in the accounts book."""

    trade: str
    settlement: str
    asset: str
    buyer: str
    seller: str
    price_fen_per_t: int
    quantity_t: int
    at_ms: int
    state: str
    refusal: Refusal
    position: int
    entry_position: int


@dataclass(frozen=True)
class ReleaseStatus:
    release: str
    state: str
    refusal: Refusal
    position: int
    entry_position: int


@dataclass(frozen=True)
class MarketState:
    accepts_orders: bool
    reasons: tuple[str, ...]


class Market:
    """The service behind the door that `books` has opened."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._stub: Any = market_pb2_grpc.MarketServiceStub(books.channel("market"))

    # ---- what changes the market's book ---------------------------------------------------------

    async def define_instruments(self, who: Persona, items: Sequence[Instrument]) -> list[Outcome]:
        instruments = [_instrument_message(one) for one in items]
        request = market.DefineInstrumentsRequest(instruments=instruments)
        return await self._batch(self._stub.DefineInstruments, request, who, items)

    async def place_orders(self, who: Persona, items: Sequence[Order]) -> list[Outcome]:
        orders = [
            market.Order(
                id=one.id,
                instrument=one.instrument,
                holder=one.holder,
                side=_side(one.side),
                price_fen_per_t=one.price_fen_per_t,
                quantity_t=one.quantity_t,
            )
            for one in items
        ]
        request = market.PlaceOrdersRequest(orders=orders)
        return await self._batch(self._stub.PlaceOrders, request, who, items)

    async def pick_orders(self, who: Persona, items: Sequence[Pick]) -> list[Outcome]:
        picks = [
            market.Pick(
                id=one.id,
                instrument=one.instrument,
                holder=one.holder,
                side=_side(one.side),
                quantity_t=one.quantity_t,
                limit_fen_per_t=one.limit_fen_per_t,
            )
            for one in items
        ]
        request = market.PickOrdersRequest(picks=picks)
        return await self._batch(self._stub.PickOrders, request, who, items)

    async def request_releases(self, who: Persona, items: Sequence[Release]) -> list[Outcome]:
        releases = [
            market.Release(id=one.id, holder=one.holder, asset=one.asset, amount=one.amount)
            for one in items
        ]
        request = market.RequestReleasesRequest(releases=releases)
        return await self._batch(self._stub.RequestReleases, request, who, items)

    async def _batch(
        self, method: Any, request: Any, who: Persona, items: Sequence[Any]
    ) -> list[Outcome]:
        return answered_in_order(await self._books.call(method, request, who), items)

    # ---- what reads it --------------------------------------------------------------------------

    async def state(self) -> MarketState:
        """Does it take orders, and if not, why; open to everyone."""
        response = await self._books.call(self._stub.GetMarketState, market.GetMarketStateRequest())
        return MarketState(response.accepts_orders, tuple(response.reasons))

    async def asks(self, instrument: str, min_position: int = 0) -> list[Level]:
        """The best five levels of what is offered; open to everyone."""
        request = market.GetBookRequest(instrument=instrument, min_position=min_position)
        response = await self._books.call(self._stub.GetBook, request)
        return [Level(one.price_fen_per_t, one.open_t) for one in response.asks]

    async def quotes(self, instrument: str, min_position: int = 0) -> Quotes:
        request = market.GetQuotesRequest(instrument=instrument, min_position=min_position)
        response = await self._books.call(self._stub.GetQuotes, request)
        bar = response.day
        return Quotes(
            last_fen_per_t=response.last_fen_per_t,
            day=bar.day,
            open_fen_per_t=bar.open_fen_per_t,
            high_fen_per_t=bar.high_fen_per_t,
            low_fen_per_t=bar.low_fen_per_t,
            close_fen_per_t=bar.close_fen_per_t,
            volume_t=bar.volume_t,
            turnover_fen=bar.turnover_fen,
            trades=bar.trades,
        )

    async def positions(
        self, who: Persona, holder: str, min_position: int = 0, min_accounts_position: int = 0
    ) -> dict[str, Position]:
        """By asset. Of the accounts book it knows what the service heard within its patience."""
        request = market.GetPositionsRequest(
            holder=holder, min_position=min_position, min_accounts_position=min_accounts_position
        )
        response = await self._books.call(self._stub.GetPositions, request, who)
        return {
            one.asset: Position(one.asset, one.free, one.reserved, one.on_the_way)
            for one in response.positions
        }

    async def trades(self, who: Persona, holder: str, min_position: int = 0) -> list[Trade]:
        """The first page of a holder's trades, settled if the service's patience was enough."""
        request = market.ListTradesRequest(holder=holder, min_position=min_position, settled=True)
        response = await self._books.call(self._stub.ListTrades, request, who)
        return [
            Trade(
                trade=one.trade,
                settlement=one.settlement,
                asset=one.asset,
                buyer=one.buyer,
                seller=one.seller,
                price_fen_per_t=one.price_fen_per_t,
                quantity_t=one.quantity_t,
                at_ms=instant_ms(one.at),
                state=_state(one.state),
                refusal=refusal_of(one.refusal),
                position=one.position,
                entry_position=one.entry_position,
            )
            for one in response.trades
        ]

    async def releases(
        self, who: Persona, names: Sequence[str], min_position: int = 0
    ) -> list[ReleaseStatus]:
        """Settled, or what they are after the service's patience."""
        request = market.GetReleasesRequest(releases=names, min_position=min_position, settled=True)
        response = await self._books.call(self._stub.GetReleases, request, who)
        return [
            ReleaseStatus(
                release=one.release.id,
                state=_state(one.state),
                refusal=refusal_of(one.refusal),
                position=one.position,
                entry_position=one.entry_position,
            )
            for one in response.releases
        ]


def _instrument_message(one: Instrument) -> market.Instrument:
    return market.Instrument(
        id=one.id,
        on=timestamp_of(one.on_ms),
        instrument=one.instrument,
        asset=one.asset,
        name=one.name,
        reference_price_fen_per_t=one.reference_price_fen_per_t,
        terms=market.Terms(
            matching_mode=market.MatchingMode.Value(f"MATCHING_MODE_{one.matching_mode.upper()}"),
            tick_fen=one.tick_fen,
            lot_t=one.lot_t,
            band_bp=one.band_bp,
            max_quantity_t=one.max_quantity_t,
            day_turn=one.day_turn,
        ),
    )


def _side(side: str) -> market.Side.ValueType:
    return market.Side.Value(f"SIDE_{side.upper()}")


def _state(number: market.ProcessState.ValueType) -> str:
    return market.ProcessState.Name(number).removeprefix("PROCESS_STATE_").lower()
