"""Statements: what a holder had before a period, what moved in it, and what it had after.

Read page by page, each in a transaction of its own, so that a slow reader holds nothing open and a
statement of any length needs one page of memory. While it is read it is added up: every line is
compared with the leg that the journal has, and what comes out at the end with what the anchors say.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from kernel.errors import InvariantBroken
from kernel.journal.database import Engine
from kernel.values import parse_instant
from services.accounts import queries
from services.accounts.domain.events import Account, SerialRange
from services.accounts.holdings import Place
from services.accounts.moments import Clockwork, PeriodAsked, Seen, Span, holdings_then
from services.accounts.queries import Scope

PAGE: Final = 1000  # lines: some hundred kilobytes of records, a few milliseconds to show


class Line(NamedTuple):
    """One account that one leg touches; `amount` is below zero for what left it."""

    position: int
    leg_no: int
    at: str
    on: str
    type: str
    account: Account
    counterpart: Account
    asset: str
    amount: int
    balance: int
    serials: list[SerialRange]


class Part(NamedTuple):
    """Some of a statement, in its order: openings, lines, closings, and how many lines it had."""

    openings: Sequence[tuple[Place, int]] = ()
    lines: Sequence[Line] = ()
    closings: Sequence[tuple[Place, int]] = ()
    total: int | None = None


def statement_parts(
    engine: Engine, book: str, scope: Scope, period: PeriodAsked, span: Span
) -> Iterator[Part]:
    """All parts of a statement; raises InvariantBroken when it does not add up."""
    balances = _balances(engine, scope, period, span.before, span.known, period.from_ms)
    for some in _parted(balances):
        yield Part(openings=some)
    total = 0
    for page in _pages(_moved(engine, book, scope, period, span)):
        lines = [_line(moved, balances) for moved in page]
        total += len(lines)
        yield Part(lines=lines)
    left = {place: amount for place, amount in sorted(balances.items()) if amount}
    expected = _balances(engine, scope, period, span.last, span.known, period.to_ms)
    if left != expected:
        differ = dict(set(left.items()) ^ set(expected.items()))
        place = min(differ)
        raise InvariantBroken(
            f"statement of {scope.holder}: {'/'.join(place)}: expected {expected.get(place, 0)}"
            f" after the period, its lines add up to {left.get(place, 0)}"
        )
    for some in _parted(left):
        yield Part(closings=some)
    yield Part(total=total)


def _balances(
    engine: Engine,
    scope: Scope,
    period: PeriodAsked,
    recorded: int,
    known: int,
    end_ms: int | None,
) -> dict[Place, int]:
    """What is not at zero after a position, or just before an instant of business time."""
    if period.clock is Clockwork.ON and end_ms is not None:
        seen = Seen(Clockwork.ON, known, recorded, end_ms - 1)
    else:
        seen = Seen(Clockwork.POSITION, recorded, recorded)
    found = holdings_then(engine, scope, seen)
    return {place: held.amount for place, held in found.accounts.items() if held.amount}


def _moved(
    engine: Engine, book: str, scope: Scope, period: PeriodAsked, span: Span
) -> Iterator[queries.Moved]:
    """In the order of recording; by business time in the order of that, then of recording."""
    by_recording = period.clock is not Clockwork.ON
    in_time = queries.recorded_moves(
        engine, book, scope, span.before, span.last, PAGE, backdated=by_recording
    )
    if by_recording:
        return in_time
    dated = queries.backdated_moves(
        engine, book, scope, period.from_ms, period.to_ms, span.known, PAGE
    )
    return heapq.merge(in_time, dated, key=_business_order)


def _business_order(moved: queries.Moved) -> tuple[int, int, int, int]:
    movement = moved.movement
    return (parse_instant(movement.on), movement.position, movement.leg_no, moved.amount)


def _line(moved: queries.Moved, balances: dict[Place, int]) -> Line:
    """Adds it to its account's balance, having held it against the journal's leg."""
    movement, leg = moved.movement, moved.movement.leg
    account, other = (leg.credit, leg.debit) if moved.amount > 0 else (leg.debit, leg.credit)
    place = (leg.asset, account.purpose.value, account.ref)
    if (abs(moved.amount), account.holder, place) != (leg.amount, moved.holder, moved.place):
        raise InvariantBroken(
            f"position {movement.position}, leg {movement.leg_no}: expected {leg}, the read model"
            f" has {moved.amount} of {moved.holder} {'/'.join(moved.place)}"
        )
    balance = balances[place] = balances.get(place, 0) + moved.amount
    return Line(
        movement.position,
        movement.leg_no,
        movement.at,
        movement.on,
        movement.type,
        account,
        other,
        leg.asset,
        moved.amount,
        balance,
        leg.serials,
    )


def _pages(moved: Iterator[queries.Moved]) -> Iterator[list[queries.Moved]]:
    page: list[queries.Moved] = []
    for one in moved:
        page.append(one)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _parted(balances: dict[Place, int]) -> Iterator[list[tuple[Place, int]]]:
    rows = list(balances.items())
    return (rows[start : start + PAGE] for start in range(0, len(rows), PAGE))
