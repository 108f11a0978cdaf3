"""An opened event, held to its leaf: commitment, the one spelling, its own book and position.

The record is canonical JSON (docs/reference/events.md): sorted keys, no spaces, integers below
2^53, no floats. Read without any service's types, so that an auditor can read events that are newer
than the tool: what is not understood is still checked, and counted.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from kernel.tlog.receipt import commitment, leaf_data

MAX_INTEGER: Final = 2**53 - 1
ENVELOPE: Final = frozenset(
    {"actor", "at", "body", "book", "by", "cause", "on", "position", "type", "v"}
)
OPTIONAL: Final = frozenset({"acts", "sealed"})
_LONG = re.compile(rb"[0-9]{16}")

Fields = dict[str, Any]


class Opened(NamedTuple):
    """An event that is what the log committed to."""

    position: int
    type: str
    record: Fields

    @property
    def body(self) -> Fields:
        body: Fields = self.record["body"]
        return body

    @property
    def acts(self) -> list[Fields]:
        acts: list[Fields] = self.record.get("acts", [])
        return acts

    @property
    def cause(self) -> tuple[str, int] | None:
        cause = self.record["cause"]
        return None if cause is None else (cause[0], cause[1])


class NotTheEvent(Exception):
    """What was shown is not the event at that place; `rule` says in which way."""

    def __init__(self, rule: str, expected: str, actual: str) -> None:
        super().__init__(f"{rule}: expected {expected}, got {actual}")
        self.rule = rule
        self.expected = expected
        self.actual = actual


def open_event(book: str, position: int, entry: bytes, record: bytes, salt: bytes) -> Opened:
    """The event at a position, whose leaf is `entry`. Raises NotTheEvent."""
    if len(salt) != 16 or leaf_data(book, position, commitment(salt, record)) != entry:
        raise NotTheEvent("COMMITMENT_DIFFERS", "the event the log committed to", "another one")
    fields = read_canonical(record)
    if fields.get("book") != book or fields.get("position") != position:
        stated = f"{fields.get('book')} {fields.get('position')}"
        raise NotTheEvent("RECORD_ELSEWHERE", f"a record of {book} {position}", stated)
    names = fields.keys() - OPTIONAL
    if names != ENVELOPE or type(fields["body"]) is not dict or type(fields["type"]) is not str:
        raise NotTheEvent("RECORD_SHAPE", f"the fields {sorted(ENVELOPE)}", str(sorted(names)))
    return Opened(position, fields["type"], fields)


def read_canonical(data: bytes) -> Fields:
    """One JSON object in its one spelling. Raises NotTheEvent."""
    try:
        fields = _decoder.decode(data)
        again = msgspec.json.encode(fields, order="sorted")
        if again != data:
            again = _with_details_as_written(fields)
    except (ValueError, RecursionError, OverflowError) as error:  # msgspec's own are ValueErrors
        raise NotTheEvent("RECORD_NOT_CANONICAL", "canonical JSON", str(error)) from None
    if again != data or type(fields) is not dict:
        raise NotTheEvent("RECORD_NOT_CANONICAL", "the one spelling of it", "another spelling")
    if _LONG.search(data) and not _integers_fit(fields):
        raise NotTheEvent("RECORD_NOT_CANONICAL", "integers below 2^53", "a longer one")
    return fields


def _with_details_as_written(fields: Any) -> bytes:
    """Sorted but for the `details` of a refusal: older records have them in the order they came.

    It changes nothing in what is said, and the leaf commits to these bytes.
    """
    body = fields.get("body") if isinstance(fields, dict) else None
    details = body.get("details") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(details, dict):
        return b""
    inside = {name: body[name] for name in sorted(body)}
    inside["details"] = msgspec.Raw(msgspec.json.encode(details))
    outside = {**fields, "body": msgspec.Raw(_encode_in_order(inside))}
    return msgspec.json.encode(outside, order="sorted")


def _encode_in_order(fields: Fields) -> bytes:
    """The values sorted inside, the names as they stand."""
    raw = {
        name: value
        if isinstance(value, msgspec.Raw)
        else msgspec.Raw(msgspec.json.encode(value, order="sorted"))
        for name, value in fields.items()
    }
    return msgspec.json.encode(raw)


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"a number with a fraction: {text[:40]}")


_decoder = msgspec.json.Decoder(float_hook=_no_float)


def _integers_fit(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_integers_fit, value.values()))
    if isinstance(value, list):
        return all(map(_integers_fit, value))
    return not isinstance(value, int) or -MAX_INTEGER <= value <= MAX_INTEGER
