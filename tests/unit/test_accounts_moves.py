"""Every event of the accounts book that moves value is projected, whoever adds the next one."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel.errors import InvariantBroken
from kernel.frames import StoredEvent
from services.accounts.domain import events
from services.accounts.domain.events import EVENTS, Leg
from services.accounts.holdings import Held, Holdings, decode_holdings, encode_holdings
from services.accounts.projections import Moving, decode_moves
from tests.support.checkout import ROOT

# Legs that are only promised: another event moves them, in its own `legs`.
PROMISED = {("TransferFiled", "moves")}
VECTORS = sorted((ROOT / "tests" / "vectors" / "events").glob("accounts.*.json"))


def record_of(path: Path) -> bytes:
    record: str = json.loads(path.read_text())["record"]
    return record.encode()


def moves_of(record: bytes) -> Moving:
    return decode_moves(StoredEvent(7, record, bytes(16), bytes(32)))


def names_a_leg(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Does a value of this type hold a Leg, however deep?"""
    if annotation is Leg:
        return True
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        if annotation in seen:
            return False
        inner = typing.get_type_hints(annotation).values()
        return any(names_a_leg(one, seen | {annotation}) for one in inner)
    return any(names_a_leg(one, seen) for one in typing.get_args(annotation))


def test_legs_that_move_stand_in_a_field_of_that_name_and_nowhere_else() -> None:
    moving = set()
    for event in EVENTS:
        for name, annotation in typing.get_type_hints(event).items():
            if names_a_leg(annotation) and (event.__name__, name) not in PROMISED:
                assert (name, annotation) == ("legs", list[Leg]), event.__name__
                moving.add(event.__name__)
    assert "EntryPosted" in moving
    shown = {path.name.split(".")[1].partition("-")[0] for path in VECTORS}
    assert moving <= shown, "each has a golden record, which the next test projects"


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_what_a_golden_record_moves_is_what_is_projected_of_it(path: Path) -> None:
    record = record_of(path)
    said = json.loads(record)
    moving = moves_of(record)
    legs = [json.loads(msgspec.json.encode(leg)) for leg in moving.body.legs]
    assert legs == said["body"].get("legs", [])
    assert (moving.position, moving.at, moving.on) == (said["position"], said["at"], said["on"])


def test_what_is_no_record_stops_the_projection() -> None:
    for record in (b"", b"{}", b'{"at":"x","body":{"legs":[{}]},"on":"x","position":1}'):
        with pytest.raises(InvariantBroken, match="position 7"):
            moves_of(record)


def test_holdings_come_back_from_an_anchor_as_they_were() -> None:
    held = Held(3, [events.SerialRange("LZXQ-2021", 4, 6)])
    holdings = Holdings({("CNY", "available", ""): Held(5), ("TICKET-LZXQ-1", "held", "x"): held})
    assert decode_holdings(encode_holdings(holdings)) == holdings
    with pytest.raises(InvariantBroken):
        decode_holdings(b"[[1]]")


def test_serials_that_are_not_there_cannot_leave() -> None:
    block = events.SerialRange("LZXQ-2021", 4, 6)
    with pytest.raises(InvariantBroken, match="serial 4 is not in the account"):
        Holdings().move_serials(("TICKET-LZXQ-1", "available", ""), block, comes=False)
