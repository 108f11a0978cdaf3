"""DisclosureService: what a book shows of its events, by ranges; for strangers and for auditors.

What is public is said by the service that owns the book; nothing is, unless it says so. What an
auditor is shown is noted before it is handed out, one row for each answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from tanzhang.kernel.v1 import disclosure_pb2 as pb
from tanzhang.kernel.v1 import disclosure_pb2_grpc

from kernel import metrics
from kernel.clock import Clock
from kernel.errors import Kind, Refused
from kernel.frames import StoredEvent
from kernel.journal.database import Engine
from kernel.journal.disclosures import log_disclosed_range
from kernel.record import decode_record
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import disclosed_messages
from kernel.rpc.server import Register
from kernel.values import MAX_INTEGER, format_instant
from kernel.writer import Writer

SERVICE: Final = "tanzhang.kernel.v1.DisclosureService"
MAX_RANGE: Final = 1000  # events looked at for one answer
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024  # half of what a message may hold

IsPublic = Callable[[str], bool]
"""Whether a book shows its events of this type to everybody."""


def nothing_public(type: str) -> bool:
    return False


class DisclosureRpc(disclosure_pb2_grpc.DisclosureServiceServicer):
    def __init__(
        self, writer: Writer[Any], engine: Engine, clock: Clock, is_public: IsPublic
    ) -> None:
        self._writer = writer
        self._engine = engine
        self._clock = clock
        self._is_public = is_public

    async def ListPublicEvents(self, request: pb.ListPublicEventsRequest, context: object) -> Any:
        looked_at = await self._read(request.book, request.begin, request.limit)
        shown = [one for one in looked_at if self._is_public(decode_record(one.record).type)]
        return pb.ListPublicEventsResponse(
            events=disclosed_messages(shown), next_position=request.begin + len(looked_at)
        )

    async def DiscloseRange(self, request: pb.DiscloseRangeRequest, context: object) -> Any:
        stored = await self._read(request.book, request.begin, request.limit)
        if stored:
            at, who = format_instant(self._clock.now_ms()), current_caller().principal
            await asyncio.to_thread(
                log_disclosed_range,
                *(self._engine, self._writer.book, at, who),
                *(stored[0].position, stored[-1].position),
            )
            metrics.disclosures_total.labels(self._writer.book).inc(len(stored))
        return pb.DiscloseRangeResponse(
            events=disclosed_messages(stored), next_position=request.begin + len(stored)
        )

    async def _read(self, book: str, begin: int, limit: int) -> list[StoredEvent]:
        """Committed events from `begin` on, without a gap, as many as one answer holds."""
        if book != self._writer.book:
            raise Refused("UNKNOWN_BOOK", f"no book {book[:60]!r} here", Kind.UNKNOWN, book=book)
        if limit > MAX_RANGE:
            raise Refused(
                "POSITIONS_COUNT", f"expected at most {MAX_RANGE} events, got {limit}", Kind.INVALID
            )
        end = min(begin + (limit or MAX_RANGE), self._writer.committed_next, MAX_INTEGER)
        found = await asyncio.to_thread(self._writer.journal.read_events, range(begin, end))
        return _fitting(found, begin)


def _fitting(found: list[StoredEvent], begin: int) -> list[StoredEvent]:
    size = 0
    for n, one in enumerate(found):
        size += len(one.record)
        if one.position != begin + n or (size > MAX_ANSWER_BYTES and n):
            return found[:n]
    return found


def disclosure_service(
    writer: Writer[Any], engine: Engine, clock: Clock, is_public: IsPublic
) -> tuple[str, Register]:
    """Name and registration, for kernel/rpc/server.py."""
    servicer = DisclosureRpc(writer, engine, clock, is_public)
    return SERVICE, lambda server: disclosure_pb2_grpc.add_DisclosureServiceServicer_to_server(
        servicer, server
    )
