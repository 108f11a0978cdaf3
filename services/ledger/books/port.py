"""What a checker of one book is: it takes an event, or names the rule it breaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kernel.errors import TanzhangError
from kernel.record import EventTypes, RawRecord
from kernel.values import parse_instant


class RuleBroken(TanzhangError):
    """An event that must not be signed: which rule, what it should have been, what it is."""

    def __init__(self, rule: str, expected: object, actual: object) -> None:
        super().__init__(f"{rule}: expected {expected}, got {actual}")
        self.rule = rule
        self.expected = str(expected)
        self.actual = str(actual)


Step = Callable[[RawRecord, Any], None]  # raises RuleBroken, changes nothing


class Checker(ABC):
    """One book's independent checker."""

    types: EventTypes

    @abstractmethod
    def steps(self, kind: type[msgspec.Struct]) -> Sequence[Step]:
        """How an event of a type is checked, in groups that do not rest on one another.

        When all of them pass it is in order. Asked once per type: nothing here depends on state.
        """

    @abstractmethod
    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        """Takes the event into the books, also when two persons have accepted it as it is."""

    def check(self, raw: RawRecord, event: msgspec.Struct) -> None:
        """All groups; raises RuleBroken for the first that fails, and changes nothing."""
        for step in self.steps(type(event)):
            step(raw, event)


def require_no_cause(raw: RawRecord, event: msgspec.Struct) -> None:
    """The step of events that nothing in another book leads to."""
    require("CAUSE_NONE", None, raw.cause)


def instant_ms(text: str) -> int:
    """Milliseconds since the epoch of an instant in a record."""
    try:
        return parse_instant(text)
    except ValueError as error:
        raise RuleBroken("INSTANT", "an instant of the one fixed form", text) from error


def require(rule: str, expected: object, actual: object) -> None:
    """The two must be equal."""
    if expected != actual:
        raise RuleBroken(rule, expected, actual)


def require_holds(rule: str, holds: bool, expected: object, actual: object) -> None:
    """What is not a matter of two equal things."""
    if not holds:
        raise RuleBroken(rule, expected, actual)


def require_text(rule: str, texts: Sequence[str]) -> None:
    for text in texts:
        if not text:
            raise RuleBroken(rule, "text", "nothing")
