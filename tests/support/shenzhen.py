"""The world of the inclusive tests: Shenzhen's metro and buses, shared bikes, and who rides them.

Factors are the published ones: Shenzhen 2021 low-carbon public travel (filed), the shared riding
report (not filed), Chongqing's shared e-bikes (filed). Keys come from printed seeds and must never
sign anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kernel.acts import sign_act
from kernel.ids import derived_holder_id
from kernel.keyring import KeyAdmitted
from kernel.values import Act, parse_instant
from services.inclusive.domain.commands import (
    Distance,
    DistanceSource,
    Evidence,
    ProposeMethodology,
    ReceiveTripBatch,
    ReportTrip,
    Ride,
)
from services.inclusive.domain.decide import decide
from services.inclusive.domain.events import (
    CitizenEnrolled,
    MethodologyApproved,
    MethodologyProposed,
    MethodologyStatus,
    Mode,
    OperatorRegistered,
    PointRuleSet,
    TripBatchReceived,
    TripCredited,
    TripRefused,
)
from services.inclusive.domain.evolve import evolve
from services.inclusive.domain.measure import nullifier_of
from services.inclusive.domain.state import State
from tests.support.books import Book, person
from tests.support.lanzhou import admitted, seeded_key

InclusiveBook = Book[State]

METRO = derived_holder_id("shenzhen", "metro")
BIKES = derived_holder_id("shenzhen", "shared bikes")
COUNTY_BIKES = derived_holder_id("lanzhou", "bikes of a county without a metro")
METRO_KEY = seeded_key("Shenzhen metro")
BIKES_KEY = seeded_key("Shenzhen shared bikes")

LIN = "c-linlinlinlinlin2"  # rides the metro to work
CHEN = "c-chenchenchenche2"  # agreed to be measured, not to sell
STRANGER = "c-nobodynobodyno2"

FIRST = person("wang of the platform", roles=["inclusive-operator"])
SECOND = person("li of the platform", roles=["inclusive-operator"])
METRO_CLERK = person("metro clerk", holders=[METRO])
BIKES_CLERK = person("bikes clerk", holders=[BIKES, COUNTY_BIKES])
WRITER = person("writer", roles=["system"])

PUBLIC_TRAVEL = "SZ-2021-PUBLIC-TRAVEL"
RIDING = "SHARED-RIDING-REPORT"
POINTS_PER_KG = 1000  # chosen: a point a gram
EIGHT_MS = parse_instant("2026-11-20T00:00:00.000Z")  # eight in the morning in Shenzhen
MINUTE_MS = 60_000


def passport(**changed: Any) -> ProposeMethodology:
    """Shenzhen's metro as filed; `changed` fields as given."""
    fields: dict[str, Any] = {
        "baseline_mg_per_km": 0,
        "counterfactual": False,
        "factor_mg_per_km": 46_800,
        "gas": "CO2",
        "has_metro": None,
        "methodology": PUBLIC_TRAVEL,
        "mode": Mode.METRO,
        "project_mg_per_km": 0,
        "region": "深圳",
        "source": "深圳市低碳公共出行碳普惠方法学（试行）, 2021",
        "status": MethodologyStatus.FILED,
        "title": "深圳市低碳公共出行",
        "valid_first": "2021-11-01",
        "valid_last": "",
        "version": "1-metro",
    }
    return ProposeMethodology(**{**fields, **changed})


def report(mode: Mode, version: str, factor: int, has_metro: bool, project: int = 0) -> Any:
    """One row of the riding report: nationwide, not filed."""
    return passport(
        methodology=RIDING,
        version=version,
        mode=mode,
        region="CN",
        has_metro=has_metro,
        factor_mg_per_km=factor,
        baseline_mg_per_km=factor + project,
        project_mg_per_km=project,
        status=MethodologyStatus.REPORT,
        source="共享骑行减污降碳报告",
        title="共享骑行",
        valid_first="2020-01-01",
    )


PASSPORTS = (
    passport(),
    passport(version="1-bus", mode=Mode.BUS, factor_mg_per_km=26_900),
    report(Mode.BIKE, "bike-metro", 48_650, True),
    report(Mode.BIKE, "bike-no-metro", 53_940, False),
    report(Mode.EBIKE, "ebike-metro", 54_010, True, project=7_020),
    report(Mode.EBIKE, "ebike-no-metro", 59_300, False, project=7_020),
)


def approved(*wanted: ProposeMethodology) -> list[Any]:
    """Proposed by one person and approved by another, as events."""
    events: list[Any] = []
    for one in wanted:
        fields = {name: getattr(one, name) for name in one.__struct_fields__}
        events.append(MethodologyProposed(proposed_by=FIRST.actor, **fields))
        events.append(MethodologyApproved(one.methodology, one.version))
    return events


def holders_key(holder: str, key: Any) -> KeyAdmitted:
    return admitted(key, f"holder:{holder}")


def the_city() -> InclusiveBook:
    """Methodologies, points, operators with their keys, two citizens; one batch of each came in."""
    book: InclusiveBook = Book(State, decide, evolve)
    modes = [Mode.BIKE, Mode.EBIKE]
    return book.given(
        *approved(*PASSPORTS),
        *(PointRuleSet(mode, POINTS_PER_KG, "2021-01-01") for mode in Mode),
        OperatorRegistered("深圳", True, [Mode.BUS, Mode.METRO], "深圳地铁", METRO),
        OperatorRegistered("深圳", True, modes, "共享单车", BIKES),
        OperatorRegistered("永登", False, modes, "县城单车", COUNTY_BIKES),
        holders_key(METRO, METRO_KEY),
        holders_key(BIKES, BIKES_KEY),
        CitizenEnrolled(LIN, True, True),
        CitizenEnrolled(CHEN, True, False),
        *(TripBatchReceived("b-1", 1, "00" * 32, one) for one in (METRO, BIKES, COUNTY_BIKES)),
    )


def network(metres: int) -> Distance:
    return Distance(DistanceSource.NETWORK, metres)


def fare(least_metres: int, metres: int) -> Distance:
    return Distance(DistanceSource.FARE, metres, least_metres)


def trip(
    order: str = "SZT-1",
    *,
    minutes: int | None = 30,
    start_ms: int | None = EIGHT_MS,
    distances: Sequence[Distance] = (network(10_000),),
    operator: str = METRO,
    **changed: Any,
) -> ReportTrip:
    """Lin rides the metro for ten kilometres; `changed` fields as given."""
    end_ms = None if minutes is None else (start_ms or EIGHT_MS) + minutes * MINUTE_MS
    fields: dict[str, Any] = {
        "operator": operator,
        "batch": "b-1",
        "citizen": LIN,
        "nullifier": nullifier_of(operator, order),
        "mode": Mode.METRO,
        "evidence": Evidence.FARE_GATE,
        "started_ms": start_ms,
        "ended_ms": end_ms,
        "from_place": "罗湖",
        "to_place": "世界之窗",
        "distances": tuple(distances),
        "rides": (),
        "methodology": "",
    }
    return ReportTrip(**{**fields, **changed})


def bike(order: str = "MT-1", metres: int = 3_000, **changed: Any) -> ReportTrip:
    """A shared bike, as its operator's own order says."""
    fields: dict[str, Any] = {
        "mode": Mode.BIKE,
        "evidence": Evidence.OPERATOR_ORDER,
        "operator": BIKES,
        "minutes": 20,
        "distances": [Distance(DistanceSource.TRACK, metres)],
    }
    return trip(order, **{**fields, **changed})


def ride(one: ReportTrip) -> Ride:
    return Ride(one.nullifier, one.started_ms or 0, one.ended_ms or 0)


def outcome(book: InclusiveBook, one: ReportTrip) -> TripCredited | TripRefused:
    """What became of a trip that its own operator's clerk reports."""
    clerk = METRO_CLERK if one.operator == METRO else BIKES_CLERK
    (event,) = book.when(one, clerk)
    assert isinstance(event, TripCredited | TripRefused)
    return event


def credited(book: InclusiveBook, one: ReportTrip) -> TripCredited:
    event = outcome(book, one)
    assert isinstance(event, TripCredited), event
    return event


def refused(book: InclusiveBook, one: ReportTrip) -> TripRefused:
    event = outcome(book, one)
    assert isinstance(event, TripRefused), event
    return event


def signed_batch(
    digest: str, count: int, batch: str = "2026-11-20/1", /, key: Any = METRO_KEY, **changed: Any
) -> Act:
    """What the metro signs over its trips; `changed` fields as given."""
    statement = {
        "batch": batch,
        "count": count,
        "digest": digest,
        "kind": "trip-batch",
        "operator": METRO,
    }
    return sign_act(key, {**statement, **changed})


def received(digest: str, count: int, batch: str = "2026-11-20/1") -> ReceiveTripBatch:
    return ReceiveTripBatch(METRO, batch, count, digest)


def citizen_actor(name: str) -> Any:
    """As whom a citizen is recorded."""
    return person(name, roles=["citizen"], iss="citizens:inclusive")


def check_sums(book: InclusiveBook) -> None:
    """Sums by citizen and by methodology agree with the events, and a replay gives the same."""
    state = book.state
    won = [event for event in book.history if isinstance(event, TripCredited)]
    lost = [event for event in book.history if isinstance(event, TripRefused)]
    for name, citizen in state.citizens.items():
        own = [event for event in won if event.citizen == name]
        saleable_mg = citizen.saleable_pending_mg + citizen.saleable_confirmed_mg
        assert citizen.trips == len(own)
        assert citizen.points == sum(event.points for event in own)
        assert citizen.measured_mg == sum(event.reduction_mg for event in own)
        assert saleable_mg == sum(event.reduction_mg for event in own if event.saleable)
        assert citizen.trips_refused == sum(event.citizen == name for event in lost)
    sums = state.sums.values()
    assert sum(one.trips for one in sums) == len(won)
    assert sum(one.reduction_mg for one in sums) == sum(event.reduction_mg for event in won)
    assert sum(one.points for one in sums) == sum(event.points for event in won)
    assert sum(state.refused.values()) == len(lost)
    assert len({event.nullifier for event in won}) == len(won) == len(state.credited)
    assert book.replayed() == state
