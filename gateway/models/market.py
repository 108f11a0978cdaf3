"""What changes the market: instruments and their terms, orders, picks, cancellations, releases."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.models.parts import (
    Amount,
    Asked,
    Count,
    HolderId,
    Instant,
    Name,
    Page,
    Query,
    Settled,
    Small,
    Timed,
)

Side = Literal["buy", "sell"]
MatchingMode = Literal["pick", "price_time"]


class Session(Asked):
    """Asia/Shanghai, minutes after midnight, `last_minute` not included; Monday is 1."""

    weekdays: Annotated[list[Small], Field(max_length=7)]
    first_minute: Small
    last_minute: Small


class Terms(Asked):
    matching_mode: MatchingMode
    tick_fen: Amount
    lot_t: Amount
    band_bp: Count = Field(0, description="0: no band.")
    max_quantity_t: Count = Field(0, description="An order is smaller than this; 0: no limit.")
    sessions: Annotated[list[Session], Field(max_length=64)] = Field(default_factory=list)
    day_turn: bool = False


class Instrument(Timed):
    instrument: Name = Field(examples=["LZXQ-1"])
    asset: Name
    name: Name
    reference_price_fen_per_t: Amount
    terms: Terms
    # The programme whose units they are, a holder's id; empty: not said.
    units_of: str = Field("", max_length=40)


class TermsChange(Timed):
    instrument: Name
    effective_from: Instant
    terms: Terms


class Order(Asked):
    """A limit order; its Idempotency-Key is its name from here on."""

    instrument: Name
    holder: HolderId
    side: Side
    price_fen_per_t: Amount
    quantity_t: Amount


class Pick(Asked):
    """Takes a quantity from the best five levels of the other side: all of it or none."""

    instrument: Name
    holder: HolderId
    side: Side = Field(description="Of the taker.")
    quantity_t: Amount
    limit_fen_per_t: Amount = Field(description="The worst price the taker accepts.")
    orders: Annotated[list[Name], Field(max_length=1000)] = Field(
        default_factory=list, description="Empty: best price first. Else only these, in this order."
    )


class Cancellation(Asked):
    order: Name


class Release(Asked):
    """What no order needs goes back to the holder's available account."""

    holder: HolderId
    asset: Name
    amount: Amount


class Book(Query):
    levels: Annotated[int, Field(ge=0, le=100)] = Field(0, description="Of each side; 0: five.")


class Positions(Query):
    min_accounts_position: Count = Field(
        0, description="Wait, at most five seconds, until accounts is heard of up to here."
    )


class Trades(Page):
    settled: bool = Field(
        False, description="Wait, at most five seconds, until none is on its way to be settled."
    )


class Releases(Settled):
    releases: Annotated[list[Name], Field(min_length=1, max_length=200)]
