"""Where every serial is: one map per batch from ranges to the account that holds them.

The accounts service keeps blocks per account; this keeps accounts per range, so that "each serial
is in exactly one place" holds by construction and a wrong move has nowhere to hide.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Generic, TypeVar

A = TypeVar("A")


class BatchMap(Generic[A]):
    """One batch: sorted, disjoint ranges that together are the whole batch."""

    __slots__ = ("firsts", "holders", "last")

    def __init__(self, first: int, last: int, holder: A) -> None:
        self.firsts = [first]  # where each range begins; it ends before the next one
        self.holders = [holder]
        self.last = last

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
