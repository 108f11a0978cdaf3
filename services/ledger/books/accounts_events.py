"""The accounts book's events again, in the words of whoever checks them."""

from __future__ import annotations

import msgspec

from kernel.values import Actor
from services.ledger.books.crossings import Move, Place, sums
from services.ledger.books.serials import Range, merged


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    holder: str
    purpose: str
    ref: str


class Leg(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int
    asset: str
    credit: Account
    debit: Account
    serials: list[Range]


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    beneficiary: str
    details: str
    purpose: str


class Pledge(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    lien: str
    pledgee: str
    release: str | None = None


class HolderRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    kind: str
    name: str
    uscc: str


class AssetDefined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    backdating_days: int
    name: str
    programme: str
    serialised: bool
    unit: str


class EntryPosted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    bank_day: str | None = None
    bank_line: str | None = None
    claim: Claim | None = None
    legs: list[Leg]
    mandate: str | None = None
    pledge: Pledge | None = None
    session: str | None = None
    spent_on: str | None = None
    trades: list[str] = []


class HoldPlaced(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    expires_at_ms: int | None
    hold: str
    legs: list[Leg]
    mandate: str | None = None
    to: Account


class HoldPosted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    hold: str
    legs: list[Leg]
    mandate: str | None = None
    rest_held: int = 0


class HoldReleased(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    hold: str
    legs: list[Leg]
    mandate: str | None = None


class HoldExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]


class UnitsFrozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int | None
    asset: str
    authority: str
    document: str
    freeze: str
    holder: str
    liens: list[Pledge]
    purpose: str
    reason: str
    ref: str
    serials: list[Range]
    until: str


class UnitsUnfrozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    authority: str
    document: str
    freeze: str
    holder: str
    liens: list[Pledge]
    reason: str


class FreezeExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    authority: str
    freeze: str
    holder: str
    liens: list[Pledge]


class FreezeName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    authority: str
    freeze: str


class TransferFiled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    document: str
    filer: Actor
    moves: list[Leg]
    nature: str
    source: str
    target: str
    transfer: str


class TransferPosted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    authority: str = ""
    document: str
    freezes: list[FreezeName] = []
    legs: list[Leg]
    liens: list[Pledge] = []
    nature: str
    source: str
    target: str
    transfer: str


class TransferWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    target: str
    transfer: str


class SafeguardLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int
    asset: str


class SafeguardRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    approve_within_ms: int
    delay_ms: int
    limits: list[SafeguardLimit]
    unlisted: bool


class SafeguardsProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    proposal: str
    proposer: Actor
    rules: SafeguardRules | None


class SafeguardsConfirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    effective_ms: int
    holder: str
    proposal: str
    rules: SafeguardRules | None


class SafeguardsWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    waiting: bool


class DestinationAdded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    destination: str
    holder: str
    proposer: Actor


class DestinationConfirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    destination: str
    effective_ms: int
    holder: str


class DestinationRemoved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    destination: str
    holder: str


class TransferProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    expires_at_ms: int
    hold: str
    legs: list[Leg]
    proposer: Actor
    to: Account


class TransferApproved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]


class TransferRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]
    reason: str


class FileTrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    asset: str
    buyer: str
    buyer_fee_fen: int
    price_fen_per_t: int
    quantity_t: int
    seller: str
    seller_fee_fen: int
    trade: str


class SettlementReceived(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    closes_at_ms: int
    fee_holder: str
    file: str
    files_alone: bool = False
    known: list[int]
    part: int
    session: str
    trades: int
    unsettled: list[int]
    venue: str


class TradeUnsettled(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    asset: str | None = None
    available: int | None = None
    holder: str | None = None
    needed: int | None = None
    reason: str
    session: str
    trade: FileTrade
    venue: str


class SessionTotals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    asset: str
    fees_fen: int
    quantity_t: int
    trades: int
    turnover_fen: int


class SessionClosed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    session: str
    totals: list[SessionTotals]
    unsettled: int
    venue: str


def places(leg: Leg) -> tuple[Place, Place]:
    """Where a leg takes from, and where it brings to."""
    debit, credit = leg.debit, leg.credit
    return (
        (debit.holder, leg.asset, debit.purpose, debit.ref),
        (credit.holder, leg.asset, credit.purpose, credit.ref),
    )


def moves(legs: list[Leg]) -> list[Move]:
    return sums((*places(leg), leg.amount) for leg in legs)


def serials(legs: list[Leg]) -> list[Range]:
    return merged(block for leg in legs for block in leg.serials)
