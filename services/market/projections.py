"""Events of the market book into the read models that queries.py reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from kernel.projection import Recorded
from kernel.record import RawRecord
from services.market.domain.events import (
    OrderCancelled,
    OrderExpired,
    OrderPlaced,
    ReleaseCompleted,
    ReleaseRefused,
    ReleaseRequested,
    SettlementCompleted,
    SettlementRefused,
    SettlementsEnded,
    TradesMade,
)
from services.market.tables import endings, orders, releases, trades

READER = "market.orders"


@dataclass
class Rows:
    """What a batch of events adds and changes; its order among the orders does not matter."""

    orders: list[dict[str, Any]] = field(default_factory=list)
    trades: list[dict[str, Any]] = field(default_factory=list)
    releases: list[dict[str, Any]] = field(default_factory=list)
    endings: list[dict[str, Any]] = field(default_factory=list)
    taken_t: Counter[str] = field(default_factory=Counter)  # by order
    ended: dict[str, str] = field(default_factory=dict)  # by order


def project_orders(connection: sa.Connection, recorded: Sequence[Recorded]) -> None:
    """New rows first, then what was taken from orders and which of them ended."""
    rows = Rows()
    for raw, event in recorded:
        handle = _PROJECT.get(type(event))
        if handle is not None:
            handle(rows, raw, event)
    for table, added in (
        (orders, rows.orders),
        (trades, rows.trades),
        (releases, rows.releases),
        (endings, rows.endings),
    ):
        if added:
            connection.execute(sa.insert(table), added)
    _change_orders(connection, rows)


def _change_orders(connection: sa.Connection, rows: Rows) -> None:
    this = orders.c.order == sa.bindparam("name")
    if rows.taken_t:
        taken = sa.update(orders).where(this).values(open_t=orders.c.open_t - sa.bindparam("t"))
        # A pick takes as well, and is no order: it matches no row.
        found = [{"name": name, "t": taken_t} for name, taken_t in rows.taken_t.items()]
        connection.execute(taken, found)
    if rows.ended:
        ended = sa.update(orders).where(this).values(ended=sa.bindparam("how"))
        connection.execute(ended, [{"name": n, "how": how} for n, how in rows.ended.items()])


def on_order_placed(rows: Rows, raw: RawRecord, event: OrderPlaced) -> None:
    rows.orders.append(
        {
            "order": event.order,
            "position": raw.position,
            "at": raw.at,
            "instrument": event.instrument,
            "holder": event.holder,
            "side": event.side.value,
            "price_fen_per_t": event.price_fen_per_t,
            "quantity_t": event.quantity_t,
            "open_t": event.quantity_t,
            "ended": "",
        }
    )


def on_trades_made(rows: Rows, raw: RawRecord, event: TradesMade) -> None:
    for number, trade in enumerate(event.trades):
        rows.trades.append(
            {
                "position": raw.position,
                "number": number,
                "trade": trade.trade,
                "settlement": event.settlement,
                "at": raw.at,
                "instrument": event.instrument,
                "asset": event.asset,
                "buyer": trade.buyer,
                "seller": trade.seller,
                "price_fen_per_t": trade.price_fen_per_t,
                "quantity_t": trade.quantity_t,
            }
        )
        rows.taken_t[trade.maker] += trade.quantity_t
        rows.taken_t[event.taker] += trade.quantity_t


def on_order_cancelled(rows: Rows, raw: RawRecord, event: OrderCancelled) -> None:
    rows.ended[event.order] = "cancelled"


def on_order_expired(rows: Rows, raw: RawRecord, event: OrderExpired) -> None:
    rows.ended[event.order] = "expired"


def on_release_requested(rows: Rows, raw: RawRecord, event: ReleaseRequested) -> None:
    rows.releases.append(
        {
            "release": event.release,
            "position": raw.position,
            "holder": event.holder,
            "asset": event.asset,
            "amount": event.amount,
        }
    )


def on_settlement_completed(rows: Rows, raw: RawRecord, event: SettlementCompleted) -> None:
    rows.endings.append(_completed(event.settlement, raw))


def on_settlements_ended(rows: Rows, raw: RawRecord, event: SettlementsEnded) -> None:
    """A row per trade: a trade is named by its settlement and its number in it, from 1 on."""
    refused = {one.trade: one for one in event.refused}
    for one in event.refused:
        said = (one.reason, one.message, one.details)
        rows.endings.append(_ending(one.trade, raw, None, *said))
    part = None if raw.cause is None else raw.cause[1]
    for ended in event.settlements:
        for number, entry in enumerate(ended.entries, start=1):
            name = f"{ended.settlement}/{number}"
            if name not in refused:
                rows.endings.append(_ending(name, raw, entry or part, "", "", {}))


def on_release_completed(rows: Rows, raw: RawRecord, event: ReleaseCompleted) -> None:
    rows.endings.append(_completed(event.release, raw))


def _completed(name: str, raw: RawRecord) -> dict[str, Any]:
    entry_position = None if raw.cause is None else raw.cause[1]
    return _ending(name, raw, entry_position, "", "", {})


def on_settlement_refused(rows: Rows, raw: RawRecord, event: SettlementRefused) -> None:
    said = (event.reason, event.message, event.details)
    rows.endings.append(_ending(event.settlement, raw, None, *said))


def on_release_refused(rows: Rows, raw: RawRecord, event: ReleaseRefused) -> None:
    said = (event.reason, event.message, event.details)
    rows.endings.append(_ending(event.release, raw, None, *said))


def _ending(
    name: str,
    raw: RawRecord,
    entry_position: int | None,
    reason: str,
    message: str,
    details: dict[str, str],
) -> dict[str, Any]:
    return {
        "name": name,
        "position": raw.position,
        "entry_position": entry_position,
        "reason": reason,
        "message": message,
        "details": details,
    }


_PROJECT: dict[type[msgspec.Struct], Callable[[Rows, RawRecord, Any], None]] = {
    OrderPlaced: on_order_placed,
    TradesMade: on_trades_made,
    SettlementCompleted: on_settlement_completed,
    SettlementRefused: on_settlement_refused,
    SettlementsEnded: on_settlements_ended,
    OrderCancelled: on_order_cancelled,
    OrderExpired: on_order_expired,
    ReleaseRequested: on_release_requested,
    ReleaseCompleted: on_release_completed,
    ReleaseRefused: on_release_refused,
}
