"""One caller with one entry at a time, in a process of its own: how long until it is recorded, and
how long from there until a checkpoint covers it.

    python -m benchmarks.probe JOB.json > report.json
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.jobs import Person
from benchmarks.workers import Worker, main, ready
from cli.clients import Account, Books, Entry, Leg
from cli.workspace import Workspace
from kernel.ids import uuid7

WARM: Final = 20  # calls that are not counted: connections, caches


class ProbeJob(msgspec.Struct, frozen=True, kw_only=True):
    directory: str
    person: Person
    payee: str
    calls: int
    proofs: bool = False
    pause_s: float = 0.0  # after each call, so that proving is not always met at the same moment


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds: from the call to its answer, and from the answer to the proof."""

    recorded_ms: list[float]
    proven_ms: list[float]


def probe(job: ProbeJob) -> Worker[ProbeReport]:
    return Worker("benchmarks.probe", job, ProbeReport)


async def run(job: ProbeJob) -> ProbeReport:
    workspace = Workspace(Path(job.directory))
    who = job.person.persona()
    legs = (Leg(Account(job.person.holders[0]), Account(job.payee), "CNY", 1),)
    recorded, proven = [], []
    async with Books(workspace) as books:
        for n in range(WARM + job.calls):
            if n == WARM:
                await asyncio.to_thread(ready)
            entry = Entry(uuid7(workspace.clock.now_ms()), legs)
            asked_s = time.perf_counter()
            (outcome,) = await books.post_entries(who, [entry])
            answered_s = time.perf_counter()
            if outcome.position is None:
                raise RuntimeError(f"expected the entry accepted: {outcome.message}")
            if n < WARM:
                continue
            recorded.append((answered_s - asked_s) * 1000)
            if job.proofs:
                await books.proofs("accounts", [outcome.position])
                proven.append((time.perf_counter() - answered_s) * 1000)
            if job.pause_s:
                await asyncio.sleep(job.pause_s)
    return ProbeReport(recorded_ms=recorded, proven_ms=proven)


if __name__ == "__main__":
    main(ProbeJob, lambda job: asyncio.run(run(job)))
