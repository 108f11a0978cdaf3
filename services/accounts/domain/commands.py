"""What the accounts book can be asked. Orders; each carries its own id in the context."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from services.accounts.domain.changes import Change, Operator, StatusChange
from services.accounts.domain.events import (
    Account,
    BankAccountBound,
    Claim,
    HolderKind,
    Leg,
    SafeguardRules,
    SerialRange,
    SettlementBankAgreed,
    Unit,
)


class RegisterHolder(msgspec.Struct, frozen=True):
    holder: str
    kind: HolderKind
    uscc: str
    name: str


class DefineAsset(msgspec.Struct, frozen=True):
    asset: str
    unit: Unit
    programme: str
    serialised: bool
    name: str
    backdating_days: int


class PostEntry(msgspec.Struct, frozen=True):
    """Legs as asked: empty serials of a serialised asset mean the oldest blocks."""

    legs: list[Leg]
    claim: Claim | None = None
    # Under which the caller acts. Unset is not written: ids used before it keep their digest.
    mandate: str | UnsetType = UNSET


class PlaceHold(msgspec.Struct, frozen=True):
    """The hold's id is the command's id."""

    holder: str
    asset: str
    amount: int
    serials: list[SerialRange]
    to: Account
    expires_at_ms: int | None
    mandate: str | UnsetType = UNSET


class PostHold(msgspec.Struct, frozen=True, omit_defaults=True):
    """With `keep_rest` what is not paid out stays held, else it goes back and the hold ends."""

    hold: str
    amount: int
    mandate: str | UnsetType = UNSET
    keep_rest: bool = False


class ReleaseHold(msgspec.Struct, frozen=True):
    hold: str
    mandate: str | UnsetType = UNSET


class ExpireHold(msgspec.Struct, frozen=True):
    """From the timer alone."""

    hold: str


class ProposeChange(msgspec.Struct, frozen=True):
    """The proposal's id is the command's id. `for_holder`: a principal offers a mandate."""

    change: Change
    for_holder: str = ""


class ApproveProposal(msgspec.Struct, frozen=True):
    proposal: str


class RefuseProposal(msgspec.Struct, frozen=True):
    proposal: str
    reason: str


class WithdrawProposal(msgspec.Struct, frozen=True):
    proposal: str


class SetOperator(msgspec.Struct, frozen=True):
    operator: Operator


class RevokeMandate(msgspec.Struct, frozen=True):
    """`for_holder`: principal or agent; empty for a registrar."""

    mandate: str
    for_holder: str = ""


class OrderStatus(msgspec.Struct, frozen=True):
    """An order of `authority:…` or `court:…`, with its signed holder-status among the acts."""

    authority: str
    number: str
    status: StatusChange


class FreezeUnits(msgspec.Struct, frozen=True):
    """What to freeze stands in the authority's signed statement, and nowhere else."""


class UnfreezeUnits(msgspec.Struct, frozen=True):
    """The same: which freeze is lifted stands in the statement."""


class ExpireFreeze(msgspec.Struct, frozen=True):
    """From the timer alone."""

    authority: str
    freeze: str


class PostTransfer(msgspec.Struct, frozen=True):
    """What moves stands in the signed statement: an order, or the agreement of two holders."""


class ConfirmTransfer(msgspec.Struct, frozen=True):
    transfer: str


class WithdrawTransfer(msgspec.Struct, frozen=True):
    transfer: str


class ProposeSafeguards(msgspec.Struct, frozen=True):
    """None: to do without any more."""

    holder: str
    rules: SafeguardRules | None


class ConfirmSafeguards(msgspec.Struct, frozen=True):
    holder: str
    proposal: str


class WithdrawSafeguards(msgspec.Struct, frozen=True):
    holder: str


class AddDestination(msgspec.Struct, frozen=True):
    """Another holder, or `venue:<name>`."""

    holder: str
    destination: str


class ConfirmDestination(msgspec.Struct, frozen=True):
    holder: str
    destination: str


class RemoveDestination(msgspec.Struct, frozen=True):
    holder: str
    destination: str


class ProposeTransfer(msgspec.Struct, frozen=True):
    """The command's id names the hold, and the proposal."""

    holder: str
    to: str
    asset: str
    amount: int
    serials: list[SerialRange]


class ApproveTransfer(msgspec.Struct, frozen=True):
    hold: str


class RefuseTransfer(msgspec.Struct, frozen=True):
    hold: str
    reason: str


class SettleTrades(msgspec.Struct, frozen=True):
    """One part of a settlement file: everything stands in what the venue has signed."""

    venue: str


class CloseSession(msgspec.Struct, frozen=True):
    """By the venue with its totals, or from the timer."""

    session: str
    venue: str


class AgreeBank(msgspec.Struct, frozen=True):
    """Holds what its event will say, opening balance included: the bank has signed all of it."""

    agreement: SettlementBankAgreed


class BindBankAccount(msgspec.Struct, frozen=True):
    binding: BankAccountBound


class RequestWithdrawal(msgspec.Struct, frozen=True):
    """To the account bound for this holder at this bank; the withdrawal's id is the command's."""

    holder: str
    asset: str
    amount_fen: int
    clearing_house: str
    bank: str


class CancelWithdrawal(msgspec.Struct, frozen=True):
    withdrawal: str


class InstructWithdrawal(msgspec.Struct, frozen=True):
    withdrawal: str


class ConfirmWithdrawal(msgspec.Struct, frozen=True):
    """What the bank has paid stands in its act."""

    withdrawal: str


class ReturnWithdrawal(msgspec.Struct, frozen=True):
    withdrawal: str


class ReceiveBankStatement(msgspec.Struct, frozen=True):
    """One part; day, balances and lines stand in the bank's act."""

    clearing_house: str
    asset: str
    bank: str


class ProposeBreakResolution(msgspec.Struct, frozen=True):
    clearing_house: str
    asset: str
    bank: str
    day: str
    reason: str


class ProposeReserveMove(msgspec.Struct, frozen=True):
    """Into the default reserve, or a draw on it."""

    clearing_house: str
    asset: str
    holder: str
    amount_fen: int
    draw: bool
    document: str


class ApproveBankProposal(msgspec.Struct, frozen=True):
    """By another person than who proposed it."""

    proposal: str


class WithdrawBankProposal(msgspec.Struct, frozen=True):
    proposal: str
