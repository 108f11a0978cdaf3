"""`tanzhang verify` as strangers run it: exit codes, words, and what it does not load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.offline import bring_own_policy, change_byte, forge
from kernel.tlog.policy import policy_fingerprint
from tests.support.checkout import ROOT
from tests.support.small_log import SmallLog, sale_body

FORBIDDEN = ("grpc", "google", "tanzhang", "sqlalchemy", "psycopg", "nats", "joserfc")
LOADED = f"""
import sys
from cli.app import run
code = run(sys.argv[1:])
loaded = {{name.partition(".")[0] for name in sys.modules}}
print("loaded:", sorted(loaded & set({FORBIDDEN})), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def log() -> SmallLog:
    log = SmallLog()
    log.fill(2)
    log.append(sale_body())
    log.fill(2)
    return log


@pytest.fixture
def folder(tmp_path: Path, log: SmallLog) -> Path:
    (tmp_path / "policy.txt").write_bytes(log.policy.encode())
    (tmp_path / "sale.receipt").write_bytes(log.receipt(2))
    return tmp_path


def verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-c", LOADED, "verify", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_valid_receipt_says_who_what_and_when(folder: Path) -> None:
    done = verify(folder, "sale.receipt", "--policy", "policy.txt")
    assert done.returncode == 0, done.stderr
    for said in (
        "VERIFIED: sale.receipt",
        "EntryPosted",
        "2026-11-20T08:30:00.000Z",
        "sun.venue",
        "7,000 TICKET-LZXQ-1",
        "293,580.00 CNY",
        "serials 1 to 7,000 of LZXQ-1",
        "The log tanzhang.test/accounts holds this event, unchanged, at",
        policy_fingerprint((folder / "policy.txt").read_bytes()),
    ):
        assert said in done.stdout


def test_nothing_that_could_reach_a_network_or_a_database_is_loaded(folder: Path) -> None:
    done = verify(folder, "sale.receipt", "--policy", "policy.txt")
    assert done.stderr == "loaded: []\n"


def test_the_policy_of_the_data_folder_is_used_without_another(folder: Path) -> None:
    assert verify(folder, "sale.receipt", "--dir", ".").returncode == 0
    done = verify(folder, "sale.receipt", "--dir", "elsewhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "elsewhere/policy.txt" in done.stderr


def test_what_differs_is_named(folder: Path, log: SmallLog) -> None:
    forged, forgers_policy = forge(log.receipt(2))
    for data, part in (
        (change_byte(log.receipt(2)), "event.bin or salt"),
        (forged, "checkpoint"),
        (bring_own_policy(forged, forgers_policy), "container"),
        (log.receipt(2)[:-1], "container"),
        (b"", "container"),
    ):
        (folder / "bad.receipt").write_bytes(data)
        done = verify(folder, "bad.receipt", "--policy", "policy.txt")
        assert done.returncode == 1, done.stderr
        assert done.stdout.startswith("DOES NOT VERIFY: bad.receipt\n")
        assert f"in detail   {part}: " in done.stdout


def test_a_log_that_the_policy_does_not_know_is_refused(folder: Path, log: SmallLog) -> None:
    other = SmallLog(book="ledger", seed=b"other")
    (folder / "other.txt").write_bytes(other.policy.encode())
    done = verify(folder, "sale.receipt", "--policy", "other.txt", "--json")
    assert done.returncode == 1
    (told,) = json.loads(done.stdout)["files"]
    assert (told["valid"], told["part"]) == (False, "policy")


def test_json_has_the_whole_record(folder: Path, log: SmallLog) -> None:
    done = verify(folder, "sale.receipt", "--policy", "policy.txt", "--json")
    (told,) = json.loads(done.stdout)["files"]
    assert told["valid"] is True
    assert told["record"] == json.loads(log.records[2])
    assert (told["book"], told["position"], told["tree_size"]) == ("accounts", 2, 5)
    assert told["origin"] == "tanzhang.test/accounts"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.receipt", "--policy", "policy.txt"), "missing.receipt"),
        (("sale.receipt", "--policy", "missing.txt"), "missing.txt"),
        (("sale.receipt", "--policy", "sale.receipt"), "policy sale.receipt"),
        ((), "FILE"),
    ],
)
def test_what_cannot_be_tried_ends_with_two(
    folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = verify(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_record_cannot_steer_the_terminal(folder: Path) -> None:
    log = SmallLog(seed=b"rogue")
    log.append({"name": "\x1b[2Jgone"}, "HolderRegistered")
    log.append_record(
        b'{"book":"accounts","position":1,"type":"\x9b2J"}'.decode("latin-1").encode()
    )
    (folder / "rogue.txt").write_bytes(log.policy.encode())
    for position in (0, 1):
        (folder / "rogue.receipt").write_bytes(log.receipt(position))
        done = verify(folder, "rogue.receipt", "--policy", "rogue.txt")
        assert done.returncode == 0
        assert not {"\x1b", "\x9b"} & set(done.stdout)
