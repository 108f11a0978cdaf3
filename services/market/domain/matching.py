"""The order book of one instrument: price levels, first come first served within a level.

The hot path: adding and taking at the best price cost O(1), a new level a search among the levels.
It matches what is asked and decides nothing: terms, funds and sessions are rules.py's. Orders live
for one trading day; what is left of another day is passed over until the timer has removed it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from services.market.domain.events import Side


@dataclass(slots=True)
class Order:
    """A live order; `open_t` is what nobody has taken yet."""

    order: str
    instrument: str
    holder: str
    side: Side
    price_fen_per_t: int
    quantity_t: int
    open_t: int
    day: str
    placed_at_ms: int


class Fill(NamedTuple):
    """What a taker gets from one maker, at the maker's price."""

    maker: Order
    quantity_t: int


@dataclass(slots=True)
class Half:
    """One side. `sign` is 1 for bids and -1 for asks, so that the best rank is always the last."""

    sign: int
    # OrderedDict: taking the first of many is O(1) there, and not in a dict.
    levels: dict[int, OrderedDict[str, Order]] = field(default_factory=dict)
    ranks: list[int] = field(default_factory=list)

    def add(self, order: Order) -> None:
        level = self.levels.get(order.price_fen_per_t)
        if level is None:
            level = self.levels[order.price_fen_per_t] = OrderedDict()
            insort(self.ranks, self.sign * order.price_fen_per_t)
        level[order.order] = order

    def remove(self, order: Order) -> None:
        level = self.levels[order.price_fen_per_t]
        del level[order.order]
        if not level:
            del self.levels[order.price_fen_per_t]
            rank = self.sign * order.price_fen_per_t
            del self.ranks[-1 if self.ranks[-1] == rank else bisect_left(self.ranks, rank)]

    def best(self, day: str) -> Iterator[tuple[int, list[Order]]]:
        """Prices with their live orders, best first."""
        for rank in reversed(self.ranks):
            price = rank * self.sign
            live = [order for order in self.levels[price].values() if order.day == day]
            if live:
                yield price, live

    def take(self, worst: int, quantity_t: int, day: str, max_levels: int | None) -> list[Fill]:
        """Fills for at most this quantity, no price worse than `worst` for the taker."""
        fills: list[Fill] = []
        left_t, limit, seen = quantity_t, worst * self.sign, 0
        for rank in reversed(self.ranks):
            if rank < limit or seen == max_levels:
                break
            live = False
            for order in self.levels[rank * self.sign].values():
                if order.day != day:
                    continue
                live = True
                if order.open_t >= left_t:
                    fills.append(Fill(order, left_t))
                    return fills
                fills.append(Fill(order, order.open_t))
                left_t -= order.open_t
            seen += live
        return fills


@dataclass(slots=True)
class OrderBook:
    bids: Half = field(default_factory=lambda: Half(1))
    asks: Half = field(default_factory=lambda: Half(-1))

    def side(self, side: Side) -> Half:
        return self.bids if side == Side.BUY else self.asks

    def against(self, side: Side) -> Half:
        """Where somebody on this side finds a counterparty."""
        return self.asks if side == Side.BUY else self.bids

    def fill(self, order: Order, quantity_t: int) -> None:
        """Somebody has taken this much; what is filled leaves the book."""
        order.open_t -= quantity_t
        if not order.open_t:
            self.side(order.side).remove(order)
