"""Trades of many takers as parts of a settlement file: one statement, one signature, one request.

A part begins with the oldest trade that has no end and is asked for under an id that derives from
that trade alone. So a trade is in at most one part that was carried out, whoever has sent it: what
a process before us has sent, in a part of another length, is found under the same id.

A part is made from the events alone and Ed25519 is deterministic: the same trades are the same
bytes, however often they are sent. It says everything of a trade that accounts books, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kernel.errands import Done, Errand
from kernel.values import DAY_MS, day_start_ms
from services.market.config import BOOK
from services.market.domain.commands import EndSettlements
from services.market.domain.events import EndedSettlement, RefusedTrade, TradesMade

MAX_PART_TRADES: Final = 200  # of at most 300 bytes: the record that holds them takes 64 KiB
SESSION_DAYS: Final = 7  # after its day: so long accounts keeps the names of a day's trades
MAX_REFUSED: Final = 64  # and those of one settlement, in one event of at most 64 KiB

Errands = Sequence[Errand[TradesMade]]


class Told(NamedTuple):
    """What accounts says of a trade, and where; 0: an earlier part settled it."""

    position: int
    reason: str = ""
    message: str = ""
    details: Mapping[str, str] = {}


def parts_of(errands: Errands) -> Iterator[Errands]:
    """Neighbours of one trading day; all trades of a taker stand in one part."""
    begin, trades = 0, 0
    for end, errand in enumerate(errands):
        made = errand.what
        other_day = made.day != errands[begin].what.day
        if end > begin and (other_day or trades + len(made.trades) > MAX_PART_TRADES):
            yield errands[begin:end]
            begin, trades = end, 0
        trades += len(made.trades)
    if errands:
        yield errands[begin:]


def statement_of(part: Errands) -> dict[str, Any]:
    """What the venue signs. A day is a session; a part is numbered by where its trades begin."""
    day = part[0].what.day
    return {
        "closes_at_ms": day_start_ms(day) + (1 + SESSION_DAYS) * DAY_MS,
        "fee_holder": "",
        "file": BOOK,
        "kind": "settlement-file",
        "part": part[0].position + 1,
        "session": day,
        "trades": [row for errand in part for row in _rows(errand.what)],
        "venue": BOOK,
    }


def _rows(made: TradesMade) -> list[dict[str, Any]]:
    return [
        {
            "asset": made.asset,
            "buyer": trade.buyer,
            "buyer_fee_fen": 0,
            "price_fen_per_t": trade.price_fen_per_t,
            "quantity_t": trade.quantity_t,
            "seller": trade.seller,
            "seller_fee_fen": 0,
            "trade": trade.trade,
        }
        for trade in made.trades
    ]


def ends_of(part: Errands, told: Mapping[str, Told], cause: tuple[str, int]) -> list[Done]:
    """One command for all, more where many were refused; as far as accounts has told of them."""
    ended: list[Done] = []
    settlements: list[EndedSettlement] = []
    refused: list[RefusedTrade] = []
    for errand in part:
        made = errand.what
        if not all(trade.trade in told for trade in made.trades):
            break
        found = {trade.trade: told[trade.trade] for trade in made.trades}
        entries = [one.position for one in found.values()]
        settlements.append(EndedSettlement(entries, made.settlement))
        refused += [_refused(name, one) for name, one in found.items() if one.reason]
        if len(refused) >= MAX_REFUSED:
            ended.append(_ended(settlements, refused, cause))
            settlements, refused = [], []
    if settlements:
        ended.append(_ended(settlements, refused, cause))
    return ended


def _ended(
    settlements: list[EndedSettlement], refused: list[RefusedTrade], cause: tuple[str, int]
) -> Done:
    return Done(EndSettlements(settlements, refused), cause, errands=len(settlements))


def refused_whole(errand: Errand[TradesMade], why: Told) -> Done:
    """Of a part that was refused only the first is sure: the id stands for it alone."""
    made = errand.what
    trades = [_refused(trade.trade, why) for trade in made.trades]
    return Done(EndSettlements([EndedSettlement([], made.settlement)], trades), None)


def _refused(trade: str, why: Told) -> RefusedTrade:
    return RefusedTrade(dict(why.details), why.message, why.reason, trade)
