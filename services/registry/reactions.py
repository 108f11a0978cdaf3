"""What the accounts book's events mean for ours: whatever is retired there is shown here, and what
an order takes out from under a lien ends the pledge here.

Fields of its events are declared here in our own words; we read no more of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kernel.record import RawRecord
from services.registry.domain.commands import (
    OverridePledges,
    RetiredLot,
    RetireUnits,
    TakenLot,
)
from services.registry.domain.events import SerialRange

RETIRED = "retired"
PLEDGED = "pledged"
# In every record of a retirement, and in every one of a transfer without a trade.
MARKS: Final = (b'"claim"', b'"TransferPosted"')


class Block(msgspec.Struct, frozen=True):
    batch: str
    first: int
    last: int


class Account(msgspec.Struct, frozen=True):
    holder: str
    purpose: str
    ref: str


class Leg(msgspec.Struct, frozen=True):
    amount: int
    asset: str
    credit: Account
    debit: Account
    serials: list[Block]


class Claim(msgspec.Struct, frozen=True):
    beneficiary: str
    details: str
    purpose: str


class EntryPosted(msgspec.Struct, frozen=True):
    legs: list[Leg]
    claim: Claim | None = None


class TransferPosted(msgspec.Struct, frozen=True):
    document: str
    legs: list[Leg]
    transfer: str
    authority: str = ""


_entry = msgspec.json.Decoder(EntryPosted)
_transfer = msgspec.json.Decoder(TransferPosted)


def react_to_accounts(raw: RawRecord) -> RetireUnits | OverridePledges | None:
    if raw.type == "EntryPosted":
        return _retired(raw)
    return _overridden(raw) if raw.type == "TransferPosted" else None


def _overridden(raw: RawRecord) -> OverridePledges | None:
    """An order over pledged units becomes one command, with a lot for each lien in it."""
    order = _transfer.decode(raw.body)
    lots: dict[str, list[Leg]] = {}
    for leg in order.legs:
        if leg.debit.purpose == PLEDGED:
            lots.setdefault(leg.debit.ref, []).append(leg)
    if not lots:
        return None
    return OverridePledges(
        order.authority,
        order.document,
        order.transfer,
        [
            TakenLot(lien, sum(leg.amount for leg in legs), moved_serials(legs))
            for lien, legs in sorted(lots.items())
        ],
    )


def _retired(raw: RawRecord) -> RetireUnits | None:
    """A retirement becomes one command, with a lot for each holder and asset in it."""
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
