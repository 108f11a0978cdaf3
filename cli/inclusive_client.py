"""The inclusive service as the tools call it: methodologies, operators, citizens, signed trips.

Plain values in and out, as cli/clients.py, over the same door. `trips_digest` is the canonical JSON
of docs/reference/trip-batches.md in this side's own words: an operator makes it without our code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tanzhang.inclusive.v1 import inclusive_pb2 as inclusive
from tanzhang.inclusive.v1 import inclusive_pb2_grpc

from cli.clients import Books, Outcome, Persona, answered_in_order, outcome_of
from kernel.errors import InvariantBroken
from kernel.rpc.items import act_message, timestamp_of
from kernel.values import Act

MAX_TRIPS: Final = 1_000  # per batch, half of what the service takes
MAX_CITIZENS: Final = 500  # per call
DEADLINE_S: Final = 60.0  # a batch is one commit, but other batches may stand before it


@dataclass(frozen=True)
class Methodology:
    """A factor with its passport; days are Asia/Shanghai, both included."""

    id: str
    methodology: str
    version: str
    title: str
    region: str
    mode: str
    status: str
    factor_mg_per_km: int
    gas: str
    source: str
    valid_first: str
    valid_last: str
    counterfactual: bool = False
    has_metro: bool | None = None  # of a city with, or without; None: it makes no difference


@dataclass(frozen=True)
class PointRule:
    """Points per kilogram by mode, from a day on; floored once per trip."""

    id: str
    mode: str
    valid_first: str
    points_per_kg: int


@dataclass(frozen=True)
class Operator:
    id: str
    operator: str
    name: str
    city: str
    city_has_metro: bool
    modes: tuple[str, ...]


@dataclass(frozen=True)
class Enrolment:
    """`rider_ref` is the operator's own name for the rider; it goes to the vault alone."""

    id: str
    operator: str
    rider_ref: str
    measure: bool
    sell: bool


@dataclass(frozen=True)
class Distance:
    """Of a fare `metres` is the longest it pays for, and `least_metres` the bound below."""

    source: str
    metres: int
    least_metres: int = 0


@dataclass(frozen=True)
class Trip:
    """As its operator knows it; None and "" where nobody does."""

    order: str
    rider_ref: str
    mode: str
    evidence: str
    started_ms: int | None
    ended_ms: int | None
    from_place: str
    to_place: str
    distances: tuple[Distance, ...] = ()


@dataclass(frozen=True)
class TripOutcome:
    """A credit with its milligrams, or a reason; recorded at `position` either way."""

    order: str
    position: int
    reason: str = ""
    message: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    distance_m: int = 0
    reduction_mg: int = 0
    points: int = 0
    saleable: bool = False
    not_saleable_because: str = ""
    flags: tuple[str, ...] = ()
    methodology: str = ""
    version: str = ""

    @property
    def credited(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class BatchOutcome:
    """What became of a batch, and of each of its trips if its signature holds."""

    batch: Outcome
    trips: tuple[TripOutcome, ...]


@dataclass(frozen=True)
class CitizenState:
    """What a citizen has, under her pseudonym."""

    citizen: str
    points: int
    measured_mg: int
    saleable_pending_mg: int
    saleable_confirmed_mg: int
    trips: int
    trips_refused: int


@dataclass(frozen=True)
class ExplainedTrip:
    """`trip.order` is empty to anyone but the citizen, and once it is forgotten."""

    day: str
    mode: str
    trip: TripOutcome
    explanation_zh: str
    explanation_en: str


@dataclass(frozen=True)
class Sum:
    methodology: str
    version: str
    trips: int
    distance_m: int
    reduction_mg: int
    saleable_mg: int
    points: int


@dataclass(frozen=True)
class Sums:
    """By methodology, and the last position they cover."""

    methodologies: tuple[Sum, ...]
    as_of_position: int


def trips_digest(trips: Sequence[Trip]) -> str:
    """SHA-256 in hex of the trips' canonical JSON: what an operator signs."""
    told = [
        {
            "distances": [
                {"least_metres": one.least_metres, "metres": one.metres, "source": one.source}
                for one in trip.distances
            ],
            "ended_ms": trip.ended_ms,
            "evidence": trip.evidence,
            "from_place": trip.from_place,
            "mode": trip.mode,
            "order": trip.order,
            "rider_ref": trip.rider_ref,
            "started_ms": trip.started_ms,
            "to_place": trip.to_place,
        }
        for trip in trips
    ]
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Inclusive:
    """The service behind the door that `books` has opened."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._stub: Any = inclusive_pb2_grpc.InclusiveServiceStub(books.channel("inclusive"))

    async def propose_methodologies(
        self, who: Persona, methodologies: Sequence[Methodology]
    ) -> list[Outcome]:
        items = [_methodology_message(one) for one in methodologies]
        request = inclusive.ProposeMethodologiesRequest(methodologies=items)
        return await self._batch(self._stub.ProposeMethodologies, request, who, items)

    async def approve_methodologies(
        self, who: Persona, approvals: Mapping[str, Methodology]
    ) -> list[Outcome]:
        """Each methodology under the id of its approval."""
        items = [
            inclusive.MethodologyApproval(id=id, methodology=one.methodology, version=one.version)
            for id, one in approvals.items()
        ]
        request = inclusive.ApproveMethodologiesRequest(approvals=items)
        return await self._batch(self._stub.ApproveMethodologies, request, who, items)

    async def set_point_rules(self, who: Persona, rules: Sequence[PointRule]) -> list[Outcome]:
        items = [
            inclusive.PointRule(
                id=one.id,
                mode=_mode(one.mode),
                valid_first=one.valid_first,
                points_per_kg=one.points_per_kg,
            )
            for one in rules
        ]
        request = inclusive.SetPointRulesRequest(rules=items)
        return await self._batch(self._stub.SetPointRules, request, who, items)

    async def register_operators(
        self, who: Persona, operators: Sequence[Operator]
    ) -> list[Outcome]:
        items = [
            inclusive.Operator(
                id=one.id,
                operator=one.operator,
                name=one.name,
                city=one.city,
                city_has_metro=one.city_has_metro,
                modes=[_mode(mode) for mode in one.modes],
            )
            for one in operators
        ]
        request = inclusive.RegisterOperatorsRequest(operators=items)
        return await self._batch(self._stub.RegisterOperators, request, who, items)

    async def enrol_citizens(self, who: Persona, enrolments: Sequence[Enrolment]) -> list[Outcome]:
        items = [
            inclusive.Enrolment(
                id=one.id,
                measure=one.measure,
                sell=one.sell,
                riders=[inclusive.Rider(operator=one.operator, rider_ref=one.rider_ref)],
            )
            for one in enrolments
        ]
        request = inclusive.EnrolCitizensRequest(enrolments=items)
        return await self._batch(self._stub.EnrolCitizens, request, who, items)

    async def report_trips(
        self,
        who: Persona,
        id: str,
        operator: str,
        batch: str,
        trips: Sequence[Trip],
        acts: Sequence[Act],
        methodology: str = "",
    ) -> BatchOutcome:
        """One signed batch; sending it again changes nothing and answers the same."""
        request = inclusive.ReportTripsRequest(
            id=id,
            operator=operator,
            batch=batch,
            trips=[_trip_message(one) for one in trips],
            acts=[act_message(act) for act in acts],
            methodology=methodology,
        )
        response = await self._books.call(self._stub.ReportTrips, request, who, DEADLINE_S)
        batch_outcome = outcome_of(response.result)
        answers = tuple(_trip_outcome(one) for one in response.trips)
        asked = [one.order for one in trips]
        if batch_outcome.accepted and [one.order for one in answers] != asked:
            raise InvariantBroken(f"expected one answer per trip in order, got {len(answers)}")
        return BatchOutcome(batch_outcome, answers)

    async def citizen(self, who: Persona, min_position: int = 0) -> CitizenState:
        """The caller's own."""
        request = inclusive.GetCitizenRequest(min_position=min_position)
        one = (await self._books.call(self._stub.GetCitizen, request, who)).citizen
        return CitizenState(
            citizen=one.citizen,
            points=one.points,
            measured_mg=one.measured_mg,
            saleable_pending_mg=one.saleable_pending_mg,
            saleable_confirmed_mg=one.saleable_confirmed_mg,
            trips=one.trips,
            trips_refused=one.trips_refused,
        )

    async def trips(self, who: Persona, min_position: int = 0) -> list[ExplainedTrip]:
        """The first page of the caller's own, each explained."""
        request = inclusive.ListTripsRequest(min_position=min_position)
        response = await self._books.call(self._stub.ListTrips, request, who)
        return [
            ExplainedTrip(
                day=one.day,
                mode=inclusive.Mode.Name(one.mode).removeprefix("MODE_").lower(),
                trip=_trip_outcome(one),
                explanation_zh=one.explanation_zh,
                explanation_en=one.explanation_en,
            )
            for one in response.trips
        ]

    async def sums(self, min_position: int = 0) -> Sums:
        """Of the whole book."""
        request = inclusive.GetSumsRequest(min_position=min_position)
        response = await self._books.call(self._stub.GetSums, request)
        found = (
            Sum(
                methodology=one.methodology,
                version=one.version,
                trips=one.trips,
                distance_m=one.distance_m,
                reduction_mg=one.reduction_mg,
                saleable_mg=one.saleable_mg,
                points=one.points,
            )
            for one in response.methodologies
        )
        return Sums(tuple(found), response.as_of_position)

    async def _batch(
        self, method: Any, request: Any, who: Persona, items: Sequence[Any]
    ) -> list[Outcome]:
        response = await self._books.call(method, request, who, DEADLINE_S)
        return answered_in_order(response, items)


def _mode(mode: str) -> inclusive.Mode.ValueType:
    return inclusive.Mode.Value(f"MODE_{mode.upper()}")


def _methodology_message(one: Methodology) -> inclusive.Methodology:
    return inclusive.Methodology(
        id=one.id,
        methodology=one.methodology,
        version=one.version,
        title=one.title,
        region=one.region,
        mode=_mode(one.mode),
        status=inclusive.MethodologyStatus.Value(f"METHODOLOGY_STATUS_{one.status.upper()}"),
        factor_mg_per_km=one.factor_mg_per_km,
        gas=one.gas,
        source=one.source,
        valid_first=one.valid_first,
        valid_last=one.valid_last,
        counterfactual=one.counterfactual,
        has_metro=one.has_metro,
    )


def _trip_message(trip: Trip) -> inclusive.Trip:
    evidence = inclusive.Evidence.Value(f"EVIDENCE_{trip.evidence.upper()}")
    return inclusive.Trip(
        order=trip.order,
        rider_ref=trip.rider_ref,
        mode=_mode(trip.mode),
        evidence=evidence,
        started_at=None if trip.started_ms is None else timestamp_of(trip.started_ms),
        ended_at=None if trip.ended_ms is None else timestamp_of(trip.ended_ms),
        from_place=trip.from_place,
        to_place=trip.to_place,
        distances=[
            inclusive.Distance(
                source=inclusive.DistanceSource.Value(f"DISTANCE_SOURCE_{one.source.upper()}"),
                metres=one.metres,
                least_metres=one.least_metres,
            )
            for one in trip.distances
        ],
    )


def _trip_outcome(result: inclusive.TripResult | inclusive.ExplainedTrip) -> TripOutcome:
    if result.HasField("refused"):
        refused = result.refused
        return TripOutcome(
            result.order,
            result.position,
            refused.reason,
            refused.message,
            dict(refused.details),
        )
    credit = result.credit
    return TripOutcome(
        result.order,
        result.position,
        distance_m=credit.distance_m,
        reduction_mg=credit.reduction_mg,
        points=credit.points,
        saleable=credit.saleable,
        not_saleable_because=credit.not_saleable_because,
        flags=tuple(credit.flags),
        methodology=credit.methodology,
        version=credit.version,
    )
