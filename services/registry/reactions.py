"""What the accounts book's events mean for ours: whatever is retired there is shown here.

Fields of its events are declared here in our own words; we read no more of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kernel.record import RawRecord
from services.registry.domain.commands import RetiredLot, RetireUnits
from services.registry.domain.events import SerialRange

RETIRED = "retired"
MARK: Final = b'"claim"'  # in every record of a retirement


class Block(msgspec.Struct, frozen=True):
    batch: str
    first: int
    last: int


class Account(msgspec.Struct, frozen=True):
    holder: str
    purpose: str


class Leg(msgspec.Struct, frozen=True):
    amount: int
    asset: str
    credit: Account
    serials: list[Block]


class Claim(msgspec.Struct, frozen=True):
    beneficiary: str
    details: str
    purpose: str


class EntryPosted(msgspec.Struct, frozen=True):
    legs: list[Leg]
    claim: Claim | None = None


_entry = msgspec.json.Decoder(EntryPosted)


def react_to_accounts(raw: RawRecord) -> RetireUnits | None:
    """A retirement becomes one command, with a lot for each holder and asset in it."""
    if raw.type != "EntryPosted":
        return None
    entry = _entry.decode(raw.body)
    if entry.claim is None:
        return None
    lots: dict[tuple[str, str], list[Leg]] = {}
    for leg in entry.legs:
        if leg.credit.purpose == RETIRED:
            lots.setdefault((leg.credit.holder, leg.asset), []).append(leg)
    if not lots:
        return None
    return RetireUnits(
        entry.claim.beneficiary,
        entry.claim.purpose,
        entry.claim.details,
        [
            RetiredLot(asset, holder, sum(leg.amount for leg in legs), moved_serials(legs))
            for (holder, asset), legs in lots.items()
        ],
    )


def moved_serials(legs: Sequence[Leg]) -> list[SerialRange]:
    """The ranges that some legs moved, in their order."""
    return [SerialRange(b.batch, b.first, b.last) for leg in legs for b in leg.serials]


def entry_legs(raw: RawRecord) -> list[Leg]:
    return _entry.decode(raw.body).legs
