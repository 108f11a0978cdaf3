"""Who may act for a holder: registers of operators, mandates, funds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kernel.errors import Kind
from kernel.values import DAY_MS, Actor, Caller, day_start_ms
from services.accounts.domain.changes import HolderKind, MandateRevoked, OperatorSet, Right
from services.accounts.domain.commands import (
    ApproveProposal,
    PlaceHold,
    PostEntry,
    PostHold,
    ProposeChange,
    ReleaseHold,
    RevokeMandate,
    SetOperator,
)
from services.accounts.domain.operators import may_view
from tests.support.books import MORNING_MS, person
from tests.support.checkout import ROOT
from tests.support.companies import (
    BOSS,
    CITIZEN,
    FUND,
    FUND_CLERK,
    LAST_DAY,
    LEFT,
    LI,
    PAPER,
    TRADER,
    WANG,
    agree,
    allocate,
    fund,
    give,
    make,
    mandate,
    operator,
    proposal_of,
    the_companies,
)
from tests.support.lanzhou import (
    BACKDATING_DAYS,
    BUYER,
    CITY_GROUP,
    CLAIM,
    CNY,
    EXCHANGE,
    FARMER,
    QINWANGCHUAN,
    STRANGER,
    TICKET,
    ZHONGCHUAN,
    AccountsBook,
    available,
    balance,
    check_books,
    deposit,
    hold,
    issue,
    leg,
    retired,
    trading,
)

ALL = tuple(Right)


def with_units() -> AccountsBook:
    book = the_companies()
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 500, CITY_GROUP: 500})
    deposit(book, CITY_GROUP, 10_000, "line 1")
    return book


def with_boss(*rights: Right) -> AccountsBook:
    book = with_units()
    make(book, operator=operator(BOSS, *(rights or ALL)))
    return book


# ---- registers ----------------------------------------------------------------------------------


def test_from_the_first_operator_on_a_token_alone_moves_nothing() -> None:
    book = with_units()
    book.when(give(CITY_GROUP, ZHONGCHUAN), BUYER)
    make(book, operator=operator(BOSS, Right.TRANSFER))
    refused = book.refusal(give(CITY_GROUP, ZHONGCHUAN), BUYER)
    assert (refused.reason, refused.kind) == ("OPERATOR_RIGHT", Kind.FORBIDDEN)
    assert refused.details == {"holder": CITY_GROUP, "needed": "transfer"}
    book.when(give(CITY_GROUP, ZHONGCHUAN), BOSS)
    check_books(book)


def test_the_register_alone_moves_nothing_either() -> None:
    book = with_boss()
    without_claim = person(BOSS.actor.sub)
    assert book.refusal(give(CITY_GROUP, ZHONGCHUAN), without_claim).reason == "NOT_YOUR_ACCOUNT"


def test_an_operator_is_a_subject_of_its_issuer() -> None:
    book = with_boss()
    namesake = person(BOSS.actor.sub, holders=[CITY_GROUP], iss="gansu")
    assert book.refusal(give(CITY_GROUP, ZHONGCHUAN), namesake).reason == "OPERATOR_RIGHT"


def placing() -> PlaceHold:
    return hold(CITY_GROUP, ZHONGCHUAN, 10)


DOINGS: dict[Right, Any] = {
    Right.TRANSFER: give(CITY_GROUP, ZHONGCHUAN),
    Right.TRADE: allocate(CITY_GROUP),
    Right.RETIRE: PostEntry([leg(10, TICKET, available(CITY_GROUP), retired(CITY_GROUP))], CLAIM),
    Right.HOLD: placing(),
}


@pytest.mark.parametrize("needed", DOINGS)
def test_every_doing_needs_its_own_right_and_no_other(needed: Right) -> None:
    others = [right for right in Right if right != needed]
    refused = with_boss(*others).refusal(DOINGS[needed], BOSS)
    assert (refused.reason, refused.details["needed"]) == ("OPERATOR_RIGHT", needed.value)
    with_boss(needed).when(DOINGS[needed], BOSS)


@pytest.mark.parametrize("end", [lambda id: PostHold(id, 10), ReleaseHold])
def test_a_hold_is_taken_and_let_go_by_the_payees_operators(end: Any) -> None:
    book = with_boss(Right.TRANSFER)
    (held,) = book.when(hold(QINWANGCHUAN, CITY_GROUP, 10), FARMER)
    for caller in (BOSS, BUYER):
        assert book.refusal(end(held.hold), caller).details["needed"] == "hold"
    make(book, operator=operator(BOSS, Right.HOLD))
    book.when(end(held.hold), BOSS)
    check_books(book)


def test_an_entry_is_limited_over_all_its_legs_and_assets() -> None:
    book = with_boss()
    book.when(SetOperator(operator(TRADER, Right.TRANSFER, max_units=50, max_fen=100)), BOSS)
    two_legs = PostEntry(
        [
            leg(30, TICKET, available(CITY_GROUP), available(ZHONGCHUAN)),
            leg(21, TICKET, available(CITY_GROUP), available(QINWANGCHUAN)),
        ]
    )
    refused = book.refusal(two_legs, TRADER)
    assert refused.reason == "OPERATOR_LIMIT"
    assert refused.details == {"holder": CITY_GROUP, "limit": 50, "actual": 51}
    book.when(give(CITY_GROUP, ZHONGCHUAN, 50), TRADER)
    money = PostEntry([leg(101, CNY, available(CITY_GROUP), available(ZHONGCHUAN))])
    assert book.refusal(money, TRADER).details["limit"] == 100
    check_books(book)


def test_a_limit_of_nothing_lets_nothing_out() -> None:
    book = with_boss()
    book.when(SetOperator(operator(TRADER, Right.TRANSFER, max_units=0)), BOSS)
    assert book.refusal(give(CITY_GROUP, ZHONGCHUAN, 1), TRADER).reason == "OPERATOR_LIMIT"


def test_what_is_promised_to_a_holder_is_nobodys_to_limit() -> None:
    book = with_boss()
    book.when(SetOperator(operator(TRADER, Right.HOLD, max_units=5)), BOSS)
    (held,) = book.when(hold(QINWANGCHUAN, CITY_GROUP, 100), FARMER)
    book.when(PostHold(held.hold, 100), TRADER)
    assert book.refusal(hold(CITY_GROUP, QINWANGCHUAN, 6), TRADER).reason == "OPERATOR_LIMIT"


def test_the_administrator_alone_sets_the_others() -> None:
    book = with_boss()
    set_by_boss = operator(TRADER, Right.TRANSFER)
    assert book.when(SetOperator(set_by_boss), BOSS) == [OperatorSet(operator=set_by_boss)]
    for who in (TRADER, BUYER):
        refused = book.refusal(SetOperator(operator(LEFT, Right.TRANSFER)), who)
        assert refused.details["needed"] == "administer"


def test_nobody_sets_the_first_operator_alone() -> None:
    refused = with_units().refusal(SetOperator(operator(BUYER, *ALL)), BUYER)
    assert refused.reason == "NO_REGISTER"


def test_an_operator_removed_between_two_batches_does_nothing_in_the_second() -> None:
    book = with_boss()
    book.when(SetOperator(operator(LEFT, Right.TRANSFER)), BOSS)
    book.when(give(CITY_GROUP, ZHONGCHUAN), LEFT)
    book.when(SetOperator(operator(LEFT)), BOSS)
    assert book.refusal(give(CITY_GROUP, ZHONGCHUAN), LEFT).reason == "OPERATOR_RIGHT"
    # Not for a day before the removal either.
    refused = book.refusal(give(CITY_GROUP, ZHONGCHUAN), LEFT, on_ms=MORNING_MS - DAY_MS)
    assert refused.reason == "OPERATOR_RIGHT"
    check_books(book)


def test_a_register_that_has_become_empty_lets_nobody_act() -> None:
    book = with_boss()
    book.when(SetOperator(operator(BOSS)), BOSS)
    for who in (BOSS, BUYER):
        assert book.refusal(give(CITY_GROUP, ZHONGCHUAN), who).reason == "OPERATOR_RIGHT"
        assert book.refusal(SetOperator(operator(who, *ALL)), who).reason == "OPERATOR_RIGHT"
    make(book, operator=operator(BOSS, *ALL))
    book.when(give(CITY_GROUP, ZHONGCHUAN), BOSS)
    check_books(book)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"holder": STRANGER}, "UNKNOWN_HOLDER"),
        ({"holder": FUND}, "FUND_HAS_NO_OPERATORS"),
        ({"person": Actor("", "boss")}, "MISSING_VALUE"),
        ({"person": Actor("lanzhou", "two\nlines")}, "TEXT_NOT_PRINTABLE"),
        ({"rights": [Right.TRADE, Right.TRADE]}, "NAME_DOUBLED"),
        ({"max_units": -1}, "NUMBER_OUT_OF_RANGE"),
        ({"max_fen": 2**53}, "NUMBER_OUT_OF_RANGE"),
    ],
)
def test_an_operator_that_may_not_be_is_refused(changed: dict[str, Any], reason: str) -> None:
    asked = msgspec.structs.replace(operator(BOSS, Right.TRADE), **changed)
    assert the_companies().refusal(proposal_of(operator=asked), WANG).reason == reason


def test_a_register_is_for_reads_too() -> None:
    book = with_units()
    assert may_view(book.state, BUYER, CITY_GROUP, "", MORNING_MS)
    make(book, operator=operator(BOSS, Right.VIEW))
    assert may_view(book.state, BOSS, CITY_GROUP, "", MORNING_MS)
    for who in (BUYER, person(BOSS.actor.sub)):
        assert not may_view(book.state, who, CITY_GROUP, "", MORNING_MS)


# ---- mandates -----------------------------------------------------------------------------------


def under(book: AccountsBook, *rights: Right, **changed: Any) -> str:
    """The id of a mandate of 秦王川林场 for 城投, offered and accepted."""
    asked = mandate(*(rights or (Right.TRANSFER, Right.TRADE, Right.HOLD, Right.VIEW)), **changed)
    offered = ProposeChange(proposal_of(mandate=asked).change, QINWANGCHUAN)
    id: str = agree(book, offered, FARMER, BUYER).proposal
    return id


def test_the_agents_people_act_for_the_principal_and_the_event_says_so() -> None:
    book = with_units()
    id = under(book)
    (entry,) = book.when(give(QINWANGCHUAN, ZHONGCHUAN, 10, id), BUYER)
    assert entry.mandate == id
    assert balance(book.state, available(ZHONGCHUAN)) == 10
    # Without naming it they are strangers, and so is everybody else who does name it.
    assert book.refusal(give(QINWANGCHUAN, ZHONGCHUAN), BUYER).reason == "NOT_YOUR_ACCOUNT"
    refused = book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 10, id), EXCHANGE)
    assert refused.reason == "NOT_YOUR_ACCOUNT"
    check_books(book)


def test_the_principal_cannot_lend_its_own_token_to_the_agents_mandate() -> None:
    book = with_units()
    id = under(book)
    assert book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 1, id), FARMER).reason == "NOT_YOUR_ACCOUNT"


def test_a_mandate_is_offered_by_the_principal_and_accepted_by_another_person_of_the_agent() -> (
    None
):
    book = with_units()
    change = proposal_of(mandate=mandate(Right.TRANSFER)).change
    assert book.refusal(ProposeChange(change, QINWANGCHUAN), BUYER).reason == "NOT_YOUR_ACCOUNT"
    assert book.refusal(ProposeChange(change, CITY_GROUP), BUYER).reason == "NOT_ITS_OFFER"
    both = person("of both", holders=[QINWANGCHUAN, CITY_GROUP])
    (offered,) = book.when(ProposeChange(change, QINWANGCHUAN), both)
    assert offered.for_holder == QINWANGCHUAN
    for who, reason in (
        (both, "MAKER_IS_CHECKER"),
        (FARMER, "NOT_YOUR_ACCOUNT"),
        (LI, "NOT_YOUR_ACCOUNT"),
    ):
        assert book.refusal(ApproveProposal(offered.proposal), who).reason == reason
    book.when(ApproveProposal(offered.proposal), BUYER)
    check_books(book)


def test_a_holder_offers_nothing_but_a_mandate() -> None:
    change = proposal_of(operator=operator(FARMER, *ALL, holder=QINWANGCHUAN)).change
    refused = the_companies().refusal(ProposeChange(change, QINWANGCHUAN), FARMER)
    assert refused.reason == "NOT_ITS_OFFER"


def test_only_administrators_offer_and_accept_where_there_is_a_register() -> None:
    book = with_boss(Right.TRANSFER)
    make(book, operator=operator(FARMER, Right.TRANSFER, holder=QINWANGCHUAN))
    change = proposal_of(mandate=mandate(Right.TRANSFER)).change
    refused = book.refusal(ProposeChange(change, QINWANGCHUAN), FARMER)
    assert refused.details["needed"] == "administer"
    make(book, operator=operator(FARMER, Right.ADMINISTER, holder=QINWANGCHUAN))
    (offered,) = book.when(ProposeChange(change, QINWANGCHUAN), FARMER)
    assert book.refusal(ApproveProposal(offered.proposal), BOSS).details["needed"] == "administer"


def test_two_registrars_make_a_mandate_with_a_document() -> None:
    book = with_units()
    id = make(book, mandate=mandate(Right.TRANSFER)).proposal
    book.when(give(QINWANGCHUAN, ZHONGCHUAN, 10, id), BUYER)


@pytest.mark.parametrize("right", [Right.TRANSFER, Right.TRADE, Right.RETIRE, Right.HOLD])
def test_a_mandate_covers_its_rights_alone(right: Right) -> None:
    others = [one for one in Right if one not in (right, Right.ADMINISTER)]
    book = with_units()
    id = under(book, *others)
    asked = {
        Right.TRANSFER: give(QINWANGCHUAN, ZHONGCHUAN, 10, id),
        Right.TRADE: allocate(QINWANGCHUAN, 10, id),
        Right.RETIRE: PostEntry(
            [leg(10, TICKET, available(QINWANGCHUAN), retired(QINWANGCHUAN))], CLAIM, id
        ),
        Right.HOLD: msgspec.structs.replace(hold(QINWANGCHUAN, ZHONGCHUAN, 10), mandate=id),
    }[right]
    refused = book.refusal(asked, BUYER)
    assert (refused.reason, refused.kind) == ("MANDATE_SCOPE", Kind.FORBIDDEN)
    assert refused.details["outside"] == right.value


def test_a_mandate_covers_its_assets_alone_and_money_only_by_name() -> None:
    book = with_units()
    deposit(book, QINWANGCHUAN, 100, "line 2")
    paying = [leg(10, CNY, available(QINWANGCHUAN), available(ZHONGCHUAN))]
    by_programme = under(book, Right.TRANSFER)
    refused = book.refusal(PostEntry(paying, mandate=by_programme), BUYER)
    assert refused.details["outside"] == CNY
    by_name = under(book, Right.TRANSFER, programmes=[], assets=[CNY])
    book.when(PostEntry(paying, mandate=by_name), BUYER)
    assert book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 1, by_name), BUYER).details["outside"]
    everything = under(book, Right.TRANSFER, programmes=[], assets=[])
    book.when(PostEntry(paying, mandate=everything), BUYER)
    book.when(give(QINWANGCHUAN, ZHONGCHUAN, 1, everything), BUYER)
    check_books(book)


def test_a_mandate_counts_on_its_days_and_back_dating_revives_none() -> None:
    book = with_units()
    id = under(book)
    book.clock.at_ms = day_start_ms(LAST_DAY) + DAY_MS - 1
    book.when(give(QINWANGCHUAN, ZHONGCHUAN, 1, id), BUYER)
    book.clock.at_ms += 1
    for on_ms in (None, book.clock.at_ms - DAY_MS):
        refused = book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 1, id), BUYER, on_ms=on_ms)
        assert refused.reason == "MANDATE_NOT_IN_FORCE"
    check_books(book)


def test_a_mandate_does_not_reach_back_before_its_first_day() -> None:
    book = with_units()
    id = under(book, first_day="2026-11-20")
    assert BACKDATING_DAYS > 1
    refused = book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 1, id), BUYER, on_ms=MORNING_MS - DAY_MS)
    assert refused.reason == "MANDATE_NOT_IN_FORCE"


@pytest.mark.parametrize(
    ("who", "holder"), [(FARMER, QINWANGCHUAN), (BUYER, CITY_GROUP), (WANG, "")]
)
def test_either_side_or_a_registrar_revokes_at_once(who: Caller, holder: str) -> None:
    book = with_units()
    id = under(book)
    assert book.when(RevokeMandate(id, holder), who) == [MandateRevoked(holder, id)]
    refused = book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 1, id), BUYER)
    assert (refused.reason, refused.kind) == ("UNKNOWN_MANDATE", Kind.UNKNOWN)
    assert not book.state.mandates_by_holder
    check_books(book)


def test_nobody_else_revokes() -> None:
    book = with_units()
    id = under(book)
    for who, holder, reason in (
        (FARMER, "", "ROLE_MISSING"),
        (FARMER, CITY_GROUP, "NOT_YOUR_ACCOUNT"),
        (person("of 中川", holders=[ZHONGCHUAN]), ZHONGCHUAN, "NOT_A_PARTY"),
    ):
        assert book.refusal(RevokeMandate(id, holder), who).reason == reason


def test_a_mandate_is_named_only_where_something_is_done_for_its_principal() -> None:
    book = with_units()
    id = under(book)
    assert book.refusal(give(CITY_GROUP, ZHONGCHUAN, 1, id), BUYER).reason == "MANDATE_UNUSED"
    out = PostEntry([leg(1, TICKET, trading(CITY_GROUP), available(CITY_GROUP))], mandate=id)
    assert book.refusal(out, EXCHANGE).reason == "MANDATE_UNUSED"


def test_an_agents_own_and_its_principals_units_may_go_in_one_entry_but_nobody_elses() -> None:
    book = with_units()
    id = under(book)
    own = leg(5, TICKET, available(CITY_GROUP), available(ZHONGCHUAN))
    for_principal = leg(5, TICKET, available(QINWANGCHUAN), available(ZHONGCHUAN))
    book.when(PostEntry([own, for_principal], mandate=id), BUYER)
    others = leg(5, TICKET, available(ZHONGCHUAN), available(CITY_GROUP))
    refused = book.refusal(PostEntry([for_principal, others], mandate=id), BUYER)
    assert refused.details["holder"] == ZHONGCHUAN
    check_books(book)


def test_the_agents_register_and_limits_count_for_its_principal() -> None:
    book = with_units()
    id = under(book)
    make(book, operator=operator(BOSS, *ALL))
    book.when(SetOperator(operator(TRADER, Right.TRANSFER, max_units=5)), BOSS)
    assert book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 1, id), BUYER).reason == "OPERATOR_RIGHT"
    assert book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 6, id), TRADER).reason == "OPERATOR_LIMIT"
    assert book.refusal(allocate(QINWANGCHUAN, 5, id), TRADER).details["needed"] == "trade"
    book.when(give(QINWANGCHUAN, ZHONGCHUAN, 5, id), TRADER)


def test_a_mandate_is_not_given_on() -> None:
    book = with_units()
    first = under(book)
    second = make(
        book, mandate=mandate(Right.TRANSFER, principal=CITY_GROUP, agent=ZHONGCHUAN)
    ).proposal
    clerk = person("of 中川", holders=[ZHONGCHUAN])
    book.when(give(CITY_GROUP, ZHONGCHUAN, 1, second), clerk)
    for id, reason in ((first, "NOT_YOUR_ACCOUNT"), (second, "MANDATE_UNUSED")):
        assert book.refusal(give(QINWANGCHUAN, ZHONGCHUAN, 1, id), clerk).reason == reason


def test_an_agent_views_within_its_scope() -> None:
    book = with_units()
    under(book, Right.VIEW)

    def sees(asset: str, on_ms: int = MORNING_MS) -> bool:
        return may_view(book.state, BUYER, QINWANGCHUAN, asset, on_ms)

    assert sees(TICKET)
    assert not sees(CNY)
    assert not sees("")
    assert not sees(TICKET, day_start_ms(LAST_DAY) + DAY_MS)
    under(book, Right.VIEW, programmes=[])
    assert sees("")
    assert not may_view(book.state, EXCHANGE, QINWANGCHUAN, TICKET, MORNING_MS)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"agent": QINWANGCHUAN}, "SAME_HOLDER"),
        ({"agent": STRANGER}, "UNKNOWN_HOLDER"),
        ({"agent": FUND}, "FUND_UNDER_MANDATE"),
        ({"principal": FUND}, "FUND_UNDER_MANDATE"),
        ({"rights": []}, "NUMBER_OUT_OF_RANGE"),
        ({"rights": [Right.VIEW, Right.VIEW]}, "NAME_DOUBLED"),
        ({"rights": [Right.ADMINISTER]}, "RIGHT_NOT_GIVEN_ON"),
        ({"first_day": "tomorrow"}, "DAY_MALFORMED"),
        ({"last_day": "2026-02-30"}, "DAY_MALFORMED"),
        ({"first_day": "2027-01-01"}, "PERIOD_REVERSED"),
        ({"first_day": "2026-10-01", "last_day": "2026-11-19"}, "PERIOD_REVERSED"),
        ({"assets": ["TICKET-LZXQ-9"]}, "UNKNOWN_ASSET"),
        ({"assets": [TICKET, TICKET]}, "NAME_DOUBLED"),
        ({"assets": [f"A-{n}" for n in range(201)]}, "NUMBER_OUT_OF_RANGE"),
        ({"programmes": [CITY_GROUP]}, "UNKNOWN_PROGRAMME"),
        ({"document": msgspec.structs.replace(PAPER, digest="")}, "DIGEST_MALFORMED"),
    ],
)
def test_a_mandate_that_may_not_be_is_refused(changed: dict[str, Any], reason: str) -> None:
    asked = msgspec.structs.replace(mandate(Right.TRANSFER), **changed)
    assert the_companies().refusal(proposal_of(mandate=asked), WANG).reason == reason


# ---- funds --------------------------------------------------------------------------------------


def with_fund(*, entrusted: bool = True) -> AccountsBook:
    book = with_units()
    issue(book, "LZXQ-2022", {FUND: 100})
    deposit(book, FUND, 10_000, "line 2")
    if entrusted:
        make(book, fund=fund())
    return book


def test_nobody_moves_a_fund_before_it_has_a_manager() -> None:
    book = with_fund(entrusted=False)
    for who in (FUND_CLERK, BUYER):
        assert book.refusal(give(FUND, ZHONGCHUAN), who).reason == "FUND_WITHOUT_MANAGER"


def test_only_the_managers_operators_move_a_fund() -> None:
    book = with_fund()
    assert book.refusal(give(FUND, ZHONGCHUAN), FUND_CLERK).reason == "NOT_YOUR_ACCOUNT"
    book.when(give(FUND, ZHONGCHUAN), BUYER)
    make(book, operator=operator(BOSS, Right.TRANSFER))
    assert book.refusal(give(FUND, ZHONGCHUAN), BUYER).reason == "OPERATOR_RIGHT"
    book.when(give(FUND, ZHONGCHUAN), BOSS)
    check_books(book)


def test_a_funds_manager_sees_it_and_its_own_token_does_not() -> None:
    book = with_fund()
    assert may_view(book.state, BUYER, FUND, "", MORNING_MS)
    assert not may_view(book.state, FUND_CLERK, FUND, "", MORNING_MS)


def test_a_fund_and_its_manager_meet_only_in_legs_between_the_two() -> None:
    book = with_fund()
    there = leg(10, TICKET, available(FUND), available(CITY_GROUP))
    back = leg(1000, CNY, available(CITY_GROUP), available(FUND))
    book.when(PostEntry([there, back]), BUYER)
    elsewhere = leg(10, TICKET, available(FUND), available(ZHONGCHUAN))
    own = leg(10, TICKET, available(CITY_GROUP), available(ZHONGCHUAN))
    for legs in ([there, elsewhere], [elsewhere, own], [own, there]):
        refused = book.refusal(PostEntry(legs), BUYER)
        assert refused.reason == "FUND_MIXED"
        assert refused.details == {"fund": FUND, "manager": CITY_GROUP}
    book.when(PostEntry([elsewhere]), BUYER)
    check_books(book)


def test_another_manager_takes_over_by_two_registrars() -> None:
    book = with_fund()
    make(book, fund=msgspec.structs.replace(fund(), manager=ZHONGCHUAN))
    assert book.refusal(give(FUND, QINWANGCHUAN), BUYER).reason == "NOT_YOUR_ACCOUNT"
    book.when(give(FUND, QINWANGCHUAN), FARMER)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"fund": CITY_GROUP}, "NOT_A_FUND"),
        ({"fund": STRANGER}, "NOT_A_FUND"),
        ({"manager": FUND}, "NOT_A_MANAGER"),
        ({"manager": CITIZEN}, "NOT_A_MANAGER"),
        ({"manager": STRANGER}, "UNKNOWN_HOLDER"),
    ],
)
def test_a_manager_that_may_not_be_is_refused(changed: dict[str, Any], reason: str) -> None:
    asked = msgspec.structs.replace(fund(), **changed)
    assert the_companies().refusal(proposal_of(fund=asked), WANG).reason == reason


def test_a_fund_may_have_no_credit_code() -> None:
    assert the_companies().state.holders[FUND] == HolderKind.FUND


# ---- no way past ---------------------------------------------------------------------------------


def test_no_rule_of_the_book_reads_a_tokens_holders_past_the_register() -> None:
    asking = {
        path.name
        for path in (ROOT / "services" / "accounts" / "domain").glob("*.py")
        if "check_operates" in path.read_text() or "caller.holders" in path.read_text()
    }
    assert asking == {"operators.py"}
