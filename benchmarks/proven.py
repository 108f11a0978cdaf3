"""Claim: from recorded to proven: how long until a signed checkpoint covers an entry.

One entry after the other, each asked for its proof as soon as it is recorded; on an idle system and
beside a bulk load of half of what the system can do. A checkpoint is sealed every 200 ms when there
is something new, so an idle system answers within one such turn. There is no peer: none of them
proves anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from benchmarks.half import under_half_load
from benchmarks.machine import spread
from benchmarks.probe import ProbeJob, probe
from benchmarks.tables import say
from benchmarks.world import Bench, bench_world

ACCOUNTS: Final = 200
PAUSE_S: Final = 0.037  # out of step with the sealing


@dataclass(frozen=True)
class Options:
    calls: int = 200
    loaded_calls: int = 200
    full_s: float = 3.0


def run(options: Options) -> dict[str, Any]:
    with bench_world(ACCOUNTS) as bench:
        return measure_in(bench, options)


def measure_in(bench: Bench, options: Options) -> dict[str, Any]:
    idle = spread(_probe(bench, options.calls))
    say(f"idle: recorded -> proven {idle} ms")
    loaded, load = under_half_load(
        bench, lambda: _probe(bench, options.loaded_calls), options.full_s
    )
    say(f"under half load ({load['entries_per_s']} entries/s): {spread(loaded)} ms")
    return {"idle_ms": idle, "half_load": {**load, "proven_ms": spread(loaded)}}


def _probe(bench: Bench, calls: int) -> list[float]:
    person = bench.people[-1]
    job = ProbeJob(
        directory=bench.directory,
        person=person,
        payee=person.holders[-1],
        calls=calls,
        proofs=True,
        pause_s=PAUSE_S,
    )
    with probe(job) as worker:
        worker.fire()
        return worker.report(calls).proven_ms
