"""Settlement banks in the accounts book: agreed, bound, withdrawn, stated, and the reserve."""

from __future__ import annotations

import pytest

from kernel.values import DAY_MS, shanghai_day
from services.accounts.domain.commands import (
    ApproveBankProposal,
    CancelWithdrawal,
    ConfirmWithdrawal,
    FreezeUnits,
    InstructWithdrawal,
    PostEntry,
    PostHold,
    ProposeBreakResolution,
    ProposeReserveMove,
    ReleaseHold,
    ReturnWithdrawal,
    WithdrawBankProposal,
)
from services.accounts.domain.events import (
    Account,
    BankBreakOpened,
    BankBreakResolved,
    BankStatementReconciled,
    Purpose,
)
from tests.support.books import MORNING_MS, person
from tests.support.lanzhou import (
    BANK,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    FARMER,
    QINWANGCHUAN,
    REGISTRAR,
    USCCS,
    AccountsBook,
    admitted,
    advice,
    available,
    balance,
    check_books,
    deposit,
    deposit_entry,
    external,
    leg,
    pay,
    the_place,
)
from tests.support.lanzhou_bank import (
    CONTROLLER,
    DEPOSITED_FEN,
    KEY,
    OTHER_ACCOUNT,
    RECEIVE,
    THE_BANK,
    TODAY,
    TREASURER,
    agreed_book,
    agreement,
    binding,
    confirm,
    confirmation,
    give_back,
    instructed,
    refusal_of_the_bank,
    request,
    state_day,
    statement,
    withdrawing,
)
from tests.support.orders import COURT, COURT_KEY, freeze

PAID_FEN = 2_500_000
EVENING_MS = MORNING_MS + 20 * 3_600_000  # half past five on the next day, in Lanzhou
RESERVE = Account(BANK, Purpose.CLEARING, "default-reserve")
BANK_OPERATOR = person("operator of the clearing house", holders=[BANK])


def after_close(book: AccountsBook) -> AccountsBook:
    """The bank's day is over."""
    book.clock.at_ms = EVENING_MS
    return book


def held(id: str) -> Account:
    return Account(CITY_GROUP, Purpose.HELD, id)


def resolution(day: str = TODAY) -> ProposeBreakResolution:
    return ProposeBreakResolution(BANK, CNY, BANK, day, "the bank's own fee, see its letter")


# ---- agreed and bound ----------------------------------------------------------------------------


def test_what_a_bank_has_already_is_where_its_statements_begin() -> None:
    book = the_place()
    deposit(book, CITY_GROUP, 4711, "line 0")
    command, act = agreement(opening_fen=0)
    assert book.refusal(command, REGISTRAR, acts=[act]).reason == "AGREEMENT_DIFFERS"
    command, act = agreement(opening_fen=4711)
    book.when(command, REGISTRAR, acts=[act])
    state_day(after_close(book), TODAY, 4711)
    assert book.state.bank_accounts[KEY].stated_fen == 4711


@pytest.mark.parametrize(
    ("command", "caller", "reason"),
    [
        (agreement(), CASHIER, "ROLE_MISSING"),
        (agreement(cutoff_minute=0), REGISTRAR, "CUTOFF_OUT_OF_RANGE"),
        (agreement(day="2026-11-19"), REGISTRAR, "AGREEMENT_DIFFERS"),
        ((agreement()[0], agreement(cutoff_minute=900)[1]), REGISTRAR, "ACT_DIFFERS"),
        ((agreement()[0], binding()[1]), REGISTRAR, "ACT_MISSING"),
    ],
)
def test_an_agreement_is_what_registrar_and_bank_both_say(
    command: object, caller: object, reason: str
) -> None:
    asked, act = command  # type: ignore[misc]
    assert the_place().refusal(asked, caller, acts=[act]).reason == reason  # type: ignore[has-type, arg-type]


def test_a_bank_is_agreed_with_once() -> None:
    book = agreed_book()
    command, act = agreement(opening_fen=DEPOSITED_FEN)
    assert book.refusal(command, REGISTRAR, acts=[act]).reason == "BANK_AGREED"


def test_an_account_is_bound_once() -> None:
    command, act = binding(account=OTHER_ACCOUNT)
    assert agreed_book().refusal(command, REGISTRAR, acts=[act]).reason == "ACCOUNT_BOUND"


def test_an_account_in_another_name_is_not_bound() -> None:
    command, act = binding(QINWANGCHUAN, OTHER_ACCOUNT, uscc=USCCS[CITY_GROUP])
    refused = agreed_book().refusal(command, REGISTRAR, acts=[act])
    assert refused.reason == "BANK_ACCOUNT_NAME"


def test_an_account_number_is_not_taken_nor_repeated() -> None:
    number = "6222021001116245702"
    command, act = binding(QINWANGCHUAN, number)
    refused = agreed_book().refusal(command, REGISTRAR, acts=[act])
    assert refused.reason == "BANK_ACCOUNT_MALFORMED"
    assert number not in f"{refused.message}{refused.details}"


# ---- withdrawals ---------------------------------------------------------------------------------


def test_a_withdrawal_is_held_instructed_and_confirmed() -> None:
    book = agreed_book()
    id = request(book, PAID_FEN)
    assert balance(book.state, held(id), CNY) == PAID_FEN
    book.when(InstructWithdrawal(id), CASHIER)
    confirm(book, id, PAID_FEN, "line 2")
    assert balance(book.state, external(), CNY) == PAID_FEN - DEPOSITED_FEN
    assert balance(book.state, available(CITY_GROUP), CNY) == DEPOSITED_FEN - PAID_FEN
    assert not book.state.withdrawals
    assert not book.state.holds
    check_books(book)


def test_money_frozen_since_it_was_asked_for_is_not_instructed_and_may_go_home() -> None:
    book = agreed_book().given(admitted(COURT_KEY, COURT))
    id = request(book, PAID_FEN)
    book.when(FreezeUnits(), REGISTRAR, acts=[freeze("in dispute")])
    assert book.refusal(InstructWithdrawal(id), CASHIER).reason == "FROZEN"
    book.when(CancelWithdrawal(id), BUYER)
    assert balance(book.state, available(CITY_GROUP), CNY) == DEPOSITED_FEN
    check_books(book)


def test_what_the_bank_returns_is_available_again() -> None:
    book = agreed_book()
    (event,) = give_back(book, instructed(book, PAID_FEN), PAID_FEN)
    assert event.reason == "account closed"  # type: ignore[attr-defined]
    assert balance(book.state, available(CITY_GROUP), CNY) == DEPOSITED_FEN
    check_books(book)


def test_a_holder_takes_a_withdrawal_back_before_the_bank_is_asked_and_not_after() -> None:
    book = agreed_book()
    id = request(book, PAID_FEN)
    assert book.refusal(CancelWithdrawal(id), FARMER).reason == "NOT_YOUR_ACCOUNT"
    book.when(CancelWithdrawal(id), BUYER)
    assert balance(book.state, available(CITY_GROUP), CNY) == DEPOSITED_FEN
    later = instructed(book, PAID_FEN)
    assert book.refusal(CancelWithdrawal(later), BUYER).reason == "WITHDRAWAL_STAGE"
    check_books(book)


def test_nobody_withdraws_more_than_is_available_or_for_somebody_else() -> None:
    book = agreed_book()
    assert book.refusal(withdrawing(DEPOSITED_FEN + 1), BUYER).reason == "INSUFFICIENT_BALANCE"
    assert book.refusal(withdrawing(PAID_FEN), FARMER).reason == "NOT_YOUR_ACCOUNT"
    assert book.refusal(withdrawing(0), BUYER).reason == "AMOUNT_OUT_OF_RANGE"


def test_without_a_bound_account_or_an_agreement_nothing_is_withdrawn() -> None:
    book = agreed_book()
    assert book.refusal(withdrawing(1, QINWANGCHUAN), FARMER).reason == "NO_BOUND_ACCOUNT"
    assert the_place().refusal(withdrawing(1), BUYER).reason == "BANK_NOT_AGREED"


@pytest.mark.parametrize("caller", [BUYER, BANK_OPERATOR])
def test_a_withdrawal_is_no_hold_that_a_person_may_end(caller: object) -> None:
    """Whoever operates for the clearing house could otherwise book what no bank has paid."""
    book = agreed_book()
    id = instructed(book, PAID_FEN)
    for command in (PostHold(id, PAID_FEN), ReleaseHold(id)):
        assert book.refusal(command, caller).reason == "HOLD_IS_WITHDRAWAL"  # type: ignore[arg-type]


def test_a_bank_answers_only_what_it_was_asked() -> None:
    book = agreed_book()
    id = request(book, PAID_FEN)
    acts = [confirmation(id, PAID_FEN, "line 2")]
    assert book.refusal(ConfirmWithdrawal(id), THE_BANK, acts=acts).reason == "WITHDRAWAL_STAGE"


def test_a_late_confirmation_after_a_return_is_refused_and_pays_nothing() -> None:
    book = agreed_book()
    id = instructed(book, PAID_FEN)
    give_back(book, id, PAID_FEN)
    acts = [confirmation(id, PAID_FEN, "line 2")]
    assert book.refusal(ConfirmWithdrawal(id), THE_BANK, acts=acts).reason == "WITHDRAWAL_NOT_OPEN"


def test_a_doubled_confirmation_pays_once() -> None:
    book = agreed_book()
    id = instructed(book, PAID_FEN)
    confirm(book, id, PAID_FEN, "line 2")
    acts = [confirmation(id, PAID_FEN, "line 2")]
    assert book.refusal(ConfirmWithdrawal(id), THE_BANK, acts=acts).reason == "WITHDRAWAL_NOT_OPEN"
    assert balance(book.state, external(), CNY) == PAID_FEN - DEPOSITED_FEN


def test_one_line_of_the_bank_pays_one_withdrawal() -> None:
    book = agreed_book()
    one, other = instructed(book, PAID_FEN), instructed(book, PAID_FEN)
    confirm(book, one, PAID_FEN, "line 2")
    for line in ("line 2", "line 1"):  # of another withdrawal, of a deposit
        acts = [confirmation(other, PAID_FEN, line)]
        assert book.refusal(ConfirmWithdrawal(other), THE_BANK, acts=acts).reason == "LINE_BOOKED"


@pytest.mark.parametrize(
    "said",
    [
        lambda id: confirmation(id, PAID_FEN - 1, "line 2"),
        lambda id: confirmation(id, PAID_FEN, "line 2", account=OTHER_ACCOUNT),
        lambda id: confirmation("another", PAID_FEN, "line 2"),
    ],
    ids=["another amount", "another account", "another withdrawal"],
)
def test_a_confirmation_of_something_else_is_refused(said: object) -> None:
    book = agreed_book()
    id = instructed(book, PAID_FEN)
    acts = [said(id)]  # type: ignore[operator]
    assert book.refusal(ConfirmWithdrawal(id), THE_BANK, acts=acts).reason == "ACT_DIFFERS"


def test_the_bank_itself_brings_its_word_and_no_other_bank_does() -> None:
    book = agreed_book()
    id = instructed(book, PAID_FEN)
    other = person("teller elsewhere", roles=["bank:h-aaaaaaaaaaaaaaaa"])
    for command, act in (
        (ConfirmWithdrawal(id), confirmation(id, PAID_FEN, "line 2")),
        (ReturnWithdrawal(id), refusal_of_the_bank(id, PAID_FEN)),
        (RECEIVE, statement(TODAY, 0, [])),
    ):
        assert book.refusal(command, other, acts=[act]).reason == "ROLE_MISSING"


# ---- statements ----------------------------------------------------------------------------------


def test_a_day_that_agrees_is_reconciled() -> None:
    book = agreed_book()
    confirm(book, instructed(book, PAID_FEN), PAID_FEN, "line 2")
    _, told = state_day(
        after_close(book), TODAY, 0, ("line 1", DEPOSITED_FEN), ("line 2", -PAID_FEN)
    )
    assert isinstance(told, BankStatementReconciled)
    assert (told.expected_fen, told.closing_fen) == (DEPOSITED_FEN - PAID_FEN,) * 2
    account = book.state.bank_accounts[KEY]
    assert (account.ours, account.theirs, account.breaks) == ({}, {}, {})
    check_books(book)


def test_a_lost_advice_is_found_and_stops_withdrawals_until_it_comes() -> None:
    book = after_close(agreed_book())
    _, told = state_day(book, TODAY, 0, ("line 1", DEPOSITED_FEN), ("line 2", 700))
    assert isinstance(told, BankBreakOpened)
    assert [(one.line, one.amount_fen) for one in told.theirs] == [("line 2", 700)]
    assert (told.expected_fen, told.closing_fen) == (DEPOSITED_FEN, DEPOSITED_FEN + 700)
    refused = book.refusal(withdrawing(PAID_FEN), BUYER)
    assert (refused.reason, refused.details["day"]) == ("BANK_BREAK_OPEN", TODAY)
    book.when(pay(CITY_GROUP, QINWANGCHUAN, 5, CNY), BUYER)  # everything else goes on
    _, resolved = deposit(book, CITY_GROUP, 700, "line 2")  # the advice, sent again
    assert isinstance(resolved, BankBreakResolved)
    request(book, PAID_FEN)
    check_books(book)


def test_what_is_asked_before_a_break_is_answered_and_not_instructed_meanwhile() -> None:
    book = agreed_book()
    asked, waiting = instructed(book, PAID_FEN), request(book, PAID_FEN)
    state_day(after_close(book), TODAY, 0, ("line 1", DEPOSITED_FEN), ("line 9", 1))
    assert book.refusal(InstructWithdrawal(waiting), CASHIER).reason == "BANK_BREAK_OPEN"
    confirm(book, asked, PAID_FEN, "line 2")
    book.when(CancelWithdrawal(waiting), BUYER)
    check_books(book)


def test_a_line_the_bank_never_stated_is_a_break_and_ends_when_it_is_stated() -> None:
    book = after_close(agreed_book())
    _, told = state_day(book, TODAY, 0)
    assert isinstance(told, BankBreakOpened)
    assert [one.line for one in told.ours] == ["line 1"]
    tomorrow = shanghai_day(MORNING_MS + DAY_MS)
    book.clock.at_ms += DAY_MS
    _, told, resolved = state_day(book, tomorrow, 0, ("line 1", DEPOSITED_FEN))
    assert isinstance(told, BankStatementReconciled)
    assert resolved.day == TODAY  # type: ignore[attr-defined]
    assert not book.state.bank_accounts[KEY].breaks


def test_an_advice_booked_for_a_later_day_explains_the_difference() -> None:
    """The bank had it yesterday, and we booked it this morning: nothing is missing."""
    book = after_close(agreed_book())
    deposit(book, CITY_GROUP, 700, "line 2")
    _, told = state_day(book, TODAY, 0, ("line 1", DEPOSITED_FEN), ("line 2", 700))
    assert isinstance(told, BankStatementReconciled)
    assert (told.expected_fen, told.late_fen) == (DEPOSITED_FEN, 700)
    book.clock.at_ms += DAY_MS
    _, told = state_day(book, shanghai_day(MORNING_MS + DAY_MS), DEPOSITED_FEN + 700)
    assert (told.expected_fen, told.late_fen) == (DEPOSITED_FEN + 700, 0)  # type: ignore[attr-defined]


def test_an_advice_booked_back_into_its_day_belongs_to_it() -> None:
    book = after_close(agreed_book())
    book.when(
        deposit_entry(CITY_GROUP, 700),
        CASHIER,
        acts=[advice(CITY_GROUP, 700, "line 2")],
        on_ms=MORNING_MS,
    )
    _, told = state_day(book, TODAY, 0, ("line 1", DEPOSITED_FEN), ("line 2", 700))
    assert (told.expected_fen, told.late_fen) == (DEPOSITED_FEN + 700, 0)  # type: ignore[attr-defined]


def test_a_line_with_another_amount_stands_on_both_sides() -> None:
    book = after_close(agreed_book())
    _, told = state_day(book, TODAY, 0, ("line 1", DEPOSITED_FEN - 1))
    assert isinstance(told, BankBreakOpened)
    assert (told.new_ours, told.new_theirs) == (1, 1)
    assert told.closing_fen == told.expected_fen + told.theirs_fen - told.ours_fen


def test_a_statement_comes_in_signed_parts() -> None:
    book = after_close(agreed_book())
    lines = [("line 1", DEPOSITED_FEN), *((f"fee {n}", -1) for n in range(200))]
    first = statement(TODAY, 0, lines[:128], parts=2, of=lines)
    last = statement(TODAY, 0, lines[128:], part=2, parts=2, of=lines)
    assert book.refusal(RECEIVE, THE_BANK, acts=[last]).reason == "STATEMENT_PART_ORDER"
    book.when(RECEIVE, THE_BANK, acts=[first])
    assert book.refusal(RECEIVE, THE_BANK, acts=[statement(TODAY, 0, [], part=2, parts=2)])
    book.when(RECEIVE, THE_BANK, acts=[first])  # begun anew
    _, told = book.when(RECEIVE, THE_BANK, acts=[last])
    assert (told.new_theirs, len(told.theirs), told.theirs_fen) == (200, 50, -200)
    assert told.lines == 201


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (statement("2026-11-19", 0, []), "STATEMENT_BOOKED"),
        (statement("2026-11-21", 0, []), "STATEMENT_EARLY"),
        (statement("20.11.2026", 0, []), "DAY_MALFORMED"),
        (statement(TODAY, 5, []), "STATEMENT_GAP"),
        (statement(TODAY, 0, [("line 1", 5)], closing_fen=6), "STATEMENT_SUM"),
        (statement(TODAY, 0, [("line 1", 5)], total_lines=2), "STATEMENT_LINES"),
        (statement(TODAY, 0, [("line 1", 5), ("line 1", 5)]), "STATEMENT_LINES"),
        (statement(TODAY, 0, [("line 1", 0)]), "AMOUNT_OUT_OF_RANGE"),
        (statement(TODAY, 0, [(f"line {n}", 1) for n in range(129)]), "STATEMENT_PARTS"),
        (statement(TODAY, 0, [], part=2), "STATEMENT_PARTS"),
    ],
)
def test_a_statement_that_cannot_be_one_is_refused(act: object, reason: str) -> None:
    book = after_close(agreed_book())
    assert book.refusal(RECEIVE, THE_BANK, acts=[act]).reason == reason


def test_a_day_is_stated_once() -> None:
    book = after_close(agreed_book())
    state_day(book, TODAY, 0, ("line 1", DEPOSITED_FEN))
    again = statement(TODAY, DEPOSITED_FEN, [])
    assert book.refusal(RECEIVE, THE_BANK, acts=[again]).reason == "STATEMENT_BOOKED"


def test_a_day_of_the_bank_ends_at_its_cut_off() -> None:
    book = the_place()
    command, act = agreement(cutoff_minute=10 * 60)  # at ten, half an hour from now
    book.when(command, REGISTRAR, acts=[act])
    deposit(book, CITY_GROUP, 100, "line 1")
    book.clock.at_ms += 3_600_000
    (entry,) = deposit(book, CITY_GROUP, 10, "line 2")
    assert entry.bank_day == shanghai_day(MORNING_MS + DAY_MS)
    _, told = state_day(book, TODAY, 0, ("line 1", 100))
    assert isinstance(told, BankStatementReconciled)
    assert told.expected_fen == 100


# ---- two persons ---------------------------------------------------------------------------------


def broken_book() -> AccountsBook:
    book = after_close(agreed_book())
    state_day(book, TODAY, 0, ("line 1", DEPOSITED_FEN), ("fee", -30))
    return book


def test_two_persons_take_the_rest_of_a_break_as_it_is() -> None:
    book = broken_book()
    (proposed,) = book.when(resolution(), TREASURER)
    approve = ApproveBankProposal(proposed.proposal)
    assert book.refusal(approve, TREASURER).reason == "MAKER_IS_CHECKER"
    assert book.refusal(approve, CASHIER).reason == "ROLE_MISSING"
    elsewhere = person("controller elsewhere", roles=[f"clearing:{CITY_GROUP}"])
    assert book.refusal(approve, elsewhere).reason == "ROLE_MISSING"
    twin = person(TREASURER.actor.sub, roles=[f"clearing:{BANK}"], iss="elsewhere")
    assert book.refusal(approve, twin).reason == "MAKER_IS_CHECKER"
    book.when(approve, CONTROLLER)
    request(book, PAID_FEN)
    book.clock.at_ms += DAY_MS
    _, told = state_day(book, shanghai_day(MORNING_MS + DAY_MS), DEPOSITED_FEN - 30)
    assert isinstance(told, BankStatementReconciled)
    assert told.theirs_fen == -30  # still known, and told of every day


def test_a_proposal_is_withdrawn_by_its_maker_and_then_approved_by_nobody() -> None:
    book = broken_book()
    (proposed,) = book.when(resolution(), TREASURER)
    assert book.refusal(WithdrawBankProposal(proposed.proposal), BUYER).reason == "ROLE_MISSING"
    book.when(WithdrawBankProposal(proposed.proposal), TREASURER)
    refused = book.refusal(ApproveBankProposal(proposed.proposal), CONTROLLER)
    assert refused.reason == "UNKNOWN_PROPOSAL"


def test_a_break_that_is_not_there_is_not_resolved() -> None:
    assert agreed_book().refusal(resolution(), TREASURER).reason == "UNKNOWN_BREAK"


def test_a_break_that_ended_by_itself_meanwhile_is_not_approved() -> None:
    book = after_close(agreed_book())
    state_day(book, TODAY, 0, ("line 1", DEPOSITED_FEN), ("line 2", 30))
    (proposed,) = book.when(resolution(), TREASURER)
    deposit(book, CITY_GROUP, 30, "line 2")
    refused = book.refusal(ApproveBankProposal(proposed.proposal), CONTROLLER)
    assert refused.reason == "UNKNOWN_BREAK"


def test_the_reserve_is_paid_in_by_its_payer_and_another_person() -> None:
    book = agreed_book()
    asked = ProposeReserveMove(BANK, CNY, CITY_GROUP, 900, False, "sha256 of the rules")
    assert book.refusal(asked, TREASURER).reason == "NOT_YOUR_ACCOUNT"
    (proposed,) = book.when(asked, BUYER)
    book.when(ApproveBankProposal(proposed.proposal), CONTROLLER)
    assert balance(book.state, RESERVE, CNY) == 900
    check_books(book)


def test_the_reserve_is_drawn_on_by_two_of_the_clearing_house_and_no_further_than_it_goes() -> None:
    book = agreed_book()
    (proposed,) = book.when(ProposeReserveMove(BANK, CNY, CITY_GROUP, 900, False, "rules"), BUYER)
    book.when(ApproveBankProposal(proposed.proposal), CONTROLLER)
    draw = ProposeReserveMove(BANK, CNY, QINWANGCHUAN, 600, True, "decision 7")
    assert book.refusal(draw, FARMER).reason == "ROLE_MISSING"
    one, other = (book.when(draw, TREASURER)[0].proposal for _ in range(2))
    assert book.refusal(ApproveBankProposal(one), TREASURER).reason == "MAKER_IS_CHECKER"
    book.when(ApproveBankProposal(one), CONTROLLER)
    assert book.refusal(ApproveBankProposal(other), CONTROLLER).reason == "INSUFFICIENT_BALANCE"
    assert balance(book.state, available(QINWANGCHUAN), CNY) == 600
    check_books(book)


def test_no_entry_reaches_the_reserve_or_leaves_it() -> None:
    book = agreed_book()
    into = PostEntry([leg(5, CNY, available(CITY_GROUP), RESERVE)])
    assert book.refusal(into, BUYER).reason == "CREDIT_NOT_ALLOWED"
    out = PostEntry([leg(5, CNY, RESERVE, available(CITY_GROUP))])
    assert book.refusal(out, BANK_OPERATOR).reason == "PURPOSE_NOT_DEBITABLE"


def test_a_bank_that_is_not_agreed_with_books_as_it_always_did() -> None:
    book = the_place()
    (entry,) = deposit(book, CITY_GROUP, 100, "line 1")
    assert entry.bank_day is None
    assert not book.state.bank_accounts
