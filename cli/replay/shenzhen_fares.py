"""What a metro fare says about the length of a ride: Shenzhen's tariff of 2018, read backwards.

2 CNY up to 4 km, then 1 CNY for each 4 km up to 12 km, each 6 km up to 24 km, each 8 km beyond. The
tariff's own fare is meant, before any discount of the card; it is a witness that knows nothing of
our network. Business class on line 11 costs three times as much and looks like a longer ride.
"""

from __future__ import annotations

from typing import Final

import msgspec

FIRST_FARE_FEN: Final = 200
FIRST_BAND_M: Final = 4_000
STEP_FEN: Final = 100
# (up to this length, one more yuan buys this many metres)
STEPS_M: Final = ((12_000, 4_000), (24_000, 6_000))
LAST_STEP_M: Final = 8_000
MAX_RIDE_M: Final = 200_000  # beyond any way through the network: no fare of the tariff


class Bounds(msgspec.Struct, frozen=True):
    """A ride is longer than `least_metres` and at most `metres`."""

    least_metres: int
    metres: int

    def off_m(self, metres: int) -> int:
        """How far a length lies outside: negative below, positive above, 0 within."""
        if metres > self.metres:
            return metres - self.metres
        return min(0, metres - self.least_metres)


def fare_bounds(fare_fen: int) -> Bounds | None:
    """The band a fare pays for, None if the tariff has no such fare."""
    steps, rest = divmod(fare_fen - FIRST_FARE_FEN, STEP_FEN)
    if steps < 0 or rest:
        return None
    bounds = Bounds(0, FIRST_BAND_M)
    for _ in range(steps):
        bounds = Bounds(bounds.metres, bounds.metres + _step_m(bounds.metres))
        if bounds.metres > MAX_RIDE_M:
            return None
    return bounds


def _step_m(metres: int) -> int:
    return next((step_m for limit_m, step_m in STEPS_M if metres < limit_m), LAST_STEP_M)
