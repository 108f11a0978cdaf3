"""What the market book can be asked. Orders; each carries its own id in the context."""

from __future__ import annotations

import msgspec

from services.market.domain.events import (
    Allocation,
    EndedSettlement,
    RefusedTrade,
    Side,
    Terms,
)


class DefineInstrument(msgspec.Struct, frozen=True, omit_defaults=True):
    asset: str
    instrument: str
    name: str
    reference_price_fen_per_t: int
    terms: Terms
    units_of: str = ""


class SetTerms(msgspec.Struct, frozen=True):
    """`effective_from_ms` None: from the recording on."""

    instrument: str
    effective_from_ms: int | None
    terms: Terms


class PlaceOrder(msgspec.Struct, frozen=True):
    """The order's id is the command's id."""

    instrument: str
    holder: str
    side: Side
    price_fen_per_t: int
    quantity_t: int


class PickOrders(msgspec.Struct, frozen=True):
    """Takes a quantity at once, all of it or none; `orders` empty: the best come first."""

    instrument: str
    holder: str
    side: Side
    quantity_t: int
    limit_fen_per_t: int
    orders: list[str]


class CancelOrder(msgspec.Struct, frozen=True):
    order: str


class RequestRelease(msgspec.Struct, frozen=True):
    """The release's id is the command's id."""

    holder: str
    asset: str
    amount: int


class ReceiveAllocations(msgspec.Struct, frozen=True):
    """From the reaction to the accounts book alone."""

    allocations: list[Allocation]


class HearStanding(msgspec.Struct, frozen=True):
    """From the reaction to the accounts book alone. `authority` empty: by the registrars."""

    authority: str
    holder: str
    status: str


class EndSettlements(msgspec.Struct, frozen=True):
    """From the errand alone, like the two that follow: the accounts book has answered."""

    settlements: list[EndedSettlement]
    refused: list[RefusedTrade]


class CompleteRelease(msgspec.Struct, frozen=True):
    release: str


class RefuseRelease(msgspec.Struct, frozen=True):
    release: str
    reason: str
    message: str
    details: dict[str, str]


class ExpireOrder(msgspec.Struct, frozen=True):
    """From the timer alone."""

    order: str
