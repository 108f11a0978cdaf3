"""The report of a replay of taps: what a service answers is worked out a second time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cli.inclusive_client import Sum, Sums, TripOutcome
from cli.replay.shenzhen_feed import FACTORS_MG_PER_KM, METHODOLOGY, Fed
from cli.replay.shenzhen_plan import Plan, PlannedTrip, plan_files
from cli.replay.shenzhen_report import agrees, make_report, show
from tests.support.checkout import ROOT

LAST = 1_000  # beyond every position here
SAMPLE = ROOT / "tests" / "vectors" / "shenzhen"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_files(SAMPLE / "taps.csv", SAMPLE / "metro.json")


def honest(plan: Plan) -> Fed:
    """Answers as a service gives them that goes by the rules; TOO_FAST and the like left out."""
    fed = Fed(operator="h-aaaaaaaaaaaaaaaa", key_id="0123456789abcdef")
    fed.trips = {trip.order: answer(trip, at) for at, trip in enumerate(plan.trips)}
    credited = [one for one in fed.trips.values() if one.credited]
    metres, mg = (
        sum(getattr(one, name) for one in credited) for name in ("distance_m", "reduction_mg")
    )
    fed.after = Sums((Sum(METHODOLOGY, "1-metro", len(credited), metres, mg, 0, 0),), LAST)
    return fed


def repeated(plan: Plan) -> Fed:
    """The same answers once more: nothing is new."""
    fed = honest(plan)
    fed.before = fed.after
    return fed


def answer(trip: PlannedTrip, position: int) -> TripOutcome:
    if not trip.is_pair:
        return TripOutcome(trip.order, position, "TAP_WITHOUT_PARTNER", "the trip has no end")
    if trip.from_place == trip.to_place:
        return TripOutcome(trip.order, position, "ENTRY_IS_EXIT", "the trip ends where it began")
    if trip.network_m is None:
        return TripOutcome(trip.order, position, "DISTANCE_MISSING", "expected a distance")
    metres = min([trip.network_m, *([trip.fare.metres] if trip.fare else [])]) // 10 * 10
    return TripOutcome(
        trip.order,
        position,
        distance_m=metres,
        reduction_mg=46_800 * metres // 1000,
        not_saleable_because="COUNTERFACTUAL",
        methodology=METHODOLOGY,
        version="1-metro",
    )


def report_of(plan: Plan, fed: Fed) -> dict[str, Any]:
    return make_report(plan, fed, METHODOLOGY, FACTORS_MG_PER_KM)


def test_answers_by_the_rules_agree(plan: Plan) -> None:
    report = report_of(plan, honest(plan))
    assert agrees(report)
    assert report["trips"]["refused_by_rule"] == {
        "DISTANCE_MISSING": 1,
        "ENTRY_IS_EXIT": 2,
        "TAP_WITHOUT_PARTNER": 4,
    }
    assert report["trips"]["not_saleable_because"] == {"COUNTERFACTUAL": 12}
    assert report["fares"]["below"] == {"pairs": 1, "median_m": 1_716, "most_m": 1_716}
    assert report["fares"]["above"] == {"pairs": 1, "median_m": 14_338, "most_m": 14_338}


def test_a_second_run_reports_the_same_and_nothing_new(plan: Plan) -> None:
    first, second = report_of(plan, honest(plan)), report_of(plan, repeated(plan))
    assert agrees(second)
    assert first | {"run": None} == second | {"run": None}
    assert first["run"]["trips_newly_recorded"] == 19
    assert second["run"]["trips_newly_recorded"] == 0
    assert second["run"]["trips_already_recorded"] == 19


def test_what_another_file_has_brought_before_is_not_counted_again(plan: Plan) -> None:
    fed = honest(plan)
    (total,) = fed.after.methodologies
    fed.before = Sums((Sum(METHODOLOGY, "1-metro", 2, 300, 14_040, 0, 0),), -1)
    more = replace(
        total,
        trips=total.trips + 2,
        distance_m=total.distance_m + 300,
        reduction_mg=total.reduction_mg + 14_040,
    )
    fed.after = Sums((more,), LAST)
    assert agrees(report_of(plan, fed))


Wrong = Callable[[TripOutcome], TripOutcome]


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("布吉", lambda one: replace(one, reduction_mg=one.reduction_mg + 1)),
        ("布吉", lambda one: replace(one, distance_m=one.distance_m + 10)),
        ("布吉", lambda one: replace(one, points=1)),
        ("布吉", lambda one: replace(one, saleable=True)),
        ("gates 268099", lambda one: replace(one, reason="", distance_m=10, reduction_mg=468)),
    ],
)
def test_an_answer_that_is_not_what_the_rules_give_is_named(
    plan: Plan, where: str, wrong: Wrong
) -> None:
    fed = honest(plan)
    trip = next(
        trip
        for trip in plan.trips
        if trip.to_place == where and (trip.network_m or where != "布吉")
    )
    fed.trips[trip.order] = wrong(fed.trips[trip.order])
    report = report_of(plan, fed)
    assert [one["order"] for one in report["differences"]["first"]] == [trip.order]
    assert not agrees(report)


def test_a_trip_without_an_answer_is_named(plan: Plan) -> None:
    fed = honest(plan)
    lost = plan.trips[0].order
    del fed.trips[lost]
    report = report_of(plan, fed)
    assert report["differences"]["first"] == [
        {"order": lost, "expected": "an answer", "actual": "none"}
    ]
    assert not agrees(report)


def test_sums_of_the_service_that_are_not_those_of_its_answers_do_not_agree(plan: Plan) -> None:
    fed = honest(plan)
    (total,) = fed.after.methodologies
    fed.after = Sums((replace(total, reduction_mg=total.reduction_mg + 1),), LAST)
    report = report_of(plan, fed)
    assert not report["sums"]["agree"]
    assert not agrees(report)


def test_no_card_stands_in_the_report(plan: Plan) -> None:
    text = json.dumps(report_of(plan, honest(plan)), ensure_ascii=False)
    assert not [trip.card for trip in plan.trips if trip.card in text]


def test_people_are_told_grams_exactly_and_whose_data_it_is(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    show(report_of(plan, honest(plan)))
    told = capsys.readouterr().out
    assert "HKUST-Trans-Lab" in told
    assert "Shenzhen open data" in told
    assert "TAP_WITHOUT_PARTNER: 4" in told
    assert "it is ours, not Shenzhen Tong's" in told
    assert "taps.csv row 39: FARE_UNREADABLE" in told
