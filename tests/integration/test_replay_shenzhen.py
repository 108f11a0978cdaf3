"""`tanzhang replay shenzhen-tong` through the real services: twice the same, every tap told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.clients import Books, Persona
from cli.own_stack import own_stack
from cli.workspace import Workspace
from tests.support.checkout import ROOT

SAMPLE = ROOT / "tests" / "vectors" / "shenzhen"
TAPS, METRO = SAMPLE / "taps.csv", SAMPLE / "metro.json"
REPLAY_TIMEOUT_S = 300
# A ride after all those of the sample.
LATER_TAPS = (
    "2018-09-01 06:58:00,2018-09-01 00:00:00,SSSSSSSAB,0,地铁入站,地铁五号线,"
    "IGT-101,五和,0,0,263026101\n"
    "2018-09-01 07:07:00,2018-09-01 00:00:00,SSSSSSSAB,200,地铁出站,地铁五号线,"
    "OGT-102,民治,0,190,263025102\n"
)
AUDITOR = Persona("wen.auditor", ("auditor",))


def tanzhang(
    *arguments: str, timeout_s: int = REPLAY_TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@dataclass(frozen=True)
class Replayed:
    """The reports of some runs on one data folder, and the citizens' book after them."""

    reports: list[dict[str, Any]]
    records: list[str]
    logs: str

    @property
    def first(self) -> dict[str, Any]:
        return self.reports[0]

    @property
    def second(self) -> dict[str, Any]:
        return self.reports[1]


def replay_all(network: Path, folder: Path, *files: Path) -> Replayed:
    """One run after the other over one data folder that is served all the while."""
    directory = folder / "var"
    reports = []
    with own_stack(directory):
        for number, taps in enumerate(files):
            report = folder / f"{number}.json"
            done = tanzhang(
                *("replay", "shenzhen-tong", str(taps), "--network", str(network)),
                *("--dir", str(directory), "--json", str(report)),
            )
            assert done.returncode == 0, done.stderr + done.stdout
            reports.append(json.loads(report.read_text(encoding="utf-8")))
        records = asyncio.run(read_book(Workspace(directory)))
    logs = "".join(file.read_text(encoding="utf-8") for file in (directory / "logs").glob("*.log"))
    return Replayed(reports, records, logs)


async def read_book(workspace: Workspace) -> list[str]:
    async with Books(workspace) as books:
        return [event.record.decode() async for event in books.read_events(AUDITOR, "inclusive")]


def without_run(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "run"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    folder = tmp_path_factory.mktemp("shenzhen")
    grown = folder / "grown.csv"
    grown.write_text(TAPS.read_text(encoding="utf-8") + LATER_TAPS, encoding="utf-8")
    return replay_all(METRO, folder, TAPS, TAPS, grown)


def test_the_second_run_reports_the_same_and_records_nothing(
    sample: Replayed,
) -> None:
    first, second = sample.first, sample.second
    assert without_run(first) == without_run(second)
    assert (first["run"]["trips_already_recorded"], first["run"]["trips_newly_recorded"]) == (0, 19)
    assert (second["run"]["trips_already_recorded"], second["run"]["trips_newly_recorded"]) == (
        19,
        0,
    )
    assert first["run"]["citizens_newly_recorded"] == 17
    assert second["run"]["citizens_newly_recorded"] == 0


def test_every_trip_earns_or_is_refused_by_its_rule(
    sample: Replayed,
) -> None:
    trips = sample.first["trips"]
    assert (trips["reported"], trips["credited"], trips["refused"]) == (19, 10, 9)
    assert trips["refused_by_rule"] == {
        "DISTANCE_MISSING": 1,  # from 光明城, which the network does not have
        "ENTRY_IS_EXIT": 2,
        "PAID_AREA_EXCEEDED": 1,  # in at 21:50, out at 6:28
        "TAP_WITHOUT_PARTNER": 4,
        "TOO_FAST": 1,  # from the airport to 车公庙 in ten minutes
    }


def test_metres_and_milligrams_are_those_of_the_network_and_the_factor(
    sample: Replayed,
) -> None:
    report = sample.first
    # 木棉湾-布吉, 福田-布吉, 老街-大剧院 twice, 五和-民治, 清湖-福田口岸 (as its fare pays), 深大-
    # 世界之窗, 孖岭-景田, 罗湖-国贸, 布吉-太安
    metres = [1_140, 12_740, 850, 850, 2_280, 4_000, 3_080, 3_160, 890, 3_610]
    assert report["trips"]["distance_m"] == sum(metres)
    assert report["trips"]["reduction_mg"] == sum(46_800 * one // 1000 for one in metres)
    assert report["trips"]["flags"] == {"DISTANCES_DIFFER": 2}
    assert report["differences"] == {"count": 0, "first": []}
    assert report["sums"]["agree"]


def test_what_might_have_been_is_measured_and_never_sold(
    sample: Replayed,
) -> None:
    trips = sample.first["trips"]
    assert (trips["points"], trips["saleable"]) == (0, 0)
    assert trips["not_saleable_because"] == {"COUNTERFACTUAL": 10}


def test_every_bad_row_is_reported_by_its_number(
    sample: Replayed,
) -> None:
    report = sample.first
    assert [one["row"] for one in report["refused"]] == list(range(36, 48))
    assert report["rows"] == report["rows"] | {"read": 46, "taps": 34, "refused": 12}


def test_whose_data_and_whose_key_it_is_is_said(
    sample: Replayed,
) -> None:
    report = sample.first
    assert any("HKUST-Trans-Lab" in source for source in report["sources"])
    assert any("Shenzhen open data" in source for source in report["sources"])
    assert any("it is ours, not Shenzhen Tong's" in line for line in report["choices"])


def test_a_file_that_has_grown_earns_only_what_is_new(sample: Replayed) -> None:
    trips = sample.reports[2]["trips"]
    assert trips["refused_by_rule"] == sample.first["trips"]["refused_by_rule"] | {"TRIP_KNOWN": 10}
    assert (trips["credited"], trips["distance_m"], trips["reduction_mg"]) == (1, 2_280, 106_704)
    assert sample.reports[2]["run"]["citizens_newly_recorded"] == 1


def test_no_card_and_no_place_stands_in_an_event_or_a_log(sample: Replayed) -> None:
    assert (
        sum('"type":"Trip' in record for record in sample.records) == 19 + 1 + 20 + 1
    )  # and two batches
    for code in ("AAAAAAABC", "PPPPPPPAB", "QQQQQQQAB", "木棉湾", "szt-"):
        assert not [record for record in sample.records if code in record]
        assert code not in sample.logs


@pytest.mark.parametrize(
    ("taps", "network", "says"),
    [
        (SAMPLE / "none.csv", METRO, "none.csv: expected a readable file"),
        (TAPS, SAMPLE / "none.json", "none.json: expected a readable file"),
        (METRO, METRO, "expected a header with deal_date"),
        (TAPS, TAPS, "expected JSON"),
    ],
)
def test_files_that_are_not_what_they_should_be_cannot_be_tried(
    tmp_path: Path, taps: Path, network: Path, says: str
) -> None:
    var = tmp_path / "var"
    done = tanzhang(
        *("replay", "shenzhen-tong", str(taps), "--network", str(network), "--dir", str(var)),
        timeout_s=60,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert not var.exists()


@pytest.mark.real_data
def test_the_published_taps_replay_whole_and_earn_nothing_twice(tmp_path: Path) -> None:
    data = ROOT / os.environ.get("TANZHANG_DATA", "../shared/data")
    taps = data / "shenzhen-tong-2018" / "szt_card_data_10000.csv"
    network = data / "shenzhen-metro-network" / "shenzhen_Metro.json"
    if not (taps.is_file() and network.is_file()):
        message = f"the published data are not there: no {taps.name} under TANZHANG_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    replayed = replay_all(network, tmp_path, taps, taps)
    first, second = replayed.first, replayed.second
    assert without_run(first) == without_run(second)
    assert first["rows"] == {"read": 10_000, "taps": 10_000, "refused": 0, "refused_by_reason": {}}
    assert first["taps"]["pairs"] == 368
    assert first["trips"]["reported"] == 9_632
    assert first["trips"]["refused_by_rule"] == {"ENTRY_IS_EXIT": 222, "TAP_WITHOUT_PARTNER": 9_264}
    assert first["trips"]["credited"] == 146
    assert first["trips"]["distance_m"] == 550_190
    assert first["fares"] | {"bands": []} == {
        "pairs": 146,
        "within": 140,
        "below": {"pairs": 6, "median_m": 232, "most_m": 304},
        "above": {"pairs": 0, "median_m": None, "most_m": None},
        "not_in_tariff": 0,
        "bands": [],
    }
    assert first["off_line"] == {}
    assert first["differences"]["count"] == 0
    assert second["run"]["trips_newly_recorded"] == 0
    assert second["run"]["citizens_newly_recorded"] == 0
