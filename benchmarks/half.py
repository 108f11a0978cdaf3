"""Half load: what the system can do is found out first, then half of that runs beside a measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from benchmarks.jobs import Job, load, run_load
from benchmarks.world import Bench

CALLERS: Final = 4
BATCH: Final = 1000
LONGEST_S: Final = 120.0  # of what is measured meanwhile

T = TypeVar("T")


def under_half_load(
    bench: Bench, measured: Callable[[], T], full_s: float
) -> tuple[T, dict[str, Any]]:
    """What was measured, and what ran beside it. The load is others': the last person has none.

    `full_s`: of full load, to find out what half of it is.
    """
    people = bench.people[:-1]
    full = run_load(
        Job(
            directory=bench.directory,
            people=people,
            callers=CALLERS,
            batch=BATCH,
            seconds=full_s,
        )
    )
    full_per_s = full.accepted / full.proven_s
    job = Job(
        directory=bench.directory,
        people=people,
        callers=CALLERS,
        batch=BATCH,
        seconds=LONGEST_S,
        every_s=CALLERS * BATCH / (full_per_s / 2),
        await_proof=False,
    )
    with load(job) as generator:
        generator.fire()
        found = measured()
    return found, {
        "full_per_s": round(full_per_s),
        "entries_per_s": round(full_per_s / 2),
        "batch": BATCH,
        "callers": CALLERS,
    }
