"""Clients work while everything around them is killed, stopped, cut, delayed and hung.

Nothing acknowledged is lost, nothing happens twice, and no client ever saw what the journal
contradicts. `make test` runs every kind of fault once; `make faults` goes on for
TANZHANG_FAULTS_S seconds. TANZHANG_SEED repeats the troubles and the clients' choices of a run.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.support.faultrun import fault_run, quiet_run
from tests.support.troubles import LANES

LONG_S = 600.0
QUIET_S = 20.0  # many more batches than it takes to forget one
LONG = os.environ.get("TANZHANG_LONG") == "1"


def test_nothing_is_lost_or_done_twice_whatever_happens_to_the_processes_and_their_connections(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = os.environ.get("TANZHANG_SEED") or str(time.time_ns() // 1_000_000)
    for_s = float(os.environ.get("TANZHANG_FAULTS_S") or LONG_S) if LONG else 0.0
    report = fault_run(tmp_path_factory.mktemp("fault-run"), seed, for_s)
    with capsys.disabled():
        print(f"\n{report}")
    assert report.faults.keys() >= {f"{one.what} {one.whom}" for lane in LANES for one in lane}
    assert report.answers["ok"]
    assert report.failovers_s


@pytest.mark.skipif(not LONG, reason="TANZHANG_LONG=1 runs it")
def test_a_journal_that_forgets_what_it_took_is_found(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """By the clients, or by the ledger before them: it had seen what is gone."""
    folder = tmp_path_factory.mktemp("forgetful-run")
    with pytest.raises(AssertionError, match=r"LOST|is halted"):
        quiet_run(folder, "forgetful", QUIET_S, {"accounts": "tests.support.forgetful"})
