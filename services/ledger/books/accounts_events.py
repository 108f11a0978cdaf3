"""The accounts book's events again, in the words of whoever checks them."""

from __future__ import annotations

import msgspec

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
    bank_line: str | None = None
    claim: Claim | None = None
    legs: list[Leg]
    mandate: str | None = None
    pledge: Pledge | None = None
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


class HoldReleased(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    hold: str
    legs: list[Leg]
    mandate: str | None = None


class HoldExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]


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
