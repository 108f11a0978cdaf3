"""Programmes, projects, verified reductions: steps in order, terms of the day, one claim a site."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kernel.acts import key_id, public_bytes
from kernel.errors import Kind
from kernel.keyring import AdmitKey, WithdrawKey
from kernel.values import DAY_MS
from services.registry.domain.commands import AdvanceProject, SetTerms
from services.registry.domain.decide import due
from services.registry.domain.events import Parts, ProjectAdvanced, Step, Terms, TermsSet
from services.registry.domain.rules import terms_at
from tests.support.books import MORNING_MS
from tests.support.forest import (
    CITY_GROUP_KEY,
    MAKER,
    QIN,
    REGISTRAR,
    STEPS,
    TERMS,
    VERIFIER,
    VERIFIER_KEY,
    ZHONG,
    RegistryBook,
    check_registry,
    filed,
    filing,
    morning,
    opening,
    stepped,
    the_office,
    verification,
    verified,
    verified_by,
    verify,
)
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    PROGRAMME,
    QINWANGCHUAN,
    STRANGER,
    SYSTEM,
)

OTHER_PROGRAMME = CITY_GROUP  # any holder may turn out to be a programme: the shape is the same


def step(name: str, project: str = QIN) -> AdvanceProject:
    return AdvanceProject(project, name, f"sha256 of {name}")


def terms(**changed: Any) -> Terms:
    return msgspec.structs.replace(TERMS, **changed)


# ---- programmes ----------------------------------------------------------------------------------


def test_a_programme_is_opened_with_its_parts_and_terms() -> None:
    book = RegistryBook()
    (opened,) = book.when(opening(), REGISTRAR)
    assert opened == opening().opening
    assert terms_at(book.state.programmes[PROGRAMME], 0) == TERMS
    check_registry(book)


def test_a_programme_is_opened_once() -> None:
    refused = the_office().refusal(opening(), REGISTRAR)
    assert refused.reason == "PROGRAMME_EXISTS"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"programme": "forest"}, "HOLDER_MALFORMED"),
        ({"name": ""}, "MISSING_VALUE"),
        ({"name": "碳" * 201}, "TEXT_TOO_LONG"),
        ({"name": "丝路\x00碳票"}, "TEXT_NOT_PRINTABLE"),
        ({"parts": Parts("", "", "", "the bureau", "")}, "HOLDER_MALFORMED"),
        ({"terms": terms(steps=[Step(0, "notice"), Step(1, "notice")])}, "NAME_DOUBLED"),
        ({"terms": terms(steps=[Step(-1, "notice")])}, "NUMBER_OUT_OF_RANGE"),
        ({"terms": terms(steps=[Step(0, "")])}, "MISSING_VALUE"),
        ({"terms": terms(steps=[Step(0, str(n)) for n in range(21)])}, "NUMBER_OUT_OF_RANGE"),
        ({"terms": terms(project_types=["forest", "forest"])}, "NAME_DOUBLED"),
        ({"terms": terms(max_ltv_bp=-1)}, "NUMBER_OUT_OF_RANGE"),
        ({"terms": terms(max_price_age_days=2**31)}, "NUMBER_OUT_OF_RANGE"),
    ],
)
def test_a_programme_that_makes_no_sense_is_refused(changed: dict[str, Any], reason: str) -> None:
    refused = RegistryBook().refusal(opening(**changed), REGISTRAR)
    assert (refused.reason, refused.kind) == (reason, Kind.INVALID)


# ---- terms ---------------------------------------------------------------------------------------


def test_terms_judge_from_their_day_on_and_not_before() -> None:
    book, new = the_office(), terms(project_types=["forest", "grassland"])
    grassland = filing("LZXQ-GRASS", project_type="grassland")
    change = SetTerms(PROGRAMME, morning("2021-06-01"), new)
    assert book.when(change, REGISTRAR, on_ms=morning("2021-05-01")) == [
        TermsSet(morning("2021-06-01"), PROGRAMME, new)
    ]
    refused = book.refusal(grassland, MAKER, on_ms=morning("2021-06-01") - 1)
    assert refused.reason == "PROJECT_TYPE_NOT_ALLOWED"
    assert refused.details == {"expected": "forest", "actual": "grassland"}
    book.when(grassland, MAKER, on_ms=morning("2021-06-01"))
    check_registry(book)


def test_terms_set_in_another_order_still_count_by_their_days() -> None:
    book = the_office()
    by_year = {year: terms(max_ltv_bp=bp) for year, bp in (("2023", 7000), ("2021", 9000))}
    for year, new in by_year.items():
        change = SetTerms(PROGRAMME, morning(f"{year}-01-01"), new)
        book.when(change, REGISTRAR, on_ms=morning("2020-12-01"))
    programme = book.state.programmes[PROGRAMME]
    in_force = [
        terms_at(programme, morning(f"{year}-07-01")).max_ltv_bp for year in range(2020, 2025)
    ]
    assert in_force == [None, 9000, 9000, 7000, 7000]


def test_of_two_terms_from_one_day_the_later_set_count() -> None:
    book, day_ms = the_office(), morning("2021-06-01")
    for bp in (9000, 8000):
        book.when(SetTerms(PROGRAMME, day_ms, terms(max_ltv_bp=bp)), REGISTRAR, on_ms=day_ms)
    assert terms_at(book.state.programmes[PROGRAMME], day_ms).max_ltv_bp == 8000


def test_terms_cannot_be_set_for_days_before_their_own() -> None:
    change = SetTerms(PROGRAMME, morning("2021-05-31"), TERMS)
    refused = the_office().refusal(change, REGISTRAR, on_ms=morning("2021-06-01"))
    assert refused.reason == "TERMS_RETROACTIVE"
    assert refused.details == {"expected": "2021-06-01", "actual": "2021-05-31"}


def test_terms_of_an_unknown_programme_are_refused() -> None:
    change = SetTerms(STRANGER, MORNING_MS, TERMS)
    assert the_office().refusal(change, REGISTRAR).reason == "UNKNOWN_PROGRAMME"


# ---- filing --------------------------------------------------------------------------------------


def test_two_forest_projects_of_11_700_mu_are_filed() -> None:
    book = filed()
    assert sum(one.filed.area_mu for one in book.state.projects.values()) == 11_700
    assert [name for _, name in book.state.filings[PROGRAMME]] == [QIN, ZHONG]
    assert book.state.filings[""] == book.state.filings[PROGRAMME]
    check_registry(book)


def test_a_project_is_filed_once() -> None:
    assert filed().refusal(filing(), MAKER).reason == "PROJECT_EXISTS"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"project": "秦王川"}, "PROJECT_MALFORMED"),
        ({"project": "A" * 61}, "PROJECT_MALFORMED"),
        ({"programme": STRANGER}, "UNKNOWN_PROGRAMME"),
        ({"project_type": "coal"}, "PROJECT_TYPE_NOT_ALLOWED"),
        ({"owner": "the farm"}, "HOLDER_MALFORMED"),
        ({"name": ""}, "MISSING_VALUE"),
        ({"region": "甘" * 201}, "TEXT_TOO_LONG"),
        ({"site": ""}, "MISSING_VALUE"),
        ({"document": ""}, "MISSING_VALUE"),
        ({"area_mu": -1}, "NUMBER_OUT_OF_RANGE"),
        ({"area_mu": 2**53}, "NUMBER_OUT_OF_RANGE"),
    ],
)
def test_a_filing_that_makes_no_sense_is_refused(changed: dict[str, Any], reason: str) -> None:
    assert the_office().refusal(filing(**changed), MAKER).reason == reason


def test_nothing_is_dated_after_its_recording() -> None:
    refused = the_office().refusal(filing(), MAKER, on_ms=MORNING_MS + 1)
    assert refused.reason == "ON_IN_FUTURE"
    assert refused.details == {"at": "2026-11-20T01:30:00.000Z"}


def test_a_signature_that_nobody_would_check_is_refused() -> None:
    act = verified_by(verification())
    assert the_office().refusal(filing(), MAKER, acts=[act]).reason == "ACT_UNEXPECTED"


# ---- steps ---------------------------------------------------------------------------------------


def test_steps_are_taken_in_order() -> None:
    book = filed(QIN)
    refused = book.refusal(step("validated"), MAKER)
    assert refused.reason == "STEP_OUT_OF_ORDER"
    assert refused.details == {"expected": "public notice", "actual": "validated"}
    (event,) = book.when(step("public notice"), MAKER)
    assert event == ProjectAdvanced("sha256 of public notice", QIN, "public notice")
    assert book.refusal(step("public notice"), MAKER).reason == "STEP_OUT_OF_ORDER"


def test_when_all_steps_are_done_there_is_no_further_one() -> None:
    refused = stepped(QIN).refusal(step("registered"), MAKER)
    assert (refused.reason, refused.details["expected"]) == (
        "STEP_OUT_OF_ORDER",
        "no further step",
    )


@pytest.mark.parametrize(
    ("on_ms", "days"),
    [
        (morning("2021-03-07"), 6),
        (morning("2021-03-08") - 34_200_001, 6),  # the last millisecond of the seventh
    ],
)
def test_a_step_is_not_taken_before_its_days_have_passed(on_ms: int, days: int) -> None:
    book = filed(QIN)
    book.when(step("public notice"), MAKER, on_ms=morning("2021-03-01"))
    refused = book.refusal(step("validated"), MAKER, on_ms=on_ms)
    assert refused.reason == "STEP_TOO_EARLY"
    assert refused.details == {"needed": 7, "actual": days}


def test_days_are_those_of_shanghai() -> None:
    """Seven midnights of Shanghai have passed, though not seven times 24 hours."""
    book = filed(QIN)
    book.when(step("public notice"), MAKER, on_ms=morning("2021-03-02") - 34_200_001)
    book.when(step("validated"), MAKER, on_ms=morning("2021-03-08") - 34_200_000)
    check_registry(book)


def test_the_first_step_is_not_taken_before_the_filing() -> None:
    refused = filed(QIN).refusal(step("public notice"), MAKER, on_ms=morning("2021-02-28"))
    assert refused.reason == "STEP_TOO_EARLY"
    assert refused.details == {"needed": 0, "actual": -1}


def test_a_step_that_new_terms_have_added_is_asked_for() -> None:
    book = stepped(QIN)
    longer = terms(steps=[*STEPS, Step(0, "biodiversity review")])
    book.when(SetTerms(PROGRAMME, MORNING_MS, longer), REGISTRAR)
    command = verification(quantity_t=1)
    refused = book.refusal(command, MAKER, acts=[verified_by(command)])
    assert refused.reason == "STEPS_MISSING"
    assert refused.details == {"needed": 4, "actual": 3, "next": "biodiversity review"}
    book.when(step("biodiversity review"), MAKER)
    book.when(command, MAKER, acts=[verified_by(command)])


def test_a_step_of_an_unknown_project_is_refused() -> None:
    refused = the_office().refusal(step("public notice"), MAKER)
    assert (refused.reason, refused.kind) == ("UNKNOWN_PROJECT", Kind.UNKNOWN)


# ---- verification --------------------------------------------------------------------------------


def test_12_000_t_are_verified_in_two_projects() -> None:
    book = verified()
    assert sum(one.left_t for one in book.state.reductions.values()) == 12_000
    check_registry(book)


def test_a_reduction_is_verified_when_all_steps_are_done() -> None:
    command = verification()
    refused = filed(QIN).refusal(command, MAKER, acts=[verified_by(command)])
    assert refused.reason == "STEPS_MISSING"
    assert refused.details == {"needed": 3, "actual": 0, "next": "public notice"}


def test_a_verification_is_not_dated_before_the_last_step() -> None:
    command, day_ms = verification(period_last="2020-01-01"), morning("2021-03-08")
    refused = stepped(QIN).refusal(command, MAKER, acts=[verified_by(command)], on_ms=day_ms)
    assert refused.reason == "STEP_TOO_EARLY"


def test_the_owner_cannot_verify_its_own_project() -> None:
    command = verification(verifier=QINWANGCHUAN)
    refused = stepped(QIN).refusal(command, MAKER, acts=[verified_by(command)])
    assert (refused.reason, refused.kind) == ("VERIFIER_IS_OWNER", Kind.FORBIDDEN)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"verification": ""}, "MISSING_VALUE"),
        ({"project": "LZXQ-NOWHERE"}, "UNKNOWN_PROJECT"),
        ({"quantity_t": 0}, "AMOUNT_OUT_OF_RANGE"),
        ({"quantity_t": 2**53}, "AMOUNT_OUT_OF_RANGE"),
        ({"document": ""}, "MISSING_VALUE"),
        ({"verifier": "TÜV"}, "HOLDER_MALFORMED"),
        ({"period_first": "2018-02-30"}, "DAY_MALFORMED"),
        ({"period_last": "2018-1-1"}, "DAY_MALFORMED"),
        ({"period_last": "2017-12-31"}, "PERIOD_REVERSED"),
        ({"period_last": "2026-11-21"}, "PERIOD_NOT_OVER"),
    ],
)
def test_a_verification_that_makes_no_sense_is_refused(
    changed: dict[str, Any], reason: str
) -> None:
    command = verification(**changed)
    assert stepped().refusal(command, MAKER, acts=[verified_by(command)]).reason == reason


def test_a_verification_is_named_once() -> None:
    command = verification(ZHONG, verification=f"V-{QIN}")
    refused = verified().refusal(command, MAKER, acts=[verified_by(command)])
    assert refused.reason == "VERIFICATION_EXISTS"


def test_without_the_verifiers_signature_nothing_is_verified() -> None:
    book, command = stepped(), verification()
    assert book.refusal(command, MAKER).reason == "ACT_MISSING"
    for key in (AUTHORITY_KEY, CITY_GROUP_KEY):
        refused = book.refusal(command, MAKER, acts=[verified_by(command, key)])
        assert refused.reason == "ACT_SUBJECT"
        assert refused.details["expected"] == f"holder:{VERIFIER}"


@pytest.mark.parametrize("field", ["document", "period_first", "project", "verification"])
def test_the_verifier_must_have_signed_what_is_asked(field: str) -> None:
    command = verification()
    changed: dict[str, Any] = {field: "something else"}
    act = verified_by(command, **changed)
    refused = stepped().refusal(command, MAKER, acts=[act])
    assert (refused.reason, refused.details["field"]) == ("ACT_DIFFERS", field)


def test_the_verifier_must_have_signed_that_quantity() -> None:
    command = verification(quantity_t=7001)
    refused = stepped().refusal(command, MAKER, acts=[verified_by(command, quantity_t=7000)])
    assert refused.details == {"field": "quantity_t", "expected": "7000", "actual": "7001"}


# ---- one claim a site ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2018-01-01", "2020-12-31"),
        ("2020-12-31", "2021-01-31"),
        ("2017-01-01", "2018-01-01"),
        ("2019-05-01", "2019-05-01"),
        ("2010-01-01", "2021-02-01"),
    ],
)
def test_a_reduction_cannot_be_claimed_twice_under_two_programmes(first: str, last: str) -> None:
    book = two_programmes()
    command = verification("CCER-QWC", period_first=first, period_last=last, verification="V-2")
    refused = book.refusal(command, MAKER, acts=[verified_by(command)])
    assert refused.reason == "REDUCTION_CLAIMED"
    assert refused.details == {
        "verification": f"V-{QIN}",
        "first": "2018-01-01",
        "last": "2020-12-31",
    }


@pytest.mark.parametrize(
    ("first", "last"), [("2021-01-01", "2021-02-28"), ("2017-01-01", "2017-12-31")]
)
def test_the_same_site_may_be_claimed_for_another_period(first: str, last: str) -> None:
    book = two_programmes()
    command = verification("CCER-QWC", period_first=first, period_last=last, verification="V-2")
    book.when(command, MAKER, acts=[verified_by(command)])
    check_registry(book)


def two_programmes() -> RegistryBook:
    """The forest at 秦王川 is verified as tickets, and filed for CCER under another spelling."""
    book = verified()
    ccer = opening(programme=OTHER_PROGRAMME, terms=terms(steps=[]))
    book.when(ccer, REGISTRAR, on_ms=morning("2020-06-01"))
    site = "ＳＨＡ256 of  秦王川's outline "  # full width, spaces, case: still that outline
    again = filing("CCER-QWC", programme=OTHER_PROGRAMME, site=site)
    book.when(again, MAKER, on_ms=morning("2021-03-01"))
    return book


def test_two_sites_may_be_claimed_for_the_same_period() -> None:
    book = stepped()
    assert {len(verify(book, verification(project))) for project in (QIN, ZHONG)} == {1}


# ---- keys, time ----------------------------------------------------------------------------------


def test_a_withdrawn_key_verifies_nothing_any_more() -> None:
    book, command = stepped(), verification()
    book.when(WithdrawKey(key_id(public_bytes(VERIFIER_KEY))), SYSTEM)
    refused = book.refusal(command, MAKER, acts=[verified_by(command)])
    assert refused.reason == "ACT_KEY_UNKNOWN"
    check_registry(book)


def test_nobody_but_the_reaction_admits_keys() -> None:
    command = AdmitKey("0123456789abcdef", "AA==", f"holder:{VERIFIER}", "ed25519")
    assert the_office().refusal(command, REGISTRAR).reason == "ROLE_MISSING"
    assert the_office().refusal(WithdrawKey("0123"), MAKER).reason == "ROLE_MISSING"


def test_nothing_in_this_book_falls_due_by_itself() -> None:
    assert list(due(verified().state, MORNING_MS + 3650 * DAY_MS)) == []
