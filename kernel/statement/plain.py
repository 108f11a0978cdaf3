"""What a statement says, in plain values: head, openings, lines, closings; and that it adds up.

Fields stand in the order in which every format writes them. Amounts are in the asset's own unit,
instants as a record has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kernel.errors import Conflict, InvariantBroken


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Of what, and of when. `to` None: up to `as_of_position`."""

    book: str
    book_id: str
    holder: str
    asset: str | None
    purpose: str | None
    ref: str | None
    by: str  # at: the time of recording; on: business time
    from_: str = msgspec.field(name="from")
    to: str | None
    as_of_position: int
    # Did a signed checkpoint cover all of it when it was written? None: nobody was there to say.
    proven: bool | None = None


class Balance(msgspec.Struct, frozen=True):
    """An account that is not at zero."""

    asset: str
    purpose: str
    ref: str
    amount: int


class Counterpart(msgspec.Struct, frozen=True):
    holder: str
    purpose: str
    ref: str


class Range(msgspec.Struct, frozen=True):
    batch: str
    first: int
    last: int


class Line(msgspec.Struct, frozen=True):
    """One account that one leg touches; below zero: it left. `balance` is the account's then."""

    position: int
    leg: int
    at: str
    on: str
    type: str
    asset: str
    purpose: str
    ref: str
    amount: int
    balance: int
    counterpart: Counterpart
    serials: list[Range]


class Part(msgspec.Struct, frozen=True):
    """Some of a statement, as it comes. `total`, the number of all lines, is in the last part."""

    openings: Sequence[Balance] = ()
    lines: Sequence[Line] = ()
    closings: Sequence[Balance] = ()
    total: int | None = None


class Adding:
    """Adds a statement up as it passes: what its reader need not believe the sender."""

    def __init__(self) -> None:
        self._balances: dict[tuple[str, str, str], int] = {}
        self._closings: dict[tuple[str, str, str], int] = {}
        self._lines = 0
        self._ended = False

    def add(self, part: Part) -> None:
        """Raises InvariantBroken for a line, a closing or an end that is not what came before."""
        for one in part.openings:
            self._balances[one.asset, one.purpose, one.ref] = one.amount
        for line in part.lines:
            place = (line.asset, line.purpose, line.ref)
            self._balances[place] = self._balances.get(place, 0) + line.amount
            _expect(
                f"balance after {line.position}.{line.leg}", self._balances[place], line.balance
            )
        self._lines += len(part.lines)
        for one in part.closings:
            self._closings[one.asset, one.purpose, one.ref] = one.amount
        if part.total is not None:
            self._end(part.total)

    def _end(self, total: int) -> None:
        _expect("number of lines", total, self._lines)
        left = {place: amount for place, amount in self._balances.items() if amount}
        for place in left.keys() | self._closings.keys():
            _expect(f"closing of {place}", left.get(place, 0), self._closings.get(place, 0))
        self._ended = True

    def check_ended(self) -> None:
        """Raises Conflict for what was cut off: the same may be asked again."""
        if not self._ended:
            raise Conflict("STATEMENT_CUT_OFF", "the statement broke off before its end: ask again")


def _expect(what: str, expected: int, actual: int) -> None:
    if expected != actual:
        raise InvariantBroken(f"{what}: expected {expected}, got {actual}")
