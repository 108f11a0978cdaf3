"""Claim: the read models of who holds what keep up with the settlement core, at a fraction of it.

The projector alone, on a PostgreSQL with the settings of a user: events that lie in memory as
frames, one leg each, over 1,000 holders and over 10 hot ones. Printed: events a second, and the
CPU of this process and of PostgreSQL for each thousand events.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.stack.ports import free_port
from cli.stack.postgres import EmbeddedPostgres, ensure_database, ensure_service
from kernel.frames import Frame, FrameSigner, StoredEvent
from kernel.ids import uuid7
from kernel.journal.port import Journal
from kernel.migrate import upgrade
from kernel.projection import Projector
from kernel.record import Record, commit, encode_record
from kernel.tail import Tail
from kernel.values import Actor, format_instant
from services.accounts.domain.events import Account, EntryPosted, Leg, Purpose
from services.accounts.projections import READER, MovesProjection, decode_moves

BOOK: Final = "accounts"
START_MS: Final = 1_795_163_400_000
EVENTS_PER_MS: Final = 20
SALT: Final = bytes(16)


@dataclass(frozen=True)
class Options:
    events: int = 200_000


def holder_id(n: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return "h-" + "".join(letters[n >> shift & 31] for shift in range(75, -1, -5))


def make_frames(holders: int, events: int, first: int = 0) -> list[Frame]:
    """One-leg entries in a ring: every holder pays its next but one, back and forth."""
    accounts = [Account(holder_id(n), Purpose.AVAILABLE, "") for n in range(holders)]
    actor = Actor("issuer", "load-1")
    signer = FrameSigner(Ed25519PrivateKey.generate())
    stored = []
    for position in range(first, first + events):
        debit, credit = accounts[position % holders], accounts[(position * 7 + 1) % holders]
        if debit is credit:
            credit = accounts[(position + 1) % holders]
        at = format_instant(START_MS + position // EVENTS_PER_MS)
        body = EntryPosted(legs=[Leg(position % 97 + 1, "CNY", credit, debit, [])])
        record = encode_record(
            Record(
                actor=actor,
                at=at,
                body=body,
                book=BOOK,
                by=uuid7(START_MS),
                cause=None,
                on=at,
                position=position,
                type="EntryPosted",
                v=1,
            )
        )
        stored.append(StoredEvent(position, record, SALT, commit(SALT, record)))
    frames = []
    for start in range(0, events, 1000):
        frames += signer.cut(BOOK, bytes(16), stored[start : start + 1000])
    return frames


class Frames:
    """Frames in memory, as a tail reads them from a journal."""

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames

    def read_frames(self, from_position: int, to_position: int | None = None) -> Iterator[Frame]:
        yield from (frame for frame in self._frames if frame.last >= from_position)


async def project(url: str, admin_url: str, frames: list[Frame]) -> dict[str, Any]:
    """All of it, from memory, by the projector that runs every day."""
    engine = sa.create_engine(url)
    first, end = frames[0].first, frames[-1].last + 1
    tail = Tail(cast(Journal, Frames(frames)), end)
    apply = MovesProjection().project_moves
    projector = Projector(READER, BOOK, engine, tail, decode_moves, apply)
    job = asyncio.create_task(projector.run())
    theirs_s = postgres_cpu_s(admin_url)
    gc.collect()
    gc.freeze()  # the frames lie in memory for our sake alone: nobody need look through them
    cpu_s, started_s = time.process_time(), time.perf_counter()
    while projector.next_position < end:
        if job.done():
            job.result()
        await asyncio.sleep(0.005)
    took_s = time.perf_counter() - started_s
    cpu_s = time.process_time() - cpu_s
    theirs_s = postgres_cpu_s(admin_url) - theirs_s  # while its backend still lives
    job.cancel()
    engine.dispose()
    return {
        "events_per_s": round((end - first) / took_s),
        "own_cpu_us_per_event": round(cpu_s / (end - first) * 1e6, 1),
        "postgres_cpu_us_per_event": round(theirs_s / (end - first) * 1e6, 1),
    }


def run(options: Options) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as folder,
        EmbeddedPostgres(Path(folder), free_port()) as server,
    ):
        for holders in (1000, 10):
            name = f"bench_{holders}"
            ensure_database(server.admin_url(), name)
            ensure_service(server.admin_url(), name, "accounts", "bench")
            url = server.url("accounts", "bench", name)
            upgrade(url, "accounts")
            frames = make_frames(holders, options.events)
            found = asyncio.run(project(url, server.admin_url(name), frames))
            figures[f"{holders}_holders"] = found
            print(found, flush=True)
    return figures


def postgres_cpu_s(url: str) -> float:
    """CPU of this server's processes, those that have ended included."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        backend = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        mother = _stat(Path(f"/proc/{backend}"))[1]
    engine.dispose()
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = _stat(process)
            if mother in (process.name, fields[1]):
                ticks += sum(map(int, fields[11:15] if process.name == mother else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(process: Path) -> list[str]:
    """proc(5), from the state on."""
    return (process / "stat").read_text().rpartition(")")[2].split()
