"""Claim: a book is replayed from its journal, every frame's signature and commitment checked; and
the ledger's independent check, which shares no code with it, keeps up.

Both read the same rows from PostgreSQL: the accounts state by the function that runs every day, the
ledger's book with decoding, checking, hashing and tree.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.entries import post_batches
from benchmarks.world import bench_world
from cli.stack import provision
from kernel.acts import verify_act
from kernel.clock import SystemClock
from kernel.frames import FrameSigner, verify_frame
from kernel.identities import load_identities
from kernel.journal.postgres import PostgresJournal
from kernel.tlog.tiles import TileTree
from kernel.writer import Writer
from services.accounts.main import DOMAIN
from services.ledger.books.accounts import AccountsBook
from services.ledger.books.ledger import LedgerBook
from services.ledger.log import BookLog

EVENTS: Final = 60_000
CALLERS: Final = 4


class _NothingStored:
    """A log that begins: there is nothing to compare with."""

    def commitment(self, position: int) -> bytes | None:
        return None

    def commitments(self, begin: int, end: int) -> bytes:
        return b""


def run() -> dict[str, Any]:
    with bench_world(200) as bench:
        asyncio.run(post_batches(bench, 200, CALLERS, EVENTS // 1000 // CALLERS))
        folder = bench.workspace.directory
        identities = load_identities(
            provision.identities_file(folder), provision.operator_signer(folder).verifier.vkey
        )
        engine = sa.create_engine(bench.supervisor.database_url("accounts"))
        journal = PostgresJournal(engine, "accounts")
        origin = f"{provision.known_prefix(folder)}/accounts"

        signer = FrameSigner(Ed25519PrivateKey.generate())  # replaying signs nothing
        clock = SystemClock()
        writer = Writer(
            journal, DOMAIN, signer, identities.frame_key, clock, origin=origin, verify=verify_act
        )
        started_s = time.perf_counter()
        writer.catch_up()
        replayed_s = time.perf_counter() - started_s

        book = BookLog("accounts", origin, AccountsBook(LedgerBook()), TileTree(), _NothingStored())
        started_s = time.perf_counter()
        for frame in journal.read_frames(0):
            verify_frame(frame, identities.frame_key)
            for event in frame.events:
                raw, body = book.decode(event)
                if raw.cause is None:  # key admissions wait for the ledger's own book
                    book.check(raw, body, frame.book_id)
                book.apply(raw, body, frame.book_id)
                book.append(event.commitment)
            book.grow()
        checked_s = time.perf_counter() - started_s
        events = writer.progress.next_position
        engine.dispose()
    figures = {
        "events": events,
        "replayed_per_s": round(events / replayed_s),
        "checked_and_hashed_per_s": round(events / checked_s),
    }
    print(figures, flush=True)
    return figures
