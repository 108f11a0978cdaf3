"""What a checker of one book is: it takes an event, or names the rule it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kernel.errors import TanzhangError
from kernel.record import EventTypes, RawRecord


class RuleBroken(TanzhangError):
    """An event that must not be signed: which rule, what it should have been, what it is."""

    def __init__(self, rule: str, expected: object, actual: object) -> None:
        super().__init__(f"{rule}: expected {expected}, got {actual}")
        self.rule = rule
        self.expected = str(expected)
        self.actual = str(actual)


class Checker(Protocol):
    types: EventTypes

    def check(self, raw: RawRecord, event: msgspec.Struct) -> None:
        """Raises RuleBroken and changes nothing; or returns, and the event may be applied."""
        ...

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        """Takes the event into the books, also when two persons have accepted it as it is."""
        ...


def require(rule: str, expected: object, actual: object) -> None:
    """The two must be equal."""
    if expected != actual:
        raise RuleBroken(rule, expected, actual)


def require_text(rule: str, texts: Sequence[str]) -> None:
    for text in texts:
        if not text:
            raise RuleBroken(rule, "text", "nothing")
