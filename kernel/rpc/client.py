"""gRPC as our processes and tools call it: a token, a deadline, errors back in their families.

A call that failed in transport may have been carried out; `call` repeats it with the same ids,
which is safe, and gives up with the last Conflict. A book may have two processes, one that writes
and one that stands by: a channel to both goes to the one that says it serves, and leaves it within
seconds when it says nothing any more.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Container
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from tanzhang.kernel.v1 import journal_pb2, journal_pb2_grpc

from kernel.config import is_loopback
from kernel.errors import Conflict, Misconfigured, TanzhangError
from kernel.frames import Frame, FrameError, frame_from_message
from kernel.rpc.problems import from_rpc_error
from kernel.rpc.server import MAX_MESSAGE_BYTES

DEADLINE_S: Final = 20.0  # of a call with all its repetitions
STREAM_DEADLINE_S: Final = 600.0  # reading a long journal from zero
OWNER_SILENCE_S: Final = 3.0  # between two frames of one answer
# How long a call is begun again: a standby takes over within five seconds, and then some.
PATIENCE_S: Final = 8.0
RETRY_FIRST_S: Final = 0.1
RETRY_LAST_S: Final = 1.0

# A process that stands still keeps its connections: it is asked every second, and has to answer.
# The answer is gRPC's own threads' work, so a process that only computes for long does answer.
_ALIVE: Final = (
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 1500),
    ("grpc.http2.ping_timeout_ms", 1500),  # without it the answer is waited for for a minute
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
# Of several processes those are called that say they serve: of a book that is one at most.
_WHO_SERVES: Final = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
)

T = TypeVar("T")
Token = Callable[[], str | None]
Channel: TypeAlias = grpc.aio.Channel


def open_channel(target: str, root_certificate: bytes | None = None) -> Channel:
    """To host:port, or to the processes of one book: addresses with commas, or `dns:///name:port`.

    Raises Misconfigured for a list that gRPC could not take.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Also how long a connection may take to come about: one that stands still accepts it.
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # Several channels of a test or a tool to one address must not share a broken connection.
        ("grpc.use_local_subchannel_pool", 1),
        *_ALIVE,
    ]
    if is_several(target):
        options.append(("grpc.service_config", _WHO_SERVES))
        target = _several(target, root_certificate is not None)
    if root_certificate is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificate)
    return grpc.aio.secure_channel(target, credentials, options=options)


def is_several(target: str) -> bool:
    """Is it said where the processes of a book are, of which one may stand by?"""
    return "," in target or target.startswith("dns:")


def _several(target: str, certified: bool) -> str:
    """As gRPC writes a list of addresses."""
    if "," not in target:
        return target
    addresses = target.split(",")
    hosts = [address.rpartition(":")[0] for address in addresses]
    if certified or not all(map(is_loopback, hosts)):
        raise Misconfigured(
            f"{target}: expected loopback addresses without TLS, or one name: dns:///name:port"
        )
    if len({host.startswith("[") for host in hosts}) > 1:
        raise Misconfigured(f"{target}: expected addresses of one kind")
    return ("ipv6:" if hosts[0].startswith("[") else "ipv4:") + target


def metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


async def call(
    method: Callable[..., Any],
    request: Any,
    token: str | None = None,
    *,
    deadline_s: float = DEADLINE_S,
    patience_s: float = PATIENCE_S,
    waited: Container[str] = (),
) -> Any:
    """One unary call; repeats it on Conflict for patience_s, raises Refused, Conflict or Fault.

    All of it within deadline_s. Between two attempts at least as long as the service asked for.
    A Conflict with one of the reasons `waited` is the answer: it has been waited for already.
    """
    begun_s = time.monotonic()
    attempt = 0
    while True:
        left_s = begun_s + deadline_s - time.monotonic()
        try:
            return await method(request, timeout=max(left_s, 0.0), metadata=metadata(token))
        except grpc.aio.AioRpcError as error:
            known = from_rpc_error(error)
            pause_s = _pause_s(known, attempt, waited)
            if time.monotonic() + pause_s >= begun_s + min(patience_s, deadline_s):
                raise known from error
        await asyncio.sleep(pause_s)
        attempt += 1


def _pause_s(known: TanzhangError, attempt: int, waited: Container[str]) -> float:
    """Before the same is asked again; for ever, when it need not be."""
    if not isinstance(known, Conflict) or known.reason in waited:
        return math.inf
    backed_off_s = min(math.ldexp(RETRY_FIRST_S, attempt), RETRY_LAST_S)
    # Not all at the same instant: they were all turned away at the same.
    jitter: float = random.uniform(0.75, 1.25)  # noqa: S311 - nothing is kept secret by it
    return max(backed_off_s, known.retry_after_ms / 1000) * jitter


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
