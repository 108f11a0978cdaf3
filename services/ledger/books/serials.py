"""Where every serial is: one map per batch from ranges to the account that holds them.

The accounts service keeps blocks per account; this keeps accounts per range, so that "each serial
is in exactly one place" holds by construction and a wrong move has nowhere to hide.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from kernel.values import MAX_INTEGER
from services.ledger.books.port import RuleBroken

A = TypeVar("A")


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Serials first..last of one batch, both included."""

    batch: str
    first: int
    last: int


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same serials in as few ranges as can name them, sorted; overlaps stay visible."""
    whole: list[Range] = []
    for one in sorted(ranges, key=lambda block: (block.batch, block.first, block.last)):
        if whole and (whole[-1].batch, whole[-1].last + 1) == (one.batch, one.first):
            whole[-1] = Range(one.batch, whole[-1].first, one.last)
        else:
            whole.append(one)
    return whole


def count(ranges: Iterable[Range]) -> int:
    return sum(block.last - block.first + 1 for block in ranges)


def require_ranges(ranges: Iterable[Range]) -> None:
    """One that runs backwards would count as less than nothing."""
    for block in ranges:
        if not 1 <= block.first <= block.last <= MAX_INTEGER:
            raise RuleBroken("SERIALS_RANGE", f"1..{MAX_INTEGER}", f"{block.first}..{block.last}")


@dataclass(slots=True)
class BatchMap(Generic[A]):
    """One batch: sorted, disjoint ranges that together are the whole batch."""

    firsts: list[int]  # where each range begins; it ends before the next one
    holders: list[A]
    last: int

    @classmethod
    def of(cls, first: int, last: int, holder: A) -> BatchMap[A]:
        """A batch that one holder has."""
        return cls([first], [holder], last)

    def extend_to(self, last: int) -> None:
        """The batch grows at its end while its issuance names owner after owner."""
        self.last = max(self.last, last)

    def holder_of(self, first: int, last: int) -> A | None:
        """Who holds all of first..last, or None when nobody holds all of it."""
        if first < self.firsts[0] or last > self.last:
            return None
        i = bisect_right(self.firsts, first) - 1
        holder = self.holders[i]
        while self._end(i) < last:
            i += 1
            if self.holders[i] != holder:
                return None
        return holder

    def pieces(self, first: int, last: int) -> Iterator[tuple[int, int, A]]:
        """What lies in first..last, and who holds it: first, last and holder of each piece."""
        for i in range(max(0, bisect_right(self.firsts, first) - 1), len(self.firsts)):
            if self.firsts[i] > last:
                return
            begin, end = max(self.firsts[i], first), min(self._end(i), last)
            if begin <= end:
                yield begin, end, self.holders[i]

    def pieces_of(self, holder: A, first: int, last: int) -> Iterator[tuple[int, int]]:
        """What one holder has of first..last: first and last of each piece."""
        for begin, end, whose in self.pieces(first, last):
            if whose == holder:
                yield begin, end

    def move(self, first: int, last: int, holder: A) -> None:
        """Gives first..last to a holder, whoever had it."""
        self._split(first)
        if last < self.last:
            self._split(last + 1)
        begin = bisect_right(self.firsts, first) - 1
        end = bisect_right(self.firsts, last)
        self.firsts[begin:end] = [first]
        self.holders[begin:end] = [holder]

    def _split(self, at: int) -> None:
        i = bisect_right(self.firsts, at) - 1
        if self.firsts[i] != at:
            self.firsts.insert(i + 1, at)
            self.holders.insert(i + 1, self.holders[i])

    def _end(self, i: int) -> int:
        return self.firsts[i + 1] - 1 if i + 1 < len(self.firsts) else self.last
