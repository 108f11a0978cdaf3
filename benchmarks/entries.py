"""Claim: durable one-leg entries through gRPC in batches of 1,000, journaled, published, checked
and signed, against the honest "just use PostgreSQL" on the same server in the same run.

Ours: rate = entries / time until a checkpoint covers the last one; building the requests is
included. Peer: a plpgsql transfer (two updates and an insert) driven by pgbench. fsync is on for
both. At the end the accounts process is killed in mid load, and what it had acknowledged is looked
for in the journal.
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from benchmarks.world import Bench, bench_world
from cli.clients import Account, Books, Entry, Leg, Persona
from cli.stack.postgres import ensure_database, wheel_binaries
from kernel.errors import Conflict
from kernel.ids import uuid7

BATCH: Final = 1000
BATCHES: Final = 12  # per caller and round
ROUNDS: Final = 3
CALLERS: Final = (1, 8)
ACCOUNTS: Final = (1000, 10)
PEER_S: Final = 4

PEER_SCHEMA: Final = """
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, debit int NOT NULL,
                    credit int NOT NULL, amount bigint NOT NULL, at timestamptz DEFAULT now());
CREATE FUNCTION transfer(debit int, credit int, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF debit < credit THEN  -- one order of locking, or pgbench deadlocks
        UPDATE account SET balance = balance - amount WHERE id = debit;
        UPDATE account SET balance = balance + amount WHERE id = credit;
    ELSE
        UPDATE account SET balance = balance + amount WHERE id = credit;
        UPDATE account SET balance = balance - amount WHERE id = debit;
    END IF;
    INSERT INTO entry (debit, credit, amount) VALUES (debit, credit, amount);
END $$;
"""


def run() -> dict[str, Any]:
    """All figures; prints them as they come."""
    with bench_world(max(ACCOUNTS)) as bench:
        peer_url = _peer(bench)
        figures: dict[str, Any] = {"rows": []}
        for accounts in ACCOUNTS:
            for callers in CALLERS:
                rates = [
                    asyncio.run(post_batches(bench, accounts, callers, BATCHES))
                    for _ in range(ROUNDS)
                ]
                ours = statistics.median(rate for rate, _ in rates)
                peer = statistics.median(
                    _pgbench(peer_url, accounts, callers) for _ in range(ROUNDS)
                )
                row = {
                    "accounts": accounts,
                    "callers": callers,
                    "recorded_per_s": round(statistics.median(r for _, r in rates)),
                    "proven_per_s": round(ours),
                    "peer_per_s": round(peer),
                    "ratio": round(ours / peer, 2),
                }
                print(row, flush=True)
                figures["rows"].append(row)
        figures["crash"] = asyncio.run(_crash(bench))
        print(figures["crash"], flush=True)
        return figures


def _entries(bench: Bench, mine: Sequence[str], others: Sequence[str]) -> list[Entry]:
    now_ms = bench.workspace.clock.now_ms()
    entries = []
    for _ in range(BATCH):
        debit, credit = random.choice(mine), random.choice(others)  # noqa: S311 - load, not secrets
        while credit == debit:
            credit = random.choice(others)  # noqa: S311
        legs = (Leg(Account(debit), Account(credit), "CNY", 1),)
        entries.append(Entry(uuid7(now_ms), legs))
    return entries


async def post_batches(
    bench: Bench, accounts: int, callers: int, batches: int
) -> tuple[float, float]:
    """(proven, recorded) entries per second; payers and payees among the first accounts."""
    others = bench.holders[:accounts]
    chosen = set(others)
    people = [(who, [one for one in mine if one in chosen]) for who, mine in bench.people]
    people = [(who, mine) for who, mine in people if mine]
    async with Books(bench.workspace) as books:

        async def load(n: int) -> int:
            who, mine = people[n % len(people)]
            last = 0
            for _ in range(batches):
                for outcome in await books.post_entries(who, _entries(bench, mine, others)):
                    if outcome.position is None:
                        raise RuntimeError(f"expected every entry accepted: {outcome.message}")
                    last = max(last, outcome.position)
            return last

        started_s = time.perf_counter()
        lasts = await asyncio.gather(*(load(n) for n in range(callers)))
        recorded_s = time.perf_counter() - started_s
        await books.proofs("accounts", [max(lasts)])
        proven_s = time.perf_counter() - started_s
    entries = BATCH * batches * callers
    return entries / proven_s, entries / recorded_s


def _peer(bench: Bench) -> str:
    admin_url = bench.supervisor.admin_url()
    ensure_database(admin_url, "peer")
    plain = sa.make_url(admin_url).set(drivername="postgresql", database="peer")
    url = plain.render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(PEER_SCHEMA)
        connection.execute(
            "INSERT INTO account SELECT i, 1000000000 FROM generate_series(1, %s) AS i",
            (max(ACCOUNTS),),
        )
    return url


def _pgbench(url: str, accounts: int, callers: int) -> float:
    """Transfers per second of the peer."""
    script = (
        f"\\set d random(1, {accounts})\n"
        f"\\set c 1 + (:d + random(0, {accounts - 2})) % {accounts}\n"
        "SELECT transfer(:d, :c, 1);\n"
    )
    command = [
        str(wheel_binaries() / "pgbench"), "-n", "-f", "/dev/stdin", "-c", str(callers), "-j", "2",
        "-T", str(PEER_S), "-M", "prepared", url,
    ]  # fmt: skip
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
    return float(line.split()[2])


async def _crash(bench: Bench) -> dict[str, int]:
    """Kills accounts in mid load; everything acknowledged must be there, once."""
    who, mine = bench.people[0]
    acknowledged: dict[str, int] = {}

    async def load(books: Books) -> None:
        while True:
            for outcome in await books.post_entries(who, _entries(bench, mine, bench.holders)):
                if outcome.position is not None:
                    acknowledged[outcome.id] = outcome.position

    async with Books(bench.workspace) as books:
        task = asyncio.create_task(load(books))
        await asyncio.sleep(1.5)
        bench.supervisor.kill("accounts", signal.SIGKILL)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(bench.supervisor.await_serving, "accounts")
    found = await _find(bench, who, list(acknowledged))
    lost = sum(1 for id in acknowledged if id not in found)
    moved = sum(1 for id, at in acknowledged.items() if found.get(id, at) != at)
    return {"acknowledged": len(acknowledged), "lost": lost, "at_another_position": moved}


async def _find(bench: Bench, who: Persona, ids: list[str]) -> dict[str, int]:
    """Recorded positions by id; the service may be a moment away from its lease."""
    found: dict[str, int] = {}
    async with Books(bench.workspace) as books:
        for i in range(0, len(ids), BATCH):
            for _ in range(20):
                try:
                    outcomes = await books.outcomes(who, ids[i : i + BATCH])
                    break
                except Conflict:
                    await asyncio.sleep(0.5)
            found.update({o.id: o.position for o in outcomes if o.position is not None})
    return found
