"""What comes signed from outside: orders and agreements about units, files of venues, bank matters.

Everything that counts stands in the signed statements, which the services and the ledger check.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.models.parts import Acts, Amount, Asked, Count, Day, HolderId, Name, Timed

MINUTES_OF_A_DAY = 1440


class SignedOrder(Timed):
    """One act of an authority or a court; two of the holders that have agreed."""

    acts: Acts


class FiledTransferName(Timed):
    transfer: Name = Field(description="As the agreement names it.")


class SettlementPart(Timed):
    """A part of a settlement file: one statement `settlement-file`, signed by the venue."""

    acts: Acts


class SessionClose(Timed):
    """One statement `session-close` with the sums, signed by the venue."""

    session: Name
    acts: Acts


class BankAgreement(Timed):
    """A settlement bank and a clearing house agree on days and statements; the bank signs."""

    clearing_house: HolderId
    asset: Name = "CNY"
    bank: HolderId
    cutoff_minute: Annotated[
        int,
        Field(ge=1, le=MINUTES_OF_A_DAY, description="At which a day of the bank ends, Shanghai."),
    ]
    first_day: Day
    opening_fen: Count = Field(description="What the bank has already, by the books.")
    document: Name
    acts: Acts


class BankAccountBinding(Timed):
    holder: HolderId
    clearing_house: HolderId
    bank: HolderId
    account: Name = Field(description="The bank's random word for it, never a number.")
    acts: Acts


class WithdrawalStep(Timed):
    withdrawal: Name


class BreakResolution(Asked):
    """The bank's statement and the books differ, and it is known why."""

    clearing_house: HolderId
    asset: Name = "CNY"
    bank: HolderId
    day: Day = Field(description="Of the statement that opened the break.")
    reason: Name


class ReserveMove(Asked):
    """Into the default reserve (风险准备金), or out of it to the holder."""

    clearing_house: HolderId
    asset: Name = "CNY"
    holder: HolderId
    amount_fen: Amount
    draw: bool = False
    document: Name


class BankMatter(Timed):
    """Exactly one of the two; its key is the proposal's id, and another person approves."""

    resolve_break: BreakResolution | None = None
    move_reserve: ReserveMove | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.resolve_break is None) == (self.move_reserve is None):
            raise ValueError("expected exactly one of resolve_break and move_reserve")
        return self


class BankProposal(Timed):
    proposal: Name
