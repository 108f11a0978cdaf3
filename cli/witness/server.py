"""The witness over HTTP: `POST /add-checkpoint`, and `GET /<hex>/checkpoint` for monitors.

Bounded in every direction: body, time to send it, connections. Who may ask is nobody's question:
a checkpoint is believed for its log's signature alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cli.errors import CliError
from cli.witness.witness import Answer, Witness
from gateway.connections import Connection
from kernel.config import Listen
from kernel.tlog.witness import ADD_CHECKPOINT, MAX_REQUEST_BYTES

MAX_CONNECTIONS: Final = 256  # logs and monitors; more is answered 503 at once
KEEP_ALIVE_S: Final = 75  # a log of ours asks twice a second, others now and then
BODY_DEADLINE_S: Final = 10.0
STOP_GRACE_S: Final = 5
TOO_LARGE: Final = Answer(413, b"expected a smaller body\n")
TOO_SLOW: Final = Answer(408, b"expected the body sooner\n")
NOTHING: Final = Answer(404, b"nothing is cosigned here\n")


def make_app(witness: Witness) -> Starlette:
    """The two endpoints."""

    async def add_checkpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                body = await _body(request)
        except TimeoutError:
            return _response(TOO_SLOW)
        if body is None:
            return _response(TOO_LARGE)
        return _response(await asyncio.to_thread(witness.add_checkpoint, body))

    async def checkpoint(request: Request) -> Response:
        path = f"{request.path_params['log']}/checkpoint"
        note = await asyncio.to_thread(witness.cosigned, path)
        return _response(NOTHING if note is None else Answer(200, note))

    return Starlette(
        routes=[
            Route(f"/{ADD_CHECKPOINT}", add_checkpoint, methods=["POST"]),
            Route("/{log}/checkpoint", checkpoint, methods=["GET"]),
        ]
    )


async def _body(request: Request) -> bytes | None:
    """All of it, or None when it is larger than a request can be."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_REQUEST_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _response(answer: Answer) -> Response:
    headers = {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"}
    response = Response(answer.body, answer.status, headers)
    response.headers["Content-Type"] = answer.content_type  # as it is: Starlette adds a charset
    return response


class Server(uvicorn.Server):
    """Stops when it is told to, and ends with 0 then."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(witness: Witness, listen: Listen) -> tuple[Server, socket.socket]:
    """A server and the socket it is to serve. CliError if either cannot be."""
    return Server(_settings(witness, listen)), _bind(listen)


def serve(witness: Witness, listen: Listen) -> None:
    """Until SIGTERM or SIGINT."""
    asyncio.run(_serve(witness, listen))


async def _serve(witness: Witness, listen: Listen) -> None:
    server, listening = make_server(witness, listen)
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await server.serve([listening])


def _bind(listen: Listen) -> socket.socket:
    host = listen.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, listen.port), family=family)
    except OSError as error:
        raise CliError(f"cannot listen on {listen.address}: {error}") from error


def _settings(witness: Witness, listen: Listen) -> uvicorn.Config:
    config = uvicorn.Config(
        make_app(witness),
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
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one too
        raise CliError(f"the certificate and its key: {error}") from error
    return config
