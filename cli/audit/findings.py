"""What an audit found: differences, each with a stable rule, and what could not be settled yet.

A difference is a claim anybody can repeat: which rule, where, what was expected and what is there.
Only so many are kept word for word; all of them are counted.
"""

from __future__ import annotations

from typing import Final

import msgspec

MAX_KEPT: Final = 1000  # a log that differs everywhere must not fill the memory
MAX_SHOWN_CHARS: Final = 300


class Difference(msgspec.Struct, frozen=True):
    """`position` is None where a difference has no single place."""

    rule: str
    book: str
    position: int | None
    expected: str
    actual: str


class Findings(msgspec.Struct):
    """Differences in the order they were found."""

    kept: list[Difference] = []
    by_rule: dict[str, int] = {}

    def add(
        self, rule: str, book: str, position: int | None, expected: object, actual: object
    ) -> None:
        self.by_rule[rule] = self.by_rule.get(rule, 0) + 1
        if len(self.kept) < MAX_KEPT:
            self.kept.append(Difference(rule, book, position, shown(expected), shown(actual)))

    @property
    def count(self) -> int:
        return sum(self.by_rule.values())


def shown(value: object) -> str:
    """In one line of bounded length."""
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
