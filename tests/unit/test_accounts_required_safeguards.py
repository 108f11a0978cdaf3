"""A programme that asks for safeguards: units go to others only under a holder's own, as strict."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.values import DAY_MS
from services.accounts.domain.changes import RequiredSafeguards, Right
from services.accounts.domain.commands import (
    AddDestination,
    ApproveTransfer,
    ConfirmDestination,
    ConfirmSafeguards,
    PostEntry,
    ProposeSafeguards,
    ProposeTransfer,
)
from services.accounts.domain.events import SafeguardLimit, SafeguardRules
from tests.support.books import MORNING_MS
from tests.support.companies import (
    BOSS,
    TRADER,
    WANG,
    allocate,
    give,
    make,
    operator,
    proposal_of,
    terms,
    with_terms,
)
from tests.support.lanzhou import (
    CITY_GROUP,
    CLAIM,
    CNY,
    FARMER,
    QINWANGCHUAN,
    TICKET,
    ZHONGCHUAN,
    AccountsBook,
    available,
    check_books,
    deposit,
    hold,
    issue,
    leg,
    retired,
)

WANTED = RequiredSafeguards(DAY_MS, 20)


def guarded_programme(**asked: Any) -> AccountsBook:
    """From the morning on the tickets' programme asks for a day's delay and 20 t a day at most."""
    fields = {"safeguards": WANTED, **asked}
    book = with_terms(QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP, traders=[QINWANGCHUAN], **fields)
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 100, CITY_GROUP: 100})
    for who in (BOSS, TRADER):
        make(
            book,
            operator=operator(
                who, Right.ADMINISTER, Right.TRANSFER, Right.APPROVE, Right.HOLD, Right.RETIRE
            ),
        )
    return book


def protect(book: AccountsBook, delay_ms: int, *limits: int, asset: str = TICKET) -> None:
    rules = SafeguardRules(DAY_MS, delay_ms, [SafeguardLimit(n, asset) for n in limits], False)
    (proposed,) = book.when(ProposeSafeguards(CITY_GROUP, rules), BOSS)
    (confirmed,) = book.when(ConfirmSafeguards(CITY_GROUP, proposed.proposal), TRADER)
    book.clock.at_ms = max(book.clock.at_ms, confirmed.effective_ms)


def trust(book: AccountsBook, to: str) -> None:
    book.when(AddDestination(CITY_GROUP, to), BOSS)
    (confirmed,) = book.when(ConfirmDestination(CITY_GROUP, to), TRADER)
    book.clock.at_ms = max(book.clock.at_ms, confirmed.effective_ms)


def test_without_safeguards_nothing_is_sent_to_others() -> None:
    book = guarded_programme()
    refused = book.refusal(give(CITY_GROUP, ZHONGCHUAN), BOSS)
    assert (refused.reason, refused.details["needed"]) == (
        "SAFEGUARDS_REQUIRED",
        "safeguards in force",
    )
    held = book.refusal(hold(CITY_GROUP, ZHONGCHUAN, 5, TICKET), BOSS)
    assert held.reason == "SAFEGUARDS_REQUIRED"


def test_with_them_a_little_goes_to_whom_it_trusts_and_more_takes_a_second_operator() -> None:
    book = guarded_programme()
    protect(book, DAY_MS, 20)
    trust(book, ZHONGCHUAN)
    book.when(give(CITY_GROUP, ZHONGCHUAN, 20), BOSS)
    assert book.refusal(give(CITY_GROUP, ZHONGCHUAN, 1), BOSS).reason == "APPROVAL_NEEDED"
    (proposed,) = book.when(ProposeTransfer(CITY_GROUP, ZHONGCHUAN, TICKET, 30, []), BOSS)
    book.when(ApproveTransfer(proposed.hold), TRADER)
    check_books(book)


@pytest.mark.parametrize(
    ("delay_ms", "limits", "asset"),
    [(DAY_MS - 1, [20], TICKET), (DAY_MS, [21], TICKET), (DAY_MS, [], TICKET), (DAY_MS, [5], CNY)],
    ids=["too short a delay", "too high a limit", "no limit", "of another asset"],
)
def test_safeguards_that_are_less_strict_are_not_enough(
    delay_ms: int, limits: list[int], asset: str
) -> None:
    book = guarded_programme()
    protect(book, delay_ms, *limits, asset=asset)
    trust(book, ZHONGCHUAN)
    assert book.refusal(give(CITY_GROUP, ZHONGCHUAN, 1), BOSS).reason == "SAFEGUARDS_REQUIRED"
    proposed = book.refusal(ProposeTransfer(CITY_GROUP, ZHONGCHUAN, TICKET, 1, []), BOSS)
    assert proposed.reason == "SAFEGUARDS_REQUIRED"


def test_what_stays_with_its_holder_is_not_held_up_nor_is_money() -> None:
    book = guarded_programme()
    book.when(allocate(QINWANGCHUAN), FARMER)
    book.when(PostEntry([leg(5, TICKET, available(CITY_GROUP), retired(CITY_GROUP))], CLAIM), BOSS)
    deposit(book, QINWANGCHUAN, 500, "line 1")
    book.when(PostEntry([leg(500, CNY, available(QINWANGCHUAN), available(CITY_GROUP))]), FARMER)


def test_before_the_terms_come_into_force_nothing_is_asked_for() -> None:
    book = with_terms(QINWANGCHUAN, CITY_GROUP)
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 100})
    make(book, terms=terms(safeguards=WANTED, effective_from_ms=MORNING_MS + DAY_MS))
    book.when(give(QINWANGCHUAN, CITY_GROUP), FARMER)
    book.clock.at_ms = MORNING_MS + DAY_MS
    assert book.refusal(give(QINWANGCHUAN, CITY_GROUP), FARMER).reason == "SAFEGUARDS_REQUIRED"
    make(book, terms=terms(effective_from_ms=MORNING_MS + DAY_MS))
    book.when(give(QINWANGCHUAN, CITY_GROUP), FARMER)


@pytest.mark.parametrize(
    "asked",
    [RequiredSafeguards(-1, 0), RequiredSafeguards(61 * DAY_MS, 0), RequiredSafeguards(0, -1)],
)
def test_terms_ask_for_what_a_holder_can_have(asked: RequiredSafeguards) -> None:
    book = with_terms()
    refused = book.refusal(proposal_of(terms=terms(safeguards=asked)), WANG)
    assert refused.reason == "NUMBER_OUT_OF_RANGE"
