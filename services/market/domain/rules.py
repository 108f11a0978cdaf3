"""What an order must satisfy: the terms of its instrument, the session, the holder's own means.

Terms are data, those in force at the recording (domain section 4): tick, lot, band around the
previous close, largest quantity, sessions, day turn. Minutes and days are Asia/Shanghai; sessions
know weekdays and no public holidays: the exchange sets terms for those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import (
    DAY_MS,
    MAX_INTEGER,
    check_text,
    day_start_ms,
    format_instant,
    shanghai_day,
    shanghai_minute,
    shanghai_weekday,
)
from services.market.domain.events import Session, Side, Terms
from services.market.domain.matching import Fill
from services.market.domain.prices import BASIS_POINTS, band_of
from services.market.domain.state import MONEY, Instrument, State

MAX_NAME_CHARS: Final = 60  # as assets have
MAX_SESSIONS: Final = 28  # four a day
MINUTES_PER_DAY: Final = 1440
DAYS_SEARCHED: Final = 8  # a session comes at least once a week

_NAME = re.compile(r"[A-Z][A-Z0-9.]*(-[A-Za-z0-9.]+)*")


def check_amount(amount: int) -> None:
    if not 1 <= amount <= MAX_INTEGER:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"expected an amount in 1..{MAX_INTEGER}, got {amount}",
            Kind.INVALID,
            actual=amount,
        )


def check_asset(asset: str) -> None:
    if len(asset) > MAX_NAME_CHARS or not _NAME.fullmatch(asset):
        raise Refused(
            "ASSET_MALFORMED",
            f"expected an asset like CEA-2024, at most {MAX_NAME_CHARS} characters,"
            f" got {asset[:80]!r}",
            Kind.INVALID,
        )


def check_instrument_name(instrument: str) -> None:
    if len(instrument) > MAX_NAME_CHARS or not _NAME.fullmatch(instrument):
        raise Refused(
            "INSTRUMENT_MALFORMED",
            f"expected an instrument like LZXQ-1, at most {MAX_NAME_CHARS} characters,"
            f" got {instrument[:80]!r}",
            Kind.INVALID,
        )


def known_instrument(state: State, instrument: str) -> Instrument:
    known = state.instruments.get(instrument)
    if known is None:
        raise Refused("UNKNOWN_INSTRUMENT", f"no instrument {instrument[:60]!r}", Kind.UNKNOWN)
    return known


def check_new_name(state: State, id: str) -> None:
    """Ids are unique per caller; orders, picks and releases are named for everyone, for ever."""
    if id in state.names:
        raise Refused("ORDER_EXISTS", f"{id} names an order, pick or release already", order=id)


# ---- terms ---------------------------------------------------------------------------------------


def check_terms(terms: Terms) -> None:
    _check_bounds("tick_fen", terms.tick_fen, 1, MAX_INTEGER)
    _check_bounds("lot_t", terms.lot_t, 1, MAX_INTEGER)
    _check_bounds("band_bp", terms.band_bp, 0, BASIS_POINTS)
    _check_bounds("max_quantity_t", terms.max_quantity_t, 0, MAX_INTEGER)
    _check_bounds("sessions", len(terms.sessions), 0, MAX_SESSIONS)
    for session in terms.sessions:
        _check_bounds("first_minute", session.first_minute, 0, MINUTES_PER_DAY - 1)
        _check_bounds("last_minute", session.last_minute, session.first_minute + 1, MINUTES_PER_DAY)
        _check_bounds("weekdays", len(session.weekdays), 1, 7)
        for weekday in session.weekdays:
            _check_bounds("weekdays", weekday, 1, 7)


def _check_bounds(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Refused(
            "TERMS_OUT_OF_RANGE",
            f"{field}: expected {least}..{most}, got {value}",
            Kind.INVALID,
            field=field,
            actual=value,
        )


def check_mode_changes(terms: Sequence[tuple[int, Terms]]) -> None:
    """Listings of `pick` may cross: another mode begins on a day of its own, with an empty book."""
    for (_, before), (from_ms, after) in pairwise(terms):
        starts_a_day = day_start_ms(shanghai_day(from_ms)) == from_ms
        if before.matching_mode != after.matching_mode and not starts_a_day:
            raise Refused(
                "MODE_CHANGE_WITHIN_DAY",
                f"expected {after.matching_mode} after {before.matching_mode} from the start of a"
                f" day in Shanghai, got {format_instant(from_ms)}",
                at=format_instant(from_ms),
            )


# ---- orders --------------------------------------------------------------------------------------


def check_session(terms: Terms, at_ms: int) -> None:
    if not terms.sessions or any(_is_open(one, at_ms) for one in terms.sessions):
        return
    opens = format_instant(next_opening_ms(terms.sessions, at_ms))
    raise Refused("MARKET_CLOSED", f"the market is closed, it opens at {opens}", next_opening=opens)


def _is_open(session: Session, at_ms: int) -> bool:
    minute = shanghai_minute(at_ms)
    return (
        session.first_minute <= minute < session.last_minute
        and shanghai_weekday(at_ms) in session.weekdays
    )


def next_opening_ms(sessions: Sequence[Session], at_ms: int) -> int:
    """The first instant after `at_ms` at which a session begins."""
    today_ms = day_start_ms(shanghai_day(at_ms))
    days = [today_ms + n * DAY_MS for n in range(DAYS_SEARCHED)]
    openings = [
        day_ms + one.first_minute * 60_000
        for day_ms in days
        for one in sessions
        if shanghai_weekday(day_ms) in one.weekdays
    ]
    return min(opening for opening in openings if opening > at_ms)


def check_quantity(terms: Terms, quantity_t: int) -> None:
    check_amount(quantity_t)
    if quantity_t % terms.lot_t:
        raise Refused(
            "LOT",
            f"expected a multiple of {terms.lot_t} t, got {quantity_t}",
            limit=terms.lot_t,
            actual=quantity_t,
        )
    if terms.max_quantity_t and quantity_t >= terms.max_quantity_t:
        raise Refused(
            "QUANTITY_TOO_LARGE",
            f"expected less than {terms.max_quantity_t} t, got {quantity_t}",
            limit=terms.max_quantity_t,
            actual=quantity_t,
        )


def check_price(instrument: Instrument, terms: Terms, price: int, day: str) -> None:
    check_amount(price)
    if price % terms.tick_fen:
        raise Refused(
            "TICK",
            f"expected a multiple of {terms.tick_fen} fen, got {price}",
            limit=terms.tick_fen,
            actual=price,
        )
    if not terms.band_bp:
        return
    close = instrument.previous_close(day)
    lowest, highest = band_of(close, terms.band_bp, terms.tick_fen)
    if not lowest <= price <= highest:
        raise Refused(
            "PRICE_OUT_OF_BAND",
            f"expected {lowest}..{highest} fen/t around the previous close {close}, got {price}",
            lowest=lowest,
            highest=highest,
            previous_close=close,
            actual=price,
        )


def check_means(
    state: State, holder: str, instrument: Instrument, side: Side, amounts: tuple[int, int]
) -> None:
    """What is needed is free: `amounts` are units and fen; a seller gives these, a buyer those."""
    units, money_fen = amounts
    check_amount(units)
    check_amount(money_fen)  # a seller is to be paid it: no more than can be booked
    asset, needed = (MONEY, money_fen) if side == Side.BUY else (instrument.defined.asset, units)
    check_free(state, holder, asset, needed)


def check_free(state: State, holder: str, asset: str, needed: int) -> None:
    free = state.free(holder, asset)
    if free < needed:
        raise Refused(
            "INSUFFICIENT_BALANCE",
            f"{asset} free at this market of {holder[:40]}: needed {needed}, available {free}",
            needed=needed,
            available=free,
            asset=asset,
            holder=holder[:40],
        )


def check_day_turn(state: State, holder: str, asset: str, needed: int, day: str) -> None:
    """Of what is free, what was bought today stays for today."""
    bought = state.bought_on(holder, asset, day)
    available = max(state.free(holder, asset) - bought, 0)
    if needed > available:
        raise Refused(
            "BOUGHT_TODAY",
            f"{asset}: {bought} bought on {day} are not sold on it: needed {needed},"
            f" available {available}",
            needed=needed,
            available=available,
            bought=bought,
        )


def check_not_own(holder: str, fills: Sequence[Fill]) -> None:
    for fill in fills:
        if fill.maker.holder == holder:
            raise Refused(
                "SELF_TRADE",
                f"it would trade with order {fill.maker.order} of the same holder",
                order=fill.maker.order,
            )


def check_holder_name(holder: str) -> None:
    check_text(holder, "holder", MAX_NAME_CHARS)
