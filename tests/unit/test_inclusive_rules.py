"""Methodologies and their passports, point rules, operators, signed batches, keys."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.acts import sign_act
from kernel.errors import Kind
from kernel.keyring import AdmitKey, WithdrawKey
from kernel.values import Caller
from services.inclusive.domain.commands import (
    ApproveMethodology,
    ProposeMethodology,
    RegisterOperator,
    SetPointRule,
)
from services.inclusive.domain.decide import MAX_POINTS_PER_KG
from services.inclusive.domain.events import (
    MethodologyApproved,
    MethodologyProposed,
    Mode,
    OperatorRegistered,
    PointRuleSet,
    TripBatchReceived,
)
from tests.support.books import MORNING_MS, person
from tests.support.lanzhou import admitted, seeded_key
from tests.support.shenzhen import (
    BIKES_CLERK,
    BIKES_KEY,
    EIGHT_MS,
    FIRST,
    METRO,
    METRO_CLERK,
    METRO_KEY,
    PASSPORTS,
    PUBLIC_TRAVEL,
    SECOND,
    WRITER,
    credited,
    holders_key,
    passport,
    received,
    signed_batch,
    the_city,
    trip,
)

GREEN = passport(methodology="SZ-2027-GREEN", version="1")
APPROVAL = ApproveMethodology("SZ-2027-GREEN", "1")
DIGEST = "5a" * 32  # what it is a digest of is no matter here

# ---- methodologies ------------------------------------------------------------------------------


def test_one_person_proposes_a_methodology_and_another_approves_it() -> None:
    book = the_city()
    (proposed,) = book.when(GREEN, FIRST)
    assert isinstance(proposed, MethodologyProposed)
    assert proposed.proposed_by == FIRST.actor
    assert book.when(APPROVAL, SECOND) == [MethodologyApproved("SZ-2027-GREEN", "1")]
    assert book.replayed() == book.state


def test_who_proposed_a_methodology_cannot_approve_it() -> None:
    book = the_city()
    book.when(GREEN, FIRST)
    refused = book.refusal(APPROVAL, FIRST)
    assert (refused.reason, refused.kind) == ("MAKER_IS_CHECKER", Kind.FORBIDDEN)
    # The same name at another issuer is another person.
    elsewhere = person(FIRST.actor.sub, roles=["inclusive-operator"], iss="guangzhou")
    book.when(APPROVAL, elsewhere)


def test_a_proposed_methodology_judges_nothing_until_it_is_approved() -> None:
    book = the_city()
    better = passport(version="2-metro", factor_mg_per_km=47_000, valid_first="2026-01-01")
    book.when(better, FIRST)
    assert credited(book, trip("1")).version == "1-metro"
    book.when(ApproveMethodology(PUBLIC_TRAVEL, "2-metro"), SECOND)
    later = trip("2", start_ms=EIGHT_MS - 3_600_000)
    assert credited(book, later).version == "2-metro"


def test_a_version_is_proposed_once_and_approved_once() -> None:
    book = the_city()
    book.when(GREEN, FIRST)
    assert book.refusal(GREEN, SECOND).reason == "METHODOLOGY_EXISTS"
    book.when(APPROVAL, SECOND)
    assert book.refusal(APPROVAL, SECOND).reason == "METHODOLOGY_EXISTS"
    assert book.refusal(GREEN, SECOND).reason == "METHODOLOGY_EXISTS"


def test_what_nobody_proposed_cannot_be_approved() -> None:
    refused = the_city().refusal(APPROVAL, SECOND)
    assert (refused.reason, refused.kind) == ("UNKNOWN_METHODOLOGY", Kind.UNKNOWN)


@pytest.mark.parametrize("one", PASSPORTS, ids=lambda one: one.version)
def test_the_published_factors_pass(one: ProposeMethodology) -> None:
    renewed = {name: getattr(one, name) for name in one.__struct_fields__}
    book = the_city()
    assert len(book.when(ProposeMethodology(**{**renewed, "version": "again"}), FIRST)) == 1


@pytest.mark.parametrize(("mode", "factor_mg_per_km"), [(Mode.BUS, 152_000), (Mode.METRO, 169_000)])
def test_the_wrong_tables_in_circulation_are_refused(mode: Mode, factor_mg_per_km: int) -> None:
    """Shenzhen's bus and metro, 5.7 and 3.6 times too high."""
    wrong = passport(version="wrong", mode=mode, factor_mg_per_km=factor_mg_per_km)
    refused = the_city().refusal(wrong, FIRST)
    assert refused.reason == "FACTOR_IMPLAUSIBLE"
    assert refused.details == {
        "least_mg_per_km": 1_000,
        "limit_mg_per_km": 100_000,
        "actual_mg_per_km": factor_mg_per_km,
    }


BAD_PASSPORTS: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"methodology": ""}, "MISSING_VALUE"),
    "no version": ({"version": ""}, "MISSING_VALUE"),
    "no source": ({"source": ""}, "MISSING_VALUE"),
    "no title": ({"title": ""}, "MISSING_VALUE"),
    "no region": ({"region": ""}, "MISSING_VALUE"),
    "no gas": ({"gas": ""}, "MISSING_VALUE"),
    "a line break in the title": ({"title": "a\nb"}, "TEXT_NOT_PRINTABLE"),
    "a name without end": ({"methodology": "M" * 61}, "TEXT_TOO_LONG"),
    "no first day": ({"valid_first": ""}, "DAY_MALFORMED"),
    "a day no calendar has": ({"valid_first": "2026-02-30"}, "DAY_MALFORMED"),
    "an end that is no day": ({"valid_last": "for ever"}, "DAY_MALFORMED"),
    "an end before the beginning": ({"valid_last": "2021-10-31"}, "VALIDITY_REVERSED"),
    "no factor": ({"factor_mg_per_km": 0}, "FACTOR_IMPLAUSIBLE"),
    "a factor below zero": ({"factor_mg_per_km": -46_800}, "FACTOR_IMPLAUSIBLE"),
    "grams where milligrams belong": ({"factor_mg_per_km": 46}, "FACTOR_IMPLAUSIBLE"),
    "a factor that is not baseline less project": (
        {"baseline_mg_per_km": 61_030, "project_mg_per_km": 7_020, "factor_mg_per_km": 54_020},
        "FACTOR_DIFFERS",
    ),
    "a project below zero": (
        {"baseline_mg_per_km": 46_000, "project_mg_per_km": -800},
        "FACTOR_DIFFERS",
    ),
    "a project without its baseline": ({"project_mg_per_km": 7_020}, "FACTOR_DIFFERS"),
}


@pytest.mark.parametrize("case", BAD_PASSPORTS)
def test_a_factor_without_a_whole_passport_is_refused(case: str) -> None:
    changed, reason = BAD_PASSPORTS[case]
    assert the_city().refusal(passport(**{"version": "bad", **changed}), FIRST).reason == reason


@pytest.mark.parametrize(
    "command",
    [
        GREEN,
        APPROVAL,
        SetPointRule(Mode.BUS, "2027-01-01", 5),
        RegisterOperator("h-aaaaaaaaaaaaaaaa", "巴士集团", "深圳", True, [Mode.BUS]),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("caller", [METRO_CLERK, person("lin", roles=["citizen"])])
def test_only_the_platforms_staff_makes_rules(command: Any, caller: Caller) -> None:
    assert the_city().refusal(command, caller).reason == "ROLE_MISSING"


def test_nobodys_signature_is_recorded_where_nobody_checks_it() -> None:
    act = sign_act(METRO_KEY, {"kind": "trip-batch"})
    assert the_city().refusal(GREEN, FIRST, acts=[act]).reason == "ACT_UNEXPECTED"


def test_a_methodology_is_not_proposed_from_the_future() -> None:
    refused = the_city().refusal(GREEN, FIRST, on_ms=MORNING_MS + 1)
    assert refused.reason == "ON_IN_FUTURE"


# ---- points and operators -----------------------------------------------------------------------


def test_the_point_rule_of_the_trips_day_counts() -> None:
    book = the_city()
    assert book.when(SetPointRule(Mode.METRO, "2026-11-20", 10_000), FIRST) == [
        PointRuleSet(Mode.METRO, 10_000, "2026-11-20")
    ]
    assert credited(book, trip("1")).points == 4_680
    yesterday = trip("2", start_ms=EIGHT_MS - 86_400_000)
    assert credited(book, yesterday).points == 468


def test_a_point_rule_set_again_for_a_day_replaces_the_first() -> None:
    book = the_city()
    for points in (10_000, 2_000):
        book.when(SetPointRule(Mode.METRO, "2026-11-20", points), FIRST)
    assert credited(book, trip()).points == 936
    assert book.replayed() == book.state


@pytest.mark.parametrize("points", [-1, MAX_POINTS_PER_KG + 1])
def test_points_have_bounds(points: int) -> None:
    refused = the_city().refusal(SetPointRule(Mode.BUS, "2026-11-20", points), FIRST)
    assert refused.reason == "POINTS_OUT_OF_RANGE"


def test_a_point_rule_begins_on_a_day_of_the_calendar() -> None:
    assert the_city().refusal(SetPointRule(Mode.BUS, "soon", 5), FIRST).reason == "DAY_MALFORMED"


def test_an_operator_is_registered_once() -> None:
    book = the_city()
    bus = RegisterOperator("h-busesbusesbusese", "巴士集团", "深圳", True, [Mode.BUS, Mode.BUS])
    assert book.when(bus, FIRST) == [
        OperatorRegistered("深圳", True, [Mode.BUS], "巴士集团", "h-busesbusesbusese")
    ]
    assert book.refusal(bus, FIRST).reason == "OPERATOR_EXISTS"


@pytest.mark.parametrize(
    ("operator", "name", "modes", "reason"),
    [
        ("buses", "巴士集团", [Mode.BUS], "HOLDER_MALFORMED"),
        ("h-busesbusesbusese", "", [Mode.BUS], "MISSING_VALUE"),
        ("h-busesbusesbusese", "巴士集团", [], "MISSING_VALUE"),
    ],
)
def test_an_operator_has_a_holder_id_a_name_and_something_to_ride(
    operator: str, name: str, modes: list[Mode], reason: str
) -> None:
    command = RegisterOperator(operator, name, "深圳", True, modes)
    assert the_city().refusal(command, FIRST).reason == reason


# ---- batches ------------------------------------------------------------------------------------


def test_a_batch_signed_by_its_operator_is_received() -> None:
    book = the_city()
    events = book.when(received(DIGEST, 3), METRO_CLERK, acts=[signed_batch(DIGEST, 3)])
    assert events == [TripBatchReceived("2026-11-20/1", 3, DIGEST, METRO)]


def test_a_batch_number_is_received_once() -> None:
    book = the_city()
    book.when(received(DIGEST, 3), METRO_CLERK, acts=[signed_batch(DIGEST, 3)])
    refused = book.refusal(received(DIGEST, 3), METRO_CLERK, acts=[signed_batch(DIGEST, 3)])
    assert refused.reason == "TRIP_BATCH_EXISTS"


BAD_BATCHES: dict[str, tuple[list[Any], str]] = {
    "nobody signed": ([], "ACT_MISSING"),
    "signed twice": ([signed_batch(DIGEST, 3)] * 2, "ACT_MISSING"),
    "over other trips": ([signed_batch("ab" * 32, 3)], "BATCH_DIGEST"),
    "over another number of trips": ([signed_batch(DIGEST, 4)], "ACT_DIFFERS"),
    "over another batch": ([signed_batch(DIGEST, 3, "2026-11-20/2")], "ACT_DIFFERS"),
    "over another operator's": ([signed_batch(DIGEST, 3, operator="h-other")], "ACT_DIFFERS"),
    "by another operator": ([signed_batch(DIGEST, 3, key=BIKES_KEY)], "ACT_SUBJECT"),
    "of another kind": ([signed_batch(DIGEST, 3, kind="pledge")], "ACT_MISSING"),
    "with a field nobody knows": ([signed_batch(DIGEST, 3, note="x")], "ACT_MALFORMED"),
    "by a key nobody registered": (
        [signed_batch(DIGEST, 3, key=seeded_key("nobody"))],
        "ACT_KEY_UNKNOWN",
    ),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_batch_that_its_operator_did_not_sign_like_this_is_refused(case: str) -> None:
    acts, reason = BAD_BATCHES[case]
    assert the_city().refusal(received(DIGEST, 3), METRO_CLERK, acts=acts).reason == reason


def test_a_changed_signature_does_not_hold() -> None:
    good, other = signed_batch(DIGEST, 3), signed_batch(DIGEST, 4)
    mixed = type(good)(good.key_id, other.signature, good.statement)
    refused = the_city().refusal(received(DIGEST, 3), METRO_CLERK, acts=[mixed])
    assert refused.reason == "ACT_SIGNATURE"


def test_nobody_sends_a_batch_for_an_operator_they_do_not_work_for() -> None:
    refused = the_city().refusal(received(DIGEST, 3), BIKES_CLERK, acts=[signed_batch(DIGEST, 3)])
    assert refused.reason == "NOT_YOUR_ACCOUNT"


def test_an_operator_nobody_registered_sends_nothing() -> None:
    clerk = person("clerk", holders=["h-busesbusesbusese"])
    command = type(received(DIGEST, 3))("h-busesbusesbusese", "1", 3, DIGEST)
    assert the_city().refusal(command, clerk).reason == "UNKNOWN_OPERATOR"


def test_a_withdrawn_key_signs_nothing_more() -> None:
    book = the_city()
    key = holders_key(METRO, METRO_KEY)
    book.when(WithdrawKey(key.key_id), WRITER)
    refused = book.refusal(received(DIGEST, 3), METRO_CLERK, acts=[signed_batch(DIGEST, 3)])
    assert refused.reason == "ACT_KEY_UNKNOWN"
    book.when(AdmitKey(key.key_id, key.public_key, key.subject, key.suite), WRITER)
    book.when(received(DIGEST, 3), METRO_CLERK, acts=[signed_batch(DIGEST, 3)])
    assert book.replayed() == book.state


def test_keys_come_from_the_ledgers_directory_alone() -> None:
    key = admitted(METRO_KEY, f"holder:{METRO}")
    command = AdmitKey(key.key_id, key.public_key, key.subject, key.suite)
    assert the_city().refusal(command, FIRST).reason == "ROLE_MISSING"
    assert the_city().refusal(WithdrawKey(key.key_id), FIRST).reason == "ROLE_MISSING"
