"""The market's events again, in the words of whoever checks them."""

from __future__ import annotations

import msgspec


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    first_minute: int
    last_minute: int
    weekdays: list[int]


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    band_bp: int
    day_turn: bool
    lot_t: int
    matching_mode: str
    max_quantity_t: int
    sessions: list[Session]
    tick_fen: int


class InstrumentDefined(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    asset: str
    instrument: str
    name: str
    reference_price_fen_per_t: int
    terms: Terms
    units_of: str = ""


class TermsSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    effective_from_ms: int
    instrument: str
    terms: Terms


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int
    asset: str
    holder: str


class AllocationsReceived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allocations: list[Allocation]


class OrderPlaced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    day: str
    holder: str
    instrument: str
    order: str
    price_fen_per_t: int
    quantity_t: int
    side: str


class Trade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    buyer: str
    maker: str
    price_fen_per_t: int
    quantity_t: int
    seller: str
    trade: str


class TradesMade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    day: str
    instrument: str
    settlement: str
    taker: str
    taker_side: str
    trades: list[Trade]


class SettlementCompleted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    settlement: str


class SettlementRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    message: str
    reason: str
    settlement: str


class EndedSettlement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entries: list[int]
    settlement: str


class RefusedTrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    message: str
    reason: str
    trade: str


class SettlementsEnded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    refused: list[RefusedTrade]
    settlements: list[EndedSettlement]


class StandingHeard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    authority: str
    holder: str
    status: str


class OrderCancelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    order: str
    reason: str = ""


class OrderExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    order: str


class ReleaseRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int
    asset: str
    holder: str
    release: str


class ReleaseCompleted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    release: str


class ReleaseRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    message: str
    reason: str
    release: str
