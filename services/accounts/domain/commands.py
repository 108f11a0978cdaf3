"""What the accounts book can be asked. Orders; each carries its own id in the context."""

from __future__ import annotations

import msgspec

from services.accounts.domain.events import Account, Claim, HolderKind, Leg, SerialRange, Unit


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


class PlaceHold(msgspec.Struct, frozen=True):
    """The hold's id is the command's id."""

    holder: str
    asset: str
    amount: int
    serials: list[SerialRange]
    to: Account
    expires_at_ms: int | None


class PostHold(msgspec.Struct, frozen=True):
    hold: str
    amount: int


class ReleaseHold(msgspec.Struct, frozen=True):
    hold: str


class ExpireHold(msgspec.Struct, frozen=True):
    """From the timer alone."""

    hold: str
