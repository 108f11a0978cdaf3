"""Issuances: never more than verified, two persons, the authority's words; refused means free."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.errors import Kind
from services.registry.clients import issued_legs, open_issuances
from services.registry.domain.commands import (
    ApproveIssuance,
    CompleteIssuance,
    RefuseIssuance,
    RetiredLot,
    RetireUnits,
)
from services.registry.domain.events import (
    IssuanceApproved,
    IssuanceCompleted,
    IssuanceProposed,
    IssuanceRefused,
    Lot,
    Owner,
    SerialRange,
    Terms,
    UnitsRetired,
)
from services.registry.domain.state import Refusal, Stage
from tests.support.books import person
from tests.support.forest import (
    BATCH,
    CHECKER,
    ISSUANCE,
    MAKER,
    QIN,
    TONNES,
    VERIFIER_KEY,
    ZHONG,
    approve,
    approved,
    check_registry,
    filing,
    issued,
    morning,
    opening,
    proposal,
    proposed,
    stepped,
    verification,
    verified,
    verify,
)
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    FOREST_T,
    PROGRAMME,
    QINWANGCHUAN,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
    approval,
)

NO = RefuseIssuance(ISSUANCE, "UNKNOWN_HOLDER", "no holder", {"holder": QINWANGCHUAN})


def lots(qin_t: int, zhong_t: int) -> list[Lot]:
    return [Lot(qin_t, f"V-{QIN}"), Lot(zhong_t, f"V-{ZHONG}")]


# ---- the maker -----------------------------------------------------------------------------------


def test_a_proposal_says_which_serials_and_whose() -> None:
    book = verified()
    (event,) = book.when(proposal(), MAKER)
    assert event == IssuanceProposed(
        asset=TICKET,
        batch=BATCH,
        document="sha256 of the notice",
        first=1,
        issuance=ISSUANCE,
        last=12_000,
        lots=lots(7000, 5000),
        owners=[Owner(QINWANGCHUAN, 7000), Owner(ZHONGCHUAN, 5000)],
        programme=PROGRAMME,
    )
    assert list(book.state.waiting_issuances) == [ISSUANCE]
    assert open_issuances(book.state) == []
    check_registry(book)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"issuance": ""}, "MISSING_VALUE"),
        ({"asset": "forest tickets"}, "ASSET_MALFORMED"),
        ({"batch": "B" * 81}, "TEXT_TOO_LONG"),
        ({"document": ""}, "MISSING_VALUE"),
        ({"lots": []}, "LOTS_COUNT"),
        ({"lots": [Lot(1, f"V-{QIN}")] * 65}, "LOTS_COUNT"),
        ({"lots": [Lot(0, f"V-{QIN}")]}, "AMOUNT_OUT_OF_RANGE"),
        ({"lots": [Lot(-5, f"V-{QIN}")]}, "AMOUNT_OUT_OF_RANGE"),
        ({"lots": [Lot(1, "V-of-nobody")]}, "UNKNOWN_VERIFICATION"),
    ],
)
def test_a_proposal_that_makes_no_sense_is_refused(changed: dict[str, Any], reason: str) -> None:
    assert verified().refusal(proposal(**changed), MAKER).reason == reason


def test_no_more_is_proposed_than_was_verified() -> None:
    book = verified()
    refused = book.refusal(proposal(lots=lots(7000, 5001)), MAKER)
    assert refused.reason == "ISSUANCE_EXCEEDS_VERIFIED"
    assert refused.details == {
        "needed": 5001,
        "available": 5000,
        "verification": f"V-{ZHONG}",
    }
    book.when(proposal(lots=lots(7000, 5000)), MAKER)


def test_one_reduction_in_two_lots_counts_twice() -> None:
    twice = [Lot(4000, f"V-{QIN}"), Lot(4000, f"V-{QIN}")]
    refused = verified().refusal(proposal(lots=twice), MAKER)
    assert (refused.reason, refused.details["needed"]) == ("ISSUANCE_EXCEEDS_VERIFIED", 8000)


def test_an_issuance_and_a_batch_are_named_once() -> None:
    book = proposed()
    assert book.refusal(proposal(batch="LZXQ-2022"), MAKER).reason == "ISSUANCE_EXISTS"
    refused = book.refusal(proposal("LZXQ-2022", batch=BATCH), MAKER)
    assert (refused.reason, refused.details) == ("BATCH_EXISTS", {"what": f"batch {BATCH}"})


def test_lots_of_two_programmes_are_not_issued_as_one_batch() -> None:
    book = stepped(QIN)
    verify(book, verification(QIN))
    ccer = opening(programme=CITY_GROUP, terms=Terms(None, None, ["forest"], []))
    book.when(ccer, MAKER, on_ms=morning("2020-06-01"))
    book.when(filing("CCER-1", programme=CITY_GROUP), MAKER, on_ms=morning("2021-03-01"))
    verify(book, verification("CCER-1"))
    both = [Lot(1, f"V-{QIN}"), Lot(1, "V-CCER-1")]
    assert book.refusal(proposal(lots=both), MAKER).reason == "MIXED_PROGRAMMES"


# ---- the checker ---------------------------------------------------------------------------------


def test_another_person_approves_with_the_authoritys_signature() -> None:
    book = proposed()
    assert approve(book) == [IssuanceApproved(ISSUANCE)]
    (errand,) = open_issuances(book.state)
    assert (errand.id, errand.position) == (book.envelopes[-1].id, book.envelopes[-1].position)
    assert [one.left_t for one in book.state.reductions.values()] == [0, 0]
    assert book.state.waiting_issuances == {}
    check_registry(book)


def test_the_maker_cannot_be_the_checker() -> None:
    book = verified()
    book.when(proposal(), CHECKER)
    act = approval(BATCH, FOREST_T)
    refused = book.refusal(ApproveIssuance(ISSUANCE), CHECKER, acts=[act])
    assert (refused.reason, refused.kind) == ("MAKER_IS_CHECKER", Kind.FORBIDDEN)


def test_the_maker_is_no_second_person_at_another_issuer() -> None:
    """The authority's statement names its checker alone: it cannot tell the two apart."""
    book = verified()
    book.when(proposal(), CHECKER)
    elsewhere = person(CHECKER.actor.sub, roles=["registry"], iss="guangzhou")
    refused = book.refusal(ApproveIssuance(ISSUANCE), elsewhere, acts=[approval(BATCH, FOREST_T)])
    assert refused.reason == "MAKER_IS_CHECKER"


def test_the_checker_the_authority_names_is_who_asks() -> None:
    act = approval(BATCH, FOREST_T)
    somebody = person("somebody else", roles=["registry"])
    refused = proposed().refusal(ApproveIssuance(ISSUANCE), somebody, acts=[act])
    assert (refused.reason, refused.details["field"]) == ("ACT_DIFFERS", "checker")


@pytest.mark.parametrize(
    "changed",
    [
        {"asset": "TICKET-LZXQ-2"},
        {"batch": "LZXQ-2022"},
        {"document": "sha256 of another notice"},
        {"first": 2},
        {"last": 12_001},
        {"owners": [{"holder": QINWANGCHUAN, "quantity_t": 12_000}]},
        {"programme": CITY_GROUP},
    ],
    ids=str,
)
def test_what_the_authority_signed_is_what_was_proposed(changed: dict[str, Any]) -> None:
    act = approval(BATCH, FOREST_T, **changed)
    refused = proposed().refusal(ApproveIssuance(ISSUANCE), CHECKER, acts=[act])
    assert (refused.reason, refused.details["field"]) == ("ACT_DIFFERS", next(iter(changed)))


def test_only_the_authority_of_the_programme_approves() -> None:
    book = proposed()
    act = approval(BATCH, FOREST_T, key=VERIFIER_KEY)
    assert book.refusal(ApproveIssuance(ISSUANCE), CHECKER).reason == "ACT_MISSING"
    refused = book.refusal(ApproveIssuance(ISSUANCE), CHECKER, acts=[act])
    assert refused.details["expected"] == f"authority:{PROGRAMME}"


def test_a_changed_signature_does_not_hold() -> None:
    act = approval(BATCH, FOREST_T)
    other = approval(BATCH, FOREST_T, document="another", key=AUTHORITY_KEY)
    forged = type(act)(act.key_id, other.signature, act.statement)
    refused = proposed().refusal(ApproveIssuance(ISSUANCE), CHECKER, acts=[forged])
    assert refused.reason == "ACT_SIGNATURE"


def test_an_issuance_is_approved_once_and_must_be_there() -> None:
    book = approved()
    act = approval(BATCH, FOREST_T)
    refused = book.refusal(ApproveIssuance(ISSUANCE), CHECKER, acts=[act])
    assert refused.reason == "ISSUANCE_STAGE"
    assert refused.details == {"expected": "proposed", "actual": "requested"}
    missing = book.refusal(ApproveIssuance("LZXQ-1999"), CHECKER, acts=[act])
    assert (missing.reason, missing.kind) == ("UNKNOWN_ISSUANCE", Kind.UNKNOWN)


def test_of_two_proposals_for_the_same_tonnes_only_one_is_approved() -> None:
    book = proposed()
    book.when(proposal("LZXQ-2021-B", lots=lots(1, 1)), MAKER)
    approve(book, "LZXQ-2021-B")
    act = approval(BATCH, FOREST_T)
    refused = book.refusal(ApproveIssuance(ISSUANCE), CHECKER, acts=[act])
    assert refused.reason == "ISSUANCE_EXCEEDS_VERIFIED"
    assert refused.details["available"] == 6999
    check_registry(book)


# ---- what the accounts book says -----------------------------------------------------------------


def test_every_owner_gets_its_own_leg_with_the_serials_in_order() -> None:
    legs = issued_legs(approved().state.issuances[ISSUANCE])
    assert [
        (leg.debit.holder, leg.credit.holder, leg.amount, leg.serials[0].first, leg.serials[0].last)
        for leg in legs
    ] == [
        (PROGRAMME, QINWANGCHUAN, 7000, 1, 7000),
        (PROGRAMME, ZHONGCHUAN, 5000, 7001, 12_000),
    ]


def test_what_is_issued_counts_against_what_was_verified() -> None:
    book = issued()
    process = book.state.issuances[ISSUANCE].process
    assert (process.stage, process.entry_position) == (Stage.COMPLETED, 17)
    assert process.ended_position == book.envelopes[-1].position
    assert open_issuances(book.state) == []
    again = proposal("LZXQ-2022", lots=[Lot(1, f"V-{QIN}")])
    assert book.refusal(again, MAKER).details["available"] == 0
    check_registry(book)


def test_what_the_accounts_book_refused_may_be_proposed_anew() -> None:
    book = approved()
    assert book.when(NO, SYSTEM) == [
        IssuanceRefused({"holder": QINWANGCHUAN}, ISSUANCE, "no holder", "UNKNOWN_HOLDER")
    ]
    process = book.state.issuances[ISSUANCE].process
    assert process.stage == Stage.REFUSED
    assert process.refusal == Refusal("UNKNOWN_HOLDER", "no holder", {"holder": QINWANGCHUAN})
    assert [one.left_t for one in book.state.reductions.values()] == list(TONNES.values())
    book.when(proposal("LZXQ-2021-again"), MAKER)
    approve(book, "LZXQ-2021-again")
    assert book.when(CompleteIssuance("LZXQ-2021-again"), SYSTEM) == [
        IssuanceCompleted("LZXQ-2021-again")
    ]
    check_registry(book)


@pytest.mark.parametrize("command", [CompleteIssuance(ISSUANCE), NO], ids=["yes", "no"])
def test_nobody_but_the_errand_says_how_an_issuance_ended(
    command: CompleteIssuance | RefuseIssuance,
) -> None:
    assert approved().refusal(command, CHECKER).reason == "ROLE_MISSING"
    assert proposed().refusal(command, SYSTEM).reason == "ISSUANCE_STAGE"
    assert issued().refusal(command, SYSTEM).reason == "ISSUANCE_STAGE"


# ---- retirements ---------------------------------------------------------------------------------


def test_a_retirement_becomes_a_public_fact_for_each_asset() -> None:
    book = issued()
    block = SerialRange(BATCH, 1, 3)
    command = RetireUnits(
        "兰州新区城投",
        "annual meeting",
        "",
        [
            RetiredLot(TICKET, CITY_GROUP, 3, [block]),
            RetiredLot("CCER-7-2020", CITY_GROUP, 4, []),
        ],
    )
    assert book.when(command, SYSTEM, cause=("accounts", 31)) == [
        UnitsRetired(TICKET, "兰州新区城投", "", CITY_GROUP, "annual meeting", 3, [block]),
        UnitsRetired("CCER-7-2020", "兰州新区城投", "", CITY_GROUP, "annual meeting", 4, []),
    ]
    check_registry(book)


def test_nobody_can_claim_a_retirement_that_the_accounts_book_does_not_have() -> None:
    command = RetireUnits("兰州新区城投", "annual meeting", "", [])
    assert issued().refusal(command, MAKER).reason == "ROLE_MISSING"
