"""`tanzhang demo`, twice on one folder: every figure is an answer, the second a new story."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.app import run
from cli.stack.supervisor import Supervisor
from cli.workspace import Workspace
from kernel.tlog.policy import parse_policy
from kernel.tlog.receipt import verify_receipt
from tests.support.checkout import ROOT


def tell(directory: Path, report: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    arguments = ["demo", "--dir", str(directory), "--json", str(report)]
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done, json.loads(report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def told_twice(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("demo")
    return [folder / "var", *(tell(folder / "var", folder / f"{n}.json") for n in (1, 2))]


def test_every_step_comes_out_as_told_both_times(told_twice: list[Any]) -> None:
    for done, report in told_twice[1:]:
        assert done.returncode == 0, done.stderr
        assert report["ok"] is True
        assert "every step came out as told" in done.stdout
    assert not Workspace(told_twice[0]).running()


def test_the_published_figures_come_out(told_twice: list[Any]) -> None:
    for done, report in told_twice[1:]:
        settlement, balances = report["settlement"], report["balances"]
        assert (settlement["quantity_t"], settlement["amount_fen"]) == (12_000, 50_328_000)
        assert settlement["legs"] == 4
        assert sum(settlement["paid_fen"].values()) == 50_328_000
        assert balances["group_tickets_t"] == 12_000
        assert balances["group_available_fen"] == 60_000_000 - 50_328_000
        assert "503,280.00 CNY" in done.stdout


def test_the_second_telling_is_a_story_of_its_own(told_twice: list[Any]) -> None:
    (_, first), (_, second) = told_twice[1:]
    assert (first["instance"], second["instance"]) == (1, 2)
    assert not set(first["holders"].values()) & set(second["holders"].values())
    assert second["log"]["tree_size"] > first["log"]["tree_size"]


def test_what_must_be_refused_is_refused_with_its_numbers(told_twice: list[Any]) -> None:
    for _, report in told_twice[1:]:
        maker, sale = report["refusals"]
        assert maker["reason"] == "MAKER_IS_CHECKER"
        assert sale["reason"] == "INSUFFICIENT_BALANCE"
        assert (sale["needed"], sale["available"]) == ("7000", "0")


def test_the_root_comes_out_twice_and_sums_are_zero(told_twice: list[Any]) -> None:
    for _, report in told_twice[1:]:
        assert report["log"]["root"] == report["log"]["root_recomputed"]
        assert {total["sum"] for total in report["totals"]} == {0}
        proven = report["proven_after_ms"]
        assert proven["entries"] == 6
        assert 0 <= proven["p50_ms"] <= proven["p99_ms"] <= proven["max_ms"]


def test_forgeries_are_refused_by_the_part_that_differs(told_twice: list[Any]) -> None:
    for _, report in told_twice[1:]:
        good, changed, foreign, with_policy = report["judged"]
        assert good["exit_code"] == 0
        assert [one["exit_code"] for one in (changed, foreign, with_policy)] == [1, 1, 1]
        assert changed["part"] == "event.bin or salt"
        assert foreign["part"] == "checkpoint"
        assert with_policy["part"] == "container"


def test_the_receipt_of_the_first_story_still_holds_after_the_second(told_twice: list[Any]) -> None:
    policy = parse_policy(Workspace(told_twice[0]).policy_file.read_bytes())
    for _, report in told_twice[1:]:
        verified = verify_receipt(Path(report["receipt"]).read_bytes(), policy)
        assert verified.position == report["settlement"]["position"]


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
    assert first["tree_size"] > report["log"]["tree_size"]
    assert first["earlier_tree_size"] is None
    assert second["earlier_tree_size"] == first["tree_size"]
    assert run([*arguments, *folder]) == 2
    assert "not running" in capsys.readouterr().err
