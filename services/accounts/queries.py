"""Reads of the accounts service: balances from the state, histories from the read models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import sqlalchemy as sa

from kernel.errors import InvariantBroken, Kind, Refused
from kernel.journal.schema import events
from kernel.values import format_instant
from services.accounts.domain import freezes, rules
from services.accounts.domain.events import Leg, Purpose, SerialRange, TransferFiled
from services.accounts.domain.state import (
    MAY_BE_NEGATIVE,
    AccountKey,
    Freeze,
    FreezeKey,
    Hold,
    State,
)
from services.accounts.holdings import Holdings, Place, decode_holdings
from services.accounts.tables import anchors, moved_serials, moves, public_transfers
from services.accounts.tables import settlement_parts as parts_table

TransferRow: TypeAlias = "sa.Row[Any]"  # a row of the public_transfers table

MAX_PROPOSED: Final = 1000  # transfers of one holder that wait
MAX_HISTORY: Final = 1000  # movements of one serial


def check_known(state: State, holder: str, asset: str) -> None:
    """Histories are of somebody and something; an empty one of a typing error would mislead."""
    rules.check_holder(state, holder)
    if asset and asset not in state.assets:
        raise Refused("UNKNOWN_ASSET", f"no asset {asset[:40]!r}", Kind.UNKNOWN, asset=asset[:40])


class Scope(NamedTuple):
    """Which accounts of a holder: of one asset, one purpose, one ref, or all."""

    holder: str
    asset: str = ""
    purpose: str = ""
    ref: str | None = None

    def holds(self, place: Place) -> bool:
        asset, purpose, ref = place
        return (
            self.asset in ("", asset) and self.purpose in ("", purpose) and self.ref in (None, ref)
        )

    def condition(self) -> sa.ColumnElement[bool]:
        """The same as SQL over moves."""
        found = moves.c.holder == self.holder
        if self.asset:
            found = found & (moves.c.asset == self.asset)
        if self.purpose:
            found = found & (moves.c.purpose == self.purpose)
        return found if self.ref is None else found & (moves.c.ref == self.ref)


class BalanceRow(NamedTuple):
    key: AccountKey
    amount: int
    serials: list[SerialRange]
    frozen: int


def balances(state: State, scope: Scope) -> list[BalanceRow]:
    """A holder's accounts that are not at zero, in a stable order."""
    return [
        BalanceRow(
            key,
            state.accounts[key].balance,
            list(state.accounts[key].blocks),
            freezes.frozen_amount(state, key),
        )
        for key in sorted(state.keys_by_holder.get(scope.holder, ()))
        if scope.holds(key[1:])
    ]


def list_freezes(
    state: State, holder: str, after: int, limit: int
) -> list[tuple[int, FreezeKey, Freeze]]:
    """Live freezes by name, from just after the `after`-th: of one holder's units, or all."""
    named = sorted(state.frozen.live)
    if holder:
        named = [name for name in named if freezes.concerns(state, name, holder)]
    page = enumerate(named[after + 1 : after + 1 + limit], after + 1)
    return [(place, name, state.frozen.live[name]) for place, name in page]


def list_filed(state: State, after: int, limit: int) -> list[TransferFiled]:
    """Transfers that wait for a second registrar, by name, from just after the `after`-th."""
    return [state.filed[name] for name in sorted(state.filed)[after + 1 : after + 1 + limit]]


def proposed(state: State, holder: str) -> list[tuple[str, Hold]]:
    """Transfers of a holder that wait for a second operator, by the names of their holds."""
    held = sorted(key[3] for key in state.keys_by_holder.get(holder, ()) if key[2] == Purpose.HELD)
    waiting = ((name, state.holds.get(name)) for name in held)
    found = [(name, hold) for name, hold in waiting if hold is not None and hold.proposer]
    return found[:MAX_PROPOSED]


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


class _Legs(msgspec.Struct):
    legs: list[Leg] = []


class _Record(msgspec.Struct):
    """What a history shows of a stored record."""

    at: str
    body: _Legs
    on: str
    type: str


_record_decoder = msgspec.json.Decoder(_Record)


class Movement(NamedTuple):
    """One leg of an event, as the journal has it."""

    position: int
    leg_no: int
    at: str
    on: str
    type: str
    leg: Leg


def movement_of(position: int, leg_no: int, record: bytes) -> Movement:
    """Raises InvariantBroken when the journal's record has no such leg."""
    said = _record_of(position, record)
    if leg_no >= len(said.body.legs):
        raise InvariantBroken(f"position {position}: expected a leg {leg_no}, there is none")
    return Movement(position, leg_no, said.at, said.on, said.type, said.body.legs[leg_no])


def _record_of(position: int, record: bytes) -> _Record:
    try:
        return _record_decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvariantBroken(f"position {position}: expected an event: {error}") from error


def list_movements(
    engine: sa.Engine, book: str, holder: str, asset: str, after: tuple[int, ...], limit: int
) -> list[Movement]:
    """Legs that touch a holder, oldest first, from just after (position, leg)."""
    place = sa.tuple_(moves.c.position, moves.c.leg)
    query = (
        sa.select(moves.c.position, moves.c.leg)
        .distinct()
        .where(
            moves.c.holder == holder,
            place > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])),
        )
        .order_by(moves.c.position, moves.c.leg)
        .limit(limit)
    )
    if asset:
        query = query.where(moves.c.asset == asset)
    return _movements(engine, book, query.subquery())


def serial_history(
    engine: sa.Engine, book: str, asset: str, batch: str, serial: int
) -> list[Movement]:
    """Every leg that moved one serial, oldest first."""
    query = (
        sa.select(moved_serials.c.position, moved_serials.c.leg)
        .where(
            moved_serials.c.asset == asset,
            moved_serials.c.batch == batch,
            moved_serials.c.first <= serial,
            moved_serials.c.last >= serial,
        )
        .order_by(moved_serials.c.position, moved_serials.c.leg)
        .limit(MAX_HISTORY)
    )
    return _movements(engine, book, query.subquery())


def _movements(engine: sa.Engine, book: str, places: sa.Subquery) -> list[Movement]:
    query = (
        sa.select(places.c.position, places.c.leg, events.c.record)
        .join(events, sa.and_(events.c.book == book, events.c.position == places.c.position))
        .order_by(places.c.position, places.c.leg)
    )
    with engine.connect() as connection:
        return [movement_of(*row) for row in connection.execute(query)]


# ---- the moves of a statement, page by page ------------------------------------------------------


class Moved(NamedTuple):
    """A row of moves, and the leg that the journal has for it."""

    holder: str
    place: Place
    amount: int
    movement: Movement


def recorded_moves(
    engine: sa.Engine,
    book: str,
    scope: Scope,
    before: int,
    last: int,
    page: int,
    *,
    backdated: bool,
) -> Iterator[Moved]:
    """What moved after one position up to another, in that order; a leg's debit first.

    `backdated`: with or without what was dated back.
    """
    within = scope.condition() & (moves.c.position <= last)
    if not backdated:
        within = within & moves.c.on_ms.is_(None)
    order = (moves.c.position, moves.c.leg, moves.c.amount)
    return _paged(engine, book, within, order, (before + 1, -1, 0), page)


def backdated_moves(
    engine: sa.Engine,
    book: str,
    scope: Scope,
    from_ms: int,
    to_ms: int | None,
    known: int,
    page: int,
) -> Iterator[Moved]:
    """What was dated back into a period, known at a position: by business time."""
    within = scope.condition() & moves.c.on_ms.is_not(None) & (moves.c.position <= known)
    if to_ms is not None:
        within = within & (moves.c.on_ms < to_ms)
    order = (moves.c.on_ms, moves.c.position, moves.c.leg, moves.c.amount)
    return _paged(engine, book, within, order, (from_ms, -1, -1, 0), page)


def _paged(
    engine: sa.Engine,
    book: str,
    within: sa.ColumnElement[bool],
    order: tuple[sa.Column[Any], ...],
    after: tuple[int, ...],
    page: int,
) -> Iterator[Moved]:
    """Each page is a query of its own, from just after the last row of the one before."""
    while True:
        start = sa.tuple_(*map(sa.literal, after))
        rows = sa.select(moves).where(within, sa.tuple_(*order) > start)
        some = rows.order_by(*order).limit(page).subquery()
        query = (
            sa.select(some, events.c.record)
            .join(events, sa.and_(events.c.book == book, events.c.position == some.c.position))
            .order_by(*(some.c[column.name] for column in order))
        )
        with engine.connect() as connection:
            found = connection.execute(query).all()
        for row in found:
            place = (row.asset, row.purpose, row.ref)
            movement = movement_of(row.position, row.leg, row.record)
            yield Moved(row.holder, place, row.amount, movement)
        if len(found) < page:
            return
        after = tuple(getattr(found[-1], column.name) for column in order)


# ---- what somebody had at a position ------------------------------------------------------------


def holdings_at(connection: sa.Connection, holder: str, position: int) -> Holdings:
    """All that a holder had after this position: its last anchor, and the moves since."""
    found = connection.execute(
        sa.select(anchors.c.position, anchors.c.holdings)
        .where(anchors.c.holder == holder, anchors.c.position <= position)
        .order_by(anchors.c.position.desc())
        .limit(1)
    ).first()
    since = -1 if found is None else found.position
    holdings = Holdings() if found is None else decode_holdings(bytes(found.holdings))
    tail = sa.and_(moves.c.holder == holder, moves.c.position.between(since + 1, position))
    for row in connection.execute(_sums(tail)):
        holdings.add((row.asset, row.purpose, row.ref), row.total)
    for row in connection.execute(_moved_ranges(tail)):
        block = SerialRange(row.batch, row.first, row.last)
        holdings.move_serials((row.asset, row.purpose, row.ref), block, comes=row.amount > 0)
    return holdings.settled()


def holdings_on(
    connection: sa.Connection, holder: str, on_ms: int, recorded: int, known: int
) -> Holdings:
    """The same by business time, of what was recorded until the position `known`.

    `recorded` is the last position recorded at or before that instant: nothing claims to be later
    than its recording, so all of that counts, and of the rest what was dated back. Without serial
    ranges: by business time units may leave before they come.
    """
    holdings = holdings_at(connection, holder, recorded)
    for held in holdings.accounts.values():
        held.serials = []
    late = sa.and_(
        moves.c.holder == holder,
        moves.c.on_ms <= on_ms,
        moves.c.position.between(recorded + 1, known),
    )
    for row in connection.execute(_sums(late)):
        holdings.add((row.asset, row.purpose, row.ref), row.total)
    return holdings.settled()


def _sums(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    place = (moves.c.asset, moves.c.purpose, moves.c.ref)
    total = sa.cast(sa.func.sum(moves.c.amount), sa.BigInteger).label("total")
    return sa.select(*place, total).where(condition).group_by(*place)


def _moved_ranges(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """In the order they moved; of a leg between two accounts of one holder, out before in."""
    ranges = moved_serials.c
    return (
        sa.select(
            *(moves.c.asset, moves.c.purpose, moves.c.ref, moves.c.amount),
            *(ranges.batch, ranges.first, ranges.last),
        )
        .join(
            moved_serials,
            sa.and_(ranges.position == moves.c.position, ranges.leg == moves.c.leg),
        )
        .where(condition)
        .order_by(moves.c.position, moves.c.leg, moves.c.amount > 0, ranges.range_no)
    )


def position_at(engine: sa.Engine, book: str, at_ms: int, next_position: int) -> int:
    """The last position below `next_position` recorded at or before an instant; -1 for none.

    Recording never goes back, so it is found by halving: two dozen look-ups for ten million events.
    """
    wanted = format_instant(at_ms)
    low, high = 0, next_position
    with engine.connect() as connection:
        while low < high:
            middle = (low + high) // 2
            if _recorded_at(connection, book, middle) <= wanted:
                low = middle + 1
            else:
                high = middle
    return low - 1


def recorded_at(engine: sa.Engine, book: str, position: int) -> str:
    """When an event was recorded."""
    with engine.connect() as connection:
        return _recorded_at(connection, book, position)


def _recorded_at(connection: sa.Connection, book: str, position: int) -> str:
    query = sa.select(events.c.record).where(events.c.book == book, events.c.position == position)
    record = connection.execute(query).scalar()
    if record is None:
        raise InvariantBroken(f"{book}: expected an event at {position}, found none")
    return _record_of(position, record).at


def list_transfers(
    engine: sa.Engine, asset: str, after: tuple[int, ...], limit: int
) -> list[TransferRow]:
    """Non-trade transfers, oldest first, from just after (position, line)."""
    place = sa.tuple_(public_transfers.c.position, public_transfers.c.line)
    query = (
        sa.select(public_transfers)
        .where(place > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
        .order_by(public_transfers.c.position, public_transfers.c.line)
        .limit(limit)
    )
    if asset:
        query = query.where(public_transfers.c.asset == asset)
    with engine.connect() as connection:
        return list(connection.execute(query))


def settlement_parts(
    engine: sa.Engine, venue: str, session: str, *, refusing: bool = False
) -> list[int]:
    """Positions of a session's parts, or of those that left trades unsettled, oldest first."""
    table = parts_table.c
    query = (
        sa.select(table.position)
        .where(table.venue == venue, table.session == session)
        .order_by(table.position)
    )
    if refusing:
        query = query.where(table.unsettled > 0)
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())
