"""What changes hands without a trade: by order, before liens; or as two holders agreed."""

from __future__ import annotations

import pytest

from kernel.acts import sign_act
from kernel.values import Act
from services.accounts import queries
from services.accounts.domain.changes import Document, HolderStatusSet, Right, Status, StatusChange
from services.accounts.domain.commands import ConfirmTransfer, PostTransfer, WithdrawTransfer
from services.accounts.domain.events import FreezeName, Pledge, SerialRange
from tests.support.books import person
from tests.support.companies import BOSS, make, operator
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    BUYER,
    CITY_GROUP,
    CNY,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    TICKET,
    ZHONGCHUAN,
    AccountsBook,
    admitted,
    available,
    balance,
    check_books,
    pay,
    seeded_key,
    serials,
)
from tests.support.orders import (
    AUTHORITY,
    COURT,
    COURT_KEY,
    agreement,
    freeze,
    freeze_serials,
    moved,
    overriding,
    transfer_order,
)
from tests.unit.test_accounts_freezes import BATCH, FREEZE, frozen_rows, refusal_of, the_court
from tests.unit.test_accounts_pledges import (
    GROUP_KEY,
    LENDER,
    LIEN,
    PLEDGED_T,
    both_sign,
    pledge_entry,
    pledged,
    release_act,
    release_entry,
)

POST = PostTransfer()
FARM_KEY = seeded_key("秦王川林场")
OTHER_COURT, OTHER_KEY = "court:shenzhen-qianhai", seeded_key("the court of Qianhai")
SECOND = person("second registrar", roles=["registrar"])
BOTH = (GROUP_KEY, FARM_KEY)


def courts() -> AccountsBook:
    return the_court().given(
        admitted(FARM_KEY, f"holder:{QINWANGCHUAN}"), admitted(OTHER_KEY, OTHER_COURT)
    )


def ordered(*freezes: Act) -> AccountsBook:
    book = courts()
    for act in freezes:
        book.when(FREEZE, REGISTRAR, acts=[act])
    return book


def test_a_court_moves_units_and_money_at_once_and_the_event_names_the_document() -> None:
    book = courts()
    order = transfer_order("88", moved(7000), moved(500, CNY))
    (event,) = book.when(POST, REGISTRAR, acts=[order])
    assert (event.authority, event.nature, event.transfer) == (COURT, "court", "88")
    assert event.document == "(2026) 甘01执 88"
    assert serials(book.state, available(QINWANGCHUAN)) == [(BATCH, 1, 7000)]
    assert balance(book.state, available(QINWANGCHUAN), CNY) == 500
    check_books(book)


def test_an_order_names_serials_and_takes_those() -> None:
    book = courts()
    order = transfer_order("88", moved(10, TICKET, "", (BATCH, 101, 110)))
    book.when(POST, REGISTRAR, acts=[order])
    assert serials(book.state, available(QINWANGCHUAN)) == [(BATCH, 101, 110)]


def test_an_order_takes_from_a_lien_names_the_pledgee_and_ends_the_lien_on_what_it_moves() -> None:
    book = courts()
    book.when(pledge_entry(), REGISTRY, acts=both_sign())
    (event,) = book.when(POST, REGISTRAR, acts=[transfer_order("88", moved(4000, TICKET, LIEN))])
    assert event.liens == [Pledge(lien=LIEN, pledgee=LENDER)]
    assert balance(book.state, pledged()) == PLEDGED_T - 4000
    assert balance(book.state, available(QINWANGCHUAN)) == 4000
    whole = book.refusal(release_entry(), REGISTRY, acts=[release_act()])
    assert whole.reason == "INSUFFICIENT_BALANCE"
    book.when(release_entry(2000), REGISTRY, acts=[release_act(2000)])
    check_books(book)


def test_an_order_moves_what_is_frozen_only_where_it_names_the_freeze() -> None:
    book = ordered(freeze("all"))
    assert refusal_of(book, POST, REGISTRAR, transfer_order("88", moved(1))) == "FROZEN"
    order = transfer_order("88", moved(100), freezes=overriding((COURT, "all")))
    (event,) = book.when(POST, REGISTRAR, acts=[order])
    assert event.freezes == [FreezeName(COURT, "all")]
    assert frozen_rows(book)[TICKET, "available"] == 11_900  # the rest lies still


def test_a_frozen_amount_shrinks_by_what_the_order_moved_and_ends_at_nothing() -> None:
    book = ordered(freeze("part", asset=TICKET, purpose="available", amount=5000))
    named = overriding((COURT, "part"))
    book.when(POST, REGISTRAR, acts=[transfer_order("88", moved(8000), freezes=named)])
    assert book.state.frozen.live == {}
    assert balance(book.state, available(CITY_GROUP)) == 4000
    again = ordered(freeze("part", asset=TICKET, purpose="available", amount=5000))
    again.when(POST, REGISTRAR, acts=[transfer_order("88", moved(3000), freezes=named)])
    assert frozen_rows(again) == {(TICKET, "available"): 2000}
    check_books(again)


def test_frozen_serials_that_an_order_moved_are_free_and_the_others_are_not() -> None:
    book = ordered(freeze_serials("disputed", (BATCH, 1, 300), until="2026-12-31"))
    move = moved(100, TICKET, "", (BATCH, 101, 200))
    order = transfer_order("88", move, freezes=overriding((COURT, "disputed")))
    book.when(POST, REGISTRAR, acts=[order])
    live = book.state.frozen.live[COURT, "disputed"]
    assert live.serials == [SerialRange(BATCH, 1, 100), SerialRange(BATCH, 201, 300)]
    assert frozen_rows(book) == {(TICKET, "available"): 200}
    assert [name for _, name in book.state.frozen.ends] == [(COURT, "disputed")]
    check_books(book)


def test_another_freeze_that_the_order_does_not_name_stands() -> None:
    part = freeze("part", AUTHORITY_KEY, asset=TICKET, purpose="available", amount=11_950)
    book = ordered(freeze("all"), part)
    named = overriding((COURT, "all"))
    order = transfer_order("88", moved(100), freezes=named)
    assert refusal_of(book, POST, REGISTRAR, order) == "FROZEN"
    book.when(POST, REGISTRAR, acts=[transfer_order("88", moved(50), freezes=named)])


def test_a_court_overrides_an_authority_and_nobody_another_court() -> None:
    book = ordered(
        freeze("ours", AUTHORITY_KEY), freeze("theirs", OTHER_KEY, authority=OTHER_COURT)
    )
    both = overriding((AUTHORITY, "ours"), (OTHER_COURT, "theirs"))
    order = transfer_order("88", moved(1), freezes=both)
    assert refusal_of(book, POST, REGISTRAR, order) == "FREEZE_STANDS"
    by_authority = transfer_order("88", moved(1), key=AUTHORITY_KEY, freezes=both[1:])
    assert refusal_of(book, POST, REGISTRAR, by_authority) == "FREEZE_STANDS"
    lower = ordered(freeze("ours", AUTHORITY_KEY))
    order = transfer_order("88", moved(1), freezes=overriding((AUTHORITY, "ours")))
    lower.when(POST, REGISTRAR, acts=[order])


@pytest.mark.parametrize(
    ("reason", "order"),
    [
        ("ACT_DIFFERS", transfer_order("x", moved(1), authority=AUTHORITY)),
        ("ACT_MISSING", freeze("x")),
        ("MISSING_VALUE", transfer_order("", moved(1))),
        ("MISSING_VALUE", transfer_order("x", moved(1), document="")),
        ("UNKNOWN_VALUE", transfer_order("x", moved(1), nature="gift")),
        ("NOT_A_COURT", transfer_order("x", moved(1), key=AUTHORITY_KEY, nature="court")),
        ("NOT_ITS_PROGRAMME", transfer_order("x", moved(1, CNY), key=AUTHORITY_KEY)),
        ("LEGS_COUNT", transfer_order("x")),
        ("SAME_ACCOUNT", transfer_order("x", moved(1), target=CITY_GROUP)),
        ("UNKNOWN_HOLDER", transfer_order("x", moved(1), target="h-nobody2222222222")),
        ("INSUFFICIENT_BALANCE", transfer_order("x", moved(12_001))),
        ("INSUFFICIENT_BALANCE", transfer_order("x", moved(6000), moved(6001))),
        ("UNKNOWN_LIEN", transfer_order("x", moved(1, TICKET, "l-none"))),
        ("UNKNOWN_FREEZE", transfer_order("x", moved(1), freezes=overriding((COURT, "none")))),
        ("AMOUNT_OUT_OF_RANGE", transfer_order("x", moved(0))),
    ],
)
def test_an_order_that_is_not_in_order_moves_nothing(reason: str, order: Act) -> None:
    assert refusal_of(courts(), POST, REGISTRAR, order) == reason


def test_an_order_is_booked_once_and_asked_by_a_registrar() -> None:
    book = courts()
    order = transfer_order("88", moved(1))
    assert refusal_of(book, POST, BUYER, order) == "ROLE_MISSING"
    book.when(POST, REGISTRAR, acts=[order])
    assert refusal_of(book, POST, REGISTRAR, order) == "TRANSFER_BOOKED"
    assert refusal_of(book, POST, REGISTRAR) == "ACT_MISSING"
    own = sign_act(GROUP_KEY, {"kind": "transfer-order"})
    assert refusal_of(book, POST, REGISTRAR, own) == "ACT_SUBJECT"


# ---- as two holders agreed -----------------------------------------------------------------------


def filed(*moves: dict[str, object]) -> AccountsBook:
    book = courts()
    acts = agreement("merger", *(moves or (moved(12_000),)), keys=BOTH)
    (event,) = book.when(POST, REGISTRAR, acts=acts)
    assert event.filer == REGISTRAR.actor
    return book


def test_a_merger_both_have_signed_moves_when_a_second_registrar_confirms() -> None:
    book = filed()
    assert balance(book.state, available(QINWANGCHUAN)) == 0
    assert [one.transfer for one in queries.list_filed(book.state, -1, 10)] == ["merger"]
    refused = book.refusal(ConfirmTransfer("merger"), REGISTRAR)
    assert refused.reason == "MAKER_IS_CHECKER"
    (event,) = book.when(ConfirmTransfer("merger"), SECOND)
    assert (event.authority, event.nature) == ("", "merger")
    assert balance(book.state, available(QINWANGCHUAN)) == 12_000
    assert refusal_of(book, ConfirmTransfer("merger"), SECOND) == "UNKNOWN_TRANSFER"
    check_books(book)


def test_an_agreement_takes_only_what_is_free() -> None:
    book = filed()
    book.when(FREEZE, REGISTRAR, acts=[freeze_serials("disputed", (BATCH, 1, 10))])
    assert refusal_of(book, ConfirmTransfer("merger"), SECOND) == "FROZEN"
    pledging = filed()
    pledging.when(pledge_entry(), REGISTRY, acts=both_sign())
    assert refusal_of(pledging, ConfirmTransfer("merger"), SECOND) == "INSUFFICIENT_BALANCE"


def test_an_agreement_names_serials_if_it_likes() -> None:
    book = filed(moved(10, TICKET, "", (BATCH, 101, 110)))
    book.when(ConfirmTransfer("merger"), SECOND)
    assert serials(book.state, available(QINWANGCHUAN)) == [(BATCH, 101, 110)]


@pytest.mark.parametrize(
    ("reason", "acts"),
    [
        ("ACT_DIFFERS", agreement("m", moved(1), keys=(GROUP_KEY, FARM_KEY), target=ZHONGCHUAN)),
        ("ACT_DIFFERS", agreement("m", moved(1), keys=(GROUP_KEY, COURT_KEY))),
        ("ACT_DIFFERS", agreement("m", moved(1), keys=(GROUP_KEY, GROUP_KEY))),
        ("ACT_KEY_UNKNOWN", agreement("m", moved(1), keys=(GROUP_KEY, seeded_key("a thief")))),
        ("UNKNOWN_VALUE", agreement("m", moved(1), keys=BOTH, nature="court")),
        ("MISSING_VALUE", agreement("", moved(1), keys=BOTH)),
        ("LEGS_COUNT", agreement("m", keys=BOTH)),
        (
            "ACT_DIFFERS",
            [
                *agreement("m", moved(1), keys=(GROUP_KEY,)),
                *agreement("m", moved(2), keys=(FARM_KEY,)),
            ],
        ),
    ],
)
def test_what_not_both_have_signed_is_not_filed(reason: str, acts: list[Act]) -> None:
    assert refusal_of(courts(), POST, REGISTRAR, *acts) == reason


def test_a_filed_transfer_is_withdrawn_by_either_side_or_a_registrar_and_never_comes_back() -> None:
    for who in (BUYER, REGISTRAR, SECOND):
        book = filed()
        book.when(WithdrawTransfer("merger"), who)
        assert refusal_of(book, ConfirmTransfer("merger"), SECOND) == "UNKNOWN_TRANSFER"
        acts = agreement("merger", moved(12_000), keys=BOTH)
        assert refusal_of(book, POST, REGISTRAR, *acts) == "TRANSFER_BOOKED"
    stranger = person("somebody", holders=[ZHONGCHUAN])
    assert refusal_of(filed(), WithdrawTransfer("merger"), stranger) == "ROLE_MISSING"
    assert refusal_of(filed(), ConfirmTransfer("merger"), stranger) == "ROLE_MISSING"


def test_what_was_agreed_and_given_away_meanwhile_is_not_there_to_move() -> None:
    book = filed()
    book.when(pay(CITY_GROUP, ZHONGCHUAN, 1), BUYER)
    assert refusal_of(book, ConfirmTransfer("merger"), SECOND) == "INSUFFICIENT_BALANCE"


# ---- and what a holder's status says -------------------------------------------------------------


def with_status(book: AccountsBook, holder: str, status: Status) -> AccountsBook:
    change = StatusChange(Document("notice 9", "0" * 64), holder, "under review", status)
    return book.given(HolderStatusSet(status=change))


def test_an_order_does_not_ask_for_a_status_and_an_agreement_does() -> None:
    for holder in (CITY_GROUP, QINWANGCHUAN):
        ordering = with_status(courts(), holder, Status.FROZEN)
        ordering.when(POST, REGISTRAR, acts=[transfer_order("88", moved(1))])
        agreed = with_status(filed(), holder, Status.FROZEN)
        assert refusal_of(agreed, ConfirmTransfer("merger"), SECOND) == "STATUS_FORBIDS"


def test_a_holder_with_a_register_withdraws_a_filed_transfer_by_an_operator_alone() -> None:
    book = filed()
    make(book, operator=operator(BOSS, Right.TRANSFER))
    assert refusal_of(book, WithdrawTransfer("merger"), BUYER) == "OPERATOR_RIGHT"
    book.when(WithdrawTransfer("merger"), BOSS)
