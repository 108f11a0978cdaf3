"""Trips: what earns, how much, and by which rule the rest does not (domain section 6)."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.values import DAY_MS, shanghai_day
from services.inclusive.domain.commands import (
    ChangeConsent,
    ConfirmDay,
    Distance,
    DistanceSource,
    Evidence,
    ForgetCitizen,
    ReportTrip,
)
from services.inclusive.domain.decide import due
from services.inclusive.domain.events import DayConfirmed, MethodologyStatus, Mode, TripCredited
from services.inclusive.domain.measure import reduction_mg
from services.inclusive.domain.rules import MAX_FACTOR_MG_PER_KM, RULE_SETS
from services.inclusive.explain import explain_refusal
from tests.support.books import MORNING_MS
from tests.support.shenzhen import (
    CHEN,
    COUNTY_BIKES,
    EIGHT_MS,
    LIN,
    MINUTE_MS,
    PUBLIC_TRAVEL,
    STRANGER,
    WRITER,
    approved,
    bike,
    check_sums,
    citizen_actor,
    credited,
    fare,
    network,
    passport,
    refused,
    ride,
    the_city,
    trip,
)

# ---- worked figures (domain section 7) ----------------------------------------------------------


def bus(**changed: Any) -> ReportTrip:
    return trip(mode=Mode.BUS, **changed)


def ebike(**changed: Any) -> ReportTrip:
    return bike(mode=Mode.EBIKE, metres=5_000, **changed)


@pytest.mark.parametrize(
    ("ridden", "expected_mg"),
    [
        (trip(), 468_000),
        (bus(), 269_000),
        (bike(), 145_950),
        (bike(operator=COUNTY_BIKES), 161_820),
        (ebike(), 270_050),
        (ebike(operator=COUNTY_BIKES), 296_500),
    ],
    ids=[
        "metro 10 km",
        "e-bus 10 km",
        "bike 3 km with metro",
        "bike 3 km without",
        "e-bike 5 km with metro",
        "e-bike 5 km without",
    ],
)
def test_the_published_figures_come_out_to_the_milligram(
    ridden: ReportTrip, expected_mg: int
) -> None:
    book = the_city()
    assert credited(book, ridden).reduction_mg == expected_mg
    check_sums(book)


def test_a_tonne_of_metro_takes_21_367_and_a_half_person_kilometres() -> None:
    """To the ten metres that trips are measured in: 21,367.53 km, printed as 21,367.5."""
    assert reduction_mg(46_800, 21_367_520) == 999_999_936
    assert reduction_mg(46_800, 21_367_530) == 1_000_000_404


def test_a_metro_trip_is_saleable_and_a_bike_trip_of_a_report_is_not() -> None:
    book = the_city()
    metro, shared = credited(book, trip()), credited(book, bike(start_ms=EIGHT_MS - 3_600_000))
    assert (metro.saleable, metro.because) == (True, "")
    assert (shared.saleable, shared.because) == (False, "METHODOLOGY_IS_REPORT")
    assert book.state.citizens[LIN].saleable_pending_mg == 468_000
    assert book.state.citizens[LIN].measured_mg == 468_000 + 145_950
    check_sums(book)


def test_points_are_floored_once_per_trip() -> None:
    book = the_city()
    event = credited(book, trip(distances=[network(1_230)]))
    assert event.reduction_mg == 57_564
    assert event.points == 57


def test_distance_is_floored_to_ten_metres_before_anything_else() -> None:
    book = the_city()
    assert credited(book, trip(distances=[network(9_999)])).reduction_mg == 46_800 * 9_990 // 1000


# ---- distances ----------------------------------------------------------------------------------


def test_of_two_distances_the_lower_is_paid() -> None:
    book = the_city()
    event = credited(book, trip(distances=[network(10_000), Distance(DistanceSource.METER, 9_800)]))
    assert event.reduction_mg == 46_800 * 9_800 // 1000
    assert event.flags == []


@pytest.mark.parametrize(
    ("distances", "flagged"),
    [
        ([network(10_000), Distance(DistanceSource.METER, 9_500)], False),
        ([network(10_000), Distance(DistanceSource.METER, 9_499)], True),
        ([network(10_000), fare(8_000, 12_000)], False),
        ([network(12_500), fare(8_000, 12_000)], False),
        ([network(12_501), fare(8_000, 12_000)], True),
        ([network(7_500), fare(8_000, 12_000)], False),
        ([network(7_499), fare(8_000, 12_000)], True),
    ],
)
def test_distances_more_than_half_a_kilometre_apart_are_paid_and_flagged(
    distances: list[Distance], flagged: bool
) -> None:
    event = credited(the_city(), trip(distances=distances))
    assert event.flags == (["DISTANCES_DIFFER"] if flagged else [])


def test_a_fare_lowers_what_the_network_says() -> None:
    event = credited(the_city(), trip(distances=[network(12_400), fare(8_000, 12_000)]))
    assert event.reduction_mg == 46_800 * 12_000 // 1000


# ---- what earns nothing -------------------------------------------------------------------------

TRACK_ONLY = [Distance(DistanceSource.TRACK, 3_000)]
REFUSED: dict[str, tuple[ReportTrip, str, dict[str, str]]] = {
    "nobody knows the rider": (trip(citizen=""), "UNKNOWN_RIDER", {}),
    "the vault knows her and the book does not": (trip(citizen=STRANGER), "UNKNOWN_RIDER", {}),
    "a bike of the metro": (
        trip(mode=Mode.BIKE),
        "MODE_NOT_OPERATED",
        {"expected": "bus, metro", "actual": "bike"},
    ),
    "she never tapped out": (trip(minutes=None), "TAP_WITHOUT_PARTNER", {"missing": "end"}),
    "a bus, and nobody saw her alight": (
        bus(minutes=None),
        "TAP_WITHOUT_PARTNER",
        {"missing": "end"},
    ),
    "she never tapped in": (trip(start_ms=None), "TAP_WITHOUT_PARTNER", {"missing": "start"}),
    "out before in": (trip(minutes=-2), "TRIP_BACKWARDS", {"actual_s": "-120"}),
    "out after the report": (
        trip(start_ms=MORNING_MS - 9 * MINUTE_MS, minutes=10),
        "TRIP_IN_FUTURE",
        {"ahead_s": "60"},
    ),
    "years from now": (
        trip(start_ms=253_402_300_000_000, minutes=1),
        "TRIP_IN_FUTURE",
        {"ahead_s": "251607161860"},
    ),
    "a phone on the bus": (
        bus(evidence=Evidence.PHONE_TRACK, distances=TRACK_ONLY),
        "PHONE_ALONE",
        {"mode": "bus", "actual": "phone_track"},
    ),
    "she says she took the metro": (
        trip(evidence=Evidence.SELF_DECLARED),
        "PHONE_ALONE",
        {"mode": "metro", "actual": "self_declared"},
    ),
    "in and out at one station": (trip(to_place="罗湖"), "ENTRY_IS_EXIT", {}),
    "a bike back to its rack, without a track": (
        bike(to_place="罗湖", distances=[Distance(DistanceSource.METER, 3_000)]),
        "ROUND_TRIP_NEEDS_TRACK",
        {},
    ),
    "181 minutes underground": (
        trip(minutes=181, start_ms=EIGHT_MS - 3 * 3_600_000),
        "PAID_AREA_EXCEEDED",
        {"limit_min": "180", "actual_min": "181"},
    ),
    "a bike for more than three hours": (
        bike(minutes=181, start_ms=EIGHT_MS - 4 * 3_600_000),
        "TOO_LONG",
        {"limit_min": "180", "actual_min": "181"},
    ),
    "no distance at all": (trip(distances=[]), "DISTANCE_MISSING", {}),
    "only what the fare pays for": (trip(distances=[fare(0, 4_000)]), "DISTANCE_MISSING", {}),
    "nine metres": (trip(distances=[network(9)]), "DISTANCE_TOO_SHORT", {"needed_m": "10"}),
    "less than nothing": (
        trip(distances=[network(-1)]),
        "DISTANCE_OUT_OF_RANGE",
        {"limit_m": "1000000", "source": "network"},
    ),
    "a fare upside down": (
        trip(distances=[network(3_000), fare(8_000, 4_000)]),
        "DISTANCE_OUT_OF_RANGE",
        {"limit_m": "1000000", "source": "fare"},
    ),
    "a metro like an express train": (
        trip(minutes=6, distances=[network(9_010)]),
        "TOO_FAST",
        {"limit_kmh": "90", "actual_kmh": "91"},
    ),
    "a bike in no time": (
        bike(minutes=0),
        "TOO_FAST",
        {"limit_kmh": "30", "actual_kmh": "10800000"},
    ),
    "a ride before any methodology": (
        trip(start_ms=1_530_000_000_000),
        "NO_METHODOLOGY",
        {"mode": "metro", "region": "深圳", "on": "2018-06-26"},
    ),
    "judged by a programme that does not exist": (
        trip(methodology="SZ-2099"),
        "NO_METHODOLOGY",
        {"mode": "metro", "region": "深圳", "on": "2026-11-20"},
    ),
    "a year and a day ago": (
        trip(start_ms=MORNING_MS - 366 * DAY_MS, minutes=20),
        "TRIP_TOO_OLD",
        {"limit_days": "365", "actual_days": "366"},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_breaks_a_rule_earns_nothing_and_says_why(case: str) -> None:
    ridden, reason, details = REFUSED[case]
    book = the_city()
    event = refused(book, ridden)
    assert (event.reason, event.details) == (reason, details)
    assert book.state.refused == {reason: 1}
    words = explain_refusal(event)
    assert "{" not in words.zh + words.en
    assert words.en != reason
    check_sums(book)


@pytest.mark.parametrize(
    "ridden",
    [
        trip(minutes=180, start_ms=EIGHT_MS - 3 * 3_600_000),
        trip(minutes=6, distances=[network(9_000)]),
        bus(minutes=6, distances=[network(8_000)]),
        bike(minutes=6, metres=3_000),
        bike(mode=Mode.EBIKE, minutes=6, metres=4_000),
        bike(minutes=180, start_ms=EIGHT_MS - 3 * 3_600_000),
        bike(to_place="罗湖"),
        bike(evidence=Evidence.PHONE_TRACK),
        trip(minutes=80, distances=[network(1_000)]),
        trip(from_place="", to_place=""),
    ],
    ids=[
        "180 minutes in the paid area",
        "metro at 90 km/h",
        "bus at 80 km/h",
        "bike at 30 km/h",
        "e-bike at 40 km/h",
        "a bike for three hours",
        "a bike round with a track",
        "a bike seen by the phone alone",
        "slower than walking: waiting counts",
        "nobody knows the places",
    ],
)
def test_what_is_just_within_the_rules_earns(ridden: ReportTrip) -> None:
    credited(the_city(), ridden)


def test_every_rule_of_a_trip_has_a_case_here() -> None:
    covered = {reason for _, reason, _ in REFUSED.values()}
    elsewhere = {"TRIP_KNOWN", "NO_CONSENT", "TRIPS_OVERLAP"}
    from services.inclusive.explain import REFUSED as EXPLAINED

    assert covered | elsewhere == set(EXPLAINED)


def test_no_refusal_says_where_or_when_or_how_far() -> None:
    sealed = {"罗湖", "世界之窗", str(EIGHT_MS), "2026-11-20T00:00:00.000Z", "9010"}
    for ridden, _, details in REFUSED.values():
        assert not sealed & set(details.values()), ridden


# ---- once ---------------------------------------------------------------------------------------


def test_an_order_earns_once_whoever_reports_it_and_in_whatever_batch() -> None:
    book = the_city()
    first = credited(book, trip("SZT-1"))
    again = refused(book, trip("SZT-1", start_ms=EIGHT_MS - 3_600_000, citizen=CHEN))
    assert again.reason == "TRIP_KNOWN"
    assert again.nullifier == first.nullifier
    assert book.state.citizens[LIN].trips == 1
    assert book.state.citizens[CHEN].trips == 0
    check_sums(book)


def test_two_operators_may_use_the_same_order_number() -> None:
    book = the_city()
    credited(book, trip("7"))
    credited(book, bike("7", start_ms=EIGHT_MS - 3_600_000))


def test_what_was_refused_may_be_reported_again_corrected() -> None:
    book = the_city()
    assert refused(book, trip("SZT-2", minutes=None)).reason == "TAP_WITHOUT_PARTNER"
    assert credited(book, trip("SZT-2")).reduction_mg == 468_000
    check_sums(book)


# ---- overlap ------------------------------------------------------------------------------------


def test_two_trips_of_a_person_may_not_overlap_whichever_operator_reports_them() -> None:
    book = the_city()
    metro = trip("SZT-1", minutes=30)
    credited(book, metro)
    on_a_bike = bike("MT-1", start_ms=EIGHT_MS + 28 * MINUTE_MS, rides=(ride(metro),))
    event = refused(book, on_a_bike)
    assert event.reason == "TRIPS_OVERLAP"
    assert event.details == {"limit_s": "60", "actual_s": "120"}


def test_a_minute_in_common_is_two_clocks_and_no_overlap() -> None:
    book = the_city()
    metro = trip("SZT-1", minutes=30)
    credited(book, metro)
    credited(book, bike("MT-1", start_ms=EIGHT_MS + 29 * MINUTE_MS, rides=(ride(metro),)))
    one_ms_more = bike("MT-2", start_ms=EIGHT_MS + 29 * MINUTE_MS - 1, rides=(ride(metro),))
    assert refused(book, one_ms_more).details["actual_s"] == "61"


def test_short_trips_of_one_minute_do_not_pile_up() -> None:
    """Less than the limit in common, and yet nobody rides two bikes at once."""
    book = the_city()
    first = bike("MT-1", 300, minutes=1)
    credited(book, first)
    inside = bike("MT-2", 300, minutes=1, start_ms=EIGHT_MS + 29_999, rides=(ride(first),))
    assert refused(book, inside).details == {"limit_s": "60", "actual_s": "31"}
    half = bike("MT-3", 300, minutes=1, start_ms=EIGHT_MS + 30_000, rides=(ride(first),))
    credited(book, half)


def test_a_trip_that_earned_nothing_stands_in_nobodys_way() -> None:
    book = the_city()
    impossible = trip("SZT-1", distances=[])
    refused(book, impossible)
    credited(book, bike("MT-1", rides=(ride(impossible),)))


# ---- consent ------------------------------------------------------------------------------------


def test_nothing_is_measured_without_consent() -> None:
    book = the_city()
    book.when(ChangeConsent(LIN, False, False), citizen_actor(LIN))
    event = refused(book, trip())
    assert (event.reason, event.details, event.citizen) == ("NO_CONSENT", {}, LIN)
    assert book.state.citizens[LIN].measured_mg == 0


def test_without_consent_to_sell_a_trip_is_measured_and_not_saleable() -> None:
    book = the_city()
    event = credited(book, trip(citizen=CHEN))
    assert (event.saleable, event.because) == (False, "NO_CONSENT_TO_SELL")
    assert (event.reduction_mg, event.points) == (468_000, 468)


def test_the_forgotten_earn_nothing_more() -> None:
    book = the_city()
    credited(book, trip("SZT-1"))
    book.when(ForgetCitizen(LIN), citizen_actor(LIN))
    assert refused(book, trip("SZT-2", start_ms=EIGHT_MS - 3_600_000)).reason == "NO_CONSENT"
    check_sums(book)


# ---- evidence and programmes --------------------------------------------------------------------


def test_what_a_person_only_says_earns_half_the_points_and_no_reduction() -> None:
    book = the_city()
    event = credited(book, bike(evidence=Evidence.SELF_DECLARED))
    assert (event.points, event.reduction_mg) == (72, 0)  # half of 145.95, floored once
    assert not event.saleable
    assert book.state.citizens[LIN].measured_mg == 0


def chongqing() -> Any:
    """The filed e-bike methodology, for Shenzhen's bikes to be judged by."""
    return passport(
        methodology="EBIKE-FILED",
        version="1",
        mode=Mode.EBIKE,
        factor_mg_per_km=43_000,
        status=MethodologyStatus.FILED,
    )


def test_a_filed_methodology_judges_before_a_report() -> None:
    book = the_city().given(*approved(chongqing()))
    event = credited(book, ebike())
    assert (event.methodology, event.reduction_mg) == ("EBIKE-FILED", 215_000)
    assert event.saleable


def test_a_phone_track_is_measured_by_a_filed_methodology_and_not_saleable() -> None:
    book = the_city().given(*approved(chongqing()))
    event = credited(book, ebike(evidence=Evidence.PHONE_TRACK))
    assert (event.saleable, event.because) == (False, "EVIDENCE_TOO_WEAK")
    assert event.reduction_mg == 215_000


def what_if() -> Any:
    return passport(
        methodology=f"{PUBLIC_TRAVEL}-COUNTERFACTUAL",
        counterfactual=True,
        valid_first="2018-01-01",
        valid_last="2018-12-31",
    )


def test_a_what_if_measures_old_trips_and_gives_no_points_and_nothing_to_sell() -> None:
    book = the_city().given(*approved(what_if()))
    in_2018 = trip(
        start_ms=1_536_000_000_000, methodology=f"{PUBLIC_TRAVEL}-COUNTERFACTUAL", minutes=30
    )
    event = credited(book, in_2018)
    assert (event.reduction_mg, event.points) == (468_000, 0)
    assert (event.saleable, event.because) == (False, "COUNTERFACTUAL")
    assert event.day == "2018-09-04"
    check_sums(book)


def test_a_what_if_judges_nothing_that_does_not_name_it() -> None:
    book = the_city().given(*approved(what_if()))
    assert refused(book, trip(start_ms=1_536_000_000_000)).reason == "NO_METHODOLOGY"


def test_the_named_methodology_judges_in_the_version_of_the_day() -> None:
    old = passport(version="0-metro", factor_mg_per_km=40_000, valid_first="2020-01-01",
                   valid_last="2021-10-31")  # fmt: skip
    newer = passport(version="2-metro", factor_mg_per_km=45_000, valid_first="2026-11-20")
    book = the_city().given(*approved(newer, old))
    assert credited(book, trip("1", methodology=PUBLIC_TRAVEL)).version == "2-metro"
    yesterday = trip("2", start_ms=EIGHT_MS - DAY_MS, methodology=PUBLIC_TRAVEL)
    assert credited(book, yesterday).version == "1-metro"


def test_another_citys_methodology_measures_nothing_here() -> None:
    book = the_city().given(
        *approved(passport(version="gz", region="广州", factor_mg_per_km=99_000))
    )
    assert credited(book, trip()).version == "1-metro"


# ---- confirmation -------------------------------------------------------------------------------


def test_a_trip_is_confirmed_on_the_second_day_after_its_report() -> None:
    book = the_city()
    event = credited(book, trip())
    assert event.confirms_on == "2026-11-22"
    assert due_days(book, MORNING_MS + DAY_MS) == []
    sunday_ms = MORNING_MS - (MORNING_MS + 8 * 3_600_000) % DAY_MS + 2 * DAY_MS
    assert due_days(book, sunday_ms - 1) == []
    assert due_days(book, sunday_ms) == ["2026-11-22"]

    book.clock.at_ms += sunday_ms - MORNING_MS
    assert book.when(ConfirmDay("2026-11-22"), WRITER) == [DayConfirmed("2026-11-22")]
    lin = book.state.citizens[LIN]
    assert (lin.saleable_pending_mg, lin.saleable_confirmed_mg) == (0, 468_000)
    assert due_days(book, sunday_ms + DAY_MS) == []
    check_sums(book)


def due_days(book: Any, at_ms: int) -> list[str]:
    return [command.day for _, _, command in due(book.state, at_ms)]


def test_a_day_is_not_confirmed_before_it_begins_nor_twice_nor_by_anybody() -> None:
    book = the_city()
    credited(book, trip())
    assert book.refusal(ConfirmDay("2026-11-22"), WRITER).reason == "DAY_NOT_DUE"
    assert book.refusal(ConfirmDay("2026-11-23"), WRITER).reason == "DAY_NOT_DUE"
    assert book.refusal(ConfirmDay("2026-11-22"), citizen_actor(LIN)).reason == "ROLE_MISSING"


def test_days_that_were_missed_are_confirmed_in_order() -> None:
    book = the_city()
    for number in range(3):
        credited(book, trip(f"SZT-{number}", start_ms=book.clock.now_ms() - 3_600_000))
        book.clock.at_ms += DAY_MS
    at_ms = book.clock.now_ms() + 9 * DAY_MS
    days = due_days(book, at_ms)
    assert days == ["2026-11-22", "2026-11-23", "2026-11-24"]
    book.clock.at_ms += 9 * DAY_MS
    for day in days:
        book.when(ConfirmDay(day), WRITER)
    assert book.state.citizens[LIN].saleable_confirmed_mg == 3 * 468_000
    check_sums(book)


# ---- batches and callers ------------------------------------------------------------------------


def test_nobody_reports_trips_for_an_operator_they_do_not_work_for() -> None:
    book = the_city()
    assert book.refusal(trip(), citizen_actor(LIN)).reason == "NOT_YOUR_ACCOUNT"


def test_a_trip_of_a_batch_that_never_came_is_not_looked_at() -> None:
    book = the_city()
    from tests.support.shenzhen import METRO_CLERK

    assert book.refusal(trip(batch="b-2"), METRO_CLERK).reason == "UNKNOWN_TRIP_BATCH"


def test_the_rules_are_those_of_the_trips_own_day() -> None:
    firsts = [one.valid_first for one in RULE_SETS]
    assert firsts == sorted(firsts)
    assert all(set(one.modes) == set(Mode) for one in RULE_SETS)
    assert set(MAX_FACTOR_MG_PER_KM) == set(Mode)


def test_the_day_of_a_trip_is_that_of_shanghai() -> None:
    book = the_city()
    late_ms = EIGHT_MS - 9 * 3_600_000  # eleven at night, the day before
    assert credited(book, trip(start_ms=late_ms)).day == "2026-11-19" == shanghai_day(late_ms)


def test_every_credit_gives_its_metres_back() -> None:
    book = the_city()
    for number, metres in enumerate((10, 20, 1_230, 9_990, 33_330)):
        ridden = trip(
            f"SZT-{number}", start_ms=EIGHT_MS - number * 3_600_000, distances=[network(metres)]
        )
        assert isinstance(credited(book, ridden), TripCredited)
    (sums,) = book.state.sums.values()
    assert sums.distance_m == 10 + 20 + 1_230 + 9_990 + 33_330
