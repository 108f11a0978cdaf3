"""Shenzhen's taps become trips: rows, pairing, the network's lengths and the fares' bounds."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.replay.shenzhen_fares import Bounds, fare_bounds
from cli.replay.shenzhen_network import (
    IN_SERVICE_2018,
    Network,
    great_circle_m,
    read_network,
    station_name,
)
from cli.replay.shenzhen_plan import Plan, plan_files, plan_rows
from cli.replay.shenzhen_rows import BUS, ENTRY, EXIT, Tap, read_taps
from cli.replay.tables import RefusedRow
from kernel.errors import Refused
from tests.support.checkout import ROOT

SAMPLE = ROOT / "tests" / "vectors" / "shenzhen"
TAPS, METRO = SAMPLE / "taps.csv", SAMPLE / "metro.json"
MORNING_MS = 1_535_752_800_000  # 2018-09-01 06:00 in Shenzhen


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_files(TAPS, METRO)


@pytest.fixture(scope="module")
def metro() -> Network:
    return read_network(METRO)


def tap(
    kind: str,
    station: str,
    minute: int,
    *,
    card: str = "COMMUTERA",
    line: str = "地铁三号线",
    device: str = "261018101",
    fare_fen: int = 0,
) -> Tap:
    name = f"{kind} {station} {minute} {card} {device}"
    at_ms = MORNING_MS + minute * 60_000
    return Tap(2, name, at_ms, card, kind, line, station, device, fare_fen, fare_fen)


def planned(*taps: Tap, metro: Network) -> Plan:
    return plan_rows("taps.csv", taps, metro)


def ways(plan: Plan) -> list[tuple[str, str]]:
    return [(trip.from_place, trip.to_place) for trip in plan.trips]


# ---- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason", "says"),
    [
        (36, "ROW_REPEATED", "row: expected a tap of its own, got 'one seen 2 times'"),
        (37, "INSTANT_UNREADABLE", "YYYY-MM-DD hh:mm:ss, got '2018-13-01 06:27:00'"),
        (38, "CARD_UNREADABLE", "6 to 12 capital letters, got '6 characters'"),
        (39, "FARE_UNREADABLE", "deal_value: expected whole fen, got '2.00'"),
        (40, "FARE_TOO_LARGE", "expected at most 20000 fen, got '2000000'"),
        (41, "PAID_ABOVE_FARE", "expected at most the fare, 200, got '300'"),
        (42, "FARE_AT_ENTRY", "expected 0 at an entry, got '200'"),
        (43, "DEVICE_UNREADABLE", "expected 9 digits, got '26101910'"),
        (44, "TYPE_UNKNOWN", "expected 地铁入站, 地铁出站 or 巴士, got '渡轮'"),
        (45, "ROW_BLANK", "expected a row, got only empty cells"),
        (46, "CELLS_MISSING_OR_EXTRA", "expected 11 cells, got 3"),
        (47, "VALUE_MISSING", "station: expected a value, got ''"),
    ],
)
def test_a_badly_formed_tap_is_refused_by_its_row(
    plan: Plan, row: int, reason: str, says: str
) -> None:
    (refused,) = [one for one in plan.refused if one.row == row]
    assert (refused.file, refused.reason) == ("taps.csv", reason)
    assert says in refused.message


def test_the_other_rows_go_in(plan: Plan) -> None:
    counts = plan.counts
    assert (counts.rows, counts.taps, counts.refused_rows) == (46, 34, 12)
    assert len(plan.refused) == 12


def test_a_refused_card_number_is_not_shown(tmp_path: Path) -> None:
    header, first, *_ = TAPS.read_text(encoding="utf-8").splitlines()
    file = tmp_path / "taps.csv"
    file.write_text(f"{header}\n{first.replace('NNNNNNNBC', '0755-8888-7777')}\n", encoding="utf-8")
    (refused,) = read_taps(file)
    assert isinstance(refused, RefusedRow)
    assert refused.reason == "CARD_UNREADABLE"
    assert "0755" not in refused.message


def test_instants_of_the_source_are_shanghai_time() -> None:
    first = next(iter(read_taps(TAPS)))
    assert isinstance(first, Tap)
    assert first.at_ms == 1_535_723_446_000  # 2018-08-31T13:50:46Z
    assert (first.kind, first.station, first.gates) == (ENTRY, "木棉湾", "261019")


def test_taps_without_a_fare_column_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "taps.csv"
    file.write_text("deal_date,card_no\n", encoding="utf-8")
    with pytest.raises(Refused, match="expected a header with deal_value") as caught:
        list(read_taps(file))
    assert caught.value.reason == "HEADER_BROKEN"


# ---- the network ---------------------------------------------------------------------------------


def test_a_degree_of_latitude_is_a_great_circle_of_111195_m() -> None:
    assert great_circle_m((114.0, 22.0), (114.0, 23.0)) == 111_195
    assert great_circle_m((114.0, 22.5), (114.0, 22.5)) == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("布吉", "布吉"),
        ("罗湖站", "罗湖"),
        ("深圳北站", "深圳北"),
        ("机场（地铁）", "机场"),
        ("深圳大学", "深大"),
        ("马鞍山", "马安山"),
        ("?I岭", "孖岭"),
    ],
)
def test_a_station_has_one_name_however_it_is_written(text: str, name: str) -> None:
    assert station_name(text) == name


def test_a_way_changes_lines_where_stations_have_one_name(metro: Network) -> None:
    on_line_3 = metro.shortest_m("木棉湾", "布吉")
    on_line_5 = metro.shortest_m("布吉", "太安")
    assert (on_line_3, on_line_5) == (1_140, 3_619)
    assert metro.shortest_m("木棉湾", "太安") == 1_140 + 3_619


def test_what_opened_after_2018_is_not_ridden(metro: Network) -> None:
    later = ("前湾", "高新南", "莲塘", "福保", "清湖北", "岗厦北")
    assert not [station for station in later if station in metro]
    assert all(
        metro.lines[span.taps_name][0] in (span.first, span.last) for span in IN_SERVICE_2018
    )


def test_every_station_is_reached_and_the_way_back_is_as_long(metro: Network) -> None:
    stations = sorted(metro.neighbours)
    for start in stations:
        for end in stations:
            assert metro.shortest_m(start, end) == metro.shortest_m(end, start)
            assert metro.shortest_m(start, end) is not None
    assert metro.shortest_m("布吉", "布吉") == 0


def test_a_shortcut_is_found_wherever_it_lies() -> None:
    network = Network()
    west, middle, east = (114.00, 22.55), (114.02, 22.56), (114.04, 22.55)
    network.add_line("around", {"竹子林": west, "车公庙": middle, "福田": east})
    around = network.shortest_m("竹子林", "福田")
    network.add_line("straight", {"竹子林": west, "福田": east})
    assert around == great_circle_m(west, middle) + great_circle_m(middle, east)
    assert network.shortest_m("竹子林", "福田") == great_circle_m(west, east)


def test_an_unknown_station_has_no_way(metro: Network) -> None:
    assert metro.shortest_m("光明城", "布吉") is None
    assert metro.shortest_m("布吉", "光明城") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines.pop("Line5"), "expected a line Line5, got none"),
        (lambda lines: lines["Line5"].update(id2name=[{}]), "expected stations with their center"),
        (lambda lines: lines["Line7"]["id2name"][0].update({"0": "坪山"}), "a station 太安"),
        (
            lambda lines: lines["Line1"]["center_gps"][0].update({"3": [116.4, 39.9]}),
            "neighbours at most 10000 m apart",
        ),
        (
            lambda lines: lines["Line1"]["center_gps"][0].update({"3": ["nan", 22.5]}),
            "stations with their center_gps, got .*nan, 22.5 is no place",
        ),
        (
            lambda lines: lines["Line1"]["center_gps"][0].update({"3": [22.5, 114.1]}),
            "22.5, 114.1 is no place",
        ),
    ],
)
def test_a_network_with_a_broken_line_is_refused(tmp_path: Path, change: Any, says: str) -> None:
    lines = json.loads(METRO.read_text(encoding="utf-8"))
    change(lines)
    file = tmp_path / "metro.json"
    file.write_text(json.dumps(lines), encoding="utf-8")
    with pytest.raises(Refused, match=says) as caught:
        read_network(file)
    assert caught.value.reason == "NETWORK_UNREADABLE"


@pytest.mark.parametrize("content", [b"no JSON", b"[]", b'{"Line1": []}', b"[" * 100_000])
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "metro.json"
    file.write_bytes(content)
    with pytest.raises(Refused, match="expected"):
        read_network(file)


# ---- fares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fare_fen", "bounds"),
    [
        (200, Bounds(0, 4_000)),
        (300, Bounds(4_000, 8_000)),
        (400, Bounds(8_000, 12_000)),
        (500, Bounds(12_000, 18_000)),
        (600, Bounds(18_000, 24_000)),
        (700, Bounds(24_000, 32_000)),
        (1_400, Bounds(80_000, 88_000)),
        (0, None),
        (100, None),
        (250, None),
        (20_000, None),
    ],
)
def test_a_fare_pays_for_a_band_of_lengths(fare_fen: int, bounds: Bounds | None) -> None:
    assert fare_bounds(fare_fen) == bounds


def test_bands_follow_one_another_without_a_gap() -> None:
    bands = [bounds for fare in range(200, 3_000, 100) if (bounds := fare_bounds(fare))]
    assert all(one.metres == other.least_metres for one, other in pairwise(bands))


def test_a_length_misses_its_band_by_so_many_metres() -> None:
    band = Bounds(4_000, 8_000)
    offs = [band.off_m(metres) for metres in (3_696, 4_000, 4_001, 8_000, 8_020)]
    assert offs == [-304, 0, 0, 0, 20]


# ---- trips ---------------------------------------------------------------------------------------


def test_a_tap_in_and_the_next_tap_out_are_one_trip(metro: Network) -> None:
    plan = planned(
        tap(EXIT, "布吉", 6, fare_fen=200), tap(ENTRY, "木棉湾", 0, device="261019101"), metro=metro
    )
    (trip,) = plan.trips
    assert (trip.from_place, trip.to_place, trip.network_m) == ("木棉湾", "布吉", 1_140)
    assert (trip.started_ms, trip.ended_ms) == (MORNING_MS, MORNING_MS + 360_000)
    assert trip.fare == Bounds(0, 4_000)


def test_a_second_tap_in_leaves_the_first_without_an_end(metro: Network) -> None:
    plan = planned(
        tap(ENTRY, "双龙", 0, device="261032101"),
        tap(ENTRY, "布吉", 5),
        tap(EXIT, "老街", 20, device="261011101", fare_fen=300),
        metro=metro,
    )
    assert ways(plan) == [("双龙", ""), ("布吉", "老街")]
    assert (plan.counts.pairs, plan.counts.entries_alone) == (1, 1)
    assert plan.trips[0].ended_ms is None
    assert plan.trips[0].network_m is None


def test_a_tap_out_alone_is_a_trip_without_a_start(metro: Network) -> None:
    plan = planned(
        tap(EXIT, "布吉", 1, fare_fen=500), tap(EXIT, "布吉", 2, fare_fen=200), metro=metro
    )
    assert ways(plan) == [("", "布吉"), ("", "布吉")]
    assert plan.counts.exits_alone == 2
    assert all(trip.started_ms is None and trip.fare is None for trip in plan.trips)


def test_taps_of_two_cards_make_no_pair(metro: Network) -> None:
    plan = planned(
        tap(ENTRY, "布吉", 0, card="COMMUTERA"),
        tap(EXIT, "布吉", 9, card="COMMUTERB", fare_fen=200),
        metro=metro,
    )
    assert plan.counts.pairs == 0
    assert len(plan.trips) == 2


def test_a_bus_boarding_never_has_an_end_nor_breaks_a_metro_ride(metro: Network) -> None:
    plan = planned(
        tap(ENTRY, "布吉", 0),
        tap(BUS, "M433(皇岗）", 5, line="金华南巴士", device="227000169", fare_fen=200),
        tap(EXIT, "老街", 20, device="261011101", fare_fen=300),
        metro=metro,
    )
    assert [(trip.mode, trip.ended_ms is None) for trip in plan.trips] == [
        ("metro", False),
        ("bus", True),
    ]
    assert plan.trips[1].from_place == ""  # a route is no place
    assert plan.unmatched_stations == {}


def test_gates_that_do_not_say_their_station_take_their_neighbours_name(metro: Network) -> None:
    plan = planned(
        tap(ENTRY, "-", 0, device="261018149"),
        tap(EXIT, "布吉", 2, device="261018101", fare_fen=200),
        metro=metro,
    )
    assert ways(plan) == [("布吉", "布吉")]
    assert plan.counts.named_by_their_gates == 1
    assert plan.unmatched_stations == {}


def test_gates_that_nobody_names_are_a_place_of_their_own(metro: Network) -> None:
    plan = planned(
        tap(ENTRY, "-", 0, device="268011101"),
        tap(EXIT, "-", 2, device="268011140", fare_fen=200),
        tap(EXIT, "-", 3, device="268012140", card="COMMUTERB", fare_fen=200),
        metro=metro,
    )
    assert ways(plan) == [("gates 268011", "gates 268011"), ("", "gates 268012")]
    assert plan.unmatched_stations == {"gates 268011": 2, "gates 268012": 1}


def test_gates_that_say_two_stations_name_nobody_elses(metro: Network) -> None:
    plan = planned(
        tap(ENTRY, "布吉", 0),
        tap(EXIT, "老街", 9, fare_fen=200),
        tap(ENTRY, "-", 12),
        metro=metro,
    )
    assert plan.trips[-1].from_place == "gates 261018"


def test_a_trip_from_an_unknown_station_has_no_length_by_the_network(plan: Plan) -> None:
    (trip,) = [trip for trip in plan.trips if trip.from_place == "光明城"]
    assert (trip.to_place, trip.network_m, trip.fare_fen) == ("布吉", None, 900)
    assert plan.unmatched_stations == {"gates 268099": 2, "光明城": 1}


def test_a_station_tapped_on_a_line_it_does_not_lie_on_is_reported(metro: Network) -> None:
    plan = planned(tap(ENTRY, "西丽湖", 0, line="地铁三号线"), metro=metro)
    assert plan.off_line == {"西丽湖 on 地铁三号线": 1}


def test_every_tap_is_in_exactly_one_trip(plan: Plan) -> None:
    assert sum(2 if trip.is_pair else 1 for trip in plan.trips) == plan.counts.taps
    assert len({trip.order for trip in plan.trips}) == len(plan.trips) == plan.counts.trips


def test_what_fares_say_of_the_lengths_is_counted_by_fare(plan: Plan) -> None:
    counted = [(one.fare_fen, one.within, one.below, one.above) for one in plan.fares.bands]
    assert counted == [(200, 7, 0, 1), (300, 0, 1, 0), (500, 1, 0, 0), (700, 1, 0, 0)]
    assert plan.fares.off_m == (-1_716, 14_338)
    assert plan.fares.not_in_tariff == 1  # 2.50 CNY


def test_who_leaves_where_he_entered_says_nothing_about_lengths(metro: Network) -> None:
    plan = planned(tap(ENTRY, "布吉", 0), tap(EXIT, "布吉", 2, fare_fen=200), metro=metro)
    assert plan.fares.bands == ()
    assert plan.counts.pairs_of_one_station == 1


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_changes_nothing(random: Any) -> None:
    rows = [row for row in read_taps(TAPS) if isinstance(row, Tap)]
    metro = read_network(METRO)
    expected = plan_rows("taps.csv", rows, metro)
    random.shuffle(rows)
    assert plan_rows("taps.csv", rows, metro) == expected


def test_an_order_names_no_card(plan: Plan) -> None:
    assert not [trip for trip in plan.trips if trip.card in trip.order]
