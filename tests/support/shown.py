"""Which places of the ledger can name a rule, and which of them a planted lie has shown.

`places_that_raise` reads services/ledger with `ast`. `watched` notes every RuleBroken that is made
meanwhile, by the line that made it: `require` and its like stand for whoever called them.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import pytest

from kernel.frames import StoredEvent
from kernel.record import KERNEL_EVENTS
from services.ledger.books import port
from services.ledger.books.port import RuleBroken
from tests.support.checkout import ROOT
from tests.support.crossings import BOOKS, Whole
from tests.support.ledgers import Books, Json, Story, planted
from tests.support.plants import Change

LEDGER: Final = ROOT / "services" / "ledger"
KERNEL_TYPES: Final = frozenset(event.__name__ for event in KERNEL_EVENTS)
TAKERS: Final = frozenset({"RuleBroken", "require", "require_holds", "require_text"})


class Place(NamedTuple):
    """One call that can name a rule; `rule` is "" where the caller says which."""

    file: str
    first: int
    last: int
    rule: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.file}:{self.first}"


class Made(NamedTuple):
    """One RuleBroken: the line it was made by, of which event, for which lie."""

    file: str
    line: int
    rule: str
    event: str
    lie: str


@dataclass
class Watch:
    """What was made so far, and what is being told."""

    made: list[Made] = field(default_factory=list)
    event: str = ""
    lie: str = ""


def places_that_raise() -> list[Place]:
    found = []
    for path in sorted(LEDGER.rglob("*.py")):
        if path == Path(port.__file__):
            continue  # the takers themselves
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in TAKERS:
                rule = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
                last = node.end_lineno or node.lineno
                found.append(Place(str(path.relative_to(ROOT)), node.lineno, last, str(rule)))
    return found


@contextmanager
def watched() -> Iterator[Watch]:
    """Every RuleBroken that is made meanwhile, in order."""
    watch = Watch()
    make = RuleBroken.__init__

    def noting(self: RuleBroken, rule: str, expected: object, actual: object) -> None:
        make(self, rule, expected, actual)
        frame = sys._getframe(1)
        while frame.f_code.co_filename == port.__file__ and frame.f_back is not None:
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(LEDGER):
            where = str(file.relative_to(ROOT)), frame.f_lineno
            watch.made.append(Made(*where, rule, watch.event, watch.lie))

    with patch.object(RuleBroken, "__init__", noting):
        yield watch


def was_shown(place: Place, made: Sequence[Made]) -> bool:
    return any(
        one.file == place.file
        and place.first <= one.line <= place.last
        and place.rule in ("", one.rule)
        for one in made
    )


# ---- histories with lies in them -----------------------------------------------------------------


class Told(NamedTuple):
    """A lie at one event of a history, and what has to be changed before it for that."""

    rule: str
    at: int  # which event
    change: Change
    expected: str
    actual: str
    also: dict[int, Change]
    name: str


def rules_broken(books: Books, book: str, record: bytes) -> list[str]:
    """The rules that one event breaks, one of each group at most."""
    checker, rules = books.of(book), []
    raw, body = checker.types.decode_canonical(record)
    for step in checker.steps(type(body)):
        try:
            step(raw, body)
        except RuleBroken as broken:
            rules.append(broken.rule)
    return rules


class Event(NamedTuple):
    """One event of a history, and the books as they were just before it."""

    books: Books
    book: str
    stored: StoredEvent
    record: Json

    @property
    def name(self) -> str:
        return f"{self.record['type']} at {self.stored.position} of {self.book}"

    def rules_broken(self, change: Change) -> list[str]:
        return rules_broken(self.books, self.book, planted(self.stored, change))


class History:
    """Events of one or many books in the order they are folded in; lies are told at them."""

    def __init__(self, events: Sequence[tuple[str, Any]], books: Sequence[str]) -> None:
        self._events = events
        self._books = books

    @classmethod
    def of_story(cls, story: Story) -> History:
        """The accounts book after the whole of the ledger's."""
        events = [("ledger", event) for event in story.ledger]
        events += [("accounts", event) for event in story.accounts]
        return cls(events, ("accounts", "ledger"))

    @classmethod
    def of_whole(cls, whole: Whole) -> History:
        return cls([(book, whole.events[book][at]) for book, at in whole.order], BOOKS)

    def events(self) -> Iterator[Event]:
        """One after the other, but for those that the log itself checks; each is true."""
        books = Books(self._books)
        for book, stored in self._events:
            record = json.loads(stored.record)
            if record["type"] not in KERNEL_TYPES:
                yield Event(books, book, stored, record)
            books.fold(book, [stored])

    def tell_all(self, lies: Sequence[Told], watch: Watch) -> None:
        """At one fold, as checking changes nothing; those with a past of their own, alone.

        Fails when one is not named as it should be.
        """
        waiting: dict[int, list[Told]] = {}
        for lie in lies:
            if lie.also:
                self._check(self._before(lie), lie, watch)
            else:
                waiting.setdefault(lie.at, []).append(lie)
        books = Books(self._books)
        for at, (book, event) in enumerate(self._events):
            for lie in waiting.get(at, ()):
                self._check(books, lie, watch)
            books.fold(book, [event])

    def _before(self, lie: Told) -> Books:
        books = Books(self._books)
        for at, (book, event) in enumerate(self._events[: lie.at]):
            change = lie.also.get(at)
            books.fold(book, [event if change is None else planted(event, change)])
        return books

    def _check(self, books: Books, lie: Told, watch: Watch) -> None:
        book, event = self._events[lie.at]
        record = planted(event, lie.change)
        watch.event, watch.lie = json.loads(record)["type"], lie.name
        with pytest.raises(RuleBroken) as caught:
            books.check(book, record)
        broken = caught.value
        assert broken.rule == lie.rule, str(broken)
        assert lie.expected in broken.expected, str(broken)
        assert lie.actual in broken.actual, str(broken)
