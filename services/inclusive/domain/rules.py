"""What a trip must satisfy to earn, each rule by its name (domain section 6).

The numbers are data, dated by the day of the trip: `RULE_SETS`. A rule that says no raises Refused;
`decide` records it as TripRefused, with these numbers and no hour, place or distance: those are the
rider's own. What was refused may be reported again, corrected; what was credited may not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kernel.errors import Refused
from kernel.values import DAY_MS, Context, shanghai_day
from services.inclusive.domain import measure
from services.inclusive.domain.commands import DistanceSource, Evidence, ReportTrip
from services.inclusive.domain.events import Mode
from services.inclusive.domain.state import State


@dataclass(frozen=True)
class ModeRules:
    """Bounds of one mode. Upper ones only: time includes waiting, a length may be a chord."""

    max_kmh: int
    max_minutes: int
    round_trip_with_track: bool  # may a ride end where it began, if a track shows its way?
    phone_earns: bool  # for a phone, bus, taxi and a friend's car look the same


@dataclass(frozen=True)
class RuleSet:
    valid_first: str
    modes: dict[Mode, ModeRules]
    overlap_s: int  # clocks of two operators differ by so much
    max_age_days: int  # no limit was found anywhere: ours; not for what-if programmes
    max_distance_m: int
    confirm_after_days: int


RULE_SETS: Final = (
    RuleSet(
        valid_first="2000-01-01",
        modes={
            Mode.METRO: ModeRules(90, 180, round_trip_with_track=False, phone_earns=False),
            # A day for bus and e-bike: no limit was found, but who never alights rides no bus.
            Mode.BUS: ModeRules(80, 1440, round_trip_with_track=False, phone_earns=False),
            Mode.BIKE: ModeRules(30, 180, round_trip_with_track=True, phone_earns=True),
            Mode.EBIKE: ModeRules(40, 1440, round_trip_with_track=True, phone_earns=True),
        },
        overlap_s=60,
        max_age_days=365,
        max_distance_m=1_000_000,
        confirm_after_days=2,
    ),
)

# Reduction per person-km that no published methodology comes near: the highest is 66.32 g. Tables
# with 152 and 169 g for bus and metro are in circulation; they are wrong.
MAX_FACTOR_MG_PER_KM: Final = {
    Mode.METRO: 100_000,
    Mode.BUS: 100_000,
    Mode.BIKE: 100_000,
    Mode.EBIKE: 100_000,
}


def rules_on(day: str) -> RuleSet:
    """The rules of a trip's day: an old trip is judged by those of its day."""
    in_force = [one for one in RULE_SETS if one.valid_first <= day]
    return in_force[-1] if in_force else RULE_SETS[0]


def day_of(trip: ReportTrip, at_ms: int) -> str:
    """The trip's own day in Shanghai; the day of its report when it has no time, or a later one."""
    known_ms = trip.started_ms if trip.started_ms is not None else trip.ended_ms
    return shanghai_day(at_ms if known_ms is None else min(known_ms, at_ms))


def check_trip(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    """Raises Refused for the first rule that says no."""
    for check in _CHECKS:
        check(state, trip, context, rules)


def check_age(trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    age_days = (context.at_ms - _span(trip)[0]) // DAY_MS
    if age_days > rules.max_age_days:
        raise Refused(
            "TRIP_TOO_OLD",
            f"expected a trip of the last {rules.max_age_days} days, got one {age_days} days old",
            limit_days=rules.max_age_days,
            actual_days=age_days,
        )


def trip_known(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    if trip.nullifier in state.credited:
        raise Refused("TRIP_KNOWN", "this order has earned already")


def rider_known(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    if trip.citizen not in state.citizens:
        raise Refused("UNKNOWN_RIDER", "nobody enrolled under this rider's number")


def consent_given(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    if not (trip.consented and state.citizens[trip.citizen].measure):
        raise Refused("NO_CONSENT", "the rider has not agreed to be measured")


def mode_operated(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    modes = state.operators[trip.operator].modes
    if trip.mode not in modes:
        raise Refused(
            "MODE_NOT_OPERATED",
            f"expected one of {', '.join(modes)}, got {trip.mode}",
            expected=", ".join(modes),
            actual=trip.mode.value,
        )


def taps_paired(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    if trip.started_ms is None or trip.ended_ms is None:
        missing = "start" if trip.started_ms is None else "end"
        raise Refused("TAP_WITHOUT_PARTNER", f"the trip has no {missing}", missing=missing)


def time_forward(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    started_ms, ended_ms = _span(trip)
    if ended_ms < started_ms:
        raise Refused(
            "TRIP_BACKWARDS",
            f"the trip ends {(started_ms - ended_ms) // 1000} s before it begins",
            actual_s=(ended_ms - started_ms) // 1000,
        )
    if ended_ms > context.at_ms:
        raise Refused(
            "TRIP_IN_FUTURE",
            f"the trip ends {-(-(ended_ms - context.at_ms) // 1000)} s after its report",
            ahead_s=-(-(ended_ms - context.at_ms) // 1000),
        )


def evidence_enough(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    alone = trip.evidence in (Evidence.PHONE_TRACK, Evidence.SELF_DECLARED)
    if alone and not rules.modes[trip.mode].phone_earns:
        raise Refused(
            "PHONE_ALONE",
            f"a {trip.mode} trip needs its operator's order or gate, got {trip.evidence}",
            mode=trip.mode.value,
            actual=trip.evidence.value,
        )


def way_made(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    if not trip.from_place or trip.from_place != trip.to_place:
        return
    if not rules.modes[trip.mode].round_trip_with_track:
        raise Refused("ENTRY_IS_EXIT", "the trip ends where it began")
    if not any(one.source == DistanceSource.TRACK for one in trip.distances):
        raise Refused("ROUND_TRIP_NEEDS_TRACK", "a round trip needs a track")


def time_bounded(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    started_ms, ended_ms = _span(trip)
    limit_min = rules.modes[trip.mode].max_minutes
    if ended_ms - started_ms <= limit_min * 60_000:
        return
    actual_min = -(-(ended_ms - started_ms) // 60_000)
    if trip.mode == Mode.METRO:
        raise Refused(
            "PAID_AREA_EXCEEDED",
            f"expected at most {limit_min} min in the paid area, got {actual_min}",
            limit_min=limit_min,
            actual_min=actual_min,
        )
    raise Refused(
        "TOO_LONG",
        f"expected a {trip.mode} trip of at most {limit_min} min, got {actual_min}",
        limit_min=limit_min,
        actual_min=actual_min,
    )


def distance_known(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    for one in trip.distances:
        least_m = one.least_metres if one.source == DistanceSource.FARE else 0
        if not 0 <= least_m <= one.metres <= rules.max_distance_m:
            raise Refused(
                "DISTANCE_OUT_OF_RANGE",
                f"expected 0..{rules.max_distance_m} m by {one.source}",
                limit_m=rules.max_distance_m,
                source=one.source.value,
            )
    distance_m = measure.payable_m(trip.distances)
    if distance_m is None:
        raise Refused(
            "DISTANCE_MISSING", "expected a distance by network, meter, track or chord, got none"
        )
    if distance_m == 0:
        raise Refused(
            "DISTANCE_TOO_SHORT",
            f"expected at least {measure.STEP_M} m",
            needed_m=measure.STEP_M,
        )


def speed_possible(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    started_ms, ended_ms = _span(trip)
    limit_kmh = rules.modes[trip.mode].max_kmh
    distance_m = measure.payable_m(trip.distances) or 0
    if distance_m * 3600 > limit_kmh * (ended_ms - started_ms):
        took_ms = max(ended_ms - started_ms, 1)
        actual_kmh = -(-distance_m * 3600 // took_ms)
        raise Refused(
            "TOO_FAST",
            f"expected at most {limit_kmh} km/h by {trip.mode}, got {actual_kmh}",
            limit_kmh=limit_kmh,
            actual_kmh=actual_kmh,
        )


def rides_apart(state: State, trip: ReportTrip, context: Context, rules: RuleSet) -> None:
    """With another credited trip of the person, whichever operator reported it.

    A short trip within another has less in common than the limit, and yet was not made twice: more
    than half of the shorter one is too much as well.
    """
    started_ms, ended_ms = _span(trip)
    for ride in trip.rides:
        common_ms = min(ended_ms, ride.ended_ms) - max(started_ms, ride.started_ms)
        shorter_ms = min(ended_ms - started_ms, ride.ended_ms - ride.started_ms)
        too_much = common_ms > rules.overlap_s * 1000 or common_ms * 2 > shorter_ms >= 0
        if too_much and common_ms > 0 and ride.nullifier in state.credited:
            raise Refused(
                "TRIPS_OVERLAP",
                f"expected at most {rules.overlap_s} s in common with another trip,"
                f" got {-(-common_ms // 1000)}",
                limit_s=rules.overlap_s,
                actual_s=-(-common_ms // 1000),
            )


def _span(trip: ReportTrip) -> tuple[int, int]:
    """Start and end; `taps_paired` has seen that both are there."""
    return trip.started_ms or 0, trip.ended_ms or 0


Check = Callable[[State, ReportTrip, Context, RuleSet], None]
# In this order: who it is comes before what was ridden, and nothing is looked at without consent.
_CHECKS: Final[tuple[Check, ...]] = (
    trip_known,
    rider_known,
    consent_given,
    mode_operated,
    taps_paired,
    time_forward,
    evidence_enough,
    way_made,
    time_bounded,
    distance_known,
    speed_possible,
    rides_apart,
)
