"""docs/reference/trip-batches.md, computed again from its own words, and by our own code."""

from __future__ import annotations

import hashlib
import json
import re

import msgspec

from services.inclusive.domain.commands import Distance, DistanceSource, Evidence
from services.inclusive.domain.decide import TripBatch
from services.inclusive.domain.events import Mode
from services.inclusive.domain.measure import SignedTrip, digest_of, nullifier_of, payable_m
from tests.support.checkout import ROOT
from tests.support.shenzhen import METRO

PAGE = (ROOT / "docs" / "reference" / "trip-batches.md").read_text()
TRIPS, STATEMENT = re.findall(r"```json\n(.*?)\n```", PAGE, re.S)
(DIGEST,) = re.findall(r"```text\n([0-9a-f]{64})\n```", PAGE)


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_the_example_is_canonical_and_has_its_digest() -> None:
    trips = json.loads(TRIPS)
    assert canonical(trips) == TRIPS
    assert hashlib.sha256(TRIPS.encode()).hexdigest() == DIGEST
    assert digest_of(msgspec.convert(trips, list[SignedTrip])) == DIGEST


def test_the_order_of_trips_and_every_field_make_the_digest() -> None:
    trips = msgspec.json.decode(TRIPS, type=list[SignedTrip])
    assert digest_of([trips[1], trips[0]]) != DIGEST
    for field in SignedTrip.__struct_fields__:
        other = msgspec.structs.replace(trips[0], **{field: getattr(trips[1], field)})
        same = getattr(trips[0], field) == getattr(trips[1], field)
        assert (digest_of([other, trips[1]]) == DIGEST) == same, field
    assert set(json.loads(TRIPS)[0]) == set(SignedTrip.__struct_fields__)


def test_the_statement_is_what_the_service_reads() -> None:
    statement = msgspec.json.decode(STATEMENT, type=TripBatch)
    assert canonical(json.loads(STATEMENT)) == STATEMENT
    assert msgspec.json.encode(statement, order="sorted").decode() == STATEMENT
    assert (statement.count, statement.digest) == (len(json.loads(TRIPS)), DIGEST)


def test_the_page_names_every_word_that_may_stand_in_a_trip() -> None:
    for words in (Mode, Evidence, DistanceSource):
        for word in words:
            assert f"`{word.value}`" in PAGE
    for field in json.loads(TRIPS)[0]:
        assert f"| `{field}` |" in PAGE


def test_the_example_is_measured_as_the_page_says() -> None:
    distances = [
        Distance(DistanceSource(one["source"]), one["metres"], one["least_metres"])
        for one in json.loads(TRIPS)[0]["distances"]
    ]
    assert payable_m(distances) == 10_240


def test_a_nullifier_is_the_hash_the_page_says() -> None:
    expected = hashlib.sha256(METRO.encode() + b"\x00" + "订单-1".encode()).digest()
    assert nullifier_of(METRO, "订单-1") == expected
    assert nullifier_of(METRO, "订单-2") != expected
