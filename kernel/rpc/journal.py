"""JournalService: the stored frames of the books a process owns, for followers and auditors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tanzhang.kernel.v1 import frames_pb2, journal_pb2, journal_pb2_grpc

from kernel.errors import Conflict, Kind, Refused
from kernel.frames import Frame, frame_to_message
from kernel.host import BookHost
from kernel.rpc.server import Register
from kernel.writer import Writer

SERVICE = "tanzhang.kernel.v1.JournalService"


class JournalRpc(journal_pb2_grpc.JournalServiceServicer):
    def __init__(self, hosts: Mapping[str, BookHost]) -> None:
        self._hosts = hosts

    def _host(self, book: str) -> BookHost:
        host = self._hosts.get(book)
        if host is None:
            raise Refused("UNKNOWN_BOOK", f"no book {book!r} here", Kind.UNKNOWN, book=book)
        return host

    def _writer(self, book: str) -> Writer[Any]:
        """Of a book that is ours: a standby does not know its end, and must not be taken to."""
        host = self._host(book)
        if host.standing_by:
            raise standby(book)
        return host.writer

    async def ReadEvents(
        self, request: journal_pb2.ReadEventsRequest, context: object
    ) -> AsyncIterator[journal_pb2.ReadEventsResponse]:
        source = JournalSource(self._writer(request.book))
        async for frame in source.frames(request.book, request.from_position):
            yield journal_pb2.ReadEventsResponse(frame=frame_to_message(frame))

    async def GetHead(
        self, request: journal_pb2.GetHeadRequest, context: object
    ) -> journal_pb2.GetHeadResponse:
        writer = self._writer(request.book)
        return journal_pb2.GetHeadResponse(
            head=frames_pb2.Head(
                book=request.book,
                book_id=writer.progress.book_id,
                next_position=writer.committed_next,
                epoch=writer.progress.epoch,
            )
        )

    async def GetStateHash(
        self, request: journal_pb2.GetStateHashRequest, context: object
    ) -> journal_pb2.GetStateHashResponse:
        host = self._host(request.book)
        found, position = await host.state_hash(request.min_position)
        return journal_pb2.GetStateHashResponse(
            as_of_position=position, sha256=found, standby=host.standing_by
        )


def standby(book: str) -> Conflict:
    return Conflict("STANDBY", f"{book}: another process writes it, ask there")


def journal_service(hosts: Mapping[str, BookHost]) -> tuple[str, Register]:
    """Name and registration, for kernel/rpc/server.py."""
    servicer = JournalRpc(hosts)
    return SERVICE, lambda server: journal_pb2_grpc.add_JournalServiceServicer_to_server(
        servicer, server
    )


class JournalSource:
    """The owner of a book inside its own process, for followers (kernel/follower.py)."""

    def __init__(self, writer: Writer[Any]) -> None:
        self._writer = writer

    async def frames(self, book: str, from_position: int) -> AsyncIterator[Frame]:
        """Stored frames from the one that holds from_position, up to the head of this moment."""
        stored = self._writer.journal.read_frames(from_position, self._writer.committed_next)
        while (frame := await asyncio.to_thread(next, stored, None)) is not None:
            yield frame
