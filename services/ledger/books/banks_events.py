"""Events about settlement banks again, in the words of whoever checks them."""

from __future__ import annotations

import msgspec

from kernel.values import Actor
from services.ledger.books.accounts_events import Leg


class SettlementBankAgreed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    bank: str
    clearing_house: str
    cutoff_minute: int
    document: str
    first_day: str
    opening_fen: int


class BankAccountBound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: str
    bank: str
    clearing_house: str
    holder: str


class WithdrawalRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: str
    bank: str
    clearing_house: str
    legs: list[Leg]
    withdrawal: str


class WithdrawalInstructed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: str
    amount_fen: int
    asset: str
    bank: str
    clearing_house: str
    holder: str
    instructed_at_ms: int
    withdrawal: str


class WithdrawalConfirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bank_day: str
    bank_line: str
    legs: list[Leg]
    withdrawal: str


class WithdrawalReturned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    legs: list[Leg]
    reason: str
    withdrawal: str


class WithdrawalCancelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    legs: list[Leg]
    withdrawal: str


class StatedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    amount_fen: int
    line: str


class BankStatementReceived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    bank: str
    clearing_house: str
    closing_fen: int
    day: str
    lines: list[StatedLine]
    opening_fen: int
    part: int
    parts: int
    total_lines: int


class BankStatementReconciled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    bank: str
    clearing_house: str
    closing_fen: int
    day: str
    expected_fen: int
    late_fen: int
    lines: int
    ours_fen: int
    theirs_fen: int


class BankBreakOpened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    bank: str
    clearing_house: str
    closing_fen: int
    day: str
    expected_fen: int
    late_fen: int
    lines: int
    new_ours: int
    new_theirs: int
    ours: list[StatedLine]
    ours_fen: int
    theirs: list[StatedLine]
    theirs_fen: int


class BankBreakResolutionProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    bank: str
    by: Actor
    clearing_house: str
    day: str
    proposal: str
    reason: str


class BankBreakResolved(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    asset: str
    bank: str
    clearing_house: str
    day: str
    proposal: str | None = None


class ReserveMoveProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount_fen: int
    asset: str
    by: Actor
    clearing_house: str
    document: str
    draw: bool
    holder: str
    proposal: str


class ReserveMoved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    document: str
    legs: list[Leg]
    proposal: str


class BankProposalWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    proposal: str


BANK_EVENTS = (
    SettlementBankAgreed,
    BankAccountBound,
    WithdrawalRequested,
    WithdrawalInstructed,
    WithdrawalConfirmed,
    WithdrawalReturned,
    WithdrawalCancelled,
    BankStatementReceived,
    BankStatementReconciled,
    BankBreakOpened,
    BankBreakResolutionProposed,
    BankBreakResolved,
    ReserveMoveProposed,
    ReserveMoved,
    BankProposalWithdrawn,
)
