"""What is sent of Shenzhen's trips: distances with their witness, under a digest all agree on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.inclusive_client import Distance, Trip, trips_digest
from cli.replay.shenzhen_feed import Names, reported_trip
from cli.replay.shenzhen_plan import Plan, plan_files
from tests.support.checkout import ROOT

SAMPLE = ROOT / "tests" / "vectors" / "shenzhen"
OPERATOR = Names(Ed25519PrivateKey.from_private_bytes(bytes(32)))
PAGE = ROOT / "docs" / "reference" / "trip-batches.md"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_files(SAMPLE / "taps.csv", SAMPLE / "metro.json")


def sent(plan: Plan, from_place: str) -> Trip:
    (trip,) = [trip for trip in plan.trips if trip.from_place == from_place and trip.is_pair]
    return reported_trip(trip, OPERATOR)


def test_the_example_of_the_page_has_the_digest_the_page_gives() -> None:
    digest = re.search(r"```text\n([0-9a-f]{64})\n```", PAGE.read_text(encoding="utf-8"))
    assert digest is not None
    metro = Trip(
        order="SZT-20261120-0001",
        rider_ref="card 4403",
        mode="metro",
        evidence="fare_gate",
        started_ms=1_795_132_800_000,
        ended_ms=1_795_134_600_000,
        from_place="罗湖",
        to_place="世界之窗",
        distances=(Distance("network", 10_240), Distance("fare", 12_000, 8_000)),
    )
    bus = Trip(
        order="SZT-20261120-0002",
        rider_ref="card 4403",
        mode="bus",
        evidence="fare_gate",
        started_ms=1_795_135_800_000,
        ended_ms=None,
        from_place="大剧院",
        to_place="",
    )
    assert trips_digest([metro, bus]) == digest[1]
    assert trips_digest([bus, metro]) != digest[1]


def test_a_ride_is_sent_with_its_length_and_its_fares_band(plan: Plan) -> None:
    trip = sent(plan, "福田")
    assert trip.distances == (Distance("network", 12_742), Distance("fare", 18_000, 12_000))
    assert trip.evidence == "fare_gate"
    assert trip.rider_ref == "BBBBBBBCD"


def test_a_ride_from_an_unknown_station_is_sent_with_its_fare_alone(plan: Plan) -> None:
    assert sent(plan, "光明城").distances == (Distance("fare", 48_000, 40_000),)


def test_a_fare_the_tariff_does_not_know_is_not_sent(plan: Plan) -> None:
    (trip,) = [trip for trip in plan.trips if trip.fare_fen == 250]
    assert reported_trip(trip, OPERATOR).distances == (Distance("network", 851),)


def test_a_boarding_is_sent_without_an_end_or_a_length(plan: Plan) -> None:
    (first, _) = [trip for trip in plan.trips if trip.mode == "bus"]
    trip = reported_trip(first, OPERATOR)
    assert (trip.ended_ms, trip.from_place, trip.to_place, trip.distances) == (None, "", "", ())


def test_who_has_the_published_file_alone_cannot_make_an_order(plan: Plan) -> None:
    stranger = Names(Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
    trip = plan.trips[0]
    order = reported_trip(trip, OPERATOR).order
    assert trip.order not in order
    assert reported_trip(trip, stranger).order != order
    assert reported_trip(trip, OPERATOR).order == order


def test_the_same_taps_in_another_file_are_the_same_orders(plan: Plan, tmp_path: Path) -> None:
    header, *rows = (SAMPLE / "taps.csv").read_text(encoding="utf-8").splitlines()
    file = tmp_path / "turned.csv"
    file.write_text("\n".join([header, *reversed(rows)]) + "\n", encoding="utf-8")
    turned = plan_files(file, SAMPLE / "metro.json")
    assert [trip.order for trip in turned.trips] == [trip.order for trip in plan.trips]
