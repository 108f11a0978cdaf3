"""Methodologies: what a factor's passport must say, and which one judges a trip.

Named in the request: that one, in the version of the trip's day. Otherwise a filed one before a
report, the city's own before a nationwide one, the city's kind (with or without a metro) before
one for all, the newer before the older. What-if programmes judge only when they are named.
"""

from __future__ import annotations

from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import check_day, check_text
from services.inclusive.domain.commands import ProposeMethodology, ReportTrip
from services.inclusive.domain.events import MethodologyProposed, MethodologyStatus
from services.inclusive.domain.measure import MIN_FACTOR_MG_PER_KM
from services.inclusive.domain.rules import MAX_FACTOR_MG_PER_KM
from services.inclusive.domain.state import State

NATIONWIDE: Final = "CN"  # a region that every city lies in
MAX_NAME_CHARS: Final = 60
MAX_TITLE_CHARS: Final = 300


def check_passport(command: ProposeMethodology) -> None:
    """Complete, within reason, and its parts agree; a reduction never stands on less."""
    for what in ("methodology", "version", "gas"):
        check_text(getattr(command, what), what, MAX_NAME_CHARS)
    for what in ("title", "source", "region"):
        check_text(getattr(command, what), what, MAX_TITLE_CHARS)
    check_day(command.valid_first, "valid_first")
    if command.valid_last and check_day(command.valid_last, "valid_last") < command.valid_first:
        raise Refused(
            "VALIDITY_REVERSED",
            f"expected an end from {command.valid_first} on, got {command.valid_last}",
            Kind.INVALID,
            expected=command.valid_first,
            actual=command.valid_last,
        )
    _check_factor(command)


def _check_factor(command: ProposeMethodology) -> None:
    factor, limit = command.factor_mg_per_km, MAX_FACTOR_MG_PER_KM[command.mode]
    if not MIN_FACTOR_MG_PER_KM <= factor <= limit:
        raise Refused(
            "FACTOR_IMPLAUSIBLE",
            f"expected {MIN_FACTOR_MG_PER_KM}..{limit} mg per person-km by {command.mode},"
            f" got {factor}",
            least_mg_per_km=MIN_FACTOR_MG_PER_KM,
            limit_mg_per_km=limit,
            actual_mg_per_km=factor,
        )
    baseline, project = command.baseline_mg_per_km, command.project_mg_per_km
    if (baseline or project) and (project < 0 or baseline - project != factor):
        raise Refused(
            "FACTOR_DIFFERS",
            f"expected baseline less project, {baseline} - {project} = {baseline - project}"
            f" mg per person-km, got {factor}",
            Kind.INVALID,
            expected=baseline - project,
            actual=factor,
        )


def judging(state: State, trip: ReportTrip, day: str) -> MethodologyProposed:
    """The methodology of a trip; raises Refused(NO_METHODOLOGY)."""
    operator = state.operators[trip.operator]
    best: MethodologyProposed | None = None
    best_rank: tuple[bool, bool, bool, str] | None = None
    for one in state.methodologies.get(trip.mode, ()):
        wanted = one.methodology == trip.methodology if trip.methodology else not one.counterfactual
        if not wanted or not _holds(one, operator.city, operator.city_has_metro, day):
            continue
        rank = (
            one.status == MethodologyStatus.FILED,
            one.region != NATIONWIDE,
            one.has_metro is not None,
            one.valid_first,
        )
        if best_rank is None or rank >= best_rank:  # as good as the one before: the newer approval
            best, best_rank = one, rank
    if best is None:
        raise Refused(
            "NO_METHODOLOGY",
            f"no approved methodology {trip.methodology[:MAX_NAME_CHARS]!r} measures {trip.mode}"
            f" in {operator.city} on {day}",
            mode=trip.mode.value,
            region=operator.city,
            on=day,
        )
    return best


def _holds(one: MethodologyProposed, city: str, has_metro: bool, day: str) -> bool:
    """In this city, on this day."""
    return (
        one.region in (city, NATIONWIDE)
        and one.has_metro in (None, has_metro)
        and one.valid_first <= day
        and (not one.valid_last or day <= one.valid_last)
    )
