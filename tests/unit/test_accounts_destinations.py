"""A holder's own safeguards: a stolen token sends little, nowhere new, and stays under them."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.values import DAY_MS, Caller
from services.accounts import queries
from services.accounts.domain.changes import Operator, OperatorSet, Right
from services.accounts.domain.commands import (
    AddDestination,
    ApproveTransfer,
    ConfirmDestination,
    ConfirmSafeguards,
    ExpireHold,
    FreezeUnits,
    PostEntry,
    PostHold,
    ProposeSafeguards,
    ProposeTransfer,
    RefuseTransfer,
    ReleaseHold,
    RemoveDestination,
    WithdrawSafeguards,
)
from services.accounts.domain.decide import due
from services.accounts.domain.events import SafeguardLimit, SafeguardRules
from tests.support.books import person
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CLAIM,
    CNY,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    STRANGER,
    SYSTEM,
    TICKET,
    VENUE,
    ZHONGCHUAN,
    AccountsBook,
    available,
    balance,
    check_books,
    hold,
    leg,
    pay,
    retired,
    trading,
)
from tests.support.orders import freeze
from tests.unit.test_accounts_freezes import refusal_of, the_court

SECOND = person("second buyer", holders=[CITY_GROUP])
DELAY_MS = 4 * DAY_MS
LIMIT_T = 100


def rules(limit: int | None = LIMIT_T, unlisted: bool = False, **changed: Any) -> SafeguardRules:
    limits = [] if limit is None else [SafeguardLimit(limit, TICKET)]
    fields: Any = {"approve_within_ms": DAY_MS, "delay_ms": DELAY_MS, "limits": limits, **changed}
    return SafeguardRules(unlisted=unlisted, **fields)


def proposed(book: AccountsBook, wanted: SafeguardRules | None, by: Caller = BUYER) -> str:
    (event,) = book.when(ProposeSafeguards(CITY_GROUP, wanted), by)
    name: str = event.proposal
    return name


def changed(book: AccountsBook, wanted: SafeguardRules | None) -> None:
    book.when(ConfirmSafeguards(CITY_GROUP, proposed(book, wanted)), SECOND)


def trust(book: AccountsBook, to: str) -> None:
    book.when(AddDestination(CITY_GROUP, to), BUYER)
    book.when(ConfirmDestination(CITY_GROUP, to), SECOND)


def guarded(limit: int | None = LIMIT_T, unlisted: bool = False) -> AccountsBook:
    """The city group trusts 秦王川林场 and the venue, and has opted in."""
    book = the_court()
    trust(book, QINWANGCHUAN)
    trust(book, f"venue:{VENUE}")
    changed(book, rules(limit, unlisted))
    return book


def test_without_safeguards_nothing_is_asked_and_nothing_is_counted() -> None:
    book = the_court()
    (event,) = book.when(pay(CITY_GROUP, ZHONGCHUAN, 12_000), BUYER)
    assert event.spent_on is None
    assert refusal_of(book, ProposeTransfer(CITY_GROUP, ZHONGCHUAN, TICKET, 1, [])) == (
        "NO_SAFEGUARDS"
    )


def test_opting_in_takes_two_operators_and_counts_at_once() -> None:
    book = the_court()
    name = proposed(book, rules())
    book.when(pay(CITY_GROUP, ZHONGCHUAN, 1), BUYER)  # not yet
    assert refusal_of(book, ConfirmSafeguards(CITY_GROUP, name)) == "MAKER_IS_CHECKER"
    book.when(ConfirmSafeguards(CITY_GROUP, name), SECOND)
    assert refusal_of(book, pay(CITY_GROUP, ZHONGCHUAN, 1)) == "DESTINATION_NOT_TRUSTED"


def test_what_goes_to_a_trusted_destination_within_the_day_needs_one_operator() -> None:
    book = guarded()
    (event,) = book.when(pay(CITY_GROUP, QINWANGCHUAN, LIMIT_T), BUYER)
    assert event.spent_on == "2026-11-20"
    refused = book.refusal(pay(CITY_GROUP, QINWANGCHUAN, 1), BUYER)
    assert (refused.reason, refused.details["actual"]) == ("APPROVAL_NEEDED", LIMIT_T + 1)


def test_splitting_does_not_slip_under_the_limit() -> None:
    book = guarded()
    two = [leg(60, TICKET, available(CITY_GROUP), available(QINWANGCHUAN)) for _ in range(2)]
    assert refusal_of(book, PostEntry(two)) == "APPROVAL_NEEDED"
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 60), BUYER)
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 60), SECOND) == "APPROVAL_NEEDED"
    at_ms = book.clock.now_ms()
    yesterday: dict[str, Any] = {"on_ms": at_ms - DAY_MS}  # dating back opens no other day
    assert book.refusal(pay(CITY_GROUP, QINWANGCHUAN, 60), BUYER, **yesterday).reason == (
        "APPROVAL_NEEDED"
    )
    assert len(book.state.safeguards[CITY_GROUP].spent) == 1
    book.clock.at_ms += DAY_MS
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 100), BUYER)
    check_books(book)


def test_a_hold_for_another_is_no_way_around() -> None:
    book = guarded()
    assert refusal_of(book, hold(CITY_GROUP, ZHONGCHUAN, 1)) == "DESTINATION_NOT_TRUSTED"
    assert refusal_of(book, hold(CITY_GROUP, QINWANGCHUAN, 1)) == "APPROVAL_NEEDED"
    book.when(hold(CITY_GROUP, CITY_GROUP, 1), BUYER)
    book.when(hold(CITY_GROUP, QINWANGCHUAN, 1, CNY), BUYER)  # money has no limit here


def test_an_asset_without_a_limit_goes_to_trusted_destinations_freely() -> None:
    book = guarded()
    (event,) = book.when(pay(CITY_GROUP, QINWANGCHUAN, 5000, CNY), BUYER)
    assert event.spent_on is None
    assert refusal_of(book, pay(CITY_GROUP, ZHONGCHUAN, 1, CNY)) == "DESTINATION_NOT_TRUSTED"


def test_a_limit_of_nothing_asks_for_two_every_time() -> None:
    assert refusal_of(guarded(0), pay(CITY_GROUP, QINWANGCHUAN, 1)) == "APPROVAL_NEEDED"


def test_a_venue_is_trusted_like_a_destination_and_retirement_is_not_held_up() -> None:
    book = guarded()
    to_venue = PostEntry([leg(500, TICKET, available(CITY_GROUP), trading(CITY_GROUP))])
    (event,) = book.when(to_venue, BUYER)
    assert event.spent_on is None
    book.when(RemoveDestination(CITY_GROUP, f"venue:{VENUE}"), BUYER)
    assert refusal_of(book, to_venue) == "DESTINATION_NOT_TRUSTED"
    own = PostEntry([leg(500, TICKET, available(CITY_GROUP), retired(CITY_GROUP))], CLAIM)
    book.when(own, BUYER)


# ---- the list ------------------------------------------------------------------------------------


def test_a_destination_is_trusted_after_the_delay_and_a_second_person() -> None:
    book = guarded()
    book.when(AddDestination(CITY_GROUP, ZHONGCHUAN), BUYER)
    confirm = ConfirmDestination(CITY_GROUP, ZHONGCHUAN)
    assert refusal_of(book, confirm) == "MAKER_IS_CHECKER"
    assert refusal_of(book, pay(CITY_GROUP, ZHONGCHUAN, 1)) == "DESTINATION_NOT_TRUSTED"
    (event,) = book.when(confirm, SECOND)
    assert event.effective_ms == book.clock.now_ms() + DELAY_MS
    book.clock.at_ms = event.effective_ms - 1
    assert refusal_of(book, pay(CITY_GROUP, ZHONGCHUAN, 1)) == "DESTINATION_NOT_TRUSTED"
    book.clock.at_ms = event.effective_ms
    book.when(pay(CITY_GROUP, ZHONGCHUAN, 1), BUYER)
    assert refusal_of(book, confirm, SECOND) == "UNKNOWN_DESTINATION"


def test_one_person_removes_a_destination_at_once() -> None:
    book = guarded()
    book.when(RemoveDestination(CITY_GROUP, QINWANGCHUAN), SECOND)
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 1)) == "DESTINATION_NOT_TRUSTED"
    again = RemoveDestination(CITY_GROUP, QINWANGCHUAN)
    assert refusal_of(book, again) == "UNKNOWN_DESTINATION"
    book.when(AddDestination(CITY_GROUP, QINWANGCHUAN), BUYER)
    book.when(again, BUYER)
    assert refusal_of(book, ConfirmDestination(CITY_GROUP, QINWANGCHUAN), SECOND) == (
        "UNKNOWN_DESTINATION"
    )


@pytest.mark.parametrize(
    ("reason", "command", "who"),
    [
        ("NOT_YOUR_ACCOUNT", AddDestination(CITY_GROUP, ZHONGCHUAN), FARMER),
        ("UNKNOWN_DESTINATION", AddDestination(CITY_GROUP, CITY_GROUP), BUYER),
        ("UNKNOWN_DESTINATION", AddDestination(CITY_GROUP, STRANGER), BUYER),
        ("UNKNOWN_DESTINATION", AddDestination(CITY_GROUP, "venue:none"), BUYER),
        ("DESTINATION_EXISTS", AddDestination(CITY_GROUP, QINWANGCHUAN), BUYER),
        ("UNKNOWN_DESTINATION", ConfirmDestination(CITY_GROUP, ZHONGCHUAN), SECOND),
        ("NOT_YOUR_ACCOUNT", RemoveDestination(CITY_GROUP, QINWANGCHUAN), FARMER),
        ("UNKNOWN_PROPOSAL", ConfirmSafeguards(CITY_GROUP, "none"), SECOND),
        ("UNKNOWN_PROPOSAL", WithdrawSafeguards(CITY_GROUP), SECOND),
        ("NOT_YOUR_ACCOUNT", ProposeSafeguards(CITY_GROUP, None), FARMER),
        ("SAFEGUARD_OUT_OF_RANGE", ProposeSafeguards(CITY_GROUP, rules(delay_ms=-1)), BUYER),
        ("SAFEGUARD_OUT_OF_RANGE", ProposeSafeguards(CITY_GROUP, rules(-1)), BUYER),
        (
            "SAFEGUARD_OUT_OF_RANGE",
            ProposeSafeguards(CITY_GROUP, rules(approve_within_ms=0)),
            BUYER,
        ),
        (
            "LIMITS_MALFORMED",
            ProposeSafeguards(CITY_GROUP, rules(limits=[SafeguardLimit(1, TICKET)] * 2)),
            BUYER,
        ),
        (
            "UNKNOWN_ASSET",
            ProposeSafeguards(CITY_GROUP, rules(limits=[SafeguardLimit(1, "X-1")])),
            BUYER,
        ),
        ("SAME_ACCOUNT", ProposeTransfer(CITY_GROUP, CITY_GROUP, TICKET, 1, []), BUYER),
        (
            "DESTINATION_NOT_TRUSTED",
            ProposeTransfer(CITY_GROUP, ZHONGCHUAN, TICKET, 1, []),
            BUYER,
        ),
        ("NOT_YOUR_ACCOUNT", ProposeTransfer(CITY_GROUP, QINWANGCHUAN, TICKET, 1, []), FARMER),
        (
            "INSUFFICIENT_BALANCE",
            ProposeTransfer(CITY_GROUP, QINWANGCHUAN, TICKET, 12_001, []),
            BUYER,
        ),
        ("UNKNOWN_TRANSFER", ApproveTransfer("none"), SECOND),
    ],
)
def test_what_is_not_in_order_changes_nothing(reason: str, command: Any, who: Caller) -> None:
    assert refusal_of(guarded(), command, who) == reason


# ---- changing them -------------------------------------------------------------------------------


def test_opting_out_and_raising_a_limit_take_two_and_the_delay() -> None:
    for wanted in (None, rules(10_000)):
        book = guarded()
        changed(book, wanted)
        assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 101)) == "APPROVAL_NEEDED"
        book.clock.at_ms += DELAY_MS - 1
        assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 101)) == "APPROVAL_NEEDED"
        book.clock.at_ms += 1
        book.when(pay(CITY_GROUP, QINWANGCHUAN, 101), BUYER)


def test_shortening_the_delay_waits_for_the_delay_it_shortens() -> None:
    book = guarded()
    changed(book, rules(delay_ms=0))
    book.when(AddDestination(CITY_GROUP, ZHONGCHUAN), BUYER)
    (event,) = book.when(ConfirmDestination(CITY_GROUP, ZHONGCHUAN), SECOND)
    assert event.effective_ms == book.clock.now_ms() + DELAY_MS


def test_a_change_is_given_up_by_one_person_before_it_counts() -> None:
    book = guarded()
    changed(book, None)
    book.when(WithdrawSafeguards(CITY_GROUP), BUYER)
    book.clock.at_ms += 2 * DELAY_MS
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 101)) == "APPROVAL_NEEDED"
    name = proposed(book, None)
    book.when(WithdrawSafeguards(CITY_GROUP), SECOND)
    assert refusal_of(book, ConfirmSafeguards(CITY_GROUP, name), SECOND) == "UNKNOWN_PROPOSAL"
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 101)) == "APPROVAL_NEEDED"


def test_what_was_put_in_a_proposals_place_is_not_confirmed_with_it() -> None:
    book = guarded()
    name = proposed(book, rules(200))
    proposed(book, None)
    assert refusal_of(book, ConfirmSafeguards(CITY_GROUP, name), SECOND) == "UNKNOWN_PROPOSAL"


def test_one_change_waits_at_a_time_and_the_next_comes_after_it() -> None:
    book = guarded()
    changed(book, rules(200))
    name = proposed(book, None)
    assert refusal_of(book, ConfirmSafeguards(CITY_GROUP, name), SECOND) == "CHANGE_WAITING"
    book.clock.at_ms += DELAY_MS
    book.when(ConfirmSafeguards(CITY_GROUP, name), SECOND)
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 200), BUYER)
    assert refusal_of(book, pay(CITY_GROUP, QINWANGCHUAN, 1)) == "APPROVAL_NEEDED"
    book.clock.at_ms += DELAY_MS
    book.when(pay(CITY_GROUP, ZHONGCHUAN, 1000), BUYER)
    assert refusal_of(book, ProposeSafeguards(CITY_GROUP, None)) == "NO_SAFEGUARDS"


# ---- proposed transfers --------------------------------------------------------------------------


def waiting(unlisted: bool = False, to: str = QINWANGCHUAN) -> AccountsBook:
    book = guarded(unlisted=unlisted)
    book.when(ProposeTransfer(CITY_GROUP, to, TICKET, 5000, []), BUYER, id="big")
    return book


def test_a_transfer_beyond_the_limit_is_held_until_another_operator_approves() -> None:
    book = waiting()
    assert balance(book.state, available(CITY_GROUP)) == 7000
    ((name, held),) = queries.proposed(book.state, CITY_GROUP)
    assert (name, held.amount, held.proposer) == ("big", 5000, BUYER.actor)
    assert refusal_of(book, ApproveTransfer("big")) == "MAKER_IS_CHECKER"
    assert refusal_of(book, ApproveTransfer("big"), FARMER) == "NOT_YOUR_ACCOUNT"
    book.when(ApproveTransfer("big"), SECOND)
    assert balance(book.state, available(QINWANGCHUAN)) == 5000
    assert refusal_of(book, ApproveTransfer("big"), SECOND) == "UNKNOWN_TRANSFER"
    book.when(pay(CITY_GROUP, QINWANGCHUAN, LIMIT_T), BUYER)  # approved ones do not count
    check_books(book)


def test_the_payee_can_neither_take_nor_let_go_what_waits() -> None:
    book = waiting()
    assert refusal_of(book, PostHold("big", 1), FARMER) == "APPROVAL_NEEDED"
    assert refusal_of(book, ReleaseHold("big"), FARMER) == "APPROVAL_NEEDED"


def test_one_person_with_tokens_of_two_issuers_is_still_one() -> None:
    book = waiting()
    again = person(BUYER.actor.sub, holders=[CITY_GROUP], iss="shenzhen")
    assert refusal_of(book, ApproveTransfer("big"), again) == "MAKER_IS_CHECKER"


def test_a_proposal_is_given_up_by_any_operator_of_its_holder() -> None:
    for who in (BUYER, SECOND):
        book = waiting()
        assert refusal_of(book, RefuseTransfer("big", ""), who) == "MISSING_VALUE"
        book.when(RefuseTransfer("big", "not ours"), who)
        assert balance(book.state, available(CITY_GROUP)) == 12_000
        check_books(book)


def test_a_proposal_expires_by_itself() -> None:
    book = waiting()
    book.clock.at_ms += DAY_MS
    assert refusal_of(book, ApproveTransfer("big"), SECOND) == "HOLD_EXPIRED"
    ((_, _, command),) = list(due(book.state, book.clock.now_ms()))
    assert command == ExpireHold("big")
    book.when(command, SYSTEM)
    assert balance(book.state, available(CITY_GROUP)) == 12_000
    check_books(book)


def test_whom_the_holder_does_not_trust_is_reached_by_two_where_it_allows_that() -> None:
    book = waiting(unlisted=True, to=ZHONGCHUAN)
    book.when(ApproveTransfer("big"), SECOND)
    assert balance(book.state, available(ZHONGCHUAN)) == 5000


def test_a_destination_that_left_the_list_meanwhile_is_not_reached() -> None:
    book = waiting()
    book.when(RemoveDestination(CITY_GROUP, QINWANGCHUAN), BUYER)
    assert refusal_of(book, ApproveTransfer("big"), SECOND) == "DESTINATION_NOT_TRUSTED"


def test_what_was_frozen_meanwhile_is_not_approved_and_goes_home() -> None:
    book = waiting()
    book.when(FreezeUnits(), REGISTRAR, acts=[freeze("all")])
    assert refusal_of(book, ApproveTransfer("big"), SECOND) == "FROZEN"
    book.when(RefuseTransfer("big", "frozen"), SECOND)
    proposal = ProposeTransfer(CITY_GROUP, QINWANGCHUAN, TICKET, 1, [])
    assert refusal_of(book, proposal) == "FROZEN"


def test_the_programme_is_a_holder_like_another() -> None:
    book = guarded()
    book.when(AddDestination(CITY_GROUP, PROGRAMME), BUYER)
    assert PROGRAMME in book.state.safeguards[CITY_GROUP].added


# ---- with a register of operators ----------------------------------------------------------------


def registered(book: AccountsBook, who: Caller, *rights: Right) -> None:
    operator = Operator(holder=CITY_GROUP, person=who.actor, rights=list(rights))
    book.given(OperatorSet(operator=operator))


def test_a_register_says_who_proposes_who_approves_and_who_changes_the_safeguards() -> None:
    book = waiting()
    registered(book, BUYER, Right.TRANSFER)
    registered(book, SECOND, Right.VIEW)
    assert refusal_of(book, ApproveTransfer("big"), SECOND) == "OPERATOR_RIGHT"
    assert refusal_of(book, WithdrawSafeguards(CITY_GROUP)) == "OPERATOR_RIGHT"
    assert refusal_of(book, AddDestination(CITY_GROUP, ZHONGCHUAN)) == "OPERATOR_RIGHT"
    proposal = ProposeTransfer(CITY_GROUP, QINWANGCHUAN, TICKET, 1, [])
    assert refusal_of(book, proposal, SECOND) == "OPERATOR_RIGHT"
    book.when(proposal, BUYER)
    registered(book, SECOND, Right.APPROVE)
    book.when(ApproveTransfer("big"), SECOND)
    check_books(book)


def test_who_stands_in_no_register_any_more_does_not_even_refuse() -> None:
    book = waiting()
    registered(book, SECOND, Right.APPROVE)
    assert refusal_of(book, RefuseTransfer("big", "mine no more")) == "OPERATOR_RIGHT"
    book.when(RefuseTransfer("big", "not ours"), SECOND)
