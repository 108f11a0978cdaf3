"""Reads of the accounts service: balances from the state, histories from the read models."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa

from services.accounts.domain.events import Purpose, SerialRange
from services.accounts.domain.state import MAY_BE_NEGATIVE, AccountKey, State
from services.accounts.tables import movements, serial_moves

MovementRow: TypeAlias = "sa.Row[Any]"  # a row of the movements table

MAX_HISTORY: Final = 1000  # movements of one serial


class BalanceRow(NamedTuple):
    key: AccountKey
    amount: int
    serials: list[SerialRange]


def balances(state: State, holder: str, asset: str) -> list[BalanceRow]:
    """A holder's accounts that are not at zero, in a stable order."""
    return [
        BalanceRow(key, state.accounts[key].balance, list(state.accounts[key].blocks))
        for key in sorted(state.keys_by_holder.get(holder, ()))
        if not asset or key[1] == asset
    ]


class AssetTotals(NamedTuple):
    """Sums of one asset; `by_purpose` leaves out what is at zero."""

    asset: str
    by_purpose: dict[str, int]
    negative_accounts: int

    @property
    def sum(self) -> int:
        return sum(self.by_purpose.values())

    @property
    def in_circulation(self) -> int:
        outside = {
            Purpose.ISSUED,
            Purpose.EXTERNAL,
            Purpose.SURRENDERED,
            Purpose.RETIRED,
            Purpose.CANCELLED,
            Purpose.EXPIRED,
            Purpose.CARRIED_OVER,
        }
        return sum(amount for name, amount in self.by_purpose.items() if name not in outside)


def totals(state: State, asset: str) -> list[AssetTotals]:
    """Sums per asset over all accounts: a scan, for auditors and the end of a demo."""
    sums: dict[str, dict[str, int]] = {
        name: {} for name in state.assets if not asset or name == asset
    }
    negative = dict.fromkeys(sums, 0)
    for (_, name, purpose, _), holding in state.accounts.items():
        if name in sums:
            sums[name][purpose] = sums[name].get(purpose, 0) + holding.balance
            negative[name] += holding.balance < 0 and purpose not in MAY_BE_NEGATIVE
    return [AssetTotals(name, sums[name], negative[name]) for name in sorted(sums)]


def list_movements(
    engine: sa.Engine, holder: str, asset: str, after: tuple[int, ...], limit: int
) -> list[MovementRow]:
    """Legs that touch a holder, oldest first, from just after (position, leg)."""
    place = sa.tuple_(movements.c.position, movements.c.leg)
    query = (
        sa.select(movements)
        .where(
            sa.or_(movements.c.debit_holder == holder, movements.c.credit_holder == holder),
            place > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])),
        )
        .order_by(movements.c.position, movements.c.leg)
        .limit(limit)
    )
    if asset:
        query = query.where(movements.c.asset == asset)
    with engine.connect() as connection:
        return list(connection.execute(query))


def serial_history(engine: sa.Engine, asset: str, batch: str, serial: int) -> list[MovementRow]:
    """Every leg that moved one serial, oldest first."""
    query = (
        sa.select(movements)
        .join(
            serial_moves,
            sa.and_(
                serial_moves.c.position == movements.c.position,
                serial_moves.c.leg == movements.c.leg,
            ),
        )
        .where(
            serial_moves.c.asset == asset,
            serial_moves.c.batch == batch,
            serial_moves.c.first <= serial,
            serial_moves.c.last >= serial,
        )
        .order_by(movements.c.position, movements.c.leg)
        .limit(MAX_HISTORY)
    )
    with engine.connect() as connection:
        return list(connection.execute(query))


def ranges_of(
    engine: sa.Engine, places: list[tuple[int, int]]
) -> dict[tuple[int, int], list[SerialRange]]:
    """The serial ranges of some legs, by (position, leg)."""
    if not places:
        return {}
    query = (
        sa.select(serial_moves)
        .where(sa.tuple_(serial_moves.c.position, serial_moves.c.leg).in_(places))
        .order_by(serial_moves.c.position, serial_moves.c.leg, serial_moves.c.range_no)
    )
    found: dict[tuple[int, int], list[SerialRange]] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            block = SerialRange(row.batch, row.first, row.last)
            found.setdefault((row.position, row.leg), []).append(block)
    return found
