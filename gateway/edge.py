"""What surrounds every request: bounds on its body, headers of every answer, log line, metrics.

Pure ASGI, outermost. Logs and metrics name the route as it is written in the table, never the
address: addresses hold ids of people and firms. Never a token, never a body.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.entrance import verify_authorization
from gateway.problems import problem_response
from kernel import metrics
from kernel.auth import TokenVerifier
from kernel.clock import Clock
from kernel.errors import Kind, Refused
from kernel.ids import uuid7
from kernel.logs import get_logger

MAX_BODY_BYTES: Final = 256 * 1024  # the largest single item is far below
MAX_BATCH_BYTES: Final = 6 * 1024 * 1024  # trips: what becomes of them fits gRPC's eight megabytes
BATCHES: Final = ("/v1/trip-batches",)
FOR_CALLERS: Final = "/v1/"  # everything that is posted there
BODY_DEADLINE_S: Final = 20.0
UNMATCHED: Final = "(no such route)"

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)
_STRICT_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")
_NO_STORE: Final = (b"cache-control", b"no-store")

log = get_logger(__name__)


class Edge:
    """The whole application, bounded and observed. Answers a fault itself, without its words."""

    def __init__(self, app: ASGIApp, clock: Clock, verifier: TokenVerifier) -> None:
        self._app = app
        self._clock = clock
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, uuid7(self._clock.now_ms(), os.urandom), scope["scheme"] == "https")
        started_s = time.perf_counter()
        try:
            await self._app(scope, await self._bounded(scope, receive), answer.send)
        except Refused as refused:
            await problem_response(refused)(scope, receive, answer.send)
        except Exception as error:
            log.error("http.fault", request_id=answer.request_id, exc_info=error)
            if answer.status == 0:
                await problem_response(error)(scope, receive, answer.send)
        finally:
            _note(scope, answer, time.perf_counter() - started_s)

    async def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """The body, whole and within its bound, before anybody looks at it.

        Nobody's body is taken in but a caller's: megabytes from strangers would fill our memory.
        """
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            return receive
        headers = dict(scope["headers"])
        if scope["path"].startswith(FOR_CALLERS):
            verify_authorization(
                self._verifier, headers.get(b"authorization", b"").decode("latin-1")
            )
        return await _taken_in(scope, headers, receive)


class _Answer:
    """Passes an answer on and remembers its status."""

    def __init__(self, send: Send, request_id: str, secure: bool) -> None:
        self._send = send
        self._secure = secure
        self.request_id = request_id
        self.status = 0
        self.is_stream = False  # how long somebody looked on is no time to answer

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", []))
            set_already = {name.lower() for name, _ in headers}
            headers += [one for one in _HEADERS if one[0] not in set_already]
            self.is_stream = any(value.startswith(b"text/event-stream") for _, value in headers)
            headers.append((b"x-request-id", self.request_id.encode()))
            if self._secure:
                headers.append(_STRICT_TRANSPORT)
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                headers.append(_NO_STORE)
            message = {**message, "headers": headers}
        await self._send(message)


async def _taken_in(scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
    limit = MAX_BATCH_BYTES if scope["path"] in BATCHES else MAX_BODY_BYTES
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            body = await _read(receive, limit)
    except TimeoutError:
        raise Refused(
            "BODY_TOO_SLOW", f"expected the body within {BODY_DEADLINE_S:.0f} s", Kind.INVALID
        ) from None
    media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if body and media_type != b"application/json":
        raise Refused(
            "MEDIA_TYPE_UNKNOWN",
            f"expected application/json, got {media_type[:60].decode('latin-1')!r}",
            Kind.INVALID,
        )
    return _replay(body, receive)


async def _read(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(limit: int) -> Refused:
    return Refused("BODY_TOO_LARGE", f"expected at most {limit} bytes", Kind.INVALID, limit=limit)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once


def _note(scope: Scope, answer: _Answer, seconds: float) -> None:
    route: Any = scope.get("route")
    path = UNMATCHED if route is None else str(route.path)
    status = str(answer.status)
    if not answer.is_stream:
        metrics.http_seconds.labels(_method(scope["method"]), path, status).observe(seconds)
    log.info(
        "http.request",
        method=_method(scope["method"]),
        route=path,
        status=answer.status,
        ms=round(seconds * 1000, 1),
        request_id=answer.request_id,
    )


def _method(method: str) -> str:
    """A method is the caller's word: only those we know become a label."""
    return method if method in ("GET", "HEAD", "POST", "OPTIONS") else "OTHER"
