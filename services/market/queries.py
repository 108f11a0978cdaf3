"""Reads of the market service: book, prices, positions from the state, histories from the tables.

Nothing here says whose an order in the book is: names of holders go to their operators alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa

from services.market.domain.events import Terms
from services.market.domain.matching import Order
from services.market.domain.prices import Bar, band_of
from services.market.domain.rules import known_instrument
from services.market.domain.state import Instrument, Position, State
from services.market.tables import endings, orders, releases, trades

DEFAULT_LEVELS: Final = 5
MAX_LEVELS: Final = 100
MAX_LEVEL_ORDERS: Final = 500  # shown of a level: 100 levels of them fit into a message

Row: TypeAlias = "sa.Row[Any]"


class InstrumentRow(NamedTuple):
    instrument: Instrument
    terms: Terms


def instruments(state: State, name: str, at_ms: int) -> list[InstrumentRow]:
    found = [known_instrument(state, name)] if name else list(state.instruments.values())
    return [InstrumentRow(one, one.terms_at(at_ms)) for one in found]


class LevelRow(NamedTuple):
    """`orders` are the earliest ones, and copies: the book goes on while the answer is made."""

    price_fen_per_t: int
    open_t: int
    orders: list[Order]


def book(state: State, name: str, count: int, day: str) -> tuple[list[LevelRow], list[LevelRow]]:
    """Bids and asks, best first, without what is left of another day."""
    both = known_instrument(state, name).book
    bids, asks = (
        [_level(price, live) for price, live in islice(half.best(day), count)]
        for half in (both.bids, both.asks)
    )
    return bids, asks


def _level(price: int, live: list[Order]) -> LevelRow:
    shown = [replace(order) for order in live[:MAX_LEVEL_ORDERS]]
    return LevelRow(price, sum(order.open_t for order in live), shown)


class BarRow(NamedTuple):
    """`bar` is None for a day without trades."""

    day: str
    bar: Bar | None
    close_fen_per_t: int


class QuoteRow(NamedTuple):
    last_fen_per_t: int
    previous_close_fen_per_t: int
    today: BarRow
    lowest_fen_per_t: int
    highest_fen_per_t: int


def quote(state: State, name: str, day: str, at_ms: int) -> QuoteRow:
    instrument = known_instrument(state, name)
    terms, previous = instrument.terms_at(at_ms), instrument.previous_close(day)
    bar = instrument.bars.get(day)
    close = previous if bar is None else instrument.close_of(bar)
    lowest, highest = band_of(previous, terms.band_bp, terms.tick_fen)
    today = BarRow(day, None if bar is None else replace(bar), close)
    return QuoteRow(instrument.last_fen_per_t, previous, today, lowest, highest)


def bars(state: State, name: str, after: str, limit: int) -> list[BarRow]:
    """Days with trades, oldest first, from just after a day."""
    instrument = known_instrument(state, name)
    later = (bar for day, bar in instrument.bars.items() if day > after)
    return [BarRow(bar.day, replace(bar), instrument.close_of(bar)) for bar in islice(later, limit)]


def positions(state: State, holder: str) -> list[tuple[str, Position]]:
    """What a holder has here, by asset; what is all zero is left out."""
    return [
        (asset, Position(one.free, one.reserved, one.on_the_way))
        for asset, one in sorted(state.positions.get(holder, {}).items())
        if one != Position()
    ]


def is_settling(state: State, holder: str) -> bool:
    """Is a trade of this holder on its way to be settled? Open ones are few: they are looked at."""
    return any(
        holder in (trade.buyer, trade.seller)
        for one in state.settlements.values()
        for trade in one.event.trades
    )


def are_open(state: State, names: Collection[str]) -> bool:
    return any(name in state.releases for name in names)


# ---- the tables ----------------------------------------------------------------------------------


def list_orders(engine: sa.Engine, holder: str, after: int, limit: int) -> list[Row]:
    """A holder's orders, oldest first, from just after a position."""
    query = (
        sa.select(orders)
        .where(orders.c.holder == holder, orders.c.position > after)
        .order_by(orders.c.position)
        .limit(limit)
    )
    with engine.connect() as connection:
        return list(connection.execute(query))


_ENDING = (
    endings.c.entry_position,
    endings.c.reason,
    endings.c.message,
    endings.c.details,
)


def list_trades(engine: sa.Engine, holder: str, after: tuple[int, ...], limit: int) -> list[Row]:
    """A holder's trades with their ends, oldest first, from (position, number)."""
    place = sa.tuple_(trades.c.position, trades.c.number)
    query = (
        sa.select(trades, *_ENDING)
        .join(endings, endings.c.name.in_([trades.c.trade, trades.c.settlement]), isouter=True)
        .where(
            sa.or_(trades.c.buyer == holder, trades.c.seller == holder),
            place > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])),
        )
        .order_by(trades.c.position, trades.c.number)
        .limit(limit)
    )
    with engine.connect() as connection:
        return list(connection.execute(query))


def find_releases(engine: sa.Engine, names: Collection[str]) -> list[Row]:
    query = (
        sa.select(releases, *_ENDING)
        .join(endings, endings.c.name == releases.c.release, isouter=True)
        .where(releases.c.release.in_(names))
        .order_by(releases.c.position)
    )
    with engine.connect() as connection:
        return list(connection.execute(query))


def parties_of(engine: sa.Engine, name: str) -> set[str]:
    """Whose an order, settlement or release is: events that end one name nobody."""
    query = sa.union(
        sa.select(orders.c.holder).where(orders.c.order == name),
        sa.select(releases.c.holder).where(releases.c.release == name),
        sa.select(trades.c.buyer).where(trades.c.settlement == name),
        sa.select(trades.c.seller).where(trades.c.settlement == name),
    )
    with engine.connect() as connection:
        return set(connection.execute(query).scalars())
