"""The arithmetic of a trip: metres, milligrams, points (domain section 6, "Rounding").

Distance down to 10 m; reduction = factor x metres // 1000, floored once per trip; points floored
once per trip. Integers only. Also the three names that other people compute too: a trip's nullifier
and a batch's digest (docs/reference/trip-batches.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from services.inclusive.domain.commands import Distance, DistanceSource

STEP_M: Final = 10  # what distances are floored to
MG_PER_KG: Final = 1_000_000
# With a factor of at least this the milligrams of a trip give its metres back: see distance_of_m.
MIN_FACTOR_MG_PER_KM: Final = 1_000
APART_M: Final = 500  # two distances further apart than this are paid, and looked at


class SignedDistance(msgspec.Struct, frozen=True):
    least_metres: int
    metres: int
    source: str


class SignedTrip(msgspec.Struct, frozen=True):
    """A trip as its operator signs it. Fields in sorted order: the plain encoder is canonical."""

    distances: list[SignedDistance]
    ended_ms: int | None
    evidence: str
    from_place: str
    mode: str
    order: str
    rider_ref: str
    started_ms: int | None
    to_place: str


_encode = msgspec.json.Encoder().encode


def payable_m(distances: Sequence[Distance]) -> int | None:
    """The lowest of the lengths, floored to 10 m; None when no source says a length.

    A fare is a witness and no length: it can lower the others, never stand alone.
    """
    lengths = [one.metres for one in distances if one.source != DistanceSource.FARE]
    if not lengths:
        return None
    longest_paid = [one.metres for one in distances if one.source == DistanceSource.FARE]
    return min(lengths + longest_paid) // STEP_M * STEP_M


def distances_differ(distances: Sequence[Distance]) -> bool:
    """Are two lengths more than half a kilometre apart, or one as far outside its fare's bounds?"""
    lengths = [one.metres for one in distances if one.source != DistanceSource.FARE]
    if max(lengths) - min(lengths) > APART_M:
        return True
    return any(
        length > fare.metres + APART_M or length < fare.least_metres - APART_M
        for fare in distances
        if fare.source == DistanceSource.FARE
        for length in lengths
    )


def reduction_mg(factor_mg_per_km: int, distance_m: int) -> int:
    """Floored once."""
    return factor_mg_per_km * distance_m // 1000


def points_of(points_per_kg: int, measured_mg: int, *, halved: bool) -> int:
    """Floored once; what a person only says of herself earns half."""
    return points_per_kg * measured_mg // (2 * MG_PER_KG if halved else MG_PER_KG)


def distance_of_m(measured_mg: int, factor_mg_per_km: int) -> int:
    """The metres that gave this reduction; exact, because metres are multiples of 10."""
    metres = -(-measured_mg * 1000 // factor_mg_per_km)
    return -(-metres // STEP_M) * STEP_M


def nullifier_of(operator: str, order: str) -> bytes:
    """SHA-256 of the operator's id, a zero byte and its order number: a trip earns once."""
    return hashlib.sha256(f"{operator}\0{order}".encode()).digest()


def digest_of(trips: Sequence[SignedTrip]) -> str:
    """SHA-256, in hex, of the canonical JSON of a batch's trips, in their order."""
    return hashlib.sha256(_encode(trips)).hexdigest()
