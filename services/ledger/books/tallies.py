"""One clearing house's money at one bank, as two tallies of the bank's lines laid side by side.

`booked` is what the book has said of them, `stated` what the bank has. A line that stands in both
with one amount is struck out of both. What the bank should have at the end of a day is told from
the balance of `external`, less what was booked for later days: no sum is carried from day to day.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from kernel.values import SHANGHAI_MS, format_instant
from services.ledger.books.banks_events import BankStatementReceived, StatedLine

MINUTE_MS = 60_000
DAY_MINUTES = 1440
DAY_MS = DAY_MINUTES * MINUTE_MS


class OfDay(NamedTuple):
    """A line's amount and the bank's day it was booked for, or stated of."""

    amount_fen: int
    day: str


class Verdict(NamedTuple):
    """What a whole statement comes to."""

    expected_fen: int
    late_fen: int
    ours_fen: int
    theirs_fen: int
    new_ours: list[StatedLine]
    new_theirs: list[StatedLine]


@dataclass(slots=True)
class Tallies:
    cutoff_minute: int
    first_day: str
    closed_fen: int
    closed_day: str = ""
    booked: dict[str, OfDay] = field(default_factory=dict)
    stated: dict[str, OfDay] = field(default_factory=dict)
    # Out of both, and booked for a day that is not stated yet.
    struck: list[OfDay] = field(default_factory=list)
    # By day: (side, line) of open ones.
    breaks: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)  # booked, and named in a break before
    parts: list[BankStatementReceived] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """All parts of a statement are here, and what came of it is not told yet."""
        return bool(self.parts) and len(self.parts) == self.parts[-1].parts

    def day_at(self, at_ms: int) -> str:
        """The bank's day of an instant."""
        shift_ms = SHANGHAI_MS + (DAY_MINUTES - self.cutoff_minute) * MINUTE_MS
        return format_instant((at_ms + shift_ms) // DAY_MS * DAY_MS)[:10]

    def book(self, line: str, amount_fen: int, day: str) -> None:
        self.booked[line] = OfDay(amount_fen, day)
        stated = self.stated.get(line)
        if stated is not None and stated.amount_fen == amount_fen:
            self._strike(line)

    def verdict(self, external_fen: int) -> Verdict:
        """Of the parts that have come, against the balance of external (below zero as it is)."""
        day = self.parts[-1].day
        lines = [one for part in self.parts for one in part.lines]
        both = {
            one.line: self.booked[one.line]
            for one in lines
            if one.line in self.booked and self.booked[one.line].amount_fen == one.amount_fen
        }
        later = [one for one in self.booked.values() if one.day > day]
        waiting = [one for one in self.struck if one.day > day]
        missing = {
            line: one for line, one in self.booked.items() if one.day <= day and line not in both
        }
        alien = [one for one in lines if one.line not in both]
        ahead = [*waiting, *(one for one in both.values() if one.day > day)]
        return Verdict(
            -external_fen - sum(one.amount_fen for one in (*later, *waiting)),
            sum(one.amount_fen for one in ahead),
            sum(one.amount_fen for one in missing.values()),
            sum(one.amount_fen for one in self.stated.values())
            + sum(one.amount_fen for one in alien),
            [
                StatedLine(missing[line].amount_fen, line)
                for line in sorted(missing.keys() - self.asked)
            ],
            alien,
        )

    def close(self) -> None:
        """The whole statement counts: its lines are laid beside what was booked."""
        day, lines = self.parts[-1].day, [one for part in self.parts for one in part.lines]
        self.closed_day, self.closed_fen = day, self.parts[-1].closing_fen
        self.parts = []
        self.struck = [one for one in self.struck if one.day > day]
        alien = set()
        for one in lines:
            booked = self.booked.get(one.line)
            self.stated[one.line] = OfDay(one.amount_fen, day)
            if booked is not None and booked.amount_fen == one.amount_fen:
                self._strike(one.line)
            else:
                alien.add(("theirs", one.line))
        missing = {
            line for line, one in self.booked.items() if one.day <= day and line not in self.asked
        }
        self.asked |= missing
        opened = alien | {("ours", line) for line in missing}
        if opened:
            self.breaks[day] = opened

    def _strike(self, line: str) -> None:
        booked = self.booked.pop(line)
        del self.stated[line]
        if booked.day > self.closed_day:
            self.struck.append(booked)
        self.asked.discard(line)
        for lines in self.breaks.values():
            lines -= {("theirs", line), ("ours", line)}
