"""Claim: a book is replayed from its journal, every frame's signature and commitment checked; and
the ledger's independent check, which shares no code with it, keeps up.

Both read the same rows from PostgreSQL: the accounts state by the function that runs every day, the
ledger's book with decoding, checking, hashing and tree. Nothing else runs meanwhile, so what is
measured is one core.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.jobs import Job, run_load
from benchmarks.tables import say
from benchmarks.world import Bench, bench_world
from cli.stack import provision
from kernel.acts import verify_act
from kernel.clock import SystemClock
from kernel.frames import FrameSigner, KeyLookup, verify_frame
from kernel.identities import load_identities
from kernel.journal.postgres import PostgresJournal
from kernel.tlog.tiles import TileTree
from kernel.writer import Writer
from services.accounts.main import DOMAIN
from services.ledger.books.accounts import AccountsBook
from services.ledger.books.ledger import LedgerBook
from services.ledger.log import BookLog

BATCH: Final = 1000
CALLERS: Final = 4
ACCOUNTS: Final = 200
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
    folder = bench.workspace.directory
    operator = provision.operator_signer(folder).verifier.vkey
    keys = load_identities(provision.identities_file(folder), operator).frame_key
    engine = sa.create_engine(bench.supervisor.database_url("accounts"))
    journal = PostgresJournal(engine, "accounts")
    origin = f"{provision.known_prefix(folder)}/accounts"
    rounds = [
        (_replay(journal, keys, origin), _check(journal, keys, origin))
        for _ in range(options.rounds)
    ]
    events = journal.head()
    engine.dispose()
    figures = {
        "events": events,
        "replayed_per_s": round(events / min(replayed_s for replayed_s, _ in rounds)),
        "checked_and_hashed_per_s": round(events / min(checked_s for _, checked_s in rounds)),
    }
    say(str(figures))
    return figures


def _replay(journal: PostgresJournal, keys: KeyLookup, origin: str) -> float:
    """Seconds, with a writer that has nothing yet; replaying signs nothing."""
    signer = FrameSigner(Ed25519PrivateKey.generate())
    writer = Writer(journal, DOMAIN, signer, keys, SystemClock(), origin=origin, verify=verify_act)
    started_s = time.perf_counter()
    writer.catch_up()
    elapsed_s = time.perf_counter() - started_s
    writer.close()
    return elapsed_s


def _check(journal: PostgresJournal, keys: KeyLookup, origin: str) -> float:
    """Seconds, as the ledger does it, up to the root."""
    book = BookLog("accounts", origin, AccountsBook(LedgerBook()), TileTree(), _NothingStored())
    started_s = time.perf_counter()
    for frame in journal.read_frames(0):
        verify_frame(frame, keys)
        for event in frame.events:
            raw, body = book.decode(event)
            if raw.cause is None:  # key admissions wait for the ledger's own book
                book.check(raw, body, frame.book_id)
            book.apply(raw, body, frame.book_id)
            book.append(event.commitment)
        book.grow()
    return time.perf_counter() - started_s
