"""Where every serial of one batch is: ranges in order, each in one account, and never in two.

Plain lists, so that it can be kept between runs. It grows with the ranges that lie apart, not with
the events that moved them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import msgspec

Account = tuple[str, str, str]  # holder, purpose, ref


class Places(msgspec.Struct):
    """Range i is firsts[i]..lasts[i], in accounts[i]; sorted, no two overlap."""

    firsts: list[int] = []
    lasts: list[int] = []
    accounts: list[Account] = []

    def move(
        self, first: int, last: int, source: Account | None, target: Account
    ) -> list[tuple[int, int, Account | None]]:
        """Put first..last into `target`, wherever it was.

        Answers the parts that were not in `source` (None: nowhere yet), each with where it was.
        """
        begin = bisect_right(self.firsts, first) - 1
        if begin < 0 or self.lasts[begin] < first:
            begin += 1
        end = bisect_right(self.firsts, last)
        wrong: list[tuple[int, int, Account | None]] = []
        fresh: list[tuple[int, int, Account]] = []
        at = first
        for low, high, account in self._ranges(begin, end):
            if low < first:
                fresh.append((low, first - 1, account))
            if at < low and source is not None:
                wrong.append((at, low - 1, None))
            if account != source:
                wrong.append((max(low, first), min(high, last), account))
            at = max(at, high + 1)
        if at <= last and source is not None:
            wrong.append((at, last, None))
        fresh.append((first, last, target))
        if end > begin and self.lasts[end - 1] > last:
            fresh.append((last + 1, self.lasts[end - 1], self.accounts[end - 1]))
        self._replace(begin, end, fresh)
        return wrong

    def _ranges(self, begin: int, end: int) -> Iterator[tuple[int, int, Account]]:
        return zip(
            self.firsts[begin:end], self.lasts[begin:end], self.accounts[begin:end], strict=True
        )

    def _replace(self, begin: int, end: int, fresh: list[tuple[int, int, Account]]) -> None:
        """Neighbours in one account become one range."""
        if begin > 0:
            begin -= 1
            fresh.insert(0, (self.firsts[begin], self.lasts[begin], self.accounts[begin]))
        if end < len(self.firsts):
            fresh.append((self.firsts[end], self.lasts[end], self.accounts[end]))
            end += 1
        joined: list[tuple[int, int, Account]] = []
        for low, high, account in fresh:
            if joined and joined[-1][1] + 1 == low and joined[-1][2] == account:
                joined[-1] = (joined[-1][0], high, account)
            else:
                joined.append((low, high, account))
        self.firsts[begin:end] = [one[0] for one in joined]
        self.lasts[begin:end] = [one[1] for one in joined]
        self.accounts[begin:end] = [one[2] for one in joined]

    def all(self) -> Iterator[tuple[int, int, Account]]:
        return self._ranges(0, len(self.firsts))
