"""Claim: a million accounts and ten million entries fit in 4 GB of the accounts process.

Holders are registered and paid through the real path, and what the processes hold is read from the
system as it grows: resident now and at most so far. Ids of the last minutes stay in memory whatever
the number of entries, so the peak also depends on the rate; it is printed beside.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.cpu import memory_mb
from benchmarks.holders import register_companies
from benchmarks.jobs import Job, load
from benchmarks.tables import say, table
from benchmarks.world import Bench, bench_world

PAYERS: Final = 1000  # a token names a hundred holders; who is paid may be anyone
BATCH: Final = 8000
CALLERS: Final = 4
LIMIT_MB: Final = 4096
PROCESSES: Final = ("accounts", "ledger", "postgres", "nats", "market", "registry")
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
    started_s = time.monotonic()
    holders = register_companies(bench, options.accounts - len(bench.holders))
    opened = len(holders) + len(bench.holders)
    say(f"{opened} holders in {time.monotonic() - started_s:.1f} s")
    rows.append(_sample(bench, opened, 0, 0))
    payees = [*bench.holders, *holders]
    done = 0
    step = -(-options.entries // options.samples)
    while done < options.entries:
        count = min(step, options.entries - done)
        per_s = _post(bench, payees, count)
        done += count
        rows.append(_sample(bench, opened, done, per_s))
        say(str(rows[-1]))
    _print_rows(rows)
    peak = max(row["accounts_peak_mb"] for row in rows)
    say(f"accounts at most {peak} MB of {LIMIT_MB}")
    return {
        "accounts": opened,
        "entries": done,
        "rows": rows,
        "accounts_peak_mb": peak,
        "limit_mb": LIMIT_MB,
        "fits": peak < LIMIT_MB,
    }


def _post(bench: Bench, payees: Sequence[str], entries: int) -> int:
    """Posts so many (or a few more, to fill the batches); answers how many a second."""
    callers = max(1, min(CALLERS, entries // BATCH))
    batch = min(BATCH, entries)
    job = Job(
        directory=bench.directory,
        people=bench.people,
        payees=tuple(payees),
        callers=callers,
        batch=batch,
        seconds=LONGEST_S,
        calls=-(-entries // (batch * callers)),
    )
    with load(job) as generator:
        generator.fire()
        report = generator.report(job.seconds)
    if report.refused or report.failed:
        raise RuntimeError(f"expected every entry accepted: {report.refused} {report.failed}")
    return round(report.accepted / report.proven_s)


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
