"""Claim: a balance of the past costs the same however long the history is, and statements stream.

One holder with a million movements in one account, projected by the projector that runs every day.
Printed: how long the balance at a random position and at a random instant takes, and how many lines
a second a statement of all of it has in each format: from the tables to bytes of the file, through
the messages of the RPC, without the network. Memory does not grow with its length.
"""

from __future__ import annotations

import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from tanzhang.accounts.v1 import accounts_pb2 as pb

from benchmarks.projection import BOOK, EVENTS_PER_MS, START_MS, make_frames, project
from cli.accounts_client import PURPOSES
from cli.stack.ports import free_port
from cli.stack.postgres import EmbeddedPostgres, ensure_database, ensure_service
from kernel.frames import Frame
from kernel.journal.database import copy_rows
from kernel.journal.schema import events
from kernel.migrate import upgrade
from kernel.rpc.statements import part_of
from kernel.statement.formats import MEDIA_TYPES, make_file, write_part
from kernel.statement.plain import Adding, Head
from services.accounts import queries
from services.accounts.moments import Clockwork, PeriodAsked, Span
from services.accounts.queries import Scope
from services.accounts.statements import statement_parts
from services.accounts.statements_rpc import part_message

STEP: Final = 100_000


@dataclass(frozen=True)
class Options:
    movements: int = 1_000_000  # whole steps
    questions: int = 500


def run(options: Options) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as folder,
        EmbeddedPostgres(Path(folder), free_port()) as server,
    ):
        ensure_database(server.admin_url(), "bench")
        ensure_service(server.admin_url(), "bench", "accounts", "bench")
        url = server.url("accounts", "bench", "bench")
        upgrade(url, "accounts")
        engine = sa.create_engine(url)
        holder = _fill(engine, url, server.admin_url("bench"), options.movements)
        figures: dict[str, Any] = {
            "movements": options.movements,
            **_balances(engine, holder, options),
        }
        print(figures, flush=True)
        for format in MEDIA_TYPES:
            figures[f"statement_{format}"] = _statement(engine, holder, format, options.movements)
            print(format, figures[f"statement_{format}"], flush=True)
        engine.dispose()
    return figures


def _fill(engine: sa.Engine, url: str, admin_url: str, movements: int) -> str:
    """The journal and its read models; answers the holder whom every entry touches."""
    for start in range(0, movements, STEP):
        frames = make_frames(2, STEP, start)
        with engine.begin() as connection:
            copy_rows(connection, events, list(_rows(frames)))
        asyncio.run(project(url, admin_url, frames))
        print(f"{start + STEP:,} movements", flush=True)
    with engine.begin() as connection:
        connection.execute(sa.text("ANALYZE"))
        return str(connection.execute(sa.text("SELECT min(holder) FROM moves")).scalar_one())


def _rows(frames: list[Frame]) -> Iterator[tuple[Any, ...]]:
    for frame in frames:
        for event in frame.events:
            yield (BOOK, event.position, event.record, event.salt, None, None, None)


def _balances(engine: sa.Engine, holder: str, options: Options) -> dict[str, float]:
    movements = options.movements
    chance = random.Random(4)  # noqa: S311 - positions, not secrets

    def by_position() -> None:
        with engine.connect() as connection:
            queries.holdings_at(connection, holder, chance.randrange(movements))

    def by_instant() -> None:
        at_ms = START_MS + chance.randrange(movements // EVENTS_PER_MS)
        position = queries.position_at(engine, BOOK, at_ms, movements)
        with engine.connect() as connection:
            queries.holdings_at(connection, holder, position)

    return {
        **_timed("at_position", by_position, options.questions),
        **_timed("at_instant", by_instant, options.questions),
    }


def _timed(name: str, ask: Callable[[], None], questions: int) -> dict[str, float]:
    taken = []
    for _ in range(questions):
        started_s = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - started_s) * 1000)
    taken.sort()
    middle, last = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    return {f"{name}_p50_ms": round(middle, 2), f"{name}_p99_ms": round(last, 2)}


def _statement(engine: sa.Engine, holder: str, format: str, movements: int) -> dict[str, int]:
    period, span = PeriodAsked(Clockwork.AT, START_MS, None), Span(-1, movements - 1, movements - 1)
    head = Head(
        book=BOOK,
        book_id="00" * 16,
        holder=holder,
        asset=None,
        purpose=None,
        ref=None,
        by="at",
        from_="2026-11-20T08:30:00.000Z",
        to=None,
        as_of_position=movements - 1,
    )
    file, adding, written, lines = make_file(format), Adding(), 0, 0
    started_s, cpu_s = time.perf_counter(), time.process_time()
    file.begin(head)
    for part in statement_parts(engine, BOOK, Scope(holder), period, span):
        message = pb.GetStatementResponse.FromString(part_message(holder, part).SerializeToString())
        plain = part_of(message, PURPOSES)
        adding.add(plain)
        lines += len(plain.lines)
        written += len(write_part(file, plain))
    taken_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    adding.check_ended()
    return {
        "lines": lines,
        "lines_per_s": round(lines / taken_s),
        "own_cpu_us_per_line": round(cpu_s / lines * 1e6),
        "file_bytes": written,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
