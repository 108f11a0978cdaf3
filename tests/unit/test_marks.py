"""Followers skip what does not hold their mark: nothing they have a command for may lack it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from kernel.record import RawRecord, decode_record
from services.accounts.domain.events import Account, Claim, EntryPosted, Leg, Purpose
from services.market import reactions as market
from services.market.config import BOOK
from services.registry import reactions as registry

VECTORS = Path(__file__).parent.parent / "vectors" / "events"
FORESTER, CITY = "h-forester22222222", "h-citygroup2222222"


def records() -> list[bytes]:
    """Every golden record of the accounts book, and its entries between any two purposes."""
    found = [json.loads(path.read_text())["record"].encode() for path in VECTORS.glob("accounts.*")]
    (plain,) = VECTORS.glob("accounts.EntryPosted.json")
    fields = json.loads(json.loads(plain.read_text())["record"])
    for debit in Purpose:
        for credit in Purpose:
            for claim in (None, Claim("兰州新区", "", "中和")):
                leg = Leg(
                    1, "CEA-2024", Account(CITY, credit, BOOK), Account(FORESTER, debit, BOOK), []
                )
                fields["body"] = msgspec.to_builtins(EntryPosted(legs=[leg], claim=claim))
                found.append(msgspec.json.encode(fields, order="sorted"))
    return found


@pytest.mark.parametrize(
    ("react", "marks"),
    [
        (market.react_to_accounts, market.MARKS),
        (registry.react_to_accounts, registry.MARKS),
    ],
    ids=["market", "registry"],
)
def test_every_event_that_is_answered_bears_the_mark_and_not_every_event_does(
    react: Callable[[RawRecord], object], marks: tuple[bytes, ...]
) -> None:
    answered = [data for data in records() if react(decode_record(data)) is not None]
    assert answered
    assert all(any(mark in data for mark in marks) for data in answered)
    assert not all(any(mark in data for mark in marks) for data in records())
