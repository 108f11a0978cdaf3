"""Claim: a million accounts and ten million entries fit in 4 GB of the accounts process.

Holders are registered and paid through the real path, and what the processes hold is read from the
system as it grows: resident now and at most so far. Ids of the last minutes stay in memory whatever
the number of entries, so the peak also depends on the rate; it is printed beside.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.cpu import memory_mb
from benchmarks.holders import register_companies
from benchmarks.jobs import Job, Report, run_load
from benchmarks.tables import say, table
from benchmarks.world import Bench, bench_world
from cli.stack import children_of

PAYERS: Final = 1000  # a token names a hundred holders; who is paid may be anyone
BATCH: Final = 8000
CALLERS: Final = 4
LIMIT_MB: Final = 4096
PROCESSES: Final = ("accounts", "ledger", "postgres", "nats", "market", "registry")
LOOK_EVERY_S: Final = 0.5
LONGEST_S: Final = 3600.0


@dataclass(frozen=True)
class Options:
    accounts: int = 20_000
    entries: int = 200_000
    samples: int = 10


def run(options: Options) -> dict[str, Any]:
    with bench_world(min(PAYERS, options.accounts)) as bench:
        return measure_in(bench, options)


def measure_in(bench: Bench, options: Options) -> dict[str, Any]:
    rows = [_sample(bench, 0, 0, 0)]
    with SnapshotWatch(bench.pids()["accounts"]) as watch:
        started_s = time.monotonic()
        holders = [
            *bench.holders,
            *register_companies(bench, options.accounts - len(bench.holders)),
        ]
        say(f"{len(holders)} holders in {time.monotonic() - started_s:.1f} s")
        rows.append(_sample(bench, len(holders), 0, 0))
        entries = 0
        step = -(-options.entries // options.samples)
        while entries < options.entries:
            count = min(step, options.entries - entries)
            report = _post(bench, holders, count)
            entries += report.accepted
            per_s = round(report.accepted / report.proven_s)
            rows.append(_sample(bench, len(holders), entries, per_s))
            say(str(rows[-1]))
    _print_rows(rows)
    peak = max(row["accounts_peak_mb"] for row in rows)
    say(f"accounts at most {peak} MB of {LIMIT_MB}; what makes its snapshots {watch.peak_mb} MB")
    return {
        "accounts": len(holders),
        "entries": entries,
        "rows": rows,
        "accounts_peak_mb": peak,
        "snapshot_peak_mb": watch.peak_mb,
        "limit_mb": LIMIT_MB,
        "fits": peak < LIMIT_MB,
    }


class SnapshotWatch:
    """Looks at what accounts starts beside itself: the process that makes a snapshot comes and
    goes, and holds the state once more while it lives."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            for child in children_of(self._pid):
                with contextlib.suppress(OSError, KeyError):  # it has just ended
                    self.peak_mb = max(self.peak_mb, memory_mb(child)[1])


def _post(bench: Bench, payees: Sequence[str], entries: int) -> Report:
    """Posts so many, or a few more to fill the batches."""
    callers = max(1, min(CALLERS, entries // BATCH))
    batch = min(BATCH, entries)
    report = run_load(
        Job(
            directory=bench.directory,
            people=bench.people,
            payees=tuple(payees),
            callers=callers,
            batch=batch,
            seconds=LONGEST_S,
            calls=-(-entries // (batch * callers)),
        )
    )
    # Who is sent away while the lease is in doubt (a disk that stands still) comes again.
    if report.refused or report.failed.keys() - {"UNAVAILABLE"} or not report.accepted:
        raise RuntimeError(f"expected every entry accepted: {report.refused} {report.failed}")
    if report.failed:
        say(f"calls that were sent away: {report.failed}")
    return report


def _sample(bench: Bench, holders: int, entries: int, per_s: int) -> dict[str, Any]:
    pids = bench.pids()
    row: dict[str, Any] = {"holders": holders, "entries": entries, "proven_per_s": per_s}
    for name in PROCESSES:
        row[f"{name}_mb"], row[f"{name}_peak_mb"] = memory_mb(pids[name])
    return row


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    columns = ["holders", "entries", "proven_per_s", "accounts_mb", "accounts_peak_mb"]
    columns += ["ledger_mb", "ledger_peak_mb", "market_mb", "registry_mb"]
    table(columns, [[row[name] for name in columns] for row in rows])
