"""An event record in plain words: what it says, and its fields in the units people read.

Says no more than the event does: what was only asked for is called asked for, and where another
book decides, that is said. Amounts come as `247,500.00 CNY`, `6,000 t`, `468 g`, `4.35 %`, from the
unit at the end of a field's name. The words are cli/words/events.json, in English and Chinese.
Prints nothing and checks nothing: cli/verify.py does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from cli.columns import INDENT, WIDTH, fold, labelled
from cli.words import ENGLISH, Words, listed, unit_forms
from kernel.values import format_fen, format_instant

__all__ = ["WIDTH", "amount", "event_lines", "meaning"]

MONEY: Final = "CNY"
_SPANS: Final = (
    ("day", 86_400_000),
    ("hour", 3_600_000),
    ("minute", 60_000),
    ("second", 1_000),
    ("millisecond", 1),
)

Fields = dict[str, Any]


def amount(asset: str, quantity: int, words: Words = ENGLISH) -> str:
    """`503,280.00 CNY` or `7,000 TICKET-LZXQ-1`: money in yuan, everything else in its own unit."""
    if asset == MONEY:
        return f"{format_fen(quantity)} {words.unit('_fen')}"
    return f"{quantity:,} {asset}"


def event_lines(
    record: Fields, words: Words = ENGLISH, tell_act: Callable[[Fields], str] | None = None
) -> list[str]:
    """What it says, who, when, and every field of an event record, as lines for people.

    `tell_act` says of an institution's signature in it whether it was checked; without it, that it
    was not. Raises KeyError and the like for a record that is not shaped like ours.
    """
    reader = _Reader(words, tell_act)
    actor, body = record["actor"], record["body"]
    on = "" if record["on"] == record["at"] else f", {words.say('on', on=record['on'])}"
    says = meaning(record.get("book", ""), record["type"], body, words)
    lines = [
        *labelled(words.say("event"), record["type"]),
        *labelled(words.say("says"), says),
        *labelled(words.say("recorded"), f"{record['at']}{on}"),
        *labelled(words.say("asked_by"), f"{actor['sub']} ({actor['iss']})"),
    ]
    if record.get("cause"):
        book, position = record["cause"]
        place = words.say("place", book=book, position=f"{position:,}")
        lines += labelled(words.say("cause"), place)
    for leg in body.get("legs", []):
        lines += reader.leg(leg)
    for name, value in body.items():
        if name != "legs":
            lines += reader.field(name, value, body)
    if "sealed" in record:
        lines += labelled(words.say("sealed"), words.say("sealed_says"))
    return [*lines, *reader.statements(record.get("acts", []))]


def meaning(book: str, type: str, body: Fields, words: Words = ENGLISH) -> str:
    """What this event says, in a sentence; of a type that is not known, that it is recorded."""
    if (book, type) == ("accounts", "EntryPosted"):
        return words.entry(_rule_of(body)) or words.entry("other") or ""
    return words.event(book, type) or words.say("unknown_event")


def _rule_of(body: Fields) -> str:
    """What kind of entry it is: all its legs were booked, or none would have been."""
    pledge = body.get("pledge")
    if pledge is not None:
        return "release" if "release" in pledge else "pledge"
    for rule in ("session", "trades", "claim", "bank_line"):
        if body.get(rule):
            return rule
    ways = {(leg["debit"]["purpose"], leg["credit"]["purpose"]) for leg in body["legs"]}
    return " to ".join(ways.pop()) if len(ways) == 1 else "other"


class _Reader:
    """Fields and values of a record, in one language."""

    def __init__(self, words: Words, tell_act: Callable[[Fields], str] | None) -> None:
        self._words = words
        self._tell_act = tell_act or (lambda act: words.say("unsigned", key=act["key_id"]))

    def leg(self, leg: Fields) -> Iterator[str]:
        """An amount, where it left, where it arrived, and which serials."""
        say = self._words.say
        yield from labelled(say("leg"), amount(leg["asset"], leg["amount"], self._words))
        yield from labelled(say("from"), self._account(leg["debit"]), INDENT)
        yield from labelled(say("to"), self._account(leg["credit"]), INDENT)
        for one in leg["serials"]:
            yield from labelled(say("serials"), self._serials(one), INDENT)

    def statements(self, acts: list[Fields]) -> Iterator[str]:
        """What institutions signed; where several signed the same words, once."""
        signed: dict[str, list[Fields]] = {}
        for act in acts:
            signed.setdefault(act["statement"], []).append(act)
        for statement, theirs in signed.items():
            fields = json.loads(statement)
            kind = self._words.statement(fields.pop("kind", "")) or self._words.say("none")
            yield from labelled(self._words.say("statement"), kind)
            for name, value in fields.items():
                yield from self.field(name, value, fields, INDENT)
            for act in theirs:
                yield from fold(" " * INDENT, self._tell_act(act), INDENT + 2)

    def field(self, name: str, value: Any, beside: Fields, indent: int = 0) -> Iterator[str]:
        """A field in one line, a list of objects in one for each."""
        for one in _parts(value):
            label, text = self._labelled(name, one, beside)
            yield from labelled(label, text, indent)

    def _labelled(self, name: str, value: Any, beside: Fields) -> tuple[str, str]:
        """`loan_fen` 24750000 as ("loan", "247,500.00 CNY"); `beside`: the fields it is among."""
        ending = next((one for one in unit_forms() if name.endswith(one)), None)
        if ending is not None and (value is None or _whole(value)):
            label = self._words.label(name.removesuffix(ending))
            return label, self._figure(name, ending, value)
        if name in listed("of_asset") and "asset" in beside and _digits(value):
            return self._words.label(name), amount(beside["asset"], int(value), self._words)
        return self._words.label(name), self._shown(name, value)

    def _figure(self, name: str, ending: str, value: int | None) -> str:
        if value is None or (value == 0 and name in listed("no_limit_at_zero")):
            return self._words.say("none")
        if name in listed("durations"):
            return self._span(value)
        figure = _FORMS[unit_forms()[ending]](value)
        return f"{figure} {self._words.unit(ending)}".rstrip()

    def _span(self, span_ms: int) -> str:
        """A duration: `1 d 12 h`."""
        parts = []
        for name, length_ms in _SPANS:
            count, span_ms = divmod(span_ms, length_ms)
            if count:
                parts.append(f"{count:,} {self._words.say(name)}")
        return " ".join(parts) or f"0 {self._words.say('millisecond')}"

    def _shown(self, name: str, value: Any) -> str:
        """A value without a unit."""
        say = self._words.say
        match value:
            case None | "" | []:
                return say("none")
            case bool():
                return say("yes" if value else "no")
            case int():
                return f"{value:,}"
            case {"batch": _, "first": _, "last": _} if len(value) == 3:
                return self._serials(value)
            case dict():
                pairs = (self._labelled(key, one, value) for key, one in value.items())
                return say("pairs").join(f"{label} {text}" for label, text in pairs) or say("none")
            case list():
                return say("list").join(self._shown(name, one) for one in value)
        return self._words.value(name, str(value))

    def _serials(self, one: Fields) -> str:
        first, last = f"{one['first']:,}", f"{one['last']:,}"
        return self._words.say("serial_range", first=first, last=last, batch=one["batch"])

    def _account(self, account: dict[str, str]) -> str:
        ref = f" ({account['ref']})" if account["ref"] else ""
        return f"{account['holder']} {self._words.value('purpose', account['purpose'])}{ref}"


def _parts(value: Any) -> list[Any]:
    """The objects of a list stand alone; every other value is one part."""
    objects = isinstance(value, list) and any(isinstance(one, dict) for one in value)
    return value if objects else [value]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _digits(value: Any) -> bool:
    return _whole(value) or (isinstance(value, str) and value.isascii() and value.isdigit())


def _thousandths(value: int) -> str:
    """Milligrams as grams, exact: `145.95`."""
    whole, rest = divmod(abs(value), 1000)
    fraction = f".{rest:03d}".rstrip("0").rstrip(".")
    return f"{'-' if value < 0 else ''}{whole:,}{fraction}"


# How a figure is written, by the form that cli/words/events.json gives its unit.
_FORMS: Final[dict[str, Callable[[int], str]]] = {
    "hundredths": format_fen,
    "thousandths": _thousandths,
    "whole": lambda value: f"{value:,}",
    "instant": format_instant,
}
