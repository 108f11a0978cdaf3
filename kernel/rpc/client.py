"""gRPC as our processes and tools call it: a token, a deadline, errors back in their families.

A call that failed in transport may have been carried out; `call` repeats it with the same ids,
which is safe, and gives up with the last Conflict.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from tanzhang.kernel.v1 import journal_pb2, journal_pb2_grpc

from kernel.errors import Conflict
from kernel.frames import Frame, FrameError, frame_from_message
from kernel.rpc.problems import from_rpc_error
from kernel.rpc.server import MAX_MESSAGE_BYTES

DEADLINE_S: Final = 20.0
STREAM_DEADLINE_S: Final = 600.0  # reading a long journal from zero
OWNER_SILENCE_S: Final = 3.0  # between two frames of one answer
RETRIES: Final = 4
RETRY_BASE_S: Final = 0.1

T = TypeVar("T")
Token = Callable[[], str | None]
Channel: TypeAlias = grpc.aio.Channel


def open_channel(target: str, root_certificate: bytes | None = None) -> Channel:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # Several channels of a test or a tool to one address must not share a broken connection.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if root_certificate is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificate)
    return grpc.aio.secure_channel(target, credentials, options=options)


def metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


async def call(
    method: Callable[..., Any],
    request: Any,
    token: str | None = None,
    *,
    deadline_s: float = DEADLINE_S,
    retries: int = RETRIES,
) -> Any:
    """One unary call; repeats it on Conflict, raises Refused, Conflict or Fault."""
    for attempt in range(retries + 1):
        try:
            return await method(request, timeout=deadline_s, metadata=metadata(token))
        except grpc.aio.AioRpcError as error:
            known = from_rpc_error(error)
            if not isinstance(known, Conflict) or attempt == retries:
                raise known from error
            await asyncio.sleep(RETRY_BASE_S * 2**attempt)
    raise Conflict("UNAVAILABLE", "no attempt was made")


class OwnerSource:
    """The owner of a book over ReadEvents, for followers (kernel/follower.py)."""

    def __init__(self, channel: Channel, token: Token) -> None:
        self._stub = journal_pb2_grpc.JournalServiceStub(channel)
        self._token = token

    async def frames(self, book: str, from_position: int) -> AsyncIterator[Frame]:
        request = journal_pb2.ReadEventsRequest(book=book, from_position=from_position)
        stream = self._stub.ReadEvents(
            request, timeout=STREAM_DEADLINE_S, metadata=metadata(self._token())
        )
        try:
            # An owner that was stopped keeps its connection and says nothing: it is away as well.
            while True:
                # Not wait_for: before Python 3.12 it can swallow that we are to end.
                async with asyncio.timeout(OWNER_SILENCE_S):
                    response: Any = await stream.read()
                if response is grpc.aio.EOF:
                    return
                yield frame_from_message(response.frame)
        except TimeoutError:
            raise Conflict(
                "OWNER_AWAY", f"{book}: nothing from the owner for {OWNER_SILENCE_S:.0f} s"
            ) from None
        except grpc.aio.AioRpcError as error:
            known = from_rpc_error(error)
            if isinstance(known, Conflict | FrameError):
                raise known from error
            # The owner refuses us or is broken: for a follower that is "not now" as well.
            raise Conflict("OWNER_AWAY", str(known)) from error
        finally:
            stream.cancel()
