"""Claim: one entry, one call: how long until it is recorded.

On an idle system, against one transfer in pgbench with one client on the same server, which has no
log, no check and no proof. And while somebody else's bulk load runs at half of what the system can
do: whoever sends one command must not wait behind those who send thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.half import under_half_load
from benchmarks.machine import postgres_settings, spread
from benchmarks.peers import Peers, ratio
from benchmarks.probe import ProbeJob, probe
from benchmarks.tables import say
from benchmarks.world import Bench, bench_world

ACCOUNTS = 200


@dataclass(frozen=True)
class Options:
    calls: int = 500
    loaded_calls: int = 300
    full_s: float = 3.0
    rounds: int = 3
    peer_seconds: float = 2.0


def run(options: Options) -> dict[str, Any]:
    with bench_world(ACCOUNTS) as bench:
        return measure_in(bench, options)


def measure_in(bench: Bench, options: Options) -> dict[str, Any]:
    peers = Peers(bench.supervisor.admin_url(), ACCOUNTS, ["plpgsql"])
    own = {"tanzhang": bench.supervisor.database_url("accounts")}
    settings = postgres_settings({**own, **peers.urls})
    rounds = []
    for _ in range(options.rounds):
        ours = spread(_probe(bench, options.calls // options.rounds))
        theirs = peers.plpgsql(ACCOUNTS, 1, options.peer_seconds, timed=True).call_ms
        rounds.append({"tanzhang_ms": ours, "plpgsql_ms": theirs})
        say(f"idle: {rounds[-1]}")
    loaded, load = under_half_load(
        bench, lambda: _probe(bench, options.loaded_calls), options.full_s
    )
    say(f"under half load ({load['entries_per_s']} entries/s): {spread(loaded)}")
    idle = sorted(rounds, key=lambda one: one["tanzhang_ms"]["p50"])[len(rounds) // 2]
    return {
        "settings": settings,
        "idle": {
            **idle,
            "ratio_p50": ratio(idle["tanzhang_ms"]["p50"], idle["plpgsql_ms"]["p50"]),
        },
        "rounds": rounds,
        "half_load": {**load, "tanzhang_ms": spread(loaded)},
    }


def _probe(bench: Bench, calls: int) -> list[float]:
    """By a person of its own, whose holders nobody else pays from."""
    person = bench.people[-1]
    job = ProbeJob(directory=bench.directory, person=person, payee=person.holders[-1], calls=calls)
    with probe(job) as worker:
        worker.fire()
        return worker.report(calls).recorded_ms
