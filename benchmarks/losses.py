"""What is lost when accounts is killed in mid load: kill -9, then the journal is asked.

The journal itself is read, row by row, and not the service that speaks for it. Acknowledged and
not there is lost; there twice is doubled; there at another position is moved. What was on its way
and not acknowledged may be there or not: its client asks again by id.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from benchmarks.jobs import Job, load
from benchmarks.machine import plain_url
from benchmarks.world import Bench
from cli.clients import Books
from cli.stack.provision import DATABASE

CALLERS = 8
PAGE = 10_000


def kill_in_mid_load(bench: Bench, after_s: float) -> dict[str, int | float]:
    """Counts, and how long until it took commands again and the last of them was proven."""
    with tempfile.NamedTemporaryFile(prefix="tanzhang-acknowledged-") as file:
        job = Job(
            directory=bench.directory,
            people=bench.people,
            callers=CALLERS,
            seconds=after_s + 5,
            await_proof=False,
            acknowledged=file.name,
        )
        with load(job) as generator:
            generator.fire()
            time.sleep(after_s)
            bench.supervisor.kill("accounts", signal.SIGKILL)
            killed_s = time.monotonic()
            generator.report(job.seconds)
        bench.supervisor.await_serving("accounts")
        serving_s = time.monotonic() - killed_s
        positions = read_acknowledged(Path(file.name))
    asyncio.run(_await_proof(bench, max(positions.values(), default=0)))
    return {**losses(bench, positions), "serving_again_s": round(serving_s, 2)}


def read_acknowledged(file: Path) -> dict[str, int]:
    """Positions by command id, as a load generator wrote them down."""
    lines = [line.split() for line in file.read_text().splitlines()]
    return {id: int(position) for id, position in lines}


def losses(bench: Bench, positions: Mapping[str, int]) -> dict[str, int]:
    """What the journal has of the acknowledged."""
    recorded = _recorded(plain_url(bench.supervisor.admin_url(), DATABASE), list(positions))
    return {
        "acknowledged": len(positions),
        "lost": sum(id not in recorded for id in positions),
        "doubled": sum(len(found) > 1 for found in recorded.values()),
        "moved": sum(recorded.get(id, [at])[0] != at for id, at in positions.items()),
    }


def _recorded(url: str, ids: list[str]) -> dict[str, list[int]]:
    """Positions in the journal by command id."""
    found: dict[str, list[int]] = {}
    with psycopg.connect(url) as connection:
        for at in range(0, len(ids), PAGE):
            rows = connection.execute(
                "SELECT command_id::text, position FROM accounts.events"
                " WHERE command_id = ANY(%s::uuid[]) ORDER BY position",
                (ids[at : at + PAGE],),
            )
            for id, position in rows:
                found.setdefault(id, []).append(position)
    return found


async def _await_proof(bench: Bench, position: int) -> None:
    async with Books(bench.workspace) as books:
        await books.proofs("accounts", [position])
