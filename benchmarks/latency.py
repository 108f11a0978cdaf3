"""Claim: one entry, one call: how long until it is recorded, and how long until it is proven.

On an idle system, one caller, one entry after the other. The peer for "recorded" is one transfer in
pgbench with one client on the same server, which has no log, no check and no proof.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from benchmarks.world import Bench, bench_world
from cli.clients import Account, Books, Entry, Leg
from kernel.ids import uuid7

CALLS: Final = 300
WARM: Final = 20


def run() -> dict[str, Any]:
    with bench_world(2) as bench:
        figures = asyncio.run(_measure(bench))
        print(figures, flush=True)
        return figures


async def _measure(bench: Bench) -> dict[str, Any]:
    who, (payer, payee) = bench.people[0]
    recorded, proven = [], []
    async with Books(bench.workspace) as books:
        for n in range(CALLS + WARM):
            entry = Entry(
                uuid7(bench.workspace.clock.now_ms()),
                (Leg(Account(payer), Account(payee), "CNY", 1),),
            )
            started_s = time.perf_counter()
            (outcome,) = await books.post_entries(who, [entry])
            answered_s = time.perf_counter()
            if outcome.position is None:
                raise RuntimeError(f"expected the entry accepted: {outcome.message}")
            await books.proofs("accounts", [outcome.position])
            if n >= WARM:
                recorded.append((answered_s - started_s) * 1000)
                proven.append((time.perf_counter() - answered_s) * 1000)
    return {"recorded_ms": _spread(recorded), "proven_after_recorded_ms": _spread(proven)}


def _spread(times_ms: list[float]) -> dict[str, float]:
    ordered = sorted(times_ms)
    return {
        "p50": round(ordered[len(ordered) // 2], 2),
        "p99": round(ordered[int(len(ordered) * 0.99)], 2),
        "max": round(ordered[-1], 2),
    }
