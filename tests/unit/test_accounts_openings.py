"""Opening of accounts: two persons, one account each, and what a programme's terms make of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kernel.errors import Kind
from kernel.values import DAY_MS, Caller
from services.accounts.domain.changes import (
    AccountKind,
    AccountOpened,
    Change,
    Document,
    HolderKind,
    Part,
    ProposalRefused,
    ProposalWithdrawn,
    Right,
    Role,
    Status,
)
from services.accounts.domain.commands import (
    ApproveProposal,
    PostEntry,
    PostHold,
    ProposeChange,
    RefuseProposal,
    RegisterHolder,
    WithdrawProposal,
)
from tests.support.books import MORNING_MS, person
from tests.support.companies import (
    CITIZEN,
    EXCHANGE_HOUSE,
    FOREIGNER,
    LI,
    PAPER,
    VERIFIER,
    VERIFIERS_CLERK,
    WANG,
    WANG_AGAIN,
    agree,
    allocate,
    give,
    make,
    mandate,
    opening,
    proposal_of,
    status,
    terms,
    the_companies,
    with_terms,
)
from tests.support.lanzhou import (
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    EXCHANGE,
    FARMER,
    PRICE_FEN_PER_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    STRANGER,
    VENUE,
    ZHONGCHUAN,
    advice,
    approval,
    available,
    balance,
    check_books,
    deposit,
    deposit_entry,
    hold,
    issuance,
    issue,
    leg,
    settlement,
    settlement_entry,
    trading,
)

EXCHANGES_CLERK = person("exchange's clerk", holders=[EXCHANGE_HOUSE])


# Two persons


def test_an_account_is_opened_by_two_registrars_and_the_event_names_the_first() -> None:
    book = the_companies()
    opened = make(book, opening=opening(QINWANGCHUAN))
    assert opened == AccountOpened(opening(QINWANGCHUAN), opened.proposal, WANG.actor)
    assert book.state.openings == {(QINWANGCHUAN, PROGRAMME): ""}
    assert not book.state.proposals
    check_books(book)


@pytest.mark.parametrize("checker", [WANG, WANG_AGAIN], ids=["one token", "another issuer's"])
def test_who_proposed_may_not_decide_under_whichever_token(checker: Caller) -> None:
    book = the_companies()
    (proposed,) = book.when(proposal_of(opening=opening(QINWANGCHUAN)), WANG)
    for command in (
        ApproveProposal(proposed.proposal),
        RefuseProposal(proposed.proposal, "no licence"),
    ):
        refused = book.refusal(command, checker)
        assert (refused.reason, refused.kind) == ("MAKER_IS_CHECKER", Kind.FORBIDDEN)


def test_a_second_token_of_one_subject_with_other_roles_is_still_the_maker() -> None:
    book = the_companies()
    (proposed,) = book.when(proposal_of(opening=opening(QINWANGCHUAN)), WANG)
    richer = person(WANG.actor.sub, roles=["registrar", "auditor"], holders=[CITY_GROUP])
    assert book.refusal(ApproveProposal(proposed.proposal), richer).reason == "MAKER_IS_CHECKER"


@pytest.mark.parametrize(
    "command", [proposal_of(opening=opening(QINWANGCHUAN)), ApproveProposal("x")]
)
def test_only_registrars_propose_and_decide(command: msgspec.Struct) -> None:
    book = the_companies()
    (proposed,) = book.when(proposal_of(opening=opening(ZHONGCHUAN)), WANG)
    if isinstance(command, ApproveProposal):
        command = ApproveProposal(proposed.proposal)
    assert book.refusal(command, FARMER).reason == "ROLE_MISSING"


def test_another_person_refuses_with_a_reason_and_nothing_opens() -> None:
    book = the_companies()
    (proposed,) = book.when(proposal_of(opening=opening(QINWANGCHUAN)), WANG)
    assert book.refusal(RefuseProposal(proposed.proposal, ""), LI).reason == "MISSING_VALUE"
    (refused,) = book.when(RefuseProposal(proposed.proposal, "the licence has lapsed"), LI)
    assert refused == ProposalRefused(proposed.proposal, WANG.actor, "the licence has lapsed")
    assert not book.state.openings
    assert book.refusal(ApproveProposal(proposed.proposal), LI).reason == "UNKNOWN_PROPOSAL"
    check_books(book)


def test_who_proposed_may_withdraw_and_nobody_else() -> None:
    book = the_companies()
    (proposed,) = book.when(proposal_of(opening=opening(QINWANGCHUAN)), WANG)
    assert book.refusal(WithdrawProposal(proposed.proposal), LI).reason == "NOT_YOUR_PROPOSAL"
    assert book.when(WithdrawProposal(proposed.proposal), WANG) == [
        ProposalWithdrawn(proposed.proposal)
    ]
    assert book.refusal(ApproveProposal(proposed.proposal), LI).reason == "UNKNOWN_PROPOSAL"
    check_books(book)


def test_a_proposal_is_of_exactly_one_change() -> None:
    book = the_companies()
    both = Change(opening=opening(QINWANGCHUAN), mandate=mandate(Right.TRANSFER))
    for change in (Change(), both):
        assert book.refusal(ProposeChange(change), WANG).reason == "CHANGE_NOT_ONE"


def test_an_open_proposals_id_is_not_taken_twice() -> None:
    book = the_companies()
    asked = proposal_of(opening=opening(QINWANGCHUAN))
    (proposed,) = book.when(asked, WANG)
    assert book.refusal(asked, LI, id=proposed.proposal).reason == "PROPOSAL_EXISTS"


def test_nobody_fills_the_desk_with_proposals() -> None:
    book = the_companies()
    for _ in range(200):
        book.when(proposal_of(opening=opening(QINWANGCHUAN)), WANG)
    refused = book.refusal(proposal_of(opening=opening(QINWANGCHUAN)), WANG)
    assert (refused.reason, refused.details["limit"]) == ("NUMBER_OUT_OF_RANGE", 200)
    assert book.when(proposal_of(opening=opening(QINWANGCHUAN)), LI)


# One account each


def test_one_registration_account_each() -> None:
    book = the_companies()
    two = [book.when(proposal_of(opening=opening(QINWANGCHUAN)), WANG)[0] for _ in range(2)]
    book.when(ApproveProposal(two[0].proposal), LI)
    # What was right when proposed is no longer when approved.
    assert book.refusal(ApproveProposal(two[1].proposal), LI).reason == "ACCOUNT_EXISTS"
    asked = proposal_of(opening=opening(QINWANGCHUAN))
    assert book.refusal(asked, WANG).reason == "ACCOUNT_EXISTS"


def test_a_trading_account_needs_a_registration_account_and_there_is_one() -> None:
    book = the_companies()
    trade = proposal_of(opening=opening(QINWANGCHUAN, VENUE))
    assert book.refusal(trade, WANG).reason == "ACCOUNT_NOT_OPEN"
    make(book, opening=opening(QINWANGCHUAN))
    make(book, opening=opening(QINWANGCHUAN, VENUE))
    assert book.state.openings == {(QINWANGCHUAN, PROGRAMME): VENUE}
    assert book.refusal(trade, WANG).reason == "ACCOUNT_EXISTS"
    check_books(book)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"holder": STRANGER}, "UNKNOWN_HOLDER"),
        ({"programme": CITY_GROUP}, "UNKNOWN_PROGRAMME"),
        ({"documents": []}, "NUMBER_OUT_OF_RANGE"),
        ({"documents": [PAPER, PAPER]}, "NAME_DOUBLED"),
        ({"documents": [Document("ab", "licence")]}, "DIGEST_MALFORMED"),
        ({"documents": [Document(PAPER.digest, "")]}, "MISSING_VALUE"),
        ({"representatives": []}, "NUMBER_OUT_OF_RANGE"),
        ({"representatives": ["王小明"]}, "PERSON_MALFORMED"),
        ({"venue": VENUE, "account": AccountKind.REGISTRATION}, "VENUE_UNEXPECTED"),
    ],
)
def test_an_opening_that_may_not_be_is_refused(changed: dict[str, Any], reason: str) -> None:
    asked = proposal_of(opening=opening(QINWANGCHUAN, **changed))
    assert the_companies().refusal(asked, WANG).reason == reason


def test_nobody_trades_at_a_venue_without_a_key() -> None:
    book = the_companies()
    make(book, opening=opening(QINWANGCHUAN))
    asked = proposal_of(opening=opening(QINWANGCHUAN, "market-nowhere"))
    assert book.refusal(asked, WANG).reason == "UNKNOWN_VENUE"


# Terms


def test_without_terms_everything_is_as_it_was() -> None:
    book = the_companies()
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 100})
    book.when(give(QINWANGCHUAN, EXCHANGE_HOUSE), FARMER)
    book.when(allocate(EXCHANGE_HOUSE), EXCHANGES_CLERK)
    assert balance(book.state, trading(EXCHANGE_HOUSE)) == 10


def test_terms_judge_by_business_time_from_their_instant_on() -> None:
    book = with_terms(effective_from_ms=MORNING_MS + DAY_MS)
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 100})
    book.clock.at_ms += 2 * DAY_MS
    refused = book.refusal(give(QINWANGCHUAN, CITY_GROUP), FARMER)
    assert (refused.reason, refused.details["holder"]) == ("ACCOUNT_NOT_OPEN", CITY_GROUP)
    # An entry of the day before is judged by the rules of that day.
    book.when(give(QINWANGCHUAN, CITY_GROUP), FARMER, on_ms=MORNING_MS + DAY_MS - 1)
    assert book.refusal(give(QINWANGCHUAN, CITY_GROUP), FARMER, on_ms=MORNING_MS + DAY_MS)
    check_books(book)


def test_terms_of_the_past_are_not_set() -> None:
    asked = proposal_of(terms=terms(effective_from_ms=MORNING_MS - 1))
    assert the_companies().refusal(asked, WANG).reason == "TERMS_RETROACTIVE"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"parts": [Role(STRANGER, Part.VERIFIER)]}, "UNKNOWN_HOLDER"),
        ({"parts": [Role(VERIFIER, Part.VERIFIER)] * 2}, "NAME_DOUBLED"),
        ({"barred_kinds": [HolderKind.VENUE] * 2}, "NAME_DOUBLED"),
        ({"barred_parts": [Part.VERIFIER] * 2}, "NAME_DOUBLED"),
        ({"parts": [Role(VERIFIER, Part.VERIFIER)] * 201}, "NUMBER_OUT_OF_RANGE"),
    ],
)
def test_terms_that_may_not_be_are_refused(changed: dict[str, Any], reason: str) -> None:
    assert the_companies().refusal(proposal_of(terms=terms(**changed)), WANG).reason == reason


def test_of_two_sets_from_one_instant_the_later_counts() -> None:
    book = with_terms()
    make(book, terms=terms(opening_required=False))
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 100})
    check_books(book)


@pytest.mark.parametrize(("holder", "word"), [(CITIZEN, "persons"), (FOREIGNER, "foreign")])
def test_natural_persons_and_foreigners_open_when_the_terms_let_them(
    holder: str, word: str
) -> None:
    asked = proposal_of(opening=opening(holder))
    refused = with_terms().refusal(asked, WANG)
    assert refused.reason == "KIND_MAY_NOT_OPEN"
    agree(with_terms(persons=word == "persons", foreign=word == "foreign"), asked, WANG, LI)


def test_a_natural_person_is_an_opaque_id_alone() -> None:
    book, id = the_companies(), "h-" + "a" * 16
    for name, uscc in (("王小明", ""), ("", "914403001922038216")):
        refused = book.refusal(RegisterHolder(id, HolderKind.PERSON, uscc, name), REGISTRAR)
        assert refused.reason == "PERSON_NAMED"
    book.when(RegisterHolder(id, HolderKind.PERSON, "", ""), REGISTRAR)


# What terms ask of every way in


def test_units_are_issued_only_to_who_has_opened() -> None:
    book = with_terms(ZHONGCHUAN)
    owners = {QINWANGCHUAN: 5}
    refused = book.refusal(issuance("B", owners), REGISTRY, acts=[approval("B", owners)])
    assert refused.reason == "ACCOUNT_NOT_OPEN"
    issue(book, "LZXQ-2021", {ZHONGCHUAN: 5})
    check_books(book)


def test_a_hold_is_no_way_round_an_opening() -> None:
    book = the_companies()
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 100})
    (held,) = book.when(hold(QINWANGCHUAN, CITY_GROUP, 10), FARMER)
    make(book, terms=terms())
    assert book.refusal(PostHold(held.hold, 10), BUYER).reason == "ACCOUNT_NOT_OPEN"
    assert book.refusal(hold(QINWANGCHUAN, CITY_GROUP, 10), FARMER).reason == "ACCOUNT_NOT_OPEN"
    make(book, opening=opening(CITY_GROUP))
    book.when(PostHold(held.hold, 4), BUYER)
    # What comes back comes back, though the farm has opened nothing.
    assert balance(book.state, available(QINWANGCHUAN)) == 96
    check_books(book)


def test_trading_needs_a_trading_account_at_this_very_venue() -> None:
    book = with_terms(QINWANGCHUAN, CITY_GROUP, traders=[CITY_GROUP])
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 100})
    refused = book.refusal(allocate(QINWANGCHUAN), FARMER)
    assert refused.details["account"] == f"trading at {VENUE}"
    make(book, opening=opening(QINWANGCHUAN, VENUE))
    book.when(allocate(QINWANGCHUAN), FARMER)
    check_books(book)


def test_money_is_exempt_unless_the_terms_say_so() -> None:
    book = with_terms()
    deposit(book, CITY_GROUP, 500, "line 1")
    book.when(PostEntry([leg(500, CNY, available(CITY_GROUP), trading(CITY_GROUP))]), BUYER)
    check_books(book)


def test_a_programmes_own_money_is_held_to_its_terms_when_they_say_so() -> None:
    for money_too, expected in ((False, None), (True, "ACCOUNT_NOT_OPEN")):
        book = with_terms(money_too=money_too)
        known = book.state.assets[CNY]
        book.given(msgspec.structs.replace(known, asset="CNY-2", programme=PROGRAMME))
        entry = PostEntry(
            [msgspec.structs.replace(deposit_entry(CITY_GROUP, 5).legs[0], asset="CNY-2")]
        )
        acts = [advice(CITY_GROUP, 5, "line 1", asset="CNY-2")]
        if expected is None:
            book.when(entry, CASHIER, acts=acts)
        else:
            assert book.refusal(entry, CASHIER, acts=acts).reason == expected


# Barred from trading


def barred_with_units(holder: str) -> Any:
    """A holder that got its units and a trading account before it was barred."""
    book = the_companies()
    issue(book, "LZXQ-2021", {holder: 50, QINWANGCHUAN: 50, CITY_GROUP: 50})
    deposit(book, CITY_GROUP, 100_000_000, "line 1")
    for one in (holder, CITY_GROUP):
        make(book, opening=opening(one))
        make(book, opening=opening(one, VENUE))
    return book


BARRED = pytest.mark.parametrize(
    ("holder", "clerk"), [(EXCHANGE_HOUSE, EXCHANGES_CLERK), (VERIFIER, VERIFIERS_CLERK)]
)


@BARRED
def test_who_is_barred_allocates_nothing_and_opens_no_trading_account(
    holder: str, clerk: Caller
) -> None:
    book = barred_with_units(holder)
    make(book, terms=terms())
    refused = book.refusal(allocate(holder), clerk)
    assert (refused.reason, refused.details["holder"]) == ("BARRED_FROM_TRADING", holder)
    book = with_terms(holder)
    asked = proposal_of(opening=opening(holder, VENUE))
    assert book.refusal(asked, WANG).reason == "BARRED_FROM_TRADING"


@BARRED
@pytest.mark.parametrize("sells", [True, False])
def test_who_is_barred_is_neither_seller_nor_buyer_in_a_settlement(
    holder: str, clerk: Caller, sells: bool
) -> None:
    book = barred_with_units(holder)
    book.when(allocate(holder), clerk)
    book.when(allocate(CITY_GROUP), BUYER)
    money = 20 * PRICE_FEN_PER_T
    deposit(book, holder, money, "line 2")
    for who, caller in ((holder, clerk), (CITY_GROUP, BUYER)):
        book.when(PostEntry([leg(money, CNY, available(who), trading(who))]), caller)
    pair = (holder, CITY_GROUP) if sells else (CITY_GROUP, holder)
    make(book, terms=terms())
    deal = ("T-1", *pair, 10, PRICE_FEN_PER_T)
    refused = book.refusal(settlement_entry(deal), EXCHANGE, acts=[settlement(deal)])
    assert (refused.reason, refused.details["holder"]) == ("BARRED_FROM_TRADING", holder)
    # It is let out of the market again.
    book.when(PostEntry([leg(10, "TICKET-LZXQ-1", trading(holder), available(holder))]), EXCHANGE)
    check_books(book)


@BARRED
def test_who_is_barred_trades_neither_through_an_agent_nor_as_one(
    holder: str, clerk: Caller
) -> None:
    book = barred_with_units(holder)
    rights = (Right.TRADE, Right.TRANSFER)
    through = make(book, mandate=mandate(*rights, principal=holder, agent=CITY_GROUP)).proposal
    as_one = make(book, mandate=mandate(*rights, agent=holder)).proposal
    make(book, terms=terms())
    for own in (QINWANGCHUAN,):
        make(book, opening=opening(own))
        make(book, opening=opening(own, VENUE))
    refused = book.refusal(allocate(holder, under=through), BUYER)
    assert (refused.reason, refused.details["holder"]) == ("BARRED_FROM_TRADING", holder)
    refused = book.refusal(allocate(QINWANGCHUAN, under=as_one), clerk)
    assert (refused.reason, refused.details["holder"]) == ("BARRED_FROM_TRADING", holder)


def test_nothing_is_opened_for_who_is_not_active() -> None:
    book = the_companies()
    make(book, status=status(QINWANGCHUAN, Status.RESTRICTED))
    asked = proposal_of(opening=opening(QINWANGCHUAN))
    assert book.refusal(asked, WANG).reason == "STATUS_FORBIDS"
