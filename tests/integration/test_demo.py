"""`tanzhang demo`, twice on one folder: every figure is an answer, the second a new story.

A third time with processes that are killed while it is told.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.app import run
from cli.clients import OWNERS, Books
from cli.stack.supervisor import Supervisor
from cli.stage import PATIENCE_S
from cli.story import Story
from cli.telling import Teller
from cli.workspace import Workspace
from kernel.tlog.policy import parse_policy
from kernel.tlog.receipt import verify_receipt
from kernel.tlog.states import STATE_BOOK, verify_lien
from tests.support.checkout import ROOT

TELL_TIMEOUT_S = 300  # far more than it takes; anything longer is a hang


def tell(directory: Path, report: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    arguments = ["demo", "--dir", str(directory), "--json", str(report)]
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TELL_TIMEOUT_S,
        check=False,
    )
    return done, json.loads(report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def told_twice(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("demo")
    return [folder / "var", *(tell(folder / "var", folder / f"{n}.json") for n in (1, 2))]


def test_every_step_comes_out_as_told_both_times(told_twice: list[Any]) -> None:
    for done, report in told_twice[1:]:
        assert done.returncode == 0, done.stdout + done.stderr
        assert report["ok"] is True
        assert "every step came out as told" in done.stdout
    assert not Workspace(told_twice[0]).running()


def test_a_banks_and_a_regulators_witness_have_cosigned_every_log(told_twice: list[Any]) -> None:
    for done, report in told_twice[1:]:
        assert set(report["witnesses"]) == {*OWNERS, STATE_BOOK}
        for one in report["witnesses"].values():
            assert one["cosigned_by"] == ["bank", "regulator"]
        assert "cosigned by bank, regulator" in done.stdout
    policy = parse_policy((told_twice[0] / "policy.txt").read_bytes())
    assert (policy.quorum, list(policy.witnesses)) == ("witnesses", ["bank", "regulator"])


def test_the_published_figures_come_out(told_twice: list[Any]) -> None:
    for done, report in told_twice[1:]:
        assert sum(one["area_mu"] for one in report["projects"]) == 11_700
        assert sum(one["verified_t"] for one in report["projects"]) == 12_000
        assert report["issuance"]["issued_t"] == 12_000
        settlement, balances = report["settlement"], report["balances"]
        assert (settlement["quantity_t"], settlement["amount_fen"]) == (12_000, 50_328_000)
        assert settlement["legs"] == 4
        assert sum(settlement["paid_fen"].values()) == 50_328_000
        assert balances["group_tickets_t"] == 12_000
        assert balances["group_available_fen"] == 60_000_000 - 50_328_000
        assert report["quotes"]["last_fen_per_t"] == 4_194
        assert report["quotes"]["turnover_fen"] == 50_328_000
        assert "503,280.00 CNY" in done.stdout


def test_two_banks_lend_what_no_fixed_cap_would_have_let_them(told_twice: list[Any]) -> None:
    for done, report in told_twice[1:]:
        first, second = report["pledges"]
        assert first["loan_fen"] + second["loan_fen"] == 49_500_000
        assert first["value_fen"] + second["value_fen"] == 50_328_000
        assert {first["ltv_bp"], second["ltv_bp"]} == {9_835}
        assert {first["break_even_fen_per_t"], second["break_even_fen_per_t"]} == {4_125}
        assert first["lien"] != second["lien"]
        assert "LTV 98.35 %, break-even 41.25 CNY/t" in done.stdout


def test_a_ride_saves_what_its_factor_says(told_twice: list[Any]) -> None:
    for done, report in told_twice[1:]:
        metro, bus, bike, again = report["rides"]
        assert [one["reduction_mg"] for one in (metro, bus, bike)] == [468_000, 269_000, 145_950]
        assert [one["saleable"] for one in (metro, bus, bike)] == [True, True, False]
        assert again["reason"] == "TRIP_KNOWN"
        assert report["citizen"]["measured_mg"] == 468_000 + 269_000 + 145_950
        assert report["citizen"]["saleable_pending_mg"] == 468_000 + 269_000
        assert "10.00 km × 46.8 g/km = 468 g" in done.stdout
        assert "3.00 公里 × 48.65 克/公里 = 145.95 克" in done.stdout


def test_a_retirement_is_public_with_its_serials(told_twice: list[Any]) -> None:
    for number, (_, report) in enumerate(told_twice[1:], 1):
        retirement = report["retirement"]
        assert retirement["beneficiary"] == "中川商务中心"
        assert retirement["serials"] == [[f"LZXQ-{number}", 1, 1_000]]
        (ticket,) = [one for one in report["totals"] if one["asset"] == report["ticket"]]
        assert (ticket["issued"], ticket["retired"]) == (12_000, 1_000)


def test_the_second_telling_is_a_story_of_its_own(told_twice: list[Any]) -> None:
    (_, first), (_, second) = told_twice[1:]
    assert (first["instance"], second["instance"]) == (1, 2)
    assert not set(first["holders"].values()) & set(second["holders"].values())
    assert first["citizen"]["citizen"] != second["citizen"]["citizen"]
    for book in OWNERS:
        assert second["logs"][book]["tree_size"] > first["logs"][book]["tree_size"]


def test_what_must_be_refused_is_refused_with_its_numbers(told_twice: list[Any]) -> None:
    for _, report in told_twice[1:]:
        maker, sale, pledge, *foreign, ride, release = report["refusals"]
        assert maker["reason"] == "MAKER_IS_CHECKER"
        assert {sale["reason"], pledge["reason"]} == {"INSUFFICIENT_BALANCE"}
        assert (sale["needed"], sale["available"]) == ("12000", "0")
        assert (pledge["needed"], pledge["available"]) == ("6000", "0")
        assert [one["reason"] for one in foreign] == [
            "NOT_A_PARTY"
        ] * 3  # two receipts and a lien of another bank
        assert (ride["reason"], release["reason"]) == ("TRIP_KNOWN", "ACT_MISSING")


def test_every_root_comes_out_twice_and_sums_are_zero(told_twice: list[Any]) -> None:
    for _, report in told_twice[1:]:
        assert report["logs"].keys() == OWNERS.keys()
        for log in report["logs"].values():
            assert log["root"] == log["root_recomputed"]
            assert log["events"] >= log["tree_size"]
        assert {total["sum"] for total in report["totals"]} == {0}


def test_how_long_a_proof_took_is_told_with_its_number_of_samples(told_twice: list[Any]) -> None:
    for _, report in told_twice[1:]:
        *steps, whole = report["proven_after_ms"]
        assert whole["n"] == sum(step["n"] for step in steps) > 0
        assert whole["max_ms"] == max(step["max_ms"] for step in steps)
        assert 0 <= whole["p50_ms"] <= whole["max_ms"]
        assert all((step["p50_ms"] is None) == (step["n"] < 5) for step in steps)


def test_forgeries_are_refused_by_the_part_that_differs(told_twice: list[Any]) -> None:
    for _, report in told_twice[1:]:
        *good, changed, foreign, with_policy = report["judged"]
        assert [one["exit_code"] for one in good] == [0] * 4
        assert [one["exit_code"] for one in (changed, foreign, with_policy)] == [1, 1, 1]
        assert changed["part"] == "event.bin or salt"
        assert foreign["part"] == "checkpoint"
        assert with_policy["part"] == "container"


def test_the_receipts_of_the_first_story_still_hold_after_the_second(told_twice: list[Any]) -> None:
    policy = parse_policy(Workspace(told_twice[0]).policy_file.read_bytes())
    for _, report in told_twice[1:]:
        liens = {one["lender"]: one["lien"] for one in report["pledges"]}
        assert len(report["receipts"]) == 4
        for receipt in report["receipts"]:
            verified = verify_receipt(Path(receipt["path"]).read_bytes(), policy)
            assert (verified.book, verified.position) == (receipt["book"], receipt["position"])
            record = json.loads(verified.record)
            assert record["body"].get("pledge", record["body"])["lien"] == liens[receipt["lender"]]
            assert len(record["acts"]) == 2
        for standing in report["standing"]:
            file = Workspace(told_twice[0]).receipts / f"{standing['lien']}.lien"
            shown = verify_lien(file.read_bytes(), policy)
            assert (shown.lien, shown.quantity) == (liens[standing["lender"]], 6_000)
        assert {one["lender"] for one in report["standing"]} == set(liens)


# Who is killed as which step begins: each is then needed at once.
VICTIMS = {
    "keys of the institutions, each by two persons": "ledger",
    "tickets are issued: one proposes, another approves": "registry",
    "the sale: each trade delivered and paid at once": "market",
    "pledged to two banks, one lien each": "accounts",
    "three rides of one commuter, under one signature": "inclusive",
    "one bank releases its lien": "nats",
    "the check of everything": "postgres",
}


class Murderous(Teller):
    """Tells nobody, and kills a process at the beginning of some steps."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(Console(file=io.StringIO()))
        self._supervisor = supervisor
        self.killed: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        if title in VICTIMS:
            self._supervisor.kill(VICTIMS[title])
            self.killed.append(VICTIMS[title])
        with super().step(title):
            yield


async def test_the_story_survives_processes_that_die_and_come_back(told_twice: list[Any]) -> None:
    with Supervisor(told_twice[0]) as supervisor:
        workspace, teller = Workspace(told_twice[0]), Murderous(supervisor)
        async with Books(workspace, PATIENCE_S) as books:
            figures = await Story(workspace, books, teller).tell()
        assert teller.killed == list(VICTIMS.values())
        assert all(supervisor.restarts(name) for name in teller.killed)
    assert (figures.settlement["amount_fen"], figures.issuance["issued_t"]) == (50_328_000, 12_000)
    assert figures.logs.keys() == OWNERS.keys()


def test_anybody_can_mirror_the_log_and_go_on_from_where_they_were(
    told_twice: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, (_, report) = told_twice[0], told_twice[2]
    arguments = ["ledger", "mirror", "accounts", str(tmp_path / "copy"), "--json"]
    folder = ["--dir", str(directory)]
    with Supervisor(directory):
        assert run([*arguments, *folder]) == 0
        first = json.loads(capsys.readouterr().out)
        assert run([*arguments, *folder]) == 0
        second = json.loads(capsys.readouterr().out)
        assert run(["ledger", "mirror", "nobody", str(tmp_path / "none"), *folder]) == 2
        fetched = ["receipts", "registry", "0", "3", "999999", "--cose", "--out", str(tmp_path)]
        assert run([*fetched, *folder]) == 1
        assert "no event at 999999 (UNKNOWN_POSITION)" in capsys.readouterr().out
    kept = [f"{tmp_path}/registry-{n}.{kind}" for n in (0, 3) for kind in ("receipt", "cose")]
    assert run(["verify", *kept, *folder, "--json"]) == 0
    assert [one["position"] for one in json.loads(capsys.readouterr().out)["files"]] == [0, 0, 3, 3]
    assert first["tree_size"] > report["logs"]["accounts"]["tree_size"]
    assert first["earlier_tree_size"] is None
    assert second["earlier_tree_size"] == first["tree_size"]
    assert run([*arguments, *folder]) == 2
    assert "not running" in capsys.readouterr().err
