"""Prices of an instrument from its settled trades: last, bars by day, closes, the day's band.

A trade counts once it has settled, on the day it was made: what is unwound never moved a price.
The close is the day's volume-weighted average, rounded half up to the tick (domain section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kernel.values import DAY_MS, day_start_ms
from services.market.domain.events import Trade

BASIS_POINTS: Final = 10_000


@dataclass(slots=True)
class Bar:
    """One trading day; there is none of a day without trades."""

    day: str
    open_fen_per_t: int
    high_fen_per_t: int
    low_fen_per_t: int
    volume_t: int = 0
    turnover_fen: int = 0
    trades: int = 0

    def add(self, trade: Trade) -> None:
        price = trade.price_fen_per_t
        self.high_fen_per_t = max(self.high_fen_per_t, price)
        self.low_fen_per_t = min(self.low_fen_per_t, price)
        self.volume_t += trade.quantity_t
        self.turnover_fen += trade.quantity_t * price
        self.trades += 1

    def close_fen_per_t(self, tick_fen: int) -> int:
        """Turnover over volume, to the nearest tick, halves up."""
        step = self.volume_t * tick_fen
        return (2 * self.turnover_fen + step) // (2 * step) * tick_fen


def last_instant_ms(day: str) -> int:
    """Of a trading day: the terms in force then say how its close is rounded."""
    return day_start_ms(day) + DAY_MS - 1


def band_of(previous_close: int, band_bp: int, tick_fen: int) -> tuple[int, int]:
    """Lowest and highest price within the band, on the tick; (0, 0): no band."""
    if not band_bp:
        return 0, 0
    low = previous_close * (BASIS_POINTS - band_bp)
    high = previous_close * (BASIS_POINTS + band_bp)
    step = BASIS_POINTS * tick_fen
    return max(-(-low // step) * tick_fen, tick_fen), high // step * tick_fen
