"""Golden vectors of the citizens' book: the exact bytes of every event type, for ever.

The vectors under tests/vectors/events/inclusive were written by the standard library's json and
hashlib. A vector is written once: if one fails, the code is wrong.
"""

from __future__ import annotations

import hashlib
import json
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel.record import EventTypes, Record, commit, encode_record
from services.inclusive.domain.events import EVENTS, TripCredited, TripRefused
from tests.support.shenzhen import LIN, METRO, the_city

FILES = sorted((Path(__file__).resolve().parents[1] / "vectors/events/inclusive").glob("*.json"))
TYPES = EventTypes(*EVENTS)

vectors = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def type_of(path: Path) -> str:
    return path.stem.removeprefix("inclusive.").partition("-")[0]


def test_every_event_type_has_a_golden_vector() -> None:
    assert {type_of(path) for path in FILES} == {event.__name__ for event in EVENTS}


@vectors
def test_a_vector_is_made_again_byte_for_byte(path: Path) -> None:
    vector = json.loads(path.read_text())
    data = vector["record"].encode()
    raw, body = TYPES.decode_canonical(data)
    assert type(body).__name__ == raw.type == type_of(path)
    fields = {field: getattr(raw, field) for field in raw.__struct_fields__}
    assert encode_record(Record(**{**fields, "body": body})) == data
    salt = bytes.fromhex(vector["salt_hex"])
    assert commit(salt, data).hex() == vector["commitment_hex"]
    assert hashlib.sha256(salt + data).hexdigest() == vector["commitment_hex"]


@vectors
def test_the_standard_librarys_encoder_writes_the_same_bytes(path: Path) -> None:
    text = json.loads(path.read_text())["record"]
    again = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert again == text


def test_the_vectors_of_trips_name_lin_and_the_metro_and_can_be_evolved() -> None:
    book = the_city()
    for path in FILES:
        _, body = TYPES.decode_canonical(json.loads(path.read_text())["record"].encode())
        if isinstance(body, TripCredited | TripRefused):
            assert body.operator == METRO
            assert body.citizen in (LIN, "")
            book.given(body)
    assert book.state.citizens[LIN].trips == 2
    assert book.replayed() == book.state


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_fields_stand_in_sorted_order_without_floats_and_refuse_others(
    event: type[msgspec.Struct],
) -> None:
    names = event.__struct_encode_fields__
    assert list(names) == sorted(names)
    assert event.__struct_config__.forbid_unknown_fields
    hints: dict[str, Any] = typing.get_type_hints(event)
    assert not [name for name, hint in hints.items() if "float" in str(hint)]


@pytest.mark.parametrize("event", [TripCredited, TripRefused])
def test_a_trip_in_clear_has_no_hour_place_order_rider_or_distance(
    event: type[msgspec.Struct],
) -> None:
    hidden = {"started", "ended", "from", "to", "place", "order", "rider", "ref", "distance", "at"}
    for name in event.__struct_fields__:
        assert not hidden & set(name.split("_")), name
