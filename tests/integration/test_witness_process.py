"""`tanzhang witness`: keys, serve and show as processes, killed where it hurts."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

import pytest

from cli.witness.folder import WitnessFolder
from kernel.crash import EXIT_CODE
from kernel.tlog.witness import MAX_REQUEST_BYTES, SIZE_TYPE, monitoring_path, take_cosignatures
from tests.support.checkout import ROOT
from tests.support.witnesses import (
    Tree,
    ask,
    policy_of,
    running_witness,
    witness_folder,
)

NAME = "witness.lzbank.example/w1"
LOG = Tree("tanzhang.example/accounts", 400)


def tanzhang(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_bank_makes_a_key_witnesses_a_log_and_shows_what_it_saw(tmp_path: Path) -> None:
    place = ["--dir", str(tmp_path)]
    url = "http://witness.lzbank.example"
    code, told = tanzhang("witness", "keys", "--name", NAME, "--url", url, *place)
    (signer,) = WitnessFolder(tmp_path).signers()
    assert (code, told) == (0, f"witness {NAME} {signer.verifier.vkey} {url}\n")
    (tmp_path / "policy.txt").write_bytes(policy_of(LOG).encode())
    with running_witness(WitnessFolder(tmp_path)) as bank:
        answer = bank.add(LOG.request(0, 300))
        logs = [LOG.signer.verifier]
        take_cosignatures(LOG.checkpoint(300), answer.body, logs, [signer.verifier])
        assert bank.add(LOG.request(0, 400)) == (409, b"300\n", SIZE_TYPE)
        assert bank.add(LOG.other(300).request(300)).status == 422
        assert bank.add(Tree("tanzhang.example/other", 3).request(0)).status == 404
        assert bank.add(b"x" * (MAX_REQUEST_BYTES + 1)).status == 413
        assert ask(f"{bank.url}/add-checkpoint").status == 405
        shown = ask(f"{bank.url}/{monitoring_path(LOG.signer.name)}")
        assert (shown.status, shown.body) == (200, LOG.checkpoint(300) + answer.body)
        bank.process.terminate()
        assert bank.process.wait(10) == 0
    code, told = tanzhang("witness", "show", "--json", *place)
    figures = json.loads(told)
    assert code == 1
    assert [one["tree_size"] for one in figures["logs"]] == [300]
    assert [one["kind"] for one in figures["evidence"]] == ["fork"]


def test_killed_between_keeping_and_answering_it_has_lost_nothing_and_lets_no_fork_through(
    tmp_path: Path,
) -> None:
    folder = witness_folder(tmp_path, NAME, LOG)
    with running_witness(folder, crash="witness.kept") as bank:
        with pytest.raises((URLError, ConnectionError)):
            bank.add(LOG.request(0, 300))
        assert bank.process.wait(10) == EXIT_CODE
    with running_witness(folder) as bank:
        # The log does not know that 300 was cosigned; nobody gets another 300, nor one from zero.
        assert bank.add(LOG.other(300).request(0)) == (409, b"300\n", SIZE_TYPE)
        assert bank.add(LOG.other(300).request(300)).status == 422
        assert bank.add(LOG.request(0, 300)) == (409, b"300\n", SIZE_TYPE)
        assert bank.add(LOG.request(300, 300)).status == 200
        assert bank.add(LOG.request(300, 400)).status == 200


def test_without_its_database_it_serves_nobody_unless_told_that_it_is_the_first_start(
    tmp_path: Path,
) -> None:
    folder = witness_folder(tmp_path, NAME, LOG)
    folder.store_path.unlink()
    for command in ("serve", "show"):
        code, told = tanzhang("witness", command, "--dir", str(tmp_path))
        assert code == 2
        assert "would cosign from size 0 again" in told
    with running_witness(folder, flags=["--first-start"]) as bank:
        assert bank.add(LOG.request(0, 300)).status == 200
    code, told = tanzhang("witness", "serve", "--dir", str(tmp_path), "--first-start")
    assert code == 2
    assert "is there: start without --first-start" in told


def test_of_two_processes_on_one_folder_only_one_advances_from_a_size(tmp_path: Path) -> None:
    folder = witness_folder(tmp_path, NAME, LOG)
    lie = LOG.other(200)
    with (
        running_witness(folder) as first,
        running_witness(folder) as second,
        ThreadPoolExecutor(2) as both,
    ):
        old, winner = 0, -1
        for size in range(10, 200, 10):
            asked = [
                both.submit(one.add, tree.request(old, size))
                for one, tree in ((first, LOG), (second, lie))
            ]
            statuses = [one.result().status for one in asked]
            if winner < 0:  # whoever is first has the log; the other is a fork from then on
                winner = statuses.index(200)
            assert statuses[winner] == 200
            assert statuses[1 - winner] in (409, 422)
            old = size
