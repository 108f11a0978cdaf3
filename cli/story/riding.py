"""A commuter in Shenzhen: three rides under one signature, each explained in Chinese and English.

Factors are those of domain figures: two of a filed methodology (saleable), one of a report (shown
and rewarded, never sold). Points are a rule of the platform, chosen here, and never tonnes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from cli.clients import Outcome, Persona
from cli.inclusive_client import (
    BatchOutcome,
    Distance,
    Enrolment,
    Methodology,
    Operator,
    PointRule,
    Trip,
    TripOutcome,
    trips_digest,
)
from cli.story.cast import PLATFORM_CHECKER, PLATFORM_MAKER, name_of
from cli.story.scene import Scene
from cli.telling import expect
from kernel.ids import derived_id

BOOK: Final = "inclusive"
CITY: Final = "深圳"
VALID_FROM: Final = "2021-01-01"
POINTS_PER_KG: Final = 100  # chosen
MINUTE_MS: Final = 60_000


class Factor(NamedTuple):
    """A methodology's factor and its passport."""

    methodology: str
    title: str
    mode: str
    status: str
    factor_mg_per_km: int
    source: str
    has_metro: bool | None = None


FACTORS: Final = (
    Factor(
        "SZ-2021-PUBLIC-TRAVEL-METRO",
        "深圳市低碳公共出行碳普惠方法学：地铁",
        "metro",
        "filed",
        46_800,
        "深圳市低碳公共出行碳普惠方法学 (2021)",
    ),
    Factor(
        "SZ-2021-PUBLIC-TRAVEL-BUS",
        "深圳市低碳公共出行碳普惠方法学：纯电公交",
        "bus",
        "filed",
        26_900,
        "深圳市低碳公共出行碳普惠方法学 (2021)",
    ),
    Factor(
        "SHARED-RIDING-REPORT-BIKE",
        "共享骑行减污降碳报告：单车，有地铁的城市",
        "bike",
        "report",
        48_650,
        "共享骑行减污降碳报告 (美团)",
        has_metro=True,
    ),
)


class Ride(NamedTuple):
    """What one ride must come to."""

    mode: str
    source: str
    distance_m: int
    reduction_mg: int
    points: int
    saleable: bool
    from_place: str
    to_place: str
    begun_min_ago: int
    ended_min_ago: int


RIDES: Final = (
    Ride("metro", "network", 10_000, 468_000, 46, True, "会展中心", "前海湾", 150, 128),
    Ride("bus", "network", 10_000, 269_000, 26, True, "前海湾", "科技园", 120, 88),
    Ride("bike", "meter", 3_000, 145_950, 14, False, "科技园", "深圳湾", 80, 64),
)


async def set_rules(scene: Scene) -> None:
    """Factors by two persons, points by the platform; what stands already is left as it is."""
    methodologies = [_methodology(one) for one in FACTORS]
    proposed = await scene.inclusive.propose_methodologies(PLATFORM_MAKER, methodologies)
    approvals = {derived_id(0, "demo", "approval", one.methodology): one for one in methodologies}
    approved = await scene.inclusive.approve_methodologies(PLATFORM_CHECKER, approvals)
    rules = [_point_rule(mode) for mode in ("metro", "bus", "bike")]
    ruled = await scene.inclusive.set_point_rules(PLATFORM_MAKER, rules)
    for outcome in [*proposed, *approved, *ruled]:
        if outcome.reason != "METHODOLOGY_EXISTS":
            scene.take(outcome, BOOK)
    for one in FACTORS:
        grams = f"{one.factor_mg_per_km / 1000:g}"
        kind = "filed: saleable" if one.status == "filed" else "a report: not saleable"
        scene.say(f"{one.mode:<5}  {grams:>5} g/km, {kind}; {one.source}")
    scene.say(f"proposed by {PLATFORM_MAKER.sub}, approved by {PLATFORM_CHECKER.sub}")
    scene.say(f"{POINTS_PER_KG} points per kg for all three (chosen)")


def _methodology(one: Factor) -> Methodology:
    return Methodology(
        derived_id(0, "demo", "methodology", one.methodology),
        one.methodology,
        "1",
        one.title,
        CITY,
        one.mode,
        one.status,
        one.factor_mg_per_km,
        "CO2",
        one.source,
        VALID_FROM,
        "",
        has_metro=one.has_metro,
    )


def _point_rule(mode: str) -> PointRule:
    id = derived_id(0, "demo", "points", mode, VALID_FROM, POINTS_PER_KG)
    return PointRule(id, mode, VALID_FROM, POINTS_PER_KG)


async def ride(scene: Scene) -> None:
    """She enrols; the operator reports three rides, and one of them a second time."""
    operator = scene.holders["rides"]
    modes = tuple(sorted({one.mode for one in RIDES}))
    registration = Operator(scene.new_id(), operator, name_of("rides"), CITY, True, modes)
    registered = await scene.inclusive.register_operators(PLATFORM_MAKER, [registration])
    scene.take_all(registered, BOOK)
    citizen = Persona(f"citizen.{operator.removeprefix('h-')}", ("citizen",))
    rider_ref = hashlib.sha256(operator.encode()).hexdigest()[:12]
    enrolment = Enrolment(scene.new_id(), operator, rider_ref, measure=True, sell=True)
    scene.take_all(await scene.inclusive.enrol_citizens(citizen, [enrolment]), BOOK)
    known = await scene.inclusive.citizen(citizen, scene.last[BOOK])
    scene.say(f"a citizen of {CITY} enrols as {known.citizen}: measured, and may be sold")
    trips = [_trip(scene, one, rider_ref) for one in RIDES]
    done = await _report(scene, "1", trips)
    _check_credits(done)
    await _report_again(scene, trips[0])
    await _explain(scene, citizen)


def _trip(scene: Scene, one: Ride, rider_ref: str) -> Trip:
    now_ms = scene.clock.now_ms()
    return Trip(
        order=f"{one.mode}-{scene.new_id()}",
        rider_ref=rider_ref,
        mode=one.mode,
        evidence="operator_order",
        started_ms=now_ms - one.begun_min_ago * MINUTE_MS,
        ended_ms=now_ms - one.ended_min_ago * MINUTE_MS,
        from_place=one.from_place,
        to_place=one.to_place,
        distances=(Distance(one.source, one.distance_m),),
    )


async def _report(scene: Scene, number: str, trips: Sequence[Trip]) -> BatchOutcome:
    operator, batch = scene.holders["rides"], f"demo-{scene.number}/{number}"
    statement = {
        "kind": "trip-batch",
        "batch": batch,
        "count": len(trips),
        "digest": trips_digest(trips),
        "operator": operator,
    }
    act = scene.sign("rides", statement)
    who = scene.operator("rides", "dispatcher")
    done = await scene.inclusive.report_trips(who, scene.new_id(), operator, batch, trips, [act])
    scene.take(done.batch, BOOK)
    for trip in done.trips:
        scene.take(Outcome(trip.order, trip.position), BOOK)
    return done


def _check_credits(done: BatchOutcome) -> None:
    for one, trip in zip(RIDES, done.trips, strict=True):
        expect(f"{one.mode}: refused because", "", trip.reason)
        expected = (one.distance_m, one.reduction_mg, one.points, one.saleable)
        actual = (trip.distance_m, trip.reduction_mg, trip.points, trip.saleable)
        expect(f"{one.mode}: metres, milligrams, points, saleable", expected, actual)


async def _report_again(scene: Scene, trip: Trip) -> None:
    done = await _report(scene, "2", [trip])
    (answer,) = done.trips
    expect("the same ride again", "TRIP_KNOWN", answer.reason)
    scene.note_refusal(answer.reason, answer.message, answer.details)


async def _explain(scene: Scene, citizen: Persona) -> None:
    """As she reads it in her own list: the formula, or why it earned nothing."""
    found = await scene.inclusive.trips(citizen, scene.last[BOOK])
    expect("trips in her list", len(RIDES) + 1, len(found))
    for one in sorted(found, key=lambda one: one.trip.position):
        scene.say(f"{one.mode:<5}  {_earned(one.trip)}")
        for line in (one.explanation_zh, *one.explanation_en.split("; ")):
            scene.say(f"       {line}")
        scene.figures.rides.append(
            {
                "mode": one.mode,
                "reason": one.trip.reason,
                "reduction_mg": one.trip.reduction_mg,
                "points": one.trip.points,
                "saleable": one.trip.saleable,
                "explanation_zh": one.explanation_zh,
                "explanation_en": one.explanation_en,
            }
        )
    await _tell_citizen(scene, citizen)


def _earned(trip: TripOutcome) -> str:
    if not trip.credited:
        return f"nothing: {trip.reason}"
    return f"{trip.points} points, {'saleable' if trip.saleable else 'not saleable'}"


async def _tell_citizen(scene: Scene, citizen: Persona) -> None:
    known = await scene.inclusive.citizen(citizen, scene.last[BOOK])
    expect("points", sum(one.points for one in RIDES), known.points)
    expect("milligrams measured", sum(one.reduction_mg for one in RIDES), known.measured_mg)
    saleable_mg = sum(one.reduction_mg for one in RIDES if one.saleable)
    expect("milligrams saleable", saleable_mg, known.saleable_pending_mg)
    scene.say(
        f"she has {known.points} points and {_grams(known.measured_mg)} g measured, of these"
        f" {_grams(known.saleable_pending_mg)} g saleable, confirmed on the second day"
    )
    scene.figures.citizen = {
        "citizen": known.citizen,
        "points": known.points,
        "measured_mg": known.measured_mg,
        "saleable_pending_mg": known.saleable_pending_mg,
        "trips": known.trips,
        "trips_refused": known.trips_refused,
    }


def _grams(milligrams: int) -> str:
    """Exactly: 145,950 mg are 145.95 g."""
    grams, rest = divmod(milligrams, 1000)
    return f"{grams:,}.{rest:03d}".rstrip("0").rstrip(".")
