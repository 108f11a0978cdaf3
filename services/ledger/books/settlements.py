"""Settlement files of venues: each entry is exactly a trade the venue signed.

The signature stands once, on the part; its trades are kept here until an event has told of each, in
their order and under the part's command. A trade is settled once within its session, and its name
stands for one content; a session's close says what was settled in it, and ends it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from kernel.record import RawRecord
from kernel.values import MAX_INTEGER
from services.ledger.books.accounts_events import (
    EntryPosted,
    FileTrade,
    SessionClosed,
    SettlementReceived,
    TradeUnsettled,
    places,
)
from services.ledger.books.crossings import MONEY, At, Move, Place
from services.ledger.books.directory import acts_of, require_no_acts
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.port import RuleBroken, instant_ms, require, require_holds
from services.ledger.books.statements import integer, rows_of

NUMBERS: Final = ("quantity_t", "price_fen_per_t", "buyer_fee_fen", "seller_fee_fen")
# Refusals that speak of balances; of others the ledger cannot say whether they were right.
SHORT: Final = "INSUFFICIENT_BALANCE"
DIGEST_BYTES: Final = 12


class Expected(msgspec.Struct, frozen=True):
    """The next trade of a part, and how its event has to tell of it."""

    by: str
    venue: str
    session: str
    fee_holder: str
    trade: FileTrade
    settles: bool
    cause: At | None


@dataclass(slots=True)
class OpenSession:
    closes_at_ms: int
    fee_holder: str
    settled: dict[str, bytes] = field(default_factory=dict)  # by trade: a digest of what it says
    unsettled: dict[str, bytes] = field(default_factory=dict)
    totals: dict[str, list[int]] = field(default_factory=dict)  # fees, quantity, trades, turnover


class Settlements:
    def __init__(self, keys: AdmittedKeys, balances: dict[Place, int]) -> None:
        self._keys = keys
        self._balances = balances
        self._open: dict[tuple[str, str], OpenSession] = {}
        self._closed: set[tuple[str, str]] = set()
        self._alone: set[str] = set()  # venues whose trades come in files alone
        self.pending: deque[Expected] = deque()  # of the part that is being told of

    # ---- checking -------------------------------------------------------------------------------

    def check_received(self, raw: RawRecord, event: SettlementReceived) -> list[FileTrade]:
        """Answers the trades of the part."""
        said = self._keys.statement(raw, [f"venue:{event.venue}"], "settlement-file")
        for name in ("closes_at_ms", "fee_holder", "file", "part", "session", "venue"):
            require("FILE_AS_SIGNED", said.get(name), getattr(event, name))
        trades = _trades_of(said)
        require("FILE_TRADES", len(trades), event.trades)
        names = [trade.trade for trade in trades]
        require("FILE_NAMES", len(names), len(set(names)))
        self._check_session(raw, event)
        self._check_marks(event, trades)
        return trades

    def _check_session(self, raw: RawRecord, event: SettlementReceived) -> None:
        key = (event.venue, event.session)
        if key in self._closed or instant_ms(raw.at) >= event.closes_at_ms:
            raise RuleBroken("SESSION_OPEN", "an open session", event.session)
        session = self._open.get(key)
        if session is not None:
            agreed = (session.closes_at_ms, session.fee_holder)
            require("SESSION_SAME", agreed, (event.closes_at_ms, event.fee_holder))

    def _check_marks(self, event: SettlementReceived, trades: list[FileTrade]) -> None:
        """Known is what was settled before, in the same words, and nothing else."""
        session = self._open.get((event.venue, event.session))
        settled = {} if session is None else session.settled
        known = [
            i
            for i, trade in enumerate(trades)
            if trade.trade in settled and settled[trade.trade] == _digest(trade)
        ]
        require("FILE_KNOWN", known, event.known)
        in_order = sorted(set(event.unsettled) - set(known))
        require("FILE_UNSETTLED", in_order, event.unsettled)
        if in_order and not 0 <= in_order[0] <= in_order[-1] < len(trades):
            raise RuleBroken("FILE_UNSETTLED", f"places below {len(trades)}", event.unsettled)

    def check_turn(self, raw: RawRecord, event: msgspec.Struct) -> None:
        """While a part is being told of, nothing else comes between."""
        if not self.pending:
            return
        expected = self.pending[0]
        require("PART_COMMAND", expected.by, raw.by)
        require("PART_CAUSE", expected.cause, raw.cause)
        kind = EntryPosted if expected.settles else TradeUnsettled
        require("PART_EVENT", kind.__name__, raw.type)
        if isinstance(event, EntryPosted):
            require("PART_SESSION", expected.session, event.session)

    def check_entry(self, raw: RawRecord, event: EntryPosted, venue: str) -> None:
        require_no_acts(raw)  # the signature stands on the part
        if not self.pending:
            raise RuleBroken("PART_OPEN", "a part with a trade to be settled", event.trades)
        expected = self.pending[0]
        trade = expected.trade
        require("PART_TRADE", [trade.trade], event.trades)
        require("PART_VENUE", (expected.venue, expected.session), (venue, event.session))
        moved = [(*places(leg), leg.amount) for leg in event.legs]
        require("PART_LEGS", _legs_of(expected), moved)
        session = self._open.get((expected.venue, expected.session))
        if session is None or trade.trade in session.settled:
            raise RuleBroken("ONCE", "a trade that was not settled before", trade.trade)
        before = session.unsettled.get(trade.trade)
        if before is not None and before != _digest(trade):
            raise RuleBroken("TRADE_SAME", "the trade as it first came", trade)

    def check_beside(self, venue: str, trades: list[str]) -> None:
        """Closed sessions are forgotten with their trades: no other way leads past them.

        A journal may be older than that rule of its service: until a part says that it holds, an
        entry settles what no file has, as far as sessions are remembered.
        """
        require_holds("ONE_WAY", venue not in self._alone, f"trades of {venue} in files", "none")
        for (whose, name), session in self._open.items():
            for trade in trades:
                if whose == venue and trade in session.settled:
                    raise RuleBroken("ONCE", f"a trade that no file of {name} has settled", trade)

    def check_unsettled(self, raw: RawRecord, event: TradeUnsettled) -> None:
        require_no_acts(raw)
        if not self.pending:
            raise RuleBroken("PART_OPEN", "a part with a trade to be told of", event.trade.trade)
        expected = self.pending[0]
        require("PART_TRADE", expected.trade, event.trade)
        require("PART_VENUE", (expected.venue, expected.session), (event.venue, event.session))
        if event.reason == SHORT:
            self._check_short(event)

    def _check_short(self, event: TradeUnsettled) -> None:
        """Nobody is told to have had too little who had enough."""
        trade = event.trade
        needed = {
            (trade.seller, trade.asset): trade.quantity_t,
            (trade.buyer, MONEY): trade.quantity_t * trade.price_fen_per_t + trade.buyer_fee_fen,
        }.get((str(event.holder), str(event.asset)))
        place = (str(event.holder), str(event.asset), "trading", event.venue)
        available = self._balances.get(place, 0)
        require("UNSETTLED_SHORT", (needed, available), (event.needed, event.available))
        if needed is None or available >= needed:
            raise RuleBroken("UNSETTLED_SHORT", f"less than {needed}", available)

    def check_closed(self, raw: RawRecord, event: SessionClosed) -> None:
        session = self._open.get((event.venue, event.session))
        if session is None:
            raise RuleBroken("SESSION_OPEN", "an open session", event.session)
        told = [[t.asset, t.fees_fen, t.quantity_t, t.trades, t.turnover_fen] for t in event.totals]
        booked = [[asset, *sums] for asset, sums in sorted(session.totals.items())]
        require("SESSION_TOTALS", booked, told)
        require("SESSION_UNSETTLED", len(session.unsettled), event.unsettled)
        if not acts_of(raw):
            if instant_ms(raw.at) < session.closes_at_ms:
                raise RuleBroken("SESSION_DUE", f"not before {session.closes_at_ms}", raw.at)
            return
        said = self._keys.statement(raw, [f"venue:{event.venue}"], "session-close")
        expected = {"kind": "session-close", **msgspec.to_builtins(event)}
        require("SESSION_CLOSE", expected, said)

    # ---- applying -------------------------------------------------------------------------------

    def take_received(self, raw: RawRecord, event: SettlementReceived) -> None:
        key = (event.venue, event.session)
        if event.files_alone:
            self._alone.add(event.venue)
        self._open.setdefault(key, OpenSession(event.closes_at_ms, event.fee_holder))
        self.pending.clear()
        known, unsettled = set(event.known), set(event.unsettled)
        for place, trade in enumerate(_signed_trades(raw)):
            if place not in known:
                settles = place not in unsettled
                self.pending.append(
                    Expected(raw.by, *key, event.fee_holder, trade, settles, raw.cause)
                )

    def take_entry(self, event: EntryPosted) -> None:
        """In its turn, or as two persons have accepted it: then of what it shows itself."""
        expected = self.pending.popleft() if self.pending else None
        session = None if expected is None else self._open.get((expected.venue, expected.session))
        if expected is None or session is None:
            return
        trade = expected.trade
        session.settled[trade.trade] = _digest(trade)
        session.unsettled.pop(trade.trade, None)
        sums = session.totals.setdefault(trade.asset, [0, 0, 0, 0])
        turnover = trade.quantity_t * trade.price_fen_per_t
        fees = trade.buyer_fee_fen + trade.seller_fee_fen
        for i, amount in enumerate((fees, trade.quantity_t, 1, turnover)):
            sums[i] += amount

    def take_unsettled(self, event: TradeUnsettled) -> None:
        if self.pending:
            self.pending.popleft()
        session = self._open.get((event.venue, event.session))
        if session is not None and event.trade.trade not in session.settled:
            session.unsettled.setdefault(event.trade.trade, _digest(event.trade))

    def take_closed(self, event: SessionClosed) -> None:
        self._open.pop((event.venue, event.session), None)
        self._closed.add((event.venue, event.session))


def _digest(trade: FileTrade) -> bytes:
    return hashlib.sha256(msgspec.json.encode(trade)).digest()[:DIGEST_BYTES]


def _legs_of(expected: Expected) -> list[Move]:
    """Delivery, payment, the buyer's fee and the seller's, between accounts of this venue alone."""
    trade, venue = expected.trade, expected.venue
    value = trade.quantity_t * trade.price_fen_per_t

    def at_venue(holder: str, asset: str) -> Place:
        return (holder, asset, "trading", venue)

    fees = (expected.fee_holder, MONEY, "available", "")
    legs = [
        (
            at_venue(trade.seller, trade.asset),
            at_venue(trade.buyer, trade.asset),
            trade.quantity_t,
        ),
        (at_venue(trade.buyer, MONEY), at_venue(trade.seller, MONEY), value),
        (at_venue(trade.buyer, MONEY), fees, trade.buyer_fee_fen),
        (at_venue(trade.seller, MONEY), fees, trade.seller_fee_fen),
    ]
    return [leg for leg in legs if leg[2]]


def _trades_of(statement: dict[str, Any]) -> list[FileTrade]:
    """The venue's rows, with numbers that a book can hold."""
    rows = rows_of(statement, "trades")
    for row in rows:
        for name in NUMBERS:
            amount = integer(row.get(name))
            if not 0 <= amount <= MAX_INTEGER:
                raise RuleBroken("STATEMENT", f"0..{MAX_INTEGER}", amount)
    try:
        return msgspec.convert(rows, list[FileTrade])
    except msgspec.ValidationError as error:
        raise RuleBroken("STATEMENT", "trades of a settlement file", str(error)) from error


def _signed_trades(raw: RawRecord) -> list[FileTrade]:
    """Of a part that has been checked; nothing of one that two persons accepted unreadable."""
    try:
        (act,) = acts_of(raw)
        statement: dict[str, Any] = msgspec.json.decode(act.statement)
        return _trades_of(statement)
    except (ValueError, RuleBroken, msgspec.MsgspecError, AttributeError):
        return []
