"""What the accounts book means for ours: what its entries bring into trading here can be traded,
and whose status is not active trades no more.

Fields of its events are declared here in our own words; we read no more of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from kernel.record import RawRecord
from services.market.config import BOOK
from services.market.domain.commands import HearStanding, ReceiveAllocations
from services.market.domain.events import Allocation

# In every record that moves something into trading, and in every one of a status.
MARKS: Final = (b'"trading"', b'"HolderStatusSet"')
SESSION: Final = b'"session":"'  # a file's trade was settled: nothing comes in from outside


class Account(msgspec.Struct, frozen=True):
    holder: str
    purpose: str
    ref: str


class Leg(msgspec.Struct, frozen=True):
    amount: int
    asset: str
    credit: Account
    debit: Account


class EntryPosted(msgspec.Struct, frozen=True):
    legs: list[Leg]


class StatusChange(msgspec.Struct, frozen=True):
    holder: str
    status: str


class HolderStatusSet(msgspec.Struct, frozen=True):
    status: StatusChange
    authority: str = ""


def react_to_accounts(raw: RawRecord) -> ReceiveAllocations | HearStanding | None:
    if raw.type == "HolderStatusSet":
        said = msgspec.json.decode(raw.body, type=HolderStatusSet)
        return HearStanding(said.authority, said.status.holder, said.status.status)
    return _allocated(raw) if raw.type == "EntryPosted" else None


def _allocated(raw: RawRecord) -> ReceiveAllocations | None:
    """Allocations out of holders' own available accounts; settlements and releases are our own."""
    if SESSION in bytes(raw.body):
        return None
    received: Counter[tuple[str, str]] = Counter()
    for leg in msgspec.json.decode(raw.body, type=EntryPosted).legs:
        into_ours = leg.credit.purpose == "trading" and leg.credit.ref == BOOK
        if into_ours and leg.debit.purpose != "trading":
            received[leg.credit.holder, leg.asset] += leg.amount
    if not received:
        return None
    return ReceiveAllocations(
        [Allocation(amount, asset, holder) for (holder, asset), amount in sorted(received.items())]
    )
