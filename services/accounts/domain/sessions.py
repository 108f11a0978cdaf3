"""Sessions of venues that settle by files: from their first part to their close.

A trade's name stands for one content within (venue, session), and is settled at most once. So that
the names need not be kept for ever, a session says in its first part when it closes; then it is
forgotten but for its own name, and nothing more is settled in it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from kernel.errors import Kind, Refused
from kernel.keyring import check_none, check_same, signed_statement
from kernel.values import DAY_MS, Context, check_on, check_role, format_instant
from services.accounts.domain.acts import SessionClose, SettlementFile
from services.accounts.domain.commands import CloseSession
from services.accounts.domain.events import (
    EntryPosted,
    FileTrade,
    SessionClosed,
    SessionTotals,
    SettlementReceived,
    TradeUnsettled,
)
from services.accounts.domain.state import Session, State, Totals

MAX_SESSION_DAYS: Final = 40  # a month to correct what failed, and the holidays
MAX_OPEN_SESSIONS: Final = 200  # of one venue: more than it holds in that time
FINGERPRINT_BYTES: Final = 8  # tells two trades of one name and one venue apart


def session_of(state: State, part: SettlementFile, context: Context) -> Session:
    """The open session of a part; a new one is checked and not yet in the state."""
    key = (part.venue, part.session)
    session = state.sessions.get(key)
    if session is None:
        return _new_session(state, part, context)
    refuse_closed(state, key, session, context)
    check_same_session("closes_at_ms", session.closes_at_ms, part.closes_at_ms)
    check_same_session("fee_holder", session.fee_holder, part.fee_holder)
    return session


def _new_session(state: State, part: SettlementFile, context: Context) -> Session:
    refuse_closed(state, (part.venue, part.session), None, context)
    latest_ms = context.at_ms + MAX_SESSION_DAYS * DAY_MS
    if not context.at_ms < part.closes_at_ms <= latest_ms:
        raise Refused(
            "SESSION_END",
            f"session {part.session}: expected an end within {MAX_SESSION_DAYS} days from now,"
            f" got {part.closes_at_ms} ms, it is {context.at_ms}",
            Kind.INVALID,
            limit_days=MAX_SESSION_DAYS,
            actual=part.closes_at_ms,
        )
    if part.fee_holder and part.fee_holder not in state.holders:
        raise Refused("UNKNOWN_HOLDER", f"no holder {part.fee_holder[:40]!r}", Kind.UNKNOWN)
    opened = sum(venue == part.venue for venue, _ in state.sessions)
    if opened >= MAX_OPEN_SESSIONS:
        raise Refused(
            "TOO_MANY_SESSIONS",
            f"expected at most {MAX_OPEN_SESSIONS} open sessions of {part.venue}: close some",
            limit=MAX_OPEN_SESSIONS,
        )
    return Session(part.closes_at_ms, part.fee_holder)


def refuse_closed(
    state: State, key: tuple[str, str], session: Session | None, context: Context
) -> None:
    """By the time of recording, even before the timer has recorded the close."""
    late = session is not None and session.closes_at_ms <= context.at_ms
    if late or key in state.closed_sessions:
        raise Refused("SESSION_CLOSED", f"session {key[1]} of {key[0]} is closed", session=key[1])


def refuse_entries(state: State, venue: str) -> None:
    """Sessions are forgotten, and with them which trades they settled: none comes another way."""
    if venue in state.file_venues:
        raise Refused(
            "VENUE_SETTLES_BY_FILE",
            f"{venue} has sent settlement files: its trades are settled by files alone",
            venue=venue,
        )


def check_same_session(what: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise Refused(
            "SESSION_DIFFERS",
            f"{what}: earlier parts of the session say {expected}, this one {actual}",
            field=what,
            expected=str(expected),
            actual=str(actual)[:80],
        )


def fingerprint(
    asset: str, buyer: str, seller: str, quantity: int, value_fen: int, fees: tuple[int, int]
) -> bytes:
    """What a trade says besides its name; fees of the buyer and of the seller."""
    text = f"{asset} {buyer} {seller} {quantity} {value_fen} {fees[0]} {fees[1]}"
    return blake2b(text.encode(), digest_size=FINGERPRINT_BYTES).digest()


def fingerprint_of(trade: FileTrade) -> bytes:
    return fingerprint(
        trade.asset,
        trade.buyer,
        trade.seller,
        trade.quantity_t,
        trade.quantity_t * trade.price_fen_per_t,
        (trade.buyer_fee_fen, trade.seller_fee_fen),
    )


def close_session(state: State, command: CloseSession, context: Context) -> list[SessionClosed]:
    """The venue signs what the session has settled in all: it must be what is booked here."""
    key = (command.venue, command.session)
    session = state.sessions.get(key)
    if session is None:
        refuse_closed(state, key, None, context)
        raise Refused("UNKNOWN_SESSION", f"no session {command.session[:40]!r}", Kind.UNKNOWN)
    totals = totals_of(session)
    if "system" in context.caller.roles:
        check_none(context)
        if context.at_ms < session.closes_at_ms:
            raise Refused("SESSION_NOT_DUE", f"it closes at {format_instant(session.closes_at_ms)}")
    else:
        check_role(context, f"venue:{command.venue}")
        check_on(context)
        said = signed_statement(state.keyring, context, SessionClose, f"venue:{command.venue}")
        check_same("venue", said.venue, command.venue)
        check_same("session", said.session, command.session)
        check_same("totals", said.totals, totals)
        check_same("unsettled", said.unsettled, len(session.unsettled))
    return [SessionClosed(command.session, totals, len(session.unsettled), command.venue)]


def totals_of(session: Session) -> list[SessionTotals]:
    return [
        SessionTotals(asset, one.fees_fen, one.quantity_t, one.trades, one.turnover_fen)
        for asset, one in sorted(session.totals.items())
    ]


def due_sessions(state: State, at_ms: int) -> list[tuple[int, str, CloseSession]]:
    """Sessions that close by themselves; there are few."""
    return [
        (session.closes_at_ms, f"close {venue} {name}", CloseSession(name, venue))
        for (venue, name), session in state.sessions.items()
        if session.closes_at_ms <= at_ms
    ]


# ---- folding ------------------------------------------------------------------------------------


def on_settlement_received(state: State, event: SettlementReceived) -> None:
    key = (event.venue, event.session)
    state.file_venues.add(event.venue)
    if key not in state.sessions:
        state.sessions[key] = Session(event.closes_at_ms, event.fee_holder)


def on_trade_settled(state: State, event: EntryPosted, session_name: str) -> None:
    """Of an entry with delivery, payment and fee legs, in this order."""
    delivery, payment, *fees = event.legs
    session = state.sessions[delivery.debit.ref, session_name]
    buyer = delivery.credit.holder
    buyer_fee = sum(leg.amount for leg in fees if leg.debit.holder == buyer)
    fees_fen = sum(leg.amount for leg in fees)
    (name,) = event.trades
    session.settled[name] = fingerprint(
        delivery.asset,
        buyer,
        delivery.debit.holder,
        delivery.amount,
        payment.amount,
        (buyer_fee, fees_fen - buyer_fee),
    )
    session.unsettled.pop(name, None)
    totals = session.totals.get(delivery.asset)
    if totals is None:
        totals = session.totals[delivery.asset] = Totals()
    totals.trades += 1
    totals.quantity_t += delivery.amount
    totals.turnover_fen += payment.amount
    totals.fees_fen += fees_fen


def on_trade_unsettled(state: State, event: TradeUnsettled) -> None:
    """The first content a name came with is what it stands for."""
    session = state.sessions[event.venue, event.session]
    if event.trade.trade not in session.settled:
        session.unsettled.setdefault(event.trade.trade, fingerprint_of(event.trade))


def on_session_closed(state: State, event: SessionClosed) -> None:
    key = (event.venue, event.session)
    state.sessions.pop(key, None)
    state.closed_sessions.add(key)
