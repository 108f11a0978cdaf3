"""What happened in a citizens' book. Facts, never changed; types only grow.

In clear an event says only pseudonym, methodology, milligrams, points and day. Hour, places, order
and distance are in the record's `sealed`, under the citizen's own key: nobody here reads it. Fields
stand in sorted order; days are Asia/Shanghai.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from kernel.keyring import KEY_EVENTS
from kernel.values import Actor


class Mode(StrEnum):
    METRO = "metro"
    BUS = "bus"
    BIKE = "bike"
    EBIKE = "ebike"


class MethodologyStatus(StrEnum):
    FILED = "filed"
    REPORT = "report"


class MethodologyProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A factor with its passport. `has_metro` None: it makes no difference.

    `proposed_by` is who proposed it: another person has to approve it.
    """

    baseline_mg_per_km: int
    counterfactual: bool
    factor_mg_per_km: int
    gas: str
    has_metro: bool | None
    methodology: str
    mode: Mode
    project_mg_per_km: int
    proposed_by: Actor
    region: str
    source: str
    status: MethodologyStatus
    title: str
    valid_first: str
    valid_last: str
    version: str


class MethodologyApproved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By another person than its proposer; it counts from here on."""

    methodology: str
    version: str


class PointRuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mode: Mode
    points_per_kg: int
    valid_first: str


class OperatorRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    city: str
    city_has_metro: bool
    modes: list[Mode]
    name: str
    operator: str


class CitizenEnrolled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pseudonym; who it is, and her key, lie in the vault."""

    citizen: str
    measure: bool
    sell: bool


class ConsentChanged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    citizen: str
    measure: bool
    sell: bool


class CitizenForgotten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every consent is withdrawn; key and link are destroyed after this."""

    citizen: str


class TripBatchReceived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With the operator's signed trip-batch over the digest of the trips."""

    batch: str
    count: int
    digest: str
    operator: str


class TripCredited(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`nullifier`: SHA-256 of operator and order, in hex; a trip earns once.

    `because` says why it is not saleable, and is empty when it is. `day` is the trip's own day;
    pending until `confirms_on`, the second day after it was recorded.
    """

    batch: str
    because: str
    citizen: str
    confirms_on: str
    day: str
    flags: list[str]
    methodology: str
    mode: Mode
    nullifier: str
    operator: str
    points: int
    reduction_mg: int
    saleable: bool
    version: str


class TripRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Earns nothing, and says why. `citizen` is empty when the rider is not known."""

    batch: str
    citizen: str
    day: str
    details: dict[str, str]
    mode: Mode
    nullifier: str
    operator: str
    reason: str


class DayConfirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was to be confirmed on this day, or before it, is confirmed."""

    day: str


EVENTS = (
    MethodologyProposed,
    MethodologyApproved,
    PointRuleSet,
    OperatorRegistered,
    CitizenEnrolled,
    ConsentChanged,
    CitizenForgotten,
    TripBatchReceived,
    TripCredited,
    TripRefused,
    DayConfirmed,
    *KEY_EVENTS,
)
