"""What happened in the accounts book. Facts, never changed; types only grow.

Fields stand in sorted order, so that a plain encoder writes canonical JSON. Every event that moves
value carries its legs in full, serial ranges included: whoever folds the book needs nothing else.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from kernel.keyring import KEY_EVENTS
from services.accounts.domain.changes import CHANGE_EVENTS
from services.accounts.domain.changes import HolderKind as HolderKind  # noqa: PLC0414 it is ours too


class Purpose(StrEnum):
    AVAILABLE = "available"
    TRADING = "trading"
    HELD = "held"
    PLEDGED = "pledged"
    CUSTODY = "custody"
    ISSUED = "issued"
    EXTERNAL = "external"
    SURRENDERED = "surrendered"
    RETIRED = "retired"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CARRIED_OVER = "carried_over"
    BUFFER = "buffer"
    IMMOBILISED = "immobilised"
    CLEARING = "clearing"
    FEES = "fees"


class Unit(StrEnum):
    T = "t"
    FEN = "fen"
    CERTIFICATE = "certificate"


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A ledger account without its asset, which stands in the leg."""

    holder: str
    purpose: Purpose
    ref: str


class SerialRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Serials first..last of one batch, both included."""

    batch: str
    first: int
    last: int

    @property
    def amount(self) -> int:
        return self.last - self.first + 1


class Leg(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`amount` in the asset's unit leaves `debit` and reaches `credit`."""

    amount: int
    asset: str
    credit: Account
    debit: Account
    serials: list[SerialRange]


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a retirement is for."""

    beneficiary: str
    details: str
    purpose: str


class HolderRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A holder got its opaque id. Company facts only: they stand in a public register anyway.

    A natural person (kind `person`) has no name and no code here: what must be forgettable is never
    in clear.
    """

    holder: str
    kind: HolderKind
    name: str
    uscc: str


class AssetDefined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    backdating_days: int
    name: str
    programme: str
    serialised: bool
    unit: Unit


class Pledge(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Which lien an entry moves units under, or out of; `release` names the pledgee's release."""

    lien: str
    pledgee: str
    release: str | None = None


class EntryPosted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """The atom of bookkeeping: all legs or none. What is absent is not written."""

    # The settlement bank's statement line that brought the money.
    bank_line: str | None = None
    claim: Claim | None = None
    legs: list[Leg]
    # Under which an operator of the agent acted for the principal.
    mandate: str | None = None
    pledge: Pledge | None = None
    # The venue's trades that this entry settles.
    trades: list[str] = []


class HoldPlaced(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Reserved: one leg from available to held."""

    expires_at_ms: int | None
    hold: str
    legs: list[Leg]
    mandate: str | None = None  # of the holder's agent
    to: Account


class HoldPosted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Paid out, all or part; a second leg returns the rest. Ends the hold."""

    hold: str
    legs: list[Leg]
    mandate: str | None = None  # of the payee's agent


class HoldReleased(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    hold: str
    legs: list[Leg]
    mandate: str | None = None  # of the payee's agent


class HoldExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]


EVENTS = (
    HolderRegistered,
    AssetDefined,
    EntryPosted,
    HoldPlaced,
    HoldPosted,
    HoldReleased,
    HoldExpired,
    *KEY_EVENTS,
    *CHANGE_EVENTS,
)
