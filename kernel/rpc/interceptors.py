"""What happens around every call: who calls, may they, how long may it take, what went wrong.

Roles come from the `auth` option of each method in the proto and are checked here, in the service,
never only at an edge. A method without the option keeps the process from starting.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from grpc_status import rpc_status
from tanzhang.kernel.v1 import auth_pb2

from kernel import metrics
from kernel.auth import TokenVerifier
from kernel.errors import Conflict, Fault, Kind, Misconfigured, Refused
from kernel.journal.database import is_away
from kernel.logs import get_logger
from kernel.rpc.open_calls import OpenCalls
from kernel.rpc.problems import to_status
from kernel.values import Actor, Caller

MAX_CALL_S: Final = 60.0  # a caller without a deadline gets this one
# A stream of requests has no end of its own: it ends with its token, its client, or its silence.
STREAM_IDLE_S: Final = 300.0
MAX_STREAMS: Final = 200  # each holds a few batches at most (kernel/rpc/streams.py)

ANYONE: Final = Caller(Actor("", "anyone"), frozenset(), frozenset())

_caller: ContextVar[Caller] = ContextVar("caller")
_bearer: ContextVar[str] = ContextVar("bearer")
_ROLE_FIELD = re.compile(r"\{(\w+)\}")

log = get_logger(__name__)

# The type stubs know these as generic, grpcio itself does not: the names stay in quotes.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


def current_caller() -> Caller:
    """The authenticated caller of the call being served."""
    return _caller.get()


def current_token() -> str:
    """The token of the call being served: to ask another service for this caller, and no longer.

    LookupError in a method that is open to everyone.
    """
    return _bearer.get()


def auth_rules(services: Iterable[str]) -> dict[str, auth_pb2.AuthRule]:
    """Full method name to its rule; raises Fault for a method that has none."""
    rules: dict[str, auth_pb2.AuthRule] = {}
    pool = descriptor_pool.Default()
    for name in services:
        for method in pool.FindServiceByName(name).methods:
            options = method.GetOptions()
            rule = options.Extensions[auth_pb2.auth]
            if not (rule.roles or rule.any_caller or rule.open):
                raise Misconfigured(f"{name}/{method.name} does not say who may call it")
            rules[f"/{name}/{method.name}"] = rule
    return rules


class Guard(grpc.aio.ServerInterceptor):
    """Authentication, roles, deadline, unknown fields, metrics and the mapping of errors."""

    def __init__(
        self, verifier: TokenVerifier, rules: dict[str, auth_pb2.AuthRule], calls: OpenCalls
    ) -> None:
        self._verifier = verifier
        self._rules = rules
        self._calls = calls
        self._streams = 0  # of requests, open now

    async def intercept_service(  # type: ignore[override]  # the stub is generic per call
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        rule = self._rules.get(method)
        if handler is None or rule is None:  # health and reflection, or no such method
            return handler
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, rule, handler.unary_unary),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                self._both_ways(method, rule, handler.stream_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream is None:
            raise Fault(f"{method}: expected a method that answers, once or as a stream")
        return grpc.unary_stream_rpc_method_handler(
            self._stream(method, rule, handler.unary_stream),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, method: str, rule: auth_pb2.AuthRule, inner: Any) -> Any:
        async def serve(request: Message, context: Context) -> Any:
            started_s = time.perf_counter()
            code = "OK"
            try:
                self._admit(rule, request, context)
                with self._calls.one():
                    async with asyncio.timeout(_limit_s(context)):
                        return await inner(request, context)
            except Exception as error:
                status = _status_of(method, error)
                code = status.code.name
                await _abort(context, status)
            finally:
                metrics.rpc_seconds.labels(method, code).observe(time.perf_counter() - started_s)

        return serve

    def _stream(self, method: str, rule: auth_pb2.AuthRule, inner: Any) -> Any:
        async def serve(request: Message, context: Context) -> AsyncIterator[Any]:
            started_s = time.perf_counter()
            code = "OK"
            try:
                self._admit(rule, request, context)
                with self._calls.one():
                    async for response in inner(request, context):
                        yield response
            except Exception as error:
                status = _status_of(method, error)
                code = status.code.name
                await _abort(context, status)
            finally:
                metrics.rpc_seconds.labels(method, code).observe(time.perf_counter() - started_s)

        return serve

    def _both_ways(self, method: str, rule: auth_pb2.AuthRule, inner: Any) -> Any:
        """A stream of requests: who opens it is asked at once, and again with each message."""

        async def serve(requests: AsyncIterator[Message], context: Context) -> AsyncIterator[Any]:
            started_s = time.perf_counter()
            code = "OK"
            self._streams += 1
            try:
                self._check_streams()
                self._check_caller(rule, context)
                with self._calls.one():
                    async for response in inner(self._admitted(rule, requests, context), context):
                        yield response
            except Exception as error:
                status = _status_of(method, error)
                code = status.code.name
                await _abort(context, status)
            finally:
                self._streams -= 1
                metrics.rpc_seconds.labels(method, code).observe(time.perf_counter() - started_s)

        return serve

    async def _admitted(
        self, rule: auth_pb2.AuthRule, requests: AsyncIterator[Message], context: Context
    ) -> AsyncIterator[Message]:
        """Message after message, as if each were a call of its own: tokens expire meanwhile."""
        while True:
            try:
                async with asyncio.timeout(STREAM_IDLE_S):
                    request = await anext(requests, None)
            except TimeoutError:
                raise Conflict("STREAM_IDLE", f"nothing came for {STREAM_IDLE_S:.0f} s") from None
            if request is None:
                return
            self._admit(rule, request, context)
            yield request

    def _check_streams(self) -> None:
        if self._streams > MAX_STREAMS:
            raise Conflict(
                "TOO_MANY_STREAMS", f"expected at most {MAX_STREAMS} open streams of requests"
            )

    def _check_caller(self, rule: auth_pb2.AuthRule, context: Context) -> Caller:
        if rule.open:
            return ANYONE
        token = _token(context)
        caller = self._verifier.verify(token)
        _bearer.set(token)
        return caller

    def _admit(self, rule: auth_pb2.AuthRule, request: Message, context: Context) -> None:
        caller = self._check_caller(rule, context)
        if rule.roles:
            wanted = {
                _ROLE_FIELD.sub(lambda found: str(getattr(request, found[1])), role)
                for role in rule.roles
            }
            if not wanted & caller.roles:
                raise Refused(
                    "ROLE_MISSING",
                    f"expected one of the roles {sorted(wanted)}, got {sorted(caller.roles)}",
                    Kind.FORBIDDEN,
                    needed=" ".join(sorted(wanted)),
                )
        _caller.set(caller)
        _refuse_unknown_fields(request)


def _refuse_unknown_fields(request: Message) -> None:
    """A field we do not know may change what the caller means: refuse it, do not ignore it."""
    size = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != size:
        raise Refused(
            "UNKNOWN_FIELD",
            f"expected only fields of {request.DESCRIPTOR.full_name},"
            f" got {size - request.ByteSize()} bytes of others",
            Kind.INVALID,
        )


def _token(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization" and isinstance(value, str) and value.startswith("Bearer "):
            return value[7:]
    raise Refused(
        "TOKEN_MISSING", "expected metadata authorization: Bearer <token>", Kind.UNAUTHENTICATED
    )


def _limit_s(context: Context) -> float:
    left_s = context.time_remaining()
    return MAX_CALL_S if left_s is None else min(left_s, MAX_CALL_S)


async def _abort(context: Context, status: grpc.Status) -> None:
    """Ends the call: it raises, so the metrics are told before."""
    metadata = tuple(status.trailing_metadata or ())
    await context.abort(status.code, status.details or "", metadata)


def _status_of(method: str, error: Exception) -> grpc.Status:
    """What the caller is told; a fault is logged here, and only here."""
    if isinstance(error, TimeoutError):
        error = Conflict("DEADLINE", f"{method}: not done before the deadline, ask again by id")
    elif is_away(error):
        log.warning("rpc.database_away", method=method, error=str(error))
        error = Conflict("DATABASE_AWAY", f"{method}: the database is away, ask again by id")
    if not isinstance(error, Refused | Conflict):
        log.error("rpc.fault", method=method, exc_info=error)
    return rpc_status.to_status(to_status(error))
