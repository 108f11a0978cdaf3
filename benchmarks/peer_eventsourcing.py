"""The peer `eventsourcing`: its aggregates, its application, its own PostgreSQL recorder.

    python -m benchmarks.peer_eventsourcing JOB.json > report.json

A transfer withdraws from one aggregate and deposits into another, and both are saved together, as
its documentation does it. It is given every advantage that it offers: database functions for the
insert, a connection for every thread, aggregates kept in memory between two saves, and to each
thread accounts of its own, so that no save ever fails for a conflict. `batch` transfers share one
`save`, which is one transaction.
"""

from __future__ import annotations

import random
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import msgspec
import sqlalchemy as sa

from benchmarks.workers import Worker, main, ready

START_FEN: Final = 10**12


class LibraryJob(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    accounts: int
    threads: int
    batch: int
    seconds: float


class LibraryReport(msgspec.Struct, frozen=True, kw_only=True):
    """`threads`: as many as there were pairs of accounts for, at most those asked for."""

    transfers: int
    elapsed_s: float
    threads: int
    cpu_s: float
    save_ms: list[float]
    promises: dict[str, str]


def library(job: LibraryJob) -> Worker[LibraryReport]:
    return Worker("benchmarks.peer_eventsourcing", job, LibraryReport)


def installed_version() -> str | None:
    """It comes with the development packages; without it there is one peer less."""
    try:
        return version("eventsourcing")
    except PackageNotFoundError:
        return None


def run(job: LibraryJob) -> LibraryReport:
    from benchmarks.eventsourcing_accounts import (  # noqa: PLC0415 - the library may be absent
        Accounts,
        open_accounts,
        promises,
    )

    threads = max(1, min(job.threads, job.accounts // 2))
    application = Accounts(env=_environment(job.url, threads))
    mine = [open_accounts(application, job.accounts // threads, START_FEN) for _ in range(threads)]
    said = promises(application)
    counts, times = [0] * threads, [[0.0] for _ in range(threads)]
    ready()
    cpu_s, started_s = time.process_time(), time.perf_counter()
    end_s = started_s + job.seconds

    def transfer(n: int) -> None:
        chance = random.Random(n)  # noqa: S311 - load, not secrets
        while time.perf_counter() < end_s:
            pairs = [chance.sample(mine[n], 2) for _ in range(job.batch)]
            saved_s = time.perf_counter()
            application.transfer_all(pairs)
            times[n].append((time.perf_counter() - saved_s) * 1000)
            counts[n] += job.batch

    running = [threading.Thread(target=transfer, args=(n,)) for n in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    elapsed_s = time.perf_counter() - started_s
    cpu_s = time.process_time() - cpu_s
    application.close()
    return LibraryReport(
        transfers=sum(counts),
        elapsed_s=elapsed_s,
        threads=threads,
        cpu_s=cpu_s,
        save_ms=[ms for each in times for ms in each[1:]],
        promises=said,
    )


def _environment(url: str, threads: int) -> dict[str, str]:
    parts = sa.make_url(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.database or "",
        "POSTGRES_HOST": parts.host or "",
        "POSTGRES_PORT": str(parts.port),
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": str(parts.password),
        "POSTGRES_POOL_SIZE": str(threads),
        "POSTGRES_MAX_OVERFLOW": "2",
        "POSTGRES_ENABLE_DB_FUNCTIONS": "y",
    }


if __name__ == "__main__":
    main(LibraryJob, run)
