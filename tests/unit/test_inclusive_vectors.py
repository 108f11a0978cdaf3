"""The golden vectors of trips say what happened in a book, and nothing that is not theirs to say.

Their bytes are held by tests/unit/test_record.py, like those of every event.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from kernel.record import EventTypes
from services.inclusive.domain.events import EVENTS, TripCredited, TripRefused
from tests.support.shenzhen import LIN, METRO, the_city

FILES = sorted((Path(__file__).resolve().parents[1] / "vectors/events").glob("inclusive.*.json"))
TYPES = EventTypes(*EVENTS)


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


@pytest.mark.parametrize("event", [TripCredited, TripRefused])
def test_a_trip_in_clear_has_no_hour_place_order_rider_or_distance(
    event: type[msgspec.Struct],
) -> None:
    hidden = {"started", "ended", "from", "to", "place", "order", "rider", "ref", "distance", "at"}
    for name in event.__struct_fields__:
        assert not hidden & set(name.split("_")), name
