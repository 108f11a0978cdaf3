"""What a process answers while its book is not its own: that it does not serve, and what it knows.

It replays, or stands by with warm state until the one that writes is gone. Health says NOT_SERVING,
so that nobody who looks calls here; who calls all the same hears the conflict STANDBY and asks the
other process. The hash of its state it tells, so that it can be held against the other's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_status import rpc_status

from kernel.auth import TokenVerifier
from kernel.config import Listen
from kernel.host import BookHost
from kernel.rpc.journal import journal_service, standby
from kernel.rpc.problems import to_status
from kernel.rpc.server import RpcServer


class _EverythingElse(grpc.GenericRpcHandler):
    """Whatever is asked of a book that is not ours: a conflict, and not "no such method"."""

    def __init__(self, book: str) -> None:
        self._status = rpc_status.to_status(to_status(standby(book)))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def refuse(request: bytes, context: Any) -> None:
            status = self._status
            await context.abort(status.code, status.details, tuple(status.trailing_metadata))

        return grpc.unary_unary_rpc_method_handler(refuse)


@asynccontextmanager
async def waiting_room(
    listen: Listen, verifier: TokenVerifier, host: BookHost
) -> AsyncIterator[None]:
    """Open for as long as the book is not ours."""
    services = [journal_service({host.book: host})]
    server = RpcServer(listen, verifier, services, [_EverythingElse(host.book)])
    await server.start(serving=False)
    try:
        yield
    finally:
        await server.stop(grace_s=0.0)
