"""What happened at the market. Facts, never changed; types only grow.

Fields stand in sorted order, so that a plain encoder writes canonical JSON. `day` is the trading
day in Asia/Shanghai, `2026-11-20`; prices are fen per tonne, money is fen of CNY.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class MatchingMode(StrEnum):
    PICK = "pick"
    PRICE_TIME = "price_time"


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Minutes after midnight, `last_minute` not included; weekdays 1 (Monday) to 7."""

    first_minute: int
    last_minute: int
    weekdays: list[int]


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules of an instrument as data; 0: no band, no limit; no sessions: always open."""

    band_bp: int
    day_turn: bool
    lot_t: int
    matching_mode: MatchingMode
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
    # The programme whose units they are; absent: not said, and in reach of every authority.
    units_of: str = ""


class TermsSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In force for orders taken from `effective_from_ms` on."""

    effective_from_ms: int
    instrument: str
    terms: Terms


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int
    asset: str
    holder: str


class AllocationsReceived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an entry of the accounts book (the cause) brought from available into trading here.

    One row per holder and asset, sorted.
    """

    allocations: list[Allocation]


class OrderPlaced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it needs is reserved: units of a seller, price times quantity of a buyer."""

    day: str
    holder: str
    instrument: str
    order: str
    price_fen_per_t: int
    quantity_t: int
    side: Side


class Trade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`maker` is the order that stood in the book, and gives the price."""

    buyer: str
    maker: str
    price_fen_per_t: int
    quantity_t: int
    seller: str
    trade: str


class TradesMade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All trades of one taker. Requested of the accounts book, which settles each by its own entry.

    `taker` is an order of price_time, or the id of a pick; `settlement` names the whole.
    """

    asset: str
    day: str
    instrument: str
    settlement: str
    taker: str
    taker_side: Side
    trades: list[Trade]


class SettlementCompleted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of books from before SettlementsEnded: one entry, the cause, settled all trades."""

    settlement: str


class SettlementRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of books from before SettlementsEnded: all its trades are unwound."""

    details: dict[str, str]
    message: str
    reason: str
    settlement: str


class EndedSettlement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`entries`: per trade the position in the accounts book that tells of it, settled or not.

    0: it was settled by an earlier part. None at all: the part was refused, no record tells of it.
    """

    entries: list[int]
    settlement: str


class RefusedTrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    details: dict[str, str]
    message: str
    reason: str
    trade: str


class SettlementsEnded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of the trades of several takers; the cause is the last event of their part.

    All trades of these settlements are settled, but for the refused ones: those are unwound, what
    was reserved for them is free again.
    """

    refused: list[RefusedTrade]
    settlements: list[EndedSettlement]


class StandingHeard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The accounts book (the cause) has set a holder's status; only who is `active` may trade.

    `authority`: who has ordered it, empty for the registrars; each layer is lifted by who set it.
    """

    authority: str
    holder: str
    status: str


class OrderCancelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """By its holder or the exchange; or because its holder may not trade any more."""

    order: str
    reason: str = ""


class OrderExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At the end of its trading day."""

    order: str


class ReleaseRequested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Set aside here; requested of the accounts book."""

    amount: int
    asset: str
    holder: str
    release: str


class ReleaseCompleted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Its cause is the entry in the accounts book."""

    release: str


class ReleaseRefused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was set aside is free again."""

    details: dict[str, str]
    message: str
    reason: str
    release: str


EVENTS = (
    InstrumentDefined,
    TermsSet,
    AllocationsReceived,
    OrderPlaced,
    TradesMade,
    SettlementCompleted,
    SettlementRefused,
    OrderCancelled,
    OrderExpired,
    StandingHeard,
    ReleaseRequested,
    ReleaseCompleted,
    ReleaseRefused,
    SettlementsEnded,
)
