"""What the citizens' book can be asked. Orders; each carries its own id in the context."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from services.inclusive.domain.events import MethodologyStatus, Mode


class Evidence(StrEnum):
    """How good the evidence of a trip is, best first."""

    OPERATOR_ORDER = "operator_order"
    FARE_GATE = "fare_gate"
    PHONE_TRACK = "phone_track"
    SELF_DECLARED = "self_declared"


class DistanceSource(StrEnum):
    NETWORK = "network"
    METER = "meter"
    TRACK = "track"
    CHORD = "chord"
    FARE = "fare"


class ProposeMethodology(msgspec.Struct, frozen=True):
    baseline_mg_per_km: int
    counterfactual: bool
    factor_mg_per_km: int
    gas: str
    has_metro: bool | None
    methodology: str
    mode: Mode
    project_mg_per_km: int
    region: str
    source: str
    status: MethodologyStatus
    title: str
    valid_first: str
    valid_last: str
    version: str


class ApproveMethodology(msgspec.Struct, frozen=True):
    methodology: str
    version: str


class SetPointRule(msgspec.Struct, frozen=True):
    mode: Mode
    valid_first: str
    points_per_kg: int


class RegisterOperator(msgspec.Struct, frozen=True):
    operator: str
    name: str
    city: str
    city_has_metro: bool
    modes: list[Mode]


class EnrolCitizen(msgspec.Struct, frozen=True):
    """The pseudonym comes from the vault, which knows whose it is. Riders never come here."""

    citizen: str
    measure: bool
    sell: bool


class ChangeConsent(msgspec.Struct, frozen=True):
    citizen: str
    measure: bool
    sell: bool


class ForgetCitizen(msgspec.Struct, frozen=True):
    citizen: str


class ReceiveTripBatch(msgspec.Struct, frozen=True):
    """`digest` and `count` are those of the trips that came with it."""

    operator: str
    batch: str
    count: int
    digest: str


class Distance(msgspec.Struct, frozen=True):
    """Of a fare: `metres` is the longest it pays for, `least_metres` the bound below."""

    source: DistanceSource
    metres: int
    least_metres: int = 0


class Ride(msgspec.Struct, frozen=True):
    """Another trip of the same person, as far as the overlap rule needs it."""

    nullifier: bytes
    started_ms: int
    ended_ms: int


class ReportTrip(msgspec.Struct, frozen=True):
    """One trip of a received batch; what the rules need, whether or not the event will say it.

    `citizen` is empty when nobody knows the rider. `rides` are trips of the same person around
    the same time, whatever became of them: those that were credited count. `consented` is what
    stood when it was reported: without it nothing was sealed, and nothing may be credited.
    """

    operator: str
    batch: str
    citizen: str
    nullifier: bytes
    mode: Mode
    evidence: Evidence
    started_ms: int | None
    ended_ms: int | None
    from_place: str
    to_place: str
    distances: tuple[Distance, ...]
    rides: tuple[Ride, ...] = ()
    methodology: str = ""
    consented: bool = True


class ConfirmDay(msgspec.Struct, frozen=True):
    """From the timer alone."""

    day: str
