"""JournalService: the stored frames of the books a process owns, for followers and auditors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tanzhang.kernel.v1 import frames_pb2, journal_pb2, journal_pb2_grpc

from kernel.errors import Kind, Refused
from kernel.frames import Frame, frame_to_message
from kernel.rpc.server import Register
from kernel.writer import Writer

SERVICE = "tanzhang.kernel.v1.JournalService"


class JournalRpc(journal_pb2_grpc.JournalServiceServicer):
    def __init__(self, writers: Mapping[str, Writer[Any]]) -> None:
        self._writers = writers

    def _writer(self, book: str) -> Writer[Any]:
        writer = self._writers.get(book)
        if writer is None:
            raise Refused("UNKNOWN_BOOK", f"no book {book!r} here", Kind.UNKNOWN, book=book)
        return writer

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


def journal_service(writers: Mapping[str, Writer[Any]]) -> tuple[str, Register]:
    """Name and registration, for kernel/rpc/server.py."""
    servicer = JournalRpc(writers)
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
