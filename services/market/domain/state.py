"""What the market book knows, in memory; rebuilt from the events by evolve alone."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kernel.values import Envelope
from services.market.domain.events import (
    InstrumentDefined,
    ReleaseRequested,
    Terms,
    TradesMade,
)
from services.market.domain.matching import Order, OrderBook
from services.market.domain.prices import Bar, last_instant_ms

MONEY = "CNY"

E = TypeVar("E", TradesMade, ReleaseRequested)


@dataclass(slots=True)
class Position:
    """What a holder has here of one asset. `on_the_way`: traded or asked back, not settled yet."""

    free: int = 0
    reserved: int = 0
    on_the_way: int = 0


@dataclass(slots=True)
class Bought:
    """Units that came to a holder by trades of one day."""

    day: str
    quantity_t: int


@dataclass
class Instrument:
    defined: InstrumentDefined
    # By their instant, oldest first; the first is that of the definition.
    terms: list[tuple[int, Terms]] = field(default_factory=list)
    book: OrderBook = field(default_factory=OrderBook)
    bars: dict[str, Bar] = field(default_factory=dict)  # by day, oldest first
    last_fen_per_t: int = 0

    def terms_at(self, at_ms: int) -> Terms:
        """What was in force; before the first terms, those."""
        place = bisect_right(self.terms, at_ms, key=lambda one: one[0])
        return self.terms[max(place - 1, 0)][1]

    def close_of(self, bar: Bar) -> int:
        return bar.close_fen_per_t(self.terms_at(last_instant_ms(bar.day)).tick_fen)

    def previous_close(self, day: str) -> int:
        """Of the last day before this one that had trades, else the reference price."""
        for past in reversed(self.bars):
            if past < day:
                return self.close_of(self.bars[past])
        return self.defined.reference_price_fen_per_t


@dataclass(slots=True)
class Open(Generic[E]):
    """A request of ours to the accounts book that has not been answered; where it stands here."""

    id: str  # of the command
    position: int
    event: E


@dataclass
class State:
    instruments: dict[str, Instrument] = field(default_factory=dict)
    positions: dict[str, dict[str, Position]] = field(default_factory=dict)  # by holder, asset
    orders: dict[str, Order] = field(default_factory=dict)  # live ones
    orders_by_day: dict[str, dict[str, None]] = field(default_factory=dict)
    bought: dict[tuple[str, str], Bought] = field(default_factory=dict)  # by (holder, asset)
    settlements: dict[str, Open[TradesMade]] = field(
        default_factory=dict
    )  # open ones, oldest first
    releases: dict[str, Open[ReleaseRequested]] = field(default_factory=dict)
    # Who may not trade: by holder, and by who has said so (empty: the registrars), the status.
    barred: dict[str, dict[str, str]] = field(default_factory=dict)
    # Every order, pick and release there ever was: settlements and trades are named after them.
    names: set[str] = field(default_factory=set)
    envelope: Envelope | None = None  # of the event being folded

    def position(self, holder: str, asset: str) -> Position:
        """To be changed: made when there is none."""
        return self.positions.setdefault(holder, {}).setdefault(asset, Position())

    def free(self, holder: str, asset: str) -> int:
        known = self.positions.get(holder, {}).get(asset)
        return 0 if known is None else known.free

    def bought_on(self, holder: str, asset: str, day: str) -> int:
        known = self.bought.get((holder, asset))
        return known.quantity_t if known is not None and known.day == day else 0

    def stands_at(self) -> tuple[str, int, int]:
        """Command, position and instant (ms) of the event being folded."""
        around = self.envelope
        return ("", 0, 0) if around is None else (around.id, around.position, around.on_ms)


def told(state: State, envelope: Envelope) -> None:
    """The envelope of the next event: open requests are known by it."""
    state.envelope = envelope
