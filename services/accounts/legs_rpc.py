"""Accounts, serial ranges and legs: protobuf to values and back, for every part of the RPCs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.rpc.items import enum_of, timestamp_of
from kernel.values import check_text
from services.accounts.domain import events

MAX_WORD_CHARS: Final = 80  # no holder, asset or batch has a longer name

PURPOSES: Final = {
    pb.Purpose.Value(f"PURPOSE_{purpose.name}"): purpose for purpose in events.Purpose
}
# By word: a purpose is its word.
PURPOSE_NUMBERS: Final[dict[str, pb.Purpose.ValueType]] = {
    purpose: number for number, purpose in PURPOSES.items()
}


def leg_of(leg: pb.Leg) -> events.Leg:
    ranges = leg.serials
    return events.Leg(
        leg.amount,
        leg.asset,
        account_of(leg.credit),
        account_of(leg.debit),
        ranges_of(ranges) if ranges else [],
    )


def account_of(account: pb.Account) -> events.Account:
    number = account.purpose
    purpose = PURPOSES.get(number) or enum_of(PURPOSES, number, "purpose")
    return events.Account(account.holder, purpose, account.ref)


def ranges_of(ranges: Sequence[pb.SerialRange]) -> list[events.SerialRange]:
    return [events.SerialRange(block.batch, block.first, block.last) for block in ranges]


def account_message(holder: str, purpose: str, ref: str) -> pb.Account:
    return pb.Account(holder=holder, purpose=PURPOSE_NUMBERS[purpose], ref=ref)


def range_messages(ranges: Sequence[events.SerialRange]) -> list[pb.SerialRange]:
    return [pb.SerialRange(batch=b.batch, first=b.first, last=b.last) for b in ranges]


def optional_timestamp(at_ms: int | None) -> Timestamp | None:
    return None if at_ms is None else timestamp_of(at_ms)


def check_words(**words: str) -> None:
    """What a history is looked up by: the database takes no zero byte, not even in a question."""
    for what, word in words.items():
        check_text(word, what, MAX_WORD_CHARS, required=False)
