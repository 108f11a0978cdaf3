"""The gateway process: config, wire, serve."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from gateway.app import make_app
from gateway.clients import Services
from gateway.config import load_config
from gateway.connections import Connection
from gateway.sse import Streams
from kernel.auth import MAX_TOKEN_CHARS, TokenVerifier
from kernel.clock import SystemClock
from kernel.config import Environment, Listen
from kernel.errors import Misconfigured
from kernel.identities import load_identities
from kernel.logs import get_logger
from kernel.metrics import serve_metrics

MAX_CONNECTIONS = 4000  # live views and requests together; more is answered 503 at once
KEEP_ALIVE_S = 30
STOP_GRACE_S = 5
BACKLOG = 2048

log = get_logger(__name__)


class Server(uvicorn.Server):
    """Stops when it is told to: signals are the process's own business (gateway/__main__.py)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(env: Environment, stop: asyncio.Event) -> None:
    """Runs until told to stop, or until something breaks."""
    config = load_config(env)
    clock = SystemClock(config.clock_file)
    verifier = TokenVerifier(load_identities(config.identities, config.operator_vkey), clock)
    services, streams = Services(config.peers, config.root_certificate()), Streams()
    serve_metrics(config.metrics_port)
    listening = _bind(config.listen)
    app = make_app(services, verifier, streams, clock, config.policy)
    server = Server(_settings(app, config.listen))

    async def end() -> None:
        await stop.wait()
        streams.closing.set()  # live views end first: their readers come back elsewhere
        server.should_exit = True

    ending = asyncio.ensure_future(end())
    try:
        log.info("gateway.open", listen=config.listen.address)
        await server.serve([listening])
    finally:
        ending.cancel()
        await services.close()


def _bind(listen: Listen) -> socket.socket:
    host = listen.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, listen.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Misconfigured(f"cannot listen on {listen.address}: {error}") from error


def _settings(app: ASGIApp, listen: Listen) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        ssl_certfile=listen.tls_certificate,
        ssl_keyfile=listen.tls_key,
        loop="none",
        http=Connection,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_GRACE_S,
        h11_max_incomplete_event_size=4 * MAX_TOKEN_CHARS,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one too
        raise Misconfigured(f"the certificate and its key: {error}") from error
    return config
