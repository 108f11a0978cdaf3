"""One start of the accounts book, as far as its state is concerned, in a process of its own.

    python -m benchmarks.starting JOB.json > report.json

With the thresholds of Python's collector that a service has, and the functions it starts with.
"""

from __future__ import annotations

import gc
import os
import time

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.cpu import memory_mb
from benchmarks.projection import BOOK
from benchmarks.workers import Worker, main, ready
from kernel.acts import public_bytes, verify_act
from kernel.clock import SystemClock
from kernel.frames import FrameSigner
from kernel.journal.postgres import PostgresJournal
from kernel.journal.snapshots import PostgresSnapshots
from kernel.logs import configure_logs
from kernel.snapshot.recovery import make, recover, restore
from kernel.writer import Writer
from services.__main__ import COLLECT_AFTER
from services.accounts.main import DOMAIN


class Start(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    seed: str  # of the frame key
    make_at: int = 0  # makes a snapshot at this position instead of reading to the end


class Started(msgspec.Struct, frozen=True):
    """`events`: read one by one; `cpu_s`: of this process alone. `resident_mb` at its end."""

    began_at: int
    events: int
    seconds: float
    cpu_s: float
    resident_mb: float
    peak_mb: float


def starting(start: Start) -> Worker[Started]:
    return Worker("benchmarks.starting", start, Started)


def run(start: Start) -> Started:
    gc.set_threshold(*COLLECT_AFTER)
    configure_logs("bench", "WARNING")
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(start.seed))
    signer, public = FrameSigner(key), public_bytes(key)
    engine = sa.create_engine(start.url)
    store = PostgresSnapshots(engine, BOOK)

    def keys(book: str, key_id: str) -> bytes | None:
        return public if key_id == signer.key_id else None

    writer = Writer(
        PostgresJournal(engine, BOOK),
        DOMAIN,
        signer,
        keys,
        SystemClock(),
        origin=f"bench/{BOOK}",
        verify=verify_act,
    )
    ready()
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    if start.make_at:
        begun = restore(writer, store, keys)
        writer.catch_up(end=start.make_at)
        # Writing it is what is asked for.
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        make(writer, store, signer)
        read = 0
    else:
        begun = recover(writer, store, keys)
        read = writer.progress.next_position - begun
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    now_mb, most_mb = memory_mb(os.getpid())
    writer.close()
    engine.dispose()
    return Started(begun, read, seconds, cpu_s, now_mb, most_mb)


if __name__ == "__main__":
    main(Start, run)
