"""Withdrawals: held, instructed, then confirmed or returned by the settlement bank's signed word.

They are holds (state.holds) whose payee is the bank's external account: neither holder nor payee
can post or release one, only the bank's own signature ends it, or its holder before the bank was
asked. A break with the bank stops what begins; what the bank was asked for it may still answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from kernel.errors import Kind, Refused
from kernel.keyring import check_none, check_same, signed_statement
from kernel.values import Context, check_on, check_role, check_text
from services.accounts.domain import freezes, operators, rules, standing
from services.accounts.domain.acts import WithdrawalConfirmation, WithdrawalReturn, check_once
from services.accounts.domain.bank_state import BankAccount, ended_by
from services.accounts.domain.changes import Right
from services.accounts.domain.commands import (
    CancelWithdrawal,
    ConfirmWithdrawal,
    InstructWithdrawal,
    RequestWithdrawal,
    ReturnWithdrawal,
)
from services.accounts.domain.events import (
    Account,
    BankBreakResolved,
    Leg,
    Purpose,
    WithdrawalCancelled,
    WithdrawalConfirmed,
    WithdrawalInstructed,
    WithdrawalRequested,
    WithdrawalReturned,
)
from services.accounts.domain.operators import Wanted
from services.accounts.domain.state import BoundKey, State, Withdrawal

# The legs as they would be moved; raises Refused for what is not there.
Move: TypeAlias = Callable[[Sequence[Leg]], list[Leg]]


def request_withdrawal(
    state: State, command: RequestWithdrawal, context: Context, move: Move
) -> list[WithdrawalRequested]:
    check_none(context)
    bank_key = (command.clearing_house, command.asset, command.bank)
    check_no_break(find_bank_account(state, *bank_key), *bank_key)
    bound_key = (command.holder, command.clearing_house, command.bank)
    account = bound_account(state, bound_key, context.at_ms)
    if account is None:
        raise Refused(
            "NO_BOUND_ACCOUNT",
            f"{command.holder[:40]} has no account bound at {command.bank[:40]}",
            holder=command.holder[:40],
            bank=command.bank[:40],
        )
    if context.id in state.holds:
        raise Refused("HOLD_EXISTS", f"hold {context.id} is live", hold=context.id)
    available = Account(command.holder, Purpose.AVAILABLE, "")
    held = Account(command.holder, Purpose.HELD, context.id)
    leg = Leg(command.amount_fen, command.asset, held, available, [])
    rules.check_leg(state, leg)
    operators.check_movers(state, [leg], None, context)
    rules.check_business_time(state.assets[command.asset], context)
    standing.check_moves(state, [leg], context)
    return [
        WithdrawalRequested(account, command.bank, command.clearing_house, move([leg]), context.id)
    ]


def bound_account(state: State, key: BoundKey, at_ms: int) -> str | None:
    """Where a withdrawal that is asked for at this instant goes."""
    changed = state.rebound.get(key)
    if changed is not None and changed.effective_ms <= at_ms:
        return changed.account
    return state.bound_accounts.get(key)


def cancel_withdrawal(
    state: State, command: CancelWithdrawal, context: Context, move: Move
) -> list[WithdrawalCancelled]:
    withdrawal = _open(state, command.withdrawal)
    check_none(context)
    operators.check_acts(state, context, withdrawal.holder, Wanted({Right.TRANSFER}))
    if withdrawal.instructed_at_ms is not None:
        raise _stage(command.withdrawal, "not instructed yet", "instructed")
    rules.check_business_time(state.assets[withdrawal.asset], context)
    return [WithdrawalCancelled(move([_back(command.withdrawal, withdrawal)]), command.withdrawal)]


def instruct_withdrawal(
    state: State, command: InstructWithdrawal, context: Context, move: Move
) -> list[WithdrawalInstructed]:
    check_role(context, "cashier")
    check_none(context)
    check_on(context)
    withdrawal = _open(state, command.withdrawal)
    if withdrawal.instructed_at_ms is not None:
        raise _stage(command.withdrawal, "not instructed yet", "instructed")
    key = (withdrawal.clearing_house, withdrawal.asset, withdrawal.bank)
    check_no_break(find_bank_account(state, *key), *key)
    _check_may_leave(state, command.withdrawal, withdrawal, context)
    return [
        WithdrawalInstructed(
            withdrawal.account,
            withdrawal.amount_fen,
            withdrawal.asset,
            withdrawal.bank,
            withdrawal.clearing_house,
            withdrawal.holder,
            context.at_ms,
            command.withdrawal,
        )
    ]


def _check_may_leave(state: State, id: str, withdrawal: Withdrawal, context: Context) -> None:
    """What was frozen, or barred by its holder's status, since it was asked for stays here.

    The last moment to say so: what the bank is then asked to pay, it may have paid.
    """
    paying = Leg(
        withdrawal.amount_fen,
        withdrawal.asset,
        Account(withdrawal.bank, Purpose.AVAILABLE, ""),
        Account(withdrawal.holder, Purpose.HELD, id),
        [],
    )
    freezes.check_leg(state, paying, 0)
    standing.check_moves(state, [paying], context)


def confirm_withdrawal(
    state: State, command: ConfirmWithdrawal, context: Context, move: Move
) -> list[WithdrawalConfirmed | BankBreakResolved]:
    withdrawal = _instructed(state, command.withdrawal)
    check_bank(context, withdrawal.bank)
    said = signed_statement(
        state.keyring, context, WithdrawalConfirmation, f"bank:{withdrawal.bank}"
    )
    check_same("account", said.account, withdrawal.account)
    _check_said(said, command.withdrawal, withdrawal)
    check_text(said.line, "line", 80)
    check_once((withdrawal.bank, said.line) in state.bank_lines, "LINE_BOOKED", f"line {said.line}")
    rules.check_business_time(state.assets[withdrawal.asset], context)
    key = (withdrawal.clearing_house, withdrawal.asset, withdrawal.bank)
    external = Account(withdrawal.clearing_house, Purpose.EXTERNAL, withdrawal.bank)
    held = Account(withdrawal.holder, Purpose.HELD, command.withdrawal)
    legs = move([Leg(withdrawal.amount_fen, withdrawal.asset, external, held, [])])
    account = find_bank_account(state, *key)
    day = account.day_of(context.on_ms)
    confirmed = WithdrawalConfirmed(day, said.line, legs, command.withdrawal)
    return [confirmed, *breaks_ended(state, key, said.line, -withdrawal.amount_fen)]


def return_withdrawal(
    state: State, command: ReturnWithdrawal, context: Context, move: Move
) -> list[WithdrawalReturned]:
    withdrawal = _instructed(state, command.withdrawal)
    check_bank(context, withdrawal.bank)
    said = signed_statement(state.keyring, context, WithdrawalReturn, f"bank:{withdrawal.bank}")
    _check_said(said, command.withdrawal, withdrawal)
    check_text(said.reason, "reason", 300)
    rules.check_business_time(state.assets[withdrawal.asset], context)
    legs = move([_back(command.withdrawal, withdrawal)])
    return [WithdrawalReturned(legs, said.reason, command.withdrawal)]


def breaks_ended(
    state: State, key: tuple[str, str, str], line: str, amount_fen: int
) -> list[BankBreakResolved]:
    """What a booking ends besides: the breaks of which this line was all that was left."""
    account = state.bank_accounts.get(key)
    if account is None or account.theirs.get(line) != amount_fen:
        return []
    clearing_house, asset, bank = key
    return [
        BankBreakResolved(asset=asset, bank=bank, clearing_house=clearing_house, day=day)
        for day in ended_by(account, [line])
    ]


def find_bank_account(state: State, clearing_house: str, asset: str, bank: str) -> BankAccount:
    account = state.bank_accounts.get((clearing_house, asset, bank))
    if account is None:
        raise Refused(
            "BANK_NOT_AGREED",
            f"{clearing_house[:40]} has agreed no account in {asset[:60]} with {bank[:40]}",
            bank=bank[:40],
        )
    return account


def check_no_break(account: BankAccount, clearing_house: str, asset: str, bank: str) -> None:
    """Nothing goes out through a bank whose statement and our books do not agree."""
    if account.breaks:
        day = min(account.breaks)
        raise Refused(
            "BANK_BREAK_OPEN",
            f"{bank}: the statement of {day} and the books of {clearing_house} differ in {asset}:"
            " no withdrawals until that is resolved",
            bank=bank,
            day=day,
        )


def check_bank(context: Context, bank: str) -> None:
    """The bank itself or the cashier brings its word; what makes it believed is its signature."""
    check_role(context, "cashier", f"bank:{bank}")


def _open(state: State, id: str) -> Withdrawal:
    withdrawal = state.withdrawals.get(id)
    if withdrawal is None:
        raise Refused(
            "WITHDRAWAL_NOT_OPEN",
            f"no open withdrawal {id[:60]!r}: it never was, was cancelled, or the bank has"
            " confirmed or returned it",
            Kind.UNKNOWN,
            withdrawal=id[:60],
        )
    return withdrawal


def _instructed(state: State, id: str) -> Withdrawal:
    """The bank answers what it was asked, and nothing else."""
    withdrawal = _open(state, id)
    if withdrawal.instructed_at_ms is None:
        raise _stage(id, "instructed", "only requested")
    return withdrawal


def _stage(id: str, expected: str, actual: str) -> Refused:
    return Refused(
        "WITHDRAWAL_STAGE",
        f"withdrawal {id}: expected it {expected}, it is {actual}",
        expected=expected,
        actual=actual,
    )


def _check_said(
    said: WithdrawalConfirmation | WithdrawalReturn, id: str, withdrawal: Withdrawal
) -> None:
    check_same("amount_fen", said.amount_fen, withdrawal.amount_fen)
    check_same("asset", said.asset, withdrawal.asset)
    check_same("bank", said.bank, withdrawal.bank)
    check_same("clearing_house", said.clearing_house, withdrawal.clearing_house)
    check_same("withdrawal", said.withdrawal, id)


def _back(id: str, withdrawal: Withdrawal) -> Leg:
    held = Account(withdrawal.holder, Purpose.HELD, id)
    available = Account(withdrawal.holder, Purpose.AVAILABLE, "")
    return Leg(withdrawal.amount_fen, withdrawal.asset, available, held, [])
