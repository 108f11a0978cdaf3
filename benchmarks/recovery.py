"""Claim: a book starts again from a signed snapshot and its tail, whatever the length of its
journal; a million accounts are loaded in seconds.

A journal as the writer writes it, one holder for each account, and entries among them, is put into
PostgreSQL by the journal itself. Each start is a process of its own (benchmarks/starting.py), so
what it holds is its own: from position 0; making the snapshot; from the snapshot and the tail; from
a snapshot of everything, which is the loading alone.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.projection import BOOK, EVENTS_PER_MS, SALT, START_MS, holder_id
from benchmarks.starting import Start, Started, starting
from benchmarks.tables import say, table
from cli.stack.ports import free_port
from cli.stack.postgres import EmbeddedPostgres, ensure_database, ensure_service
from kernel.frames import FrameSigner, StoredEvent
from kernel.ids import uuid7
from kernel.journal.port import Batch
from kernel.journal.postgres import PostgresJournal
from kernel.lease import PostgresLease
from kernel.migrate import upgrade
from kernel.record import BookOpened, RecordMaker, WriterStarted, commit
from kernel.values import Actor, format_instant
from services.accounts.domain.events import (
    Account,
    AssetDefined,
    EntryPosted,
    HolderKind,
    HolderRegistered,
    Leg,
    Purpose,
    Unit,
)

BATCH: Final = 2000
TENTHS_IN_SNAPSHOT: Final = 9
WITHIN_S: Final = 3600.0
BOOK_ID: Final = bytes(range(16))
ACTOR: Final = Actor("issuer", "load-1")


@dataclass(frozen=True)
class Options:
    accounts: int = 20_000
    entries: int = 100_000


def run(options: Options) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as folder,
        EmbeddedPostgres(Path(folder), free_port()) as server,
    ):
        ensure_database(server.admin_url(), "bench")
        ensure_service(server.admin_url(), "bench", BOOK, "bench")
        url = server.url(BOOK, "bench", "bench")
        upgrade(url, BOOK)
        return measure_on(url, options)


def measure_on(url: str, options: Options) -> dict[str, Any]:
    """Needs an empty schema of accounts at the url."""
    key = Ed25519PrivateKey.generate()
    events = _fill(url, FrameSigner(key), options)
    say(f"{events:,} events in the journal")
    cut = events * TENTHS_IN_SNAPSHOT // 10
    seed = key.private_bytes_raw().hex()
    steps = {
        "from zero": Start(url=url, seed=seed),
        "snapshot made": Start(url=url, seed=seed, make_at=cut),
        "from snapshot and tail": Start(url=url, seed=seed),
        "snapshot of all made": Start(url=url, seed=seed, make_at=events),
        "loading alone": Start(url=url, seed=seed),
    }
    found = {name: _once(step) for name, step in steps.items()}
    columns = ["began_at", "events", "seconds", "cpu_s", "events_per_s", "resident_mb", "peak_mb"]
    rows = {name: _row(one) for name, one in found.items()}
    table(["start", *columns], [[name, *map(row.get, columns)] for name, row in rows.items()])
    return {"accounts": options.accounts, "entries": options.entries, "journal": events, **rows}


def _once(step: Start) -> Started:
    with starting(step) as worker:
        worker.fire()
        return worker.report(WITHIN_S)


def _row(one: Started) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(one),
        "seconds": round(one.seconds, 2),
        "cpu_s": round(one.cpu_s, 2),
        "events_per_s": round(one.events / one.seconds),
    }


def _fill(url: str, signer: FrameSigner, options: Options) -> int:
    """Answers how many events there are."""
    engine, lease = sa.create_engine(url), PostgresLease.open(url, BOOK)
    journal = PostgresJournal(engine, BOOK, lease.connection)
    epoch = lease.try_take(0)
    if epoch is None:
        raise RuntimeError("expected a book that nobody writes")
    bodies, position = _bodies(options, epoch), 0
    while part := list(itertools.islice(bodies, BATCH)):
        stored = _records(part, position)
        frames = signer.cut(BOOK, BOOK_ID, stored)
        journal.append(Batch(epoch, stored, [None] * len(stored), [], frames))
        position += len(stored)
    lease.connection.close()
    engine.dispose()
    return position


def _bodies(options: Options, epoch: int) -> Iterator[msgspec.Struct]:
    yield BookOpened(BOOK_ID.hex(), f"bench/{BOOK}", 1)
    yield WriterStarted(epoch)
    yield AssetDefined("CNY", 30, "人民币", "", False, Unit.FEN)
    holders = [holder_id(n) for n in range(options.accounts)]
    for holder in holders:
        yield HolderRegistered(holder, HolderKind.FOREIGN, f"账户 {holder}", "")
    bank = Account(holders[0], Purpose.EXTERNAL, holders[0])
    accounts = [Account(holder, Purpose.AVAILABLE, "") for holder in holders]
    for n in range(options.entries):
        # First everybody gets something from outside, then they pay their neighbours.
        new = n < len(accounts)
        debit = bank if new else accounts[n * 7 % len(accounts)]
        credit = accounts[n if new else (n * 7 + 1) % len(accounts)]
        yield EntryPosted(legs=[Leg(1000 if new else 1, "CNY", credit, debit, [])])


def _records(bodies: list[msgspec.Struct], first: int) -> list[StoredEvent]:
    at_ms = START_MS + first // EVENTS_PER_MS
    at, by = format_instant(at_ms), uuid7(at_ms)
    maker, stored = RecordMaker(BOOK, at), []
    for position, body in enumerate(bodies, start=first):
        record = maker.make(body, ACTOR, (), by, None, at, position, None)
        stored.append(StoredEvent(position, record, SALT, commit(SALT, record)))
    return stored
