"""Claim: a book is replayed from its journal, every frame's signature and commitment checked; and
the ledger's independent check, which shares no code with it, keeps up.

Both read the same rows from PostgreSQL: the accounts state by the function that runs every day, the
ledger's book with decoding, checking, hashing and tree. Then a start as it happens: from a signed
snapshot of nine tenths of the book, and the tail. Nothing else runs meanwhile: it is one core.
At the end the ledger itself is started, from zero and from its checkers' snapshot: from the
process's beginning until it has folded every event of the accounts book.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from benchmarks.jobs import Job, run_load
from benchmarks.tables import say
from benchmarks.world import Bench, bench_world
from cli.clients import Books
from cli.stack import provision
from cli.stack.process import ServiceProcess
from kernel.acts import verify_act
from kernel.clock import SystemClock
from kernel.frames import FrameSigner, KeyLookup, verify_frame
from kernel.identities import load_identities
from kernel.journal.postgres import PostgresJournal
from kernel.journal.snapshots import PostgresSnapshots
from kernel.keys import load_private_key
from kernel.snapshot.recovery import make, recover
from kernel.tlog.tiles import TileTree
from kernel.writer import Writer
from services.accounts.main import DOMAIN
from services.ledger.books.accounts import AccountsBook
from services.ledger.books.ledger import LedgerBook
from services.ledger.log import BookLog

BOOK: Final = "accounts"
TENTHS_IN_SNAPSHOT: Final = 9
BATCH: Final = 1000
CALLERS: Final = 4
ACCOUNTS: Final = 200
LEDGER: Final = "ledger"
LOOK_EVERY_S: Final = 0.02
LONGEST_S: Final = 600.0  # for the journal to be made


@dataclass(frozen=True)
class Options:
    events: int = 60_000
    rounds: int = 3


class _NothingStored:
    """A log that begins: there is nothing to compare with."""

    def commitment(self, position: int) -> bytes | None:
        return None

    def commitments(self, begin: int, end: int) -> bytes:
        return b""


def run(options: Options) -> dict[str, Any]:
    with bench_world(ACCOUNTS) as bench:
        return measure_in(bench, options)


def measure_in(bench: Bench, options: Options) -> dict[str, Any]:
    report = run_load(
        Job(
            directory=bench.directory,
            people=bench.people,
            callers=CALLERS,
            batch=BATCH,
            seconds=LONGEST_S,
            calls=-(-options.events // (BATCH * CALLERS)),
        )
    )
    bench.await_read_models(report.last)
    book = _open(bench)
    try:
        figures = _figures(book, options.rounds)
        figures |= _ledger_starts(bench, book.journal.head())
    finally:
        book.engine.dispose()
    say(str(figures))
    return figures


def _ledger_starts(bench: Bench, events: int) -> dict[str, float]:
    from_zero_s = _start_ledger(bench, events)
    ledger = bench.supervisor.process(LEDGER)
    if not isinstance(ledger, ServiceProcess):
        raise RuntimeError("expected the ledger to be a service")
    started_s = time.perf_counter()
    made = ledger.beside("snapshot")
    made_s = time.perf_counter() - started_s
    if made.returncode:
        raise RuntimeError(f"expected a snapshot of the checkers: {made.stderr}")
    return {
        "ledger_from_zero_s": round(from_zero_s, 2),
        "ledger_snapshot_made_s": round(made_s, 2),
        "ledger_from_snapshot_s": round(_start_ledger(bench, events), 2),
    }


def _start_ledger(bench: Bench, events: int) -> float:
    bench.supervisor.stop_service(LEDGER)
    started_s = time.perf_counter()
    bench.supervisor.start_service(LEDGER)
    asyncio.run(_await_folded(bench, events))
    return time.perf_counter() - started_s


async def _await_folded(bench: Bench, events: int) -> None:
    async with Books(bench.workspace, patience_s=LONGEST_S) as books:
        while True:
            folded = {one.book: one.folded for one in await books.status()}
            if folded[BOOK] >= events:
                return
            await asyncio.sleep(LOOK_EVERY_S)


class Book(NamedTuple):
    """The accounts book as its owner reads it at a start, beside the one that serves."""

    engine: sa.Engine
    journal: PostgresJournal
    store: PostgresSnapshots
    keys: KeyLookup
    signer: FrameSigner
    origin: str

    def writer(self) -> Writer[Any]:
        """One that has read nothing yet."""
        return Writer(
            self.journal,
            DOMAIN,
            self.signer,
            self.keys,
            SystemClock(),
            origin=self.origin,
            verify=verify_act,
        )


def _open(bench: Bench) -> Book:
    folder = bench.workspace.directory
    operator = provision.operator_signer(folder).verifier.vkey
    engine = sa.create_engine(bench.supervisor.database_url(BOOK))
    return Book(
        engine,
        PostgresJournal(engine, BOOK),
        PostgresSnapshots(engine, BOOK),
        load_identities(provision.identities_file(folder), operator).frame_key,
        FrameSigner(load_private_key(folder / "keys" / BOOK / "frame.key")),
        f"{provision.known_prefix(folder)}/{BOOK}",
    )


def _figures(book: Book, rounds: int) -> dict[str, Any]:
    events = book.journal.head()
    replayed_s = min(_replay(book) for _ in range(rounds))
    checked_s = min(_check(book) for _ in range(rounds))
    at = events * TENTHS_IN_SNAPSHOT // 10
    made_s = _make_snapshot(book, at)
    recovered_s = min(_recover(book, at) for _ in range(rounds))
    return {
        "events": events,
        "replayed_per_s": round(events / replayed_s),
        "checked_and_hashed_per_s": round(events / checked_s),
        "from_zero_s": round(replayed_s, 3),
        "from_snapshot_s": round(recovered_s, 3),
        "snapshot_at": at,
        "snapshot_made_s": round(made_s, 3),
        "tail": events - at,
    }


def _replay(book: Book) -> float:
    """Seconds, from the first event to the last; replaying signs nothing."""
    writer = book.writer()
    started_s = time.perf_counter()
    writer.catch_up()
    elapsed_s = time.perf_counter() - started_s
    writer.close()
    return elapsed_s


def _make_snapshot(book: Book, at: int) -> float:
    """Seconds to write the state at a position, signed by the book's own key."""
    writer = book.writer()
    writer.catch_up(end=at)
    started_s = time.perf_counter()
    make(writer, book.store, book.signer)
    elapsed_s = time.perf_counter() - started_s
    writer.close()
    return elapsed_s


def _recover(book: Book, expected: int) -> float:
    """Seconds to the journal's end: the newest snapshot, checked and read, and the tail."""
    writer = book.writer()
    started_s = time.perf_counter()
    begun = recover(writer, book.store, book.keys)
    elapsed_s = time.perf_counter() - started_s
    writer.close()
    if begun < expected:
        raise RuntimeError(f"expected the snapshot at {expected} to be believed, began at {begun}")
    return elapsed_s


def _check(book: Book) -> float:
    """Seconds, as the ledger does it, up to the root."""
    log = BookLog(BOOK, book.origin, AccountsBook(LedgerBook()), TileTree(), _NothingStored())
    started_s = time.perf_counter()
    for frame in book.journal.read_frames(0):
        verify_frame(frame, book.keys)
        for event in frame.events:
            raw, body = log.decode(event)
            if raw.cause is None:  # key admissions wait for the ledger's own book
                log.check(raw, body, frame.book_id)
            log.apply(raw, body, frame.book_id)
            log.append(event.commitment)
        log.grow()
    return time.perf_counter() - started_s
