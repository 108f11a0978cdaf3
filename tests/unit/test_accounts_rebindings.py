"""Another bank account for withdrawals: the bank vouches, two persons agree, its holder waits."""

from __future__ import annotations

from typing import Any

from kernel.acts import sign_act
from kernel.values import DAY_MS, Act
from services.accounts.domain.changes import BankAccountChanged, Change, Rebinding, Right
from services.accounts.domain.commands import (
    ApproveProposal,
    ConfirmSafeguards,
    ProposeChange,
    ProposeSafeguards,
    WithdrawProposal,
)
from services.accounts.domain.events import SafeguardRules
from tests.support.books import MORNING_MS
from tests.support.companies import BOSS, LI, TRADER, WANG, make, operator
from tests.support.lanzhou import (
    BANK,
    CITY_GROUP,
    QINWANGCHUAN,
    USCCS,
    VENUE_KEY,
    ZHONGCHUAN,
    AccountsBook,
    check_books,
    seeded_key,
)
from tests.support.lanzhou_bank import (
    GROUPS_ACCOUNT,
    OTHER_ACCOUNT,
    agreed_book,
    binding,
    confirm,
    instructed,
    withdrawing,
)

DELAY_MS = 4 * DAY_MS


def rebinding(**changed: Any) -> Rebinding:
    fields = {
        "account": OTHER_ACCOUNT,
        "bank": BANK,
        "clearing_house": BANK,
        "holder": CITY_GROUP,
        "reason": "the branch has moved",
        **changed,
    }
    return Rebinding(**fields)


def asked(**changed: Any) -> ProposeChange:
    return ProposeChange(Change(rebinding=rebinding(**changed)))


def vouched(account: str = OTHER_ACCOUNT, holder: str = CITY_GROUP, **changed: Any) -> Act:
    return binding(holder, account, **changed)[1]


def change(book: AccountsBook, account: str = OTHER_ACCOUNT) -> BankAccountChanged:
    (proposed,) = book.when(asked(account=account), WANG, acts=[vouched(account)])
    (made,) = book.when(ApproveProposal(proposed.proposal), LI)
    assert isinstance(made, BankAccountChanged)
    return made


def goes_to(book: AccountsBook) -> str:
    (event,) = book.when(withdrawing(100), BOSS)
    return str(event.account)


def guarded() -> AccountsBook:
    """城投 has an administrator and a second one, and asks for four days of every change."""
    book = agreed_book()
    rights = (Right.ADMINISTER, Right.TRANSFER)
    make(book, operator=operator(BOSS, *rights))
    make(book, operator=operator(TRADER, Right.TRANSFER, Right.ADMINISTER))
    rules = SafeguardRules(DAY_MS, DELAY_MS, [], True)
    (proposed,) = book.when(ProposeSafeguards(CITY_GROUP, rules), BOSS)
    book.when(ConfirmSafeguards(CITY_GROUP, proposed.proposal), TRADER)
    return book


def test_without_safeguards_the_new_account_counts_at_once_for_what_is_asked_for_then() -> None:
    book = agreed_book()
    under_way = instructed(book, 1000)
    made = change(book)
    assert (made.effective_ms, made.proposed_by) == (MORNING_MS, WANG.actor)
    confirm(book, under_way, 1000, "line 2")  # goes where it was asked for
    assert goes_to(book) == OTHER_ACCOUNT
    check_books(book)


def test_with_safeguards_it_counts_after_their_delay_and_not_before() -> None:
    book = guarded()
    made = change(book)
    assert made.effective_ms == MORNING_MS + DELAY_MS
    book.clock.at_ms = MORNING_MS + DELAY_MS - 1
    assert goes_to(book) == GROUPS_ACCOUNT
    book.clock.at_ms += 1
    assert goes_to(book) == OTHER_ACCOUNT
    check_books(book)


def test_until_then_one_administrator_of_the_holder_stops_it_alone() -> None:
    book = guarded()
    made = change(book)
    for stranger in (WANG, LI):
        refused = book.refusal(WithdrawProposal(made.proposal), stranger)
        assert refused.reason == "NOT_YOUR_ACCOUNT"
    book.when(WithdrawProposal(made.proposal), BOSS)
    book.clock.at_ms = MORNING_MS + DELAY_MS
    assert goes_to(book) == GROUPS_ACCOUNT
    assert book.refusal(WithdrawProposal(made.proposal), BOSS).reason == "UNKNOWN_PROPOSAL"
    check_books(book)


def test_what_counts_already_is_not_stopped() -> None:
    book = guarded()
    made = change(book)
    book.clock.at_ms = MORNING_MS + DELAY_MS
    assert book.refusal(WithdrawProposal(made.proposal), BOSS).reason == "UNKNOWN_PROPOSAL"


def test_one_change_waits_at_a_time_and_a_later_one_takes_the_place_of_the_first() -> None:
    book = guarded()
    change(book)
    third = "acct-" + "y" * 26
    act = vouched(third)
    assert book.refusal(asked(account=third), WANG, acts=[act]).reason == "CHANGE_WAITING"
    book.clock.at_ms = MORNING_MS + DELAY_MS
    made = change(book, third)
    assert goes_to(book) == OTHER_ACCOUNT
    book.when(WithdrawProposal(made.proposal), TRADER)
    book.clock.at_ms += DELAY_MS
    assert goes_to(book) == OTHER_ACCOUNT
    check_books(book)


def test_two_proposals_at_once_do_not_both_come_to_count() -> None:
    book = guarded()
    first, second = (book.when(asked(), WANG, acts=[vouched()])[0] for _ in range(2))
    book.when(ApproveProposal(first.proposal), LI)
    assert book.refusal(ApproveProposal(second.proposal), LI).reason == "CHANGE_WAITING"


def test_the_bank_has_to_vouch_for_this_very_account_in_this_very_name() -> None:
    book = agreed_book()
    for acts, reason in (
        ([], "ACT_MISSING"),
        ([vouched(GROUPS_ACCOUNT)], "ACT_DIFFERS"),
        ([vouched(holder=ZHONGCHUAN)], "ACT_DIFFERS"),
        ([vouched(uscc=USCCS[QINWANGCHUAN])], "BANK_ACCOUNT_NAME"),
    ):
        assert book.refusal(asked(), WANG, acts=acts).reason == reason


def test_a_first_account_is_bound_and_not_changed_and_the_same_one_is_no_change() -> None:
    book = agreed_book()
    unbound = book.refusal(asked(holder=ZHONGCHUAN), WANG, acts=[vouched(holder=ZHONGCHUAN)])
    assert unbound.reason == "NO_BOUND_ACCOUNT"
    same = book.refusal(asked(account=GROUPS_ACCOUNT), WANG, acts=[vouched(GROUPS_ACCOUNT)])
    assert same.reason == "ACCOUNT_BOUND"


def test_an_account_number_is_not_repeated_and_other_changes_take_no_act() -> None:
    book = agreed_book()
    number = "6222021001116241234"
    refused = book.refusal(asked(account=number), WANG, acts=[vouched(number)])
    assert refused.reason == "BANK_ACCOUNT_MALFORMED"
    assert number not in refused.message
    plain = ProposeChange(Change(operator=operator(BOSS, Right.VIEW)))
    assert book.refusal(plain, WANG, acts=[vouched()]).reason == "ACT_UNEXPECTED"


def test_keys_of_others_vouch_for_nothing() -> None:
    book = agreed_book()
    said = {
        "account": OTHER_ACCOUNT,
        "bank": BANK,
        "clearing_house": BANK,
        "holder": CITY_GROUP,
        "kind": "account-binding",
        "uscc": USCCS[CITY_GROUP],
    }
    for key, reason in ((VENUE_KEY, "ACT_SUBJECT"), (seeded_key("a thief"), "ACT_KEY_UNKNOWN")):
        assert book.refusal(asked(), WANG, acts=[sign_act(key, said)]).reason == reason
