"""A holder's status: what each allows, on every way in and out, and who sets and lifts it."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.errors import Refused
from services.accounts.domain.changes import HolderStatusSet, Right, Status, StatusChange
from services.accounts.domain.commands import (
    ApproveProposal,
    ExpireHold,
    OrderStatus,
    PostEntry,
    PostHold,
    ReleaseHold,
)
from services.accounts.domain.standing import ALLOWED, Flow
from tests.support.companies import (
    FUND,
    LI,
    PAPER,
    WANG,
    agree,
    allocate,
    fund,
    give,
    make,
    mandate,
    opening,
    order,
    proposal_of,
    status,
    the_companies,
)
from tests.support.lanzhou import (
    BANK,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CLAIM,
    CNY,
    EXCHANGE,
    FARMER,
    PRICE_FEN_PER_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRY,
    STRANGER,
    SYSTEM,
    TICKET,
    VENUE,
    VENUE_KEY,
    ZHONGCHUAN,
    AccountsBook,
    admitted,
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
    retired,
    seeded_key,
    settlement,
    settlement_entry,
    trading,
)

AUTHORITY = f"authority:{PROGRAMME}"
DEAL = ("T-1", QINWANGCHUAN, CITY_GROUP, 10, PRICE_FEN_PER_T)
DEAL_BACK = ("T-2", CITY_GROUP, QINWANGCHUAN, 10, PRICE_FEN_PER_T)


class Scene:
    """秦王川林场 with units and money everywhere they can be, then under some status."""

    def __init__(self, to: Status = Status.ACTIVE) -> None:
        self.book = book = the_companies()
        issue(book, "LZXQ-2021", {QINWANGCHUAN: 500, CITY_GROUP: 500})
        for n, holder in enumerate((QINWANGCHUAN, CITY_GROUP)):
            deposit(book, holder, 10_000_000, f"line {n}")
        for holder, caller in ((QINWANGCHUAN, FARMER), (CITY_GROUP, BUYER)):
            book.when(allocate(holder, 100), caller)
            money = leg(1_000_000, CNY, available(holder), trading(holder))
            book.when(PostEntry([money]), caller)
        self.promised = book.when(hold(QINWANGCHUAN, CITY_GROUP, 10), FARMER)[0].hold
        self.due = book.when(hold(CITY_GROUP, QINWANGCHUAN, 10), BUYER)[0].hold
        if to != Status.ACTIVE:
            make(book, status=status(QINWANGCHUAN, to))

    def does(self, what: str) -> None:
        book, own = self.book, QINWANGCHUAN
        match what:
            case "receives":
                book.when(give(CITY_GROUP, own), BUYER)
            case "is issued to":
                book.when(issuance("B", {own: 5}), REGISTRY, acts=[approval("B", {own: 5})])
            case "is paid in":
                book.when(deposit_entry(own, 5), CASHIER, acts=[advice(own, 5, "line 9")])
            case "takes a hold":
                book.when(PostHold(self.due, 10), FARMER)
            case "is promised":
                book.when(hold(CITY_GROUP, own, 10), BUYER)
            case "retires":
                book.when(PostEntry([leg(5, TICKET, available(own), retired(own))], CLAIM), FARMER)
            case "sends":
                book.when(give(own, CITY_GROUP), FARMER)
            case "reserves":
                book.when(hold(own, CITY_GROUP, 10), FARMER)
            case "pays a hold":
                book.when(PostHold(self.promised, 10), BUYER)
            case "allocates":
                book.when(allocate(own), FARMER)
            case "sells":
                book.when(settlement_entry(DEAL), EXCHANGE, acts=[settlement(DEAL)])
            case "buys":
                book.when(settlement_entry(DEAL_BACK), EXCHANGE, acts=[settlement(DEAL_BACK)])
            case "is released":
                out = leg(10, TICKET, trading(own), available(own))
                book.when(PostEntry([out]), EXCHANGE)
            case "gets a hold back":
                book.when(ReleaseHold(self.promised), BUYER)
            case _:
                raise AssertionError(what)


RECEIVES = ("receives", "is issued to", "is paid in", "takes a hold", "is promised")
SENDS = ("sends", "reserves", "pays a hold", "allocates", "sells", "buys")
RETURNS = ("is released", "gets a hold back")
EVERYTHING = (*RECEIVES, "retires", *SENDS, *RETURNS)
# What each status forbids, said once more and by hand.
FORBIDDEN: dict[Status, tuple[str, ...]] = {
    Status.ACTIVE: (),
    Status.RESTRICTED: SENDS,
    Status.SUSPENDED: ("retires", *SENDS),
    Status.FROZEN: (*RECEIVES, "retires", *SENDS),
}


@pytest.mark.parametrize("what", EVERYTHING)
@pytest.mark.parametrize("to", FORBIDDEN)
def test_each_status_lets_happen_what_the_table_says_and_nothing_else(
    to: Status, what: str
) -> None:
    scene = Scene(to)
    if what not in FORBIDDEN[to]:
        scene.does(what)
    else:
        with pytest.raises(Refused) as caught:
            scene.does(what)
        assert caught.value.reason == "STATUS_FORBIDS"
        assert caught.value.details["holder"] == QINWANGCHUAN
        assert caught.value.details["status"] == to.value
    check_books(scene.book)


def test_the_table_has_a_row_for_every_status_and_closed_allows_nothing() -> None:
    assert set(ALLOWED) == set(Status)
    assert ALLOWED[Status.CLOSED] == frozenset()
    assert ALLOWED[Status.ACTIVE] == frozenset(Flow)


def test_a_hold_of_a_frozen_holder_still_expires() -> None:
    book = the_companies()
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 10})
    ends_ms = book.clock.now_ms() + 1000
    (held,) = book.when(hold(QINWANGCHUAN, CITY_GROUP, 10, TICKET, ends_ms), FARMER)
    make(book, status=status(QINWANGCHUAN, Status.FROZEN))
    book.clock.at_ms = ends_ms
    book.when(ExpireHold(held.hold), SYSTEM)
    assert balance(book.state, available(QINWANGCHUAN)) == 10
    check_books(book)


def test_a_status_takes_effect_at_its_event_for_every_business_time() -> None:
    scene = Scene(Status.SUSPENDED)
    day_before_ms = scene.book.clock.now_ms() - 86_400_000
    refused = scene.book.refusal(give(QINWANGCHUAN, CITY_GROUP), FARMER, on_ms=day_before_ms)
    assert refused.reason == "STATUS_FORBIDS"


def test_an_agent_and_a_funds_manager_are_judged_like_the_holder() -> None:
    scene = Scene()
    book = scene.book
    id = make(book, mandate=mandate(Right.TRANSFER)).proposal
    make(book, fund=fund())
    issue(book, "LZXQ-2022", {FUND: 10})
    make(book, status=status(CITY_GROUP, Status.SUSPENDED))
    for entry in (give(QINWANGCHUAN, ZHONGCHUAN, 1, id), give(FUND, ZHONGCHUAN, 1)):
        refused = book.refusal(entry, BUYER)
        assert (refused.reason, refused.details["holder"]) == ("STATUS_FORBIDS", CITY_GROUP)
    check_books(book)


# ---- who sets and lifts -------------------------------------------------------------------------


def test_two_registrars_set_and_lift_with_reason_and_document() -> None:
    book = the_companies()
    made = make(book, status=status(QINWANGCHUAN, Status.SUSPENDED))
    assert made == HolderStatusSet(
        proposal=made.proposal,
        proposed_by=WANG.actor,
        status=status(QINWANGCHUAN, Status.SUSPENDED),
    )
    make(book, status=status(QINWANGCHUAN, Status.ACTIVE))
    assert not book.state.standings
    check_books(book)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"holder": STRANGER}, "UNKNOWN_HOLDER"),
        ({"reason": ""}, "MISSING_VALUE"),
        ({"reason": "x" * 501}, "TEXT_TOO_LONG"),
    ],
)
def test_a_status_without_its_words_is_refused(changed: dict[str, Any], reason: str) -> None:
    fields = {"holder": QINWANGCHUAN, "reason": "papers", **changed}
    asked = status(fields["holder"], Status.SUSPENDED, fields["reason"])
    assert the_companies().refusal(proposal_of(status=asked), WANG).reason == reason


def ordered(book: AccountsBook, to: Status, number: str, /, **act: Any) -> Any:
    said = StatusChange(PAPER, QINWANGCHUAN, "an investigation", to)
    command = OrderStatus(AUTHORITY, number, said)
    return book.when(command, WANG, acts=[order(QINWANGCHUAN, to, number, **act)])


def ordering_refused(book: AccountsBook, to: Status, number: str, /, **act: Any) -> Refused:
    said = StatusChange(PAPER, QINWANGCHUAN, "an investigation", to)
    acts = [order(QINWANGCHUAN, to, number, **act)]
    return book.refusal(OrderStatus(AUTHORITY, number, said), WANG, acts=acts)


def test_an_authoritys_order_counts_until_the_same_authority_lifts_it() -> None:
    scene = Scene()
    (made,) = ordered(scene.book, Status.FROZEN, "甘碳 1")
    assert (made.authority, made.number, made.proposal) == (AUTHORITY, "甘碳 1", None)
    # Registrars set what is theirs, and lift nothing of the authority's.
    make(scene.book, status=status(QINWANGCHUAN, Status.RESTRICTED))
    make(scene.book, status=status(QINWANGCHUAN, Status.ACTIVE))
    assert scene.book.refusal(give(CITY_GROUP, QINWANGCHUAN), BUYER).details["status"] == "frozen"
    ordered(scene.book, Status.ACTIVE, "甘碳 2")
    scene.does("sends")
    check_books(scene.book)


def test_the_authority_lifts_nothing_that_registrars_have_set() -> None:
    scene = Scene(Status.SUSPENDED)
    ordered(scene.book, Status.ACTIVE, "甘碳 1")
    assert scene.book.refusal(give(QINWANGCHUAN, CITY_GROUP), FARMER).reason == "STATUS_FORBIDS"


def test_an_authority_reaches_the_units_of_its_programme_and_a_court_everything() -> None:
    scene = Scene()
    paying = PostEntry([leg(5, CNY, available(QINWANGCHUAN), available(CITY_GROUP))])
    ordered(scene.book, Status.FROZEN, "甘碳 1")
    assert scene.book.refusal(give(QINWANGCHUAN, CITY_GROUP), FARMER).reason == "STATUS_FORBIDS"
    scene.book.when(paying, FARMER)
    court, key = "court:lanzhou", seeded_key("a court of Lanzhou")
    scene.book.given(admitted(key, court))
    said = StatusChange(PAPER, QINWANGCHUAN, "an investigation", Status.SUSPENDED)
    act = order(QINWANGCHUAN, Status.SUSPENDED, "兰法 1", key=key, authority=court)
    scene.book.when(OrderStatus(court, "兰法 1", said), WANG, acts=[act])
    assert scene.book.refusal(paying, FARMER).details["status"] == "suspended"
    check_books(scene.book)


def test_an_authority_of_another_programme_reaches_nothing_here() -> None:
    scene = Scene()
    other, key = f"authority:{STRANGER}", seeded_key("an authority of Shenzhen")
    scene.book.given(admitted(key, other))
    said = StatusChange(PAPER, QINWANGCHUAN, "an investigation", Status.FROZEN)
    act = order(QINWANGCHUAN, Status.FROZEN, "深碳 1", key=key, authority=other)
    scene.book.when(OrderStatus(other, "深碳 1", said), WANG, acts=[act])
    scene.does("sends")
    # Nor does it lift what the authority of this one has ordered.
    ordered(scene.book, Status.FROZEN, "甘碳 1")
    act = order(QINWANGCHUAN, Status.ACTIVE, "深碳 2", key=key, authority=other)
    freed = StatusChange(PAPER, QINWANGCHUAN, "an investigation", Status.ACTIVE)
    scene.book.when(OrderStatus(other, "深碳 2", freed), WANG, acts=[act])
    assert scene.book.refusal(give(QINWANGCHUAN, CITY_GROUP), FARMER).reason == "STATUS_FORBIDS"
    check_books(scene.book)


@pytest.mark.parametrize("who", [f"bank:{BANK}", f"venue:{VENUE}", f"holder:{CITY_GROUP}", ""])
def test_nobody_else_orders(who: str) -> None:
    said = StatusChange(PAPER, QINWANGCHUAN, "an investigation", Status.FROZEN)
    acts = [order(QINWANGCHUAN, Status.FROZEN, "1", key=VENUE_KEY, authority=who)]
    refused = the_companies().refusal(OrderStatus(who, "1", said), WANG, acts=acts)
    assert refused.reason in ("ORDERS_NOTHING", "MISSING_VALUE")


def test_an_order_is_booked_once() -> None:
    book = the_companies()
    ordered(book, Status.FROZEN, "甘碳 1")
    ordered(book, Status.ACTIVE, "甘碳 2")
    assert ordering_refused(book, Status.FROZEN, "甘碳 1").reason == "ORDER_BOOKED"
    check_books(book)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ({"key": VENUE_KEY}, "ACT_SUBJECT"),
        ({"authority": CITY_GROUP}, "ACT_DIFFERS"),
        ({"document": "00" * 32}, "ACT_DIFFERS"),
        ({"holder": CITY_GROUP}, "ACT_DIFFERS"),
        ({"number": "another"}, "ACT_DIFFERS"),
        ({"reason": "another"}, "ACT_DIFFERS"),
        ({"status": "active"}, "ACT_DIFFERS"),
        ({"kind": "issuance-approval"}, "ACT_MISSING"),
    ],
)
def test_an_order_that_the_authority_did_not_sign_is_refused(
    act: dict[str, Any], reason: str
) -> None:
    assert ordering_refused(the_companies(), Status.FROZEN, "甘碳 1", **act).reason == reason


def test_an_order_needs_its_signature_and_a_registrar() -> None:
    book = the_companies()
    said = StatusChange(PAPER, QINWANGCHUAN, "an investigation", Status.FROZEN)
    command = OrderStatus(AUTHORITY, "甘碳 1", said)
    assert book.refusal(command, WANG).reason == "ACT_MISSING"
    acts = [order(QINWANGCHUAN, Status.FROZEN, "甘碳 1")]
    assert book.refusal(command, FARMER, acts=acts).reason == "ROLE_MISSING"


def test_a_proposal_with_a_signature_nobody_reads_is_refused() -> None:
    acts = [order(QINWANGCHUAN, Status.FROZEN, "甘碳 1")]
    asked = proposal_of(status=status(QINWANGCHUAN, Status.FROZEN))
    assert the_companies().refusal(asked, WANG, acts=acts).reason == "ACT_UNEXPECTED"


# ---- closed -------------------------------------------------------------------------------------


def test_closed_is_for_ever() -> None:
    book = the_companies()
    issue(book, "LZXQ-2021", {CITY_GROUP: 10})
    make(book, opening=opening(QINWANGCHUAN))
    make(book, status=status(QINWANGCHUAN, Status.CLOSED))
    for to in Status:
        asked = proposal_of(status=status(QINWANGCHUAN, to))
        assert book.refusal(asked, WANG).reason == "HOLDER_CLOSED"
    assert ordering_refused(book, Status.ACTIVE, "甘碳 1").reason == "HOLDER_CLOSED"
    assert book.refusal(give(CITY_GROUP, QINWANGCHUAN), BUYER).reason == "STATUS_FORBIDS"
    asked = proposal_of(opening=opening(QINWANGCHUAN, VENUE))
    assert book.refusal(asked, WANG).reason == "STATUS_FORBIDS"
    asked = proposal_of(mandate=mandate(Right.TRANSFER))
    assert book.refusal(asked, WANG).reason == "STATUS_FORBIDS"
    check_books(book)


def test_an_order_closes_nobody() -> None:
    refused = ordering_refused(the_companies(), Status.CLOSED, "甘碳 1")
    assert refused.reason == "ORDER_CANNOT_CLOSE"


def something_left(what: str) -> AccountsBook:
    book = the_companies()
    match what:
        case "units":
            issue(book, "LZXQ-2021", {QINWANGCHUAN: 1})
        case "money":
            deposit(book, QINWANGCHUAN, 1, "line 1")
        case "units in trading":
            issue(book, "LZXQ-2021", {QINWANGCHUAN: 1})
            book.when(allocate(QINWANGCHUAN, 1), FARMER)
        case "units held":
            issue(book, "LZXQ-2021", {QINWANGCHUAN: 1})
            book.when(hold(QINWANGCHUAN, CITY_GROUP, 1), FARMER)
        case "a hold of somebody else's":
            issue(book, "LZXQ-2021", {CITY_GROUP: 1})
            book.when(hold(CITY_GROUP, QINWANGCHUAN, 1), BUYER)
        case "a mandate given":
            make(book, mandate=mandate(Right.TRANSFER))
        case "a mandate taken":
            make(book, mandate=mandate(Right.TRANSFER, principal=CITY_GROUP, agent=QINWANGCHUAN))
        case "a fund":
            make(book, fund=type(fund())(PAPER, FUND, QINWANGCHUAN))
    return book


@pytest.mark.parametrize(
    "what",
    [
        *("units", "money", "units in trading", "units held", "a hold of somebody else's"),
        *("a mandate given", "a mandate taken", "a fund"),
    ],
)
def test_a_holder_with_anything_left_is_not_closed(what: str) -> None:
    asked = proposal_of(status=status(QINWANGCHUAN, Status.CLOSED))
    assert something_left(what).refusal(asked, WANG).reason == "HOLDER_NOT_EMPTY"


def test_what_comes_in_between_proposal_and_approval_stops_the_closing() -> None:
    book = the_companies()
    (proposed,) = book.when(proposal_of(status=status(QINWANGCHUAN, Status.CLOSED)), WANG)
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 1})
    refused = book.refusal(ApproveProposal(proposed.proposal), LI)
    assert refused.reason == "HOLDER_NOT_EMPTY"


def test_a_bank_that_owes_money_is_not_closed() -> None:
    book = the_companies()
    deposit(book, CITY_GROUP, 1, "line 1")
    asked = proposal_of(status=status(BANK, Status.CLOSED))
    assert book.refusal(asked, WANG).reason == "HOLDER_NOT_EMPTY"


def test_who_held_and_has_spent_it_all_may_close() -> None:
    book = the_companies()
    issue(book, "LZXQ-2021", {QINWANGCHUAN: 1})
    book.when(give(QINWANGCHUAN, CITY_GROUP, 1), FARMER)
    agree(book, proposal_of(status=status(QINWANGCHUAN, Status.CLOSED)), LI, WANG)
    assert book.state.standings[QINWANGCHUAN].own == Status.CLOSED
    check_books(book)
