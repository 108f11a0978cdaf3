"""The gRPC server of a process: our services behind the guard, with health and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from kernel.auth import MAX_TOKEN_CHARS, TokenVerifier
from kernel.config import Listen
from kernel.errors import Misconfigured
from kernel.rpc.interceptors import Guard, auth_rules
from kernel.rpc.open_calls import OpenCalls

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024  # 8,000 entries of four legs fit; more is asked in parts
STOP_GRACE_S: Final = 2.0
# Our clients ask every second whether we are still there (kernel/rpc/client.py).
PINGS_ALLOWED: Final = (
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
)

Register = Callable[[grpc.aio.Server], None]


class RpcServer:
    """`services` are full proto names; each is registered by the function beside it."""

    def __init__(
        self,
        listen: Listen,
        verifier: TokenVerifier,
        services: Sequence[tuple[str, Register]],
        others: Sequence[grpc.GenericRpcHandler] = (),
    ) -> None:
        names = [name for name, _ in services]
        self._health = HealthServicer()
        self._names = names
        self.calls = OpenCalls()
        self._server = grpc.aio.server(
            interceptors=[Guard(verifier, auth_rules(names), self.calls)],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # Above the largest token we read: beyond the first, gRPC drops calls at random.
                ("grpc.max_metadata_size", 2 * MAX_TOKEN_CHARS),
                ("grpc.absolute_max_metadata_size", 4 * MAX_TOKEN_CHARS),
                ("grpc.so_reuseport", 0),  # two processes on one port would split the callers
                *PINGS_ALLOWED,
            ],
        )
        for _, register in services:
            register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*names, "grpc.health.v1.Health", reflection.SERVICE_NAME), self._server
        )
        self._server.add_generic_rpc_handlers(tuple(others))  # for what none of these took
        self.port = self._bind(listen)

    def _bind(self, listen: Listen) -> int:
        try:
            if listen.tls_certificate is None or listen.tls_key is None:
                return self._server.add_insecure_port(listen.address)
            credentials = grpc.ssl_server_credentials(
                [(listen.tls_key.read_bytes(), listen.tls_certificate.read_bytes())]
            )
            return self._server.add_secure_port(listen.address, credentials)
        except RuntimeError as error:
            raise Misconfigured(f"cannot listen on {listen.address}: {error}") from error

    async def start(self, *, serving: bool = True) -> None:
        """Answers calls; whether it says that it serves may come later."""
        await self.set_serving(serving)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What the health service answers, for the process ("") and for each service."""
        status = health_pb2.HealthCheckResponse
        for name in ("", *self._names):
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        await self.set_serving(False)
        await self._server.stop(grace_s)

    async def wait(self) -> Any:
        return await asyncio.shield(self._server.wait_for_termination())
