"""A clearing house's money at a settlement bank as the book knows it, and how a day is reconciled.

Two lists meet here by the bank's own line numbers: what the book has booked and no statement has
shown (`ours`), and what a statement has shown and the book has not booked (`theirs`). What is in
both, with the same amount, leaves both. So memory holds what is open, and no history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from kernel.values import DAY_MS, day_start_ms, shanghai_day
from services.accounts.domain.events import StatedLine

BankKey = tuple[str, str, str]  # clearing house, asset, bank
MINUTE_MS = 60_000
MINUTES_A_DAY = 1440


class Booked(msgspec.Struct, frozen=True, gc=False):
    """A line of the bank's that the book has booked, and for which day of the bank."""

    amount_fen: int
    day: str


@dataclass(slots=True)
class Break:
    """Lines of one statement's day that are not explained yet, by the bank's numbers."""

    theirs: set[str] = field(default_factory=set)
    ours: set[str] = field(default_factory=set)


@dataclass(slots=True)
class PendingStatement:
    """A statement whose parts are coming in."""

    day: str
    opening_fen: int
    closing_fen: int
    parts: int
    total_lines: int
    received: int = 0
    lines: list[StatedLine] = field(default_factory=list)


@dataclass(slots=True)
class BankAccount:
    """A clearing house's account at one bank, in one money."""

    cutoff_minute: int
    first_day: str
    stated_fen: int  # the balance that the bank's last statement closed with
    booked_fen: int  # what the book says of the end of that same day
    stated_day: str = ""
    booked_later: dict[str, int] = field(default_factory=dict)  # by day after stated_day
    late: dict[str, int] = field(default_factory=dict)  # of those, what was stated already
    ours: dict[str, Booked] = field(default_factory=dict)
    theirs: dict[str, int] = field(default_factory=dict)
    asked_about: set[str] = field(default_factory=set)  # those of `ours` that a break has named
    breaks: dict[str, Break] = field(default_factory=dict)  # open ones, by the statement's day
    pending: PendingStatement | None = None

    def day_of(self, at_ms: int) -> str:
        """The day of the bank that an instant belongs to."""
        return shanghai_day(at_ms + (MINUTES_A_DAY - self.cutoff_minute) * MINUTE_MS)

    def end_ms(self, day: str) -> int:
        """The first instant after a day of the bank."""
        return day_start_ms(day) + DAY_MS - (MINUTES_A_DAY - self.cutoff_minute) * MINUTE_MS


class Reconciliation(NamedTuple):
    """A whole statement against the books."""

    expected_fen: int
    late_fen: int
    ours_fen: int
    theirs_fen: int
    matched: list[str]
    new_ours: list[StatedLine]
    new_theirs: list[StatedLine]


def reconcile(account: BankAccount, day: str, lines: Iterable[StatedLine]) -> Reconciliation:
    """What the statement of a day explains and what not. Changes nothing."""
    matched: list[str] = []
    new_theirs: list[StatedLine] = []
    late_fen = sum(fen for later, fen in account.late.items() if later > day)
    for one in lines:
        booked = account.ours.get(one.line)
        if booked is None or booked.amount_fen != one.amount_fen:
            new_theirs.append(one)
            continue
        matched.append(one.line)
        late_fen += one.amount_fen if booked.day > day else 0
    stated = set(matched)
    missing = {
        line: booked
        for line, booked in account.ours.items()
        if booked.day <= day and line not in stated
    }
    return Reconciliation(
        account.booked_fen + sum(fen for on, fen in account.booked_later.items() if on <= day),
        late_fen,
        sum(booked.amount_fen for booked in missing.values()),
        sum(account.theirs.values()) + sum(one.amount_fen for one in new_theirs),
        matched,
        [
            StatedLine(booked.amount_fen, line)
            for line, booked in sorted(missing.items())
            if line not in account.asked_about
        ],
        new_theirs,
    )


def take_statement(account: BankAccount, statement: PendingStatement) -> None:
    """The statement is whole: the day is over, what it explains is forgotten."""
    day = statement.day
    found = reconcile(account, day, statement.lines)
    for line in found.matched:
        booked = account.ours[line]
        if booked.day > day:
            account.late[booked.day] = account.late.get(booked.day, 0) + booked.amount_fen
        _explained(account, line)
    account.theirs.update((one.line, one.amount_fen) for one in found.new_theirs)
    account.asked_about.update(one.line for one in found.new_ours)
    if found.new_theirs or found.new_ours:
        account.breaks[day] = Break(
            {one.line for one in found.new_theirs}, {one.line for one in found.new_ours}
        )
    account.booked_fen = found.expected_fen
    account.stated_fen, account.stated_day = statement.closing_fen, day
    for by_day in (account.booked_later, account.late):
        for past in [one for one in by_day if one <= day]:
            del by_day[past]


def book_line(account: BankAccount, line: str, amount_fen: int, day: str) -> None:
    """The book has booked a line of the bank's, which a statement may have shown before."""
    later = day > account.stated_day
    if later:
        account.booked_later[day] = account.booked_later.get(day, 0) + amount_fen
    else:
        account.booked_fen += amount_fen
    if account.theirs.get(line) != amount_fen:
        account.ours[line] = Booked(amount_fen, day)
        return
    del account.theirs[line]
    if later:
        account.late[day] = account.late.get(day, 0) + amount_fen
    _explained(account, line)


def _explained(account: BankAccount, line: str) -> None:
    account.ours.pop(line, None)
    account.asked_about.discard(line)
    for one in account.breaks.values():
        one.theirs.discard(line)
        one.ours.discard(line)


def ended_by(account: BankAccount, lines: Iterable[str]) -> list[str]:
    """Days of the open breaks of which nothing is left once these lines are explained."""
    gone = set(lines)
    return [
        day
        for day, one in sorted(account.breaks.items())
        if one.theirs <= gone and one.ours <= gone
    ]
