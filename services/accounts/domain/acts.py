"""The statements institutions sign over entries, and what each must say (domain 2.9).

    bank-advice        settlement bank    money came in: one leg out of its external account
    issuance-approval  authority          a batch may be issued, to these owners
    settlement         venue              trades of that venue, to be settled as one entry
    settlement-file    venue              a part of a session's trades, each an entry of its own
    session-close      venue              what a session has settled in all
    pledge             both its parties   units go under a lien
    pledge-release     pledgee            units come free of it
    holder-status      authority          a holder's status, until the same authority lifts it
    freeze, unfreeze   authority, court   what lies where it lies, and until when
    transfer-order     authority, court   units change hands without a trade
    transfer-agreement both holders       the same, as a merger or a split

Over the money at settlement banks, each signed by the bank: bank-agreement, account-binding,
withdrawal-confirmation, withdrawal-return and bank-statement.

Whose key is believed is kernel/keyring.py's; each statement is booked only once.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kernel.errors import Refused
from services.accounts.domain.events import FileTrade, FreezeName, SerialRange, SessionTotals


class BankAdvice(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="bank-advice", tag_field="kind"
):
    """`line` is the bank's own number of the statement line: it is booked once."""

    amount_fen: int
    asset: str
    bank: str
    clearing_house: str
    holder: str
    line: str


class Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    quantity_t: int


class IssuanceApproval(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag="issuance-approval",
    tag_field="kind",
):
    """`checker` is the person at the authority who approved; never the one who asks here."""

    asset: str
    batch: str
    checker: str
    document: str
    first: int
    last: int
    owners: list[Owner]
    programme: str


class Trade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    buyer: str
    price_fen_per_t: int
    quantity_t: int
    seller: str
    trade: str


class Settlement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="settlement", tag_field="kind"
):
    trades: list[Trade]
    venue: str


class SettlementFile(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="settlement-file", tag_field="kind"
):
    """`closes_at_ms` and `fee_holder` are the session's: every part of it says the same."""

    closes_at_ms: int
    fee_holder: str
    file: str
    part: int
    session: str
    trades: list[FileTrade]
    venue: str


class SessionClose(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="session-close", tag_field="kind"
):
    session: str
    totals: list[SessionTotals]
    unsettled: int
    venue: str


class PledgedRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    batch: str
    first: int
    last: int


class PledgeLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    call_bp: int
    enforcement_bp: int
    warning_bp: int


class PledgeValuation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    price_fen_per_t: int
    priced_at_ms: int
    source: str


class PledgeStatement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pledge", tag_field="kind"
):
    """Pledgor and pledgee sign the same; no serials: the oldest the pledgor holds.

    What is not about the units (loan, rate, levels, valuation) is the registry's to judge.
    """

    asset: str
    levels: PledgeLevels
    lien: str
    loan_fen: int
    matures_on: str
    notice: str
    pledgee: str
    pledgor: str
    programme: str
    quantity_t: int
    rate_bp: int
    serials: list[PledgedRange]
    valuation: PledgeValuation


class PledgeRelease(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pledge-release", tag_field="kind"
):
    """`release` is the pledgee's own name of it: it is booked once."""

    lien: str
    pledgee: str
    quantity_t: int
    release: str


class HolderStatusOrder(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="holder-status", tag_field="kind"
):
    """`authority` is the subject of who orders, `number` its own of the order: booked once.

    `document` is a digest.
    """

    authority: str
    document: str
    holder: str
    number: str
    reason: str
    status: str


class FreezeStatement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="freeze", tag_field="kind"
):
    """What lies still: a holder's accounts, an amount of one, or serials wherever they lie.

    `freeze` is the authority's own name of it, booked once; `until` its last day, "" without one.
    An empty `asset` means all assets that the authority may freeze, an empty `purpose` all accounts
    of the holder, an empty `ref` every venue or lien.
    """

    amount: int | None
    asset: str
    authority: str
    document: str
    freeze: str
    holder: str
    purpose: str
    reason: str
    ref: str
    serials: list[SerialRange]
    until: str


class UnfreezeStatement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unfreeze", tag_field="kind"
):
    authority: str
    document: str
    freeze: str
    reason: str


class OrderedMove(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Out of the source's `available`, or out of `lien`; no serials: the oldest there."""

    amount: int
    asset: str
    lien: str
    serials: list[SerialRange]


class TransferOrder(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="transfer-order", tag_field="kind"
):
    """`transfer` is the authority's own name of it, booked once; `freezes` those it overrides."""

    authority: str
    document: str
    freezes: list[FreezeName]
    moves: list[OrderedMove]
    nature: str
    source: str
    target: str
    transfer: str


class AgreedMove(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int
    asset: str
    serials: list[SerialRange]


class TransferAgreement(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag="transfer-agreement",
    tag_field="kind",
):
    """Source and target sign the same; two persons at the registrar carry it out."""

    document: str
    moves: list[AgreedMove]
    nature: str
    source: str
    target: str
    transfer: str


class BankAgreement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="bank-agreement", tag_field="kind"
):
    """What the bank states from which day on; `opening_fen` is what it has before that."""

    asset: str
    bank: str
    clearing_house: str
    cutoff_minute: int
    document: str
    first_day: str
    opening_fen: int


class AccountBinding(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="account-binding", tag_field="kind"
):
    """The bank vouches that the account is in the name of the holder with this credit code."""

    account: str
    bank: str
    clearing_house: str
    holder: str
    uscc: str


class WithdrawalConfirmation(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag="withdrawal-confirmation",
    tag_field="kind",
):
    """The bank has paid it; `line` is its own number of the statement line, as in an advice."""

    account: str
    amount_fen: int
    asset: str
    bank: str
    clearing_house: str
    line: str
    withdrawal: str


class WithdrawalReturn(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag="withdrawal-return",
    tag_field="kind",
):
    amount_fen: int
    asset: str
    bank: str
    clearing_house: str
    reason: str
    withdrawal: str


class StatementLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What came in is above zero, what went out below; `entry` says what it was, in a word."""

    amount_fen: int
    entry: str
    line: str


class BankStatement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="bank-statement", tag_field="kind"
):
    """One part of a day's statement. Every part says all of the day, and its own lines."""

    asset: str
    bank: str
    clearing_house: str
    closing_fen: int
    day: str
    lines: list[StatementLine]
    opening_fen: int
    part: int
    parts: int
    total_lines: int


def check_once(done: bool, reason: str, what: str) -> None:
    if done:
        raise Refused(reason, f"{what} has been booked already", what=what)


def unique(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)
