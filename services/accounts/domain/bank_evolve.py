"""The events of settlement banks into state; a part of evolve.py, which moves the legs first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from services.accounts.domain.bank_state import (
    BankAccount,
    PendingStatement,
    book_line,
    take_statement,
)
from services.accounts.domain.events import (
    Account,
    BankAccountBound,
    BankBreakOpened,
    BankBreakResolutionProposed,
    BankBreakResolved,
    BankProposalWithdrawn,
    BankStatementReceived,
    BankStatementReconciled,
    Leg,
    Purpose,
    ReserveMoved,
    ReserveMoveProposed,
    SettlementBankAgreed,
    WithdrawalCancelled,
    WithdrawalConfirmed,
    WithdrawalInstructed,
    WithdrawalRequested,
    WithdrawalReturned,
)
from services.accounts.domain.state import Hold, State, Withdrawal


def on_settlement_bank_agreed(state: State, event: SettlementBankAgreed) -> None:
    key = (event.clearing_house, event.asset, event.bank)
    opening_fen = event.opening_fen
    state.bank_accounts[key] = BankAccount(
        event.cutoff_minute, event.first_day, opening_fen, opening_fen
    )


def on_bank_account_bound(state: State, event: BankAccountBound) -> None:
    state.bound_accounts[event.holder, event.clearing_house, event.bank] = event.account


def on_withdrawal_requested(state: State, event: WithdrawalRequested) -> None:
    (leg,) = event.legs
    external = Account(event.clearing_house, Purpose.EXTERNAL, event.bank)
    state.holds[event.withdrawal] = Hold(leg.debit.holder, leg.asset, leg.amount, external, None)
    state.withdrawals[event.withdrawal] = Withdrawal(
        leg.debit.holder, leg.asset, leg.amount, event.clearing_house, event.bank, event.account
    )


def on_withdrawal_instructed(state: State, event: WithdrawalInstructed) -> None:
    state.withdrawals[event.withdrawal].instructed_at_ms = event.instructed_at_ms


def on_withdrawal_confirmed(state: State, event: WithdrawalConfirmed) -> None:
    (leg,) = event.legs
    on_line_booked(state, leg, leg.credit, event.bank_line, event.bank_day)
    _end(state, event.withdrawal)


def on_withdrawal_returned(state: State, event: WithdrawalReturned) -> None:
    _end(state, event.withdrawal)


def on_withdrawal_cancelled(state: State, event: WithdrawalCancelled) -> None:
    _end(state, event.withdrawal)


def _end(state: State, withdrawal: str) -> None:
    del state.holds[withdrawal], state.withdrawals[withdrawal]


def on_line_booked(state: State, leg: Leg, external: Account, line: str, day: str | None) -> None:
    """A line of the bank's, in or out: once for ever, and open until a statement shows it."""
    state.bank_lines.add((external.ref, line))
    if day is not None:
        account = state.bank_accounts[external.holder, leg.asset, external.ref]
        book_line(account, line, leg.amount if leg.debit == external else -leg.amount, day)


def on_bank_statement_received(state: State, event: BankStatementReceived) -> None:
    account = state.bank_accounts[event.clearing_house, event.asset, event.bank]
    if event.part == 1 or account.pending is None:
        account.pending = PendingStatement(
            event.day, event.opening_fen, event.closing_fen, event.parts, event.total_lines
        )
    account.pending.lines.extend(event.lines)
    account.pending.received = event.part


def on_bank_statement_reconciled(state: State, event: BankStatementReconciled) -> None:
    _take(state.bank_accounts[event.clearing_house, event.asset, event.bank])


def on_bank_break_opened(state: State, event: BankBreakOpened) -> None:
    _take(state.bank_accounts[event.clearing_house, event.asset, event.bank])


def _take(account: BankAccount) -> None:
    if account.pending is not None:
        take_statement(account, account.pending)
    account.pending = None


def on_bank_break_resolution_proposed(state: State, event: BankBreakResolutionProposed) -> None:
    state.break_resolutions[event.proposal] = event


def on_bank_break_resolved(state: State, event: BankBreakResolved) -> None:
    """Lines that two persons took as they are stay known: one of them may still be booked."""
    del state.bank_accounts[event.clearing_house, event.asset, event.bank].breaks[event.day]
    if event.proposal is not None:
        del state.break_resolutions[event.proposal]


def on_reserve_move_proposed(state: State, event: ReserveMoveProposed) -> None:
    state.reserve_moves[event.proposal] = event


def on_reserve_moved(state: State, event: ReserveMoved) -> None:
    del state.reserve_moves[event.proposal]


def on_bank_proposal_withdrawn(state: State, event: BankProposalWithdrawn) -> None:
    state.break_resolutions.pop(event.proposal, None)
    state.reserve_moves.pop(event.proposal, None)


Handlers: TypeAlias = dict[type[msgspec.Struct], Callable[[State, Any], None]]

# With legs, which have been moved when these are called.
MOVING: Final[Handlers] = {
    WithdrawalRequested: on_withdrawal_requested,
    WithdrawalConfirmed: on_withdrawal_confirmed,
    WithdrawalReturned: on_withdrawal_returned,
    WithdrawalCancelled: on_withdrawal_cancelled,
    ReserveMoved: on_reserve_moved,
}
EVOLVE: Final[Handlers] = {
    SettlementBankAgreed: on_settlement_bank_agreed,
    BankAccountBound: on_bank_account_bound,
    WithdrawalInstructed: on_withdrawal_instructed,
    BankStatementReceived: on_bank_statement_received,
    BankStatementReconciled: on_bank_statement_reconciled,
    BankBreakOpened: on_bank_break_opened,
    BankBreakResolutionProposed: on_bank_break_resolution_proposed,
    BankBreakResolved: on_bank_break_resolved,
    ReserveMoveProposed: on_reserve_move_proposed,
    BankProposalWithdrawn: on_bank_proposal_withdrawn,
}
