"""Pseudonyms, consents, forgetting; sealing; and a trip in words."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Kind
from kernel.values import Caller
from services.inclusive.domain.commands import ChangeConsent, EnrolCitizen, Evidence, ForgetCitizen
from services.inclusive.domain.events import (
    CitizenEnrolled,
    CitizenForgotten,
    ConsentChanged,
    TripRefused,
)
from services.inclusive.domain.measure import distance_of_m, payable_m, reduction_mg
from services.inclusive.explain import (
    NOT_SALEABLE,
    REFUSED,
    explain_credit,
    explain_refusal,
    format_g,
    format_km,
)
from services.inclusive.queries import Known
from services.inclusive.vault import SealedTrip, new_citizen, seal, unseal
from tests.support.books import MORNING_MS
from tests.support.shenzhen import (
    BIKES,
    CHEN,
    COUNTY_BIKES,
    FIRST,
    LIN,
    METRO_CLERK,
    bike,
    check_sums,
    citizen_actor,
    credited,
    network,
    refused,
    the_city,
    trip,
)

ZHAO = "c-zhaozhaozhaozha2"
ZHAO_HERSELF = citizen_actor(ZHAO)

# ---- consents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", [ZHAO_HERSELF, FIRST], ids=["herself", "staff"])
def test_a_citizen_is_enrolled_under_a_pseudonym(caller: Caller) -> None:
    book = the_city()
    assert book.when(EnrolCitizen(ZHAO, True, False), caller) == [
        CitizenEnrolled(ZHAO, True, False)
    ]
    assert book.replayed() == book.state


def test_enrolling_again_changes_her_own_consents_and_nobody_elses() -> None:
    book = the_city()
    again = EnrolCitizen(CHEN, True, True)
    assert book.refusal(again, FIRST).reason == "CITIZEN_EXISTS"
    assert book.when(again, citizen_actor(CHEN)) == [ConsentChanged(CHEN, True, True)]


@pytest.mark.parametrize("name", ["chen", "c-chen", "h-chenchenchenche2", "c-CHENCHENCHENCHE2"])
def test_a_pseudonym_has_one_form(name: str) -> None:
    refused = the_city().refusal(EnrolCitizen(name, True, False), FIRST)
    assert (refused.reason, refused.kind) == ("CITIZEN_MALFORMED", Kind.INVALID)


@pytest.mark.parametrize(
    "command",
    [EnrolCitizen(ZHAO, True, True), ChangeConsent(LIN, True, True), ForgetCitizen(LIN)],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("caller", [METRO_CLERK, citizen_actor(CHEN)], ids=["a clerk", "Chen"])
def test_nobody_decides_for_another_citizen(command: Any, caller: Caller) -> None:
    refused = the_city().refusal(command, caller)
    assert (refused.reason, refused.kind) == ("NOT_YOUR_ACCOUNT", Kind.FORBIDDEN)


def test_what_is_not_measured_cannot_be_sold() -> None:
    book = the_city()
    for command in (EnrolCitizen(ZHAO, False, True), ChangeConsent(LIN, False, True)):
        assert book.refusal(command, FIRST).reason == "SELL_WITHOUT_MEASURE"


def test_an_enrolment_is_not_dated_ahead() -> None:
    book = the_city()
    enrolment = EnrolCitizen(ZHAO, True, False)
    assert book.refusal(enrolment, FIRST, on_ms=MORNING_MS + 1).reason == "ON_IN_FUTURE"


def test_a_consent_counts_for_what_is_recorded_after_it() -> None:
    book = the_city()
    assert credited(book, trip("1")).saleable
    book.when(ChangeConsent(LIN, True, False), citizen_actor(LIN))
    assert not credited(book, trip("2", start_ms=MORNING_MS - 3_600_000)).saleable
    assert book.state.citizens[LIN].saleable_pending_mg == 468_000
    check_sums(book)


def test_forgetting_withdraws_every_consent_for_ever() -> None:
    book = the_city()
    credited(book, trip())
    assert book.when(ForgetCitizen(LIN), citizen_actor(LIN)) == [CitizenForgotten(LIN)]
    lin = book.state.citizens[LIN]
    assert (lin.measure, lin.sell, lin.forgotten) == (False, False, True)
    assert lin.measured_mg == 468_000
    for command in (
        ForgetCitizen(LIN),
        ChangeConsent(LIN, True, True),
        EnrolCitizen(LIN, True, True),
    ):
        assert book.refusal(command, citizen_actor(LIN)).reason == "CITIZEN_FORGOTTEN"
    check_sums(book)


def test_who_is_not_enrolled_has_nothing_to_change_or_forget() -> None:
    book = the_city()
    for command in (ChangeConsent(ZHAO, True, True), ForgetCitizen(ZHAO)):
        refused = book.refusal(command, ZHAO_HERSELF)
        assert (refused.reason, refused.kind) == ("UNKNOWN_CITIZEN", Kind.UNKNOWN)


# ---- sealing ------------------------------------------------------------------------------------

RIDE = SealedTrip(10_000, 1_790_000_000_000, "fare_gate", "罗湖", "SZT-1", None, "世界之窗")


def test_what_is_sealed_opens_with_her_key_and_no_other() -> None:
    lin, chen = new_citizen(), new_citizen()
    sealed = seal(lin, RIDE)
    assert unseal(lin, sealed) == RIDE
    assert unseal(chen, sealed) is None
    assert unseal(Known(chen.citizen, lin.key), sealed) is None  # bound to the pseudonym
    for text in (b"SZT-1", "罗湖".encode()):
        assert text not in base64.b64decode(sealed)


def test_sealing_twice_gives_the_same_bytes_and_another_text_another_nonce() -> None:
    lin = new_citizen()
    other = SealedTrip(10_010, *[getattr(RIDE, name) for name in RIDE.__struct_fields__[1:]])
    assert seal(lin, RIDE) == seal(lin, RIDE)
    assert base64.b64decode(seal(lin, RIDE))[:12] != base64.b64decode(seal(lin, other))[:12]


def test_the_sealed_text_is_canonical_json_and_the_nonce_its_keyed_hash() -> None:
    lin = new_citizen()
    text = json.dumps(
        {name: getattr(RIDE, name) for name in RIDE.__struct_fields__},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()
    data = base64.b64decode(seal(lin, RIDE))
    assert data[:12] == hmac.digest(lin.key, text, "sha256")[:12]
    assert len(data) == 12 + len(text) + 16


@pytest.mark.parametrize("sealed", ["", "AAAA", "not base64", "A" * 64])
def test_what_is_no_sealed_trip_opens_with_nothing(sealed: str) -> None:
    assert unseal(new_citizen(), sealed) is None


def test_pseudonyms_say_nothing_and_differ() -> None:
    names = {new_citizen().citizen for _ in range(100)}
    assert len(names) == 100
    the_city().when(EnrolCitizen(names.pop(), True, False), FIRST)


# ---- in words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ridden", "zh", "en"),
    [
        (trip(), "10.00 公里 × 46.8 克/公里 = 468 克", "10.00 km × 46.8 g/km = 468 g"),
        (
            bike(),
            "3.00 公里 × 48.65 克/公里 = 145.95 克；方法学为研究报告，不可出售",
            "3.00 km × 48.65 g/km = 145.95 g;"
            " measured by a report, not by a filed methodology: not for sale",
        ),
        (
            bike(operator=COUNTY_BIKES),
            "3.00 公里 × 53.94 克/公里 = 161.82 克；方法学为研究报告，不可出售",
            "3.00 km × 53.94 g/km = 161.82 g;"
            " measured by a report, not by a filed methodology: not for sale",
        ),
        (
            trip(citizen=CHEN, distances=[network(1_239)]),
            "1.23 公里 × 46.8 克/公里 = 57.564 克；未同意出售",
            "1.23 km × 46.8 g/km = 57.564 g; you have not agreed to sell it",
        ),
        (
            bike(evidence=Evidence.SELF_DECLARED),
            "自行申报：0 克，72 积分（减半）；方法学为研究报告，不可出售",
            "self-declared: 0 g, 72 points (half);"
            " measured by a report, not by a filed methodology: not for sale",
        ),
    ],
    ids=["metro", "bike", "a county's bike", "an odd length", "self-declared"],
)
def test_a_credit_shows_its_formula(ridden: Any, zh: str, en: str) -> None:
    book = the_city()
    event = credited(book, ridden)
    methodology = book.state.approved[event.methodology, event.version]
    assert explain_credit(event, methodology) == (zh, en)


def test_a_refusal_says_the_rule_and_its_numbers() -> None:
    event = refused(the_city(), trip(minutes=6, distances=[network(10_000)]))
    assert explain_refusal(event) == (
        "平均 100 公里/小时，上限 90 公里/小时",
        "100 km/h on average, 90 km/h is the limit",
    )
    tap = refused(the_city(), trip(minutes=None))
    assert explain_refusal(tap).zh == "只有单次刷卡，缺少终点"
    bus = refused(the_city(), trip(evidence=Evidence.SELF_DECLARED))
    assert explain_refusal(bus).zh == "仅凭手机无法确认地铁出行"


def test_a_reason_from_a_later_version_is_shown_as_it_is() -> None:
    event = TripRefused("b", LIN, "2026-11-20", {}, bike().mode, "00", BIKES, "A_NEWER_RULE")
    assert explain_refusal(event) == ("A_NEWER_RULE", "A_NEWER_RULE")


def test_every_reason_has_words_in_both_languages() -> None:
    for reason, words in {**REFUSED, **NOT_SALEABLE}.items():
        assert words.en, reason
        assert any("\u4e00" <= character <= "\u9fff" for character in words.zh), reason
        assert words.en.isascii(), reason


@pytest.mark.parametrize(
    ("amount_mg", "text"),
    [(0, "0"), (1, "0.001"), (145_950, "145.95"), (468_000, "468"), (100_000, "100")],
)
def test_grams_are_shown_exactly(amount_mg: int, text: str) -> None:
    assert format_g(amount_mg) == text


@pytest.mark.parametrize(
    ("distance_m", "text"), [(10, "0.01"), (990, "0.99"), (1_000, "1.00"), (12_340, "12.34")]
)
def test_kilometres_are_shown_to_the_ten_metres(distance_m: int, text: str) -> None:
    assert format_km(distance_m) == text


@given(st.integers(1, 100_000), st.integers(1_000, 100_000))
def test_milligrams_give_their_metres_back(tens_m: int, factor_mg_per_km: int) -> None:
    distance_m = tens_m * 10
    assert distance_of_m(reduction_mg(factor_mg_per_km, distance_m), factor_mg_per_km) == distance_m


@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=4))
def test_what_is_paid_is_never_more_than_any_source_says(lengths: list[int]) -> None:
    paid_m = payable_m([network(one) for one in lengths])
    assert paid_m is not None
    assert paid_m % 10 == 0
    assert 0 <= min(lengths) - paid_m < 10
