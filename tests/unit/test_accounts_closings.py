"""Closing one account of a programme: empty, by two registrars, and opened again as at first."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.errors import Refused
from services.accounts.domain.changes import AccountClosed, AccountKind
from services.accounts.domain.commands import ApproveProposal, PostEntry
from services.accounts.domain.events import AssetDefined, HolderKind, HolderRegistered, Unit
from tests.support.companies import (
    LI,
    WANG,
    WANG_AGAIN,
    allocate,
    closing,
    give,
    make,
    opening,
    proposal_of,
    with_terms,
)
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    EXCHANGE,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    STRANGER,
    TICKET,
    VENUE,
    ZHONGCHUAN,
    AccountsBook,
    available,
    check_books,
    deposit,
    hold,
    issue,
    leg,
    trading,
)


def opened() -> AccountsBook:
    """秦王川 trades, 中川 is registered; both have units."""
    book = with_terms(QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP, traders=[QINWANGCHUAN, CITY_GROUP])
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 100, ZHONGCHUAN: 50})
    return book


def refused(book: AccountsBook, asked: Any) -> Refused:
    return book.refusal(proposal_of(closing=asked), WANG)


def test_an_empty_trading_account_closes_and_the_registration_account_goes_on() -> None:
    book = opened()
    closed = make(book, closing=closing(QINWANGCHUAN, VENUE))
    assert closed == AccountClosed(closing(QINWANGCHUAN, VENUE), closed.proposal, WANG.actor)
    assert book.refusal(allocate(QINWANGCHUAN), FARMER).reason == "ACCOUNT_NOT_OPEN"
    book.when(give(ZHONGCHUAN, QINWANGCHUAN), FARMER)
    check_books(book)


def test_it_opens_again_by_two_persons_at_another_venue_too() -> None:
    book = opened()
    make(book, closing=closing(QINWANGCHUAN, VENUE))
    make(book, opening=opening(QINWANGCHUAN, VENUE))
    book.when(allocate(QINWANGCHUAN), FARMER)


def test_who_proposed_a_closing_does_not_agree_to_it_under_whichever_token() -> None:
    book = opened()
    (proposed,) = book.when(proposal_of(closing=closing(QINWANGCHUAN, VENUE)), WANG)
    for checker in (WANG, WANG_AGAIN):
        refusal = book.refusal(ApproveProposal(proposed.proposal), checker)
        assert refusal.reason == "MAKER_IS_CHECKER"


def test_units_or_money_at_the_venue_keep_a_trading_account_open() -> None:
    book = opened()
    book.when(allocate(QINWANGCHUAN, 10), FARMER)
    assert refused(book, closing(QINWANGCHUAN, VENUE)).reason == "ACCOUNT_NOT_EMPTY"
    deposit(book, CITY_GROUP, 500, "line 1")
    money = leg(500, CNY, available(CITY_GROUP), trading(CITY_GROUP))
    book.when(PostEntry([money]), BUYER)
    refusal = refused(book, closing(CITY_GROUP, VENUE))
    assert (refusal.reason, refusal.details["actual"]) == ("ACCOUNT_NOT_EMPTY", 1)
    back = leg(500, CNY, trading(CITY_GROUP), available(CITY_GROUP))
    book.when(PostEntry([back]), EXCHANGE)
    make(book, closing=closing(CITY_GROUP, VENUE))


def test_money_at_the_venue_may_be_there_for_another_programme() -> None:
    book = opened()
    book.given(
        HolderRegistered(STRANGER, HolderKind.PROGRAMME, "甘肃林业", ""),
        AssetDefined("TICKET-GS-1", 5, "林业碳票", STRANGER, True, Unit.T),
    )
    for venue in ("", VENUE):
        make(book, opening=opening(CITY_GROUP, venue, programme=STRANGER))
    deposit(book, CITY_GROUP, 500, "line 1")
    book.when(PostEntry([leg(500, CNY, available(CITY_GROUP), trading(CITY_GROUP))]), BUYER)
    make(book, closing=closing(CITY_GROUP, VENUE))
    assert book.state.openings[CITY_GROUP, STRANGER] == VENUE


def test_a_registration_account_closes_after_the_trading_account_and_with_nothing_left() -> None:
    book = opened()
    assert refused(book, closing(QINWANGCHUAN)).reason == "TRADING_ACCOUNT_OPEN"
    make(book, closing=closing(QINWANGCHUAN, VENUE))
    assert refused(book, closing(QINWANGCHUAN)).reason == "ACCOUNT_NOT_EMPTY"
    book.when(give(QINWANGCHUAN, ZHONGCHUAN, 100), FARMER)
    make(book, closing=closing(QINWANGCHUAN))
    assert (QINWANGCHUAN, PROGRAMME) not in book.state.openings
    assert book.refusal(give(ZHONGCHUAN, QINWANGCHUAN), FARMER).reason == "ACCOUNT_NOT_OPEN"
    make(book, opening=opening(QINWANGCHUAN))
    book.when(give(ZHONGCHUAN, QINWANGCHUAN), FARMER)
    check_books(book)


def test_what_is_promised_to_a_holder_keeps_its_registration_account_open() -> None:
    book = opened()
    make(book, closing=closing(CITY_GROUP, VENUE))
    book.when(hold(ZHONGCHUAN, CITY_GROUP, 5, TICKET), FARMER)
    assert refused(book, closing(CITY_GROUP)).reason == "ACCOUNT_NOT_EMPTY"


def test_what_came_in_between_is_seen_when_the_closing_is_approved() -> None:
    book = opened()
    (proposed,) = book.when(proposal_of(closing=closing(QINWANGCHUAN, VENUE)), WANG)
    book.when(allocate(QINWANGCHUAN, 10), FARMER)
    assert book.refusal(ApproveProposal(proposed.proposal), LI).reason == "ACCOUNT_NOT_EMPTY"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (closing(ZHONGCHUAN, VENUE), "ACCOUNT_NOT_OPEN"),
        (closing(QINWANGCHUAN, "market-2"), "ACCOUNT_NOT_OPEN"),
        (closing(QINWANGCHUAN, "", account=AccountKind.TRADING), "ACCOUNT_NOT_OPEN"),
        (closing(QINWANGCHUAN, VENUE, account=AccountKind.REGISTRATION), "VENUE_UNEXPECTED"),
        (closing(STRANGER), "UNKNOWN_HOLDER"),
        (closing(QINWANGCHUAN, VENUE, programme=QINWANGCHUAN), "UNKNOWN_PROGRAMME"),
        (closing(QINWANGCHUAN, VENUE, reason=""), "MISSING_VALUE"),
    ],
)
def test_what_is_not_open_or_not_named_rightly_is_not_closed(asked: Any, reason: str) -> None:
    assert refused(opened(), asked).reason == reason
