"""Parts that items of every service have: acts and instants, from protobuf and to it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from tanzhang.kernel.v1 import items_pb2

from kernel.errors import Kind, Refused
from kernel.frames import StoredEvent
from kernel.values import MAX_INSTANT_MS, MAX_INTEGER, SHANGHAI_MS, Act, Caller

E = TypeVar("E")

LATEST_MS: Final = MAX_INSTANT_MS - SHANGHAI_MS  # later ones have no business day to be written


def instant_of(timestamp: Timestamp, field: str) -> int:
    """Milliseconds since the epoch; finer fractions are refused, not rounded."""
    ms, rest = divmod(timestamp.nanos, 1_000_000)
    at_ms = timestamp.seconds * 1000 + ms
    if rest or not 0 <= timestamp.nanos < 1_000_000_000 or not 0 <= at_ms <= LATEST_MS:
        raise Refused(
            "INSTANT_MALFORMED",
            f"{field}: expected whole milliseconds of the years 1970 to 9999 in Shanghai,"
            f" got {timestamp.seconds} s and {timestamp.nanos} ns",
            Kind.INVALID,
            field=field,
        )
    return at_ms


def enum_of(known: Mapping[Any, E], number: int, field: str) -> E:
    """The word of ours for an enum's number."""
    value = known.get(number)
    if value is None:
        raise Refused(
            "UNKNOWN_VALUE",
            f"{field}: expected one of 1..{max(known)}, got {number}",
            Kind.INVALID,
            field=field,
            actual=number,
        )
    return value


def timestamp_of(at_ms: int) -> Timestamp:
    seconds, ms = divmod(at_ms, 1000)
    return Timestamp(seconds=seconds, nanos=ms * 1_000_000)


def disclosed_messages(stored: Iterable[StoredEvent]) -> list[items_pb2.DisclosedEvent]:
    return [
        items_pb2.DisclosedEvent(position=one.position, record=one.record, salt=one.salt)
        for one in stored
    ]


def cause_of(message: items_pb2.Cause, caller: Caller) -> tuple[str, int]:
    """The event an item carries out; only who owns its book may say so."""
    if f"book:{message.book}" not in caller.roles:
        raise Refused(
            "CAUSE_NOT_YOURS",
            f"expected role book:{message.book[:40]} of who names its events as a cause",
            Kind.FORBIDDEN,
            needed=f"book:{message.book[:40]}",
        )
    if message.position > MAX_INTEGER:
        raise Refused(
            "POSITION_OUT_OF_RANGE",
            f"cause: expected a position up to {MAX_INTEGER}, got {message.position}",
            Kind.INVALID,
        )
    return message.book, message.position


def act_of(message: items_pb2.Act) -> Act:
    return Act(message.key_id, base64.b64encode(message.signature).decode(), message.statement)


def act_message(act: Act) -> items_pb2.Act:
    return items_pb2.Act(
        key_id=act.key_id, signature=base64.b64decode(act.signature), statement=act.statement
    )
