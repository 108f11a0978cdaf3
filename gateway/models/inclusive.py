"""What changes the inclusion book: methodologies, operators, citizens and their consents, trips."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.models.parts import (
    Acts,
    Amount,
    Asked,
    Count,
    Day,
    HolderId,
    Instant,
    Name,
    Timed,
)

Mode = Literal["metro", "bus", "bike", "ebike"]
MethodologyStatus = Literal["filed", "report"]
Evidence = Literal["operator_order", "fare_gate", "phone_track", "self_declared"]
DistanceSource = Literal["network", "meter", "track", "chord", "fare"]
MAX_DISTANCES = 64  # of one trip; the book takes fewer and says so of that trip
MAX_TRIPS = 2000  # as many as the book takes in one batch; more is sent as another


class Methodology(Timed):
    """With its factor's passport. One person proposes it, another approves it."""

    methodology: Name = Field(examples=["SZ-2021-PUBLIC-TRAVEL"])
    version: Name
    title: Name
    region: Name
    mode: Mode
    has_metro: bool | None = None
    status: MethodologyStatus
    factor_mg_per_km: Amount
    baseline_mg_per_km: Count = 0
    project_mg_per_km: Count = 0
    gas: Name
    source: Name
    valid_first: Day
    valid_last: Literal[""] | Day = ""
    counterfactual: bool = False


class MethodologyApproval(Timed):
    methodology: Name
    version: Name


class PointRule(Asked):
    mode: Mode
    valid_first: Day
    points_per_kg: Count


class Operator(Asked):
    """Its key for trips stands in the ledger's directory as holder:<operator>."""

    operator: HolderId
    name: Name
    city: Name
    city_has_metro: bool
    modes: Annotated[list[Mode], Field(min_length=1, max_length=4)]


class Rider(Asked):
    """An operator's own name for a rider."""

    operator: HolderId
    rider_ref: Name


class Enrolment(Timed):
    """A citizen for herself, or the platform's staff for her."""

    measure: bool
    sell: bool
    riders: Annotated[list[Rider], Field(max_length=32)] = Field(default_factory=list)


class ConsentChange(Asked):
    measure: bool
    sell: bool


class Forgetting(Asked):
    """Every consent withdrawn, key and link to the person destroyed. Cannot be undone."""


class Distance(Asked):
    source: DistanceSource
    metres: Count
    least_metres: Count = 0


class Trip(Asked):
    """As its operator knows it; what a trip lacks is answered of that trip, the rest goes in."""

    order: str = Field(description="The operator's own number: a trip earns once.")
    rider_ref: str
    mode: Mode | None = None
    evidence: Evidence | None = None
    started_at: Instant | None = Field(None, description="Absent: a tap without its partner.")
    ended_at: Instant | None = Field(None, description="Absent: a tap without its partner.")
    from_place: str = ""
    to_place: str = ""
    distances: Annotated[list[Distance], Field(max_length=MAX_DISTANCES)] = Field(
        default_factory=list
    )


class TripBatch(Asked):
    """Trips under the operator's one signature over their digest."""

    operator: HolderId
    batch: Name
    trips: Annotated[list[Trip], Field(min_length=1, max_length=MAX_TRIPS)]
    acts: Acts
    methodology: str = Field("", description="Judge as of this one; empty: by mode and date.")
