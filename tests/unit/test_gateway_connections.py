"""Connections to the gateway that ask for nothing, or never finish asking, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from cli.stack.ports import free_port
from gateway import connections
from gateway.main import Server, _bind, _settings
from kernel.config import Listen

PATIENCE_S = 30
SILENCE_S = 0.2


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Says yes without reading on, and to /slow after longer than anybody may be silent."""
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * SILENCE_S)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(connections, "ASK_DEADLINE_S", SILENCE_S)
    listen = Listen("127.0.0.1", free_port(), None, None)
    server, listening = Server(_settings(answering, listen)), _bind(listen)
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield listen.port
    finally:
        server.should_exit = True
        async with asyncio.timeout(PATIENCE_S):
            await serving
        listening.close()


async def until_hung_up(port: int, first: bytes, now_and_then: bytes) -> bytes:
    """What came before the other side hung up on a caller who goes on byte by byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(first)
            while True:
                try:
                    async with asyncio.timeout(SILENCE_S / 4):
                        data = await reader.read(4096)
                except TimeoutError:
                    writer.write(now_and_then)
                    continue
                except ConnectionError:
                    return heard
                if not data:
                    return heard
                heard += data
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("first", "now_and_then"),
    [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: lanzhou\r\n", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: lanzhou\r\nX: ", b"x"),
    ],
)
async def test_cannot_hold_a_connection_without_asking(
    port: int, first: bytes, now_and_then: bytes
) -> None:
    assert await until_hung_up(port, first, now_and_then) == b""


async def test_cannot_hold_a_connection_with_a_body_that_nobody_waits_for(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: lanzhou\r\nContent-Length: 1000000\r\n\r\n"
    assert (await until_hung_up(port, head, b"x")).startswith(b"HTTP/1.1 204")


async def test_cannot_hold_a_connection_with_half_of_a_second_request(port: int) -> None:
    asked = b"GET / HTTP/1.1\r\nHost: lanzhou\r\n\r\n"
    assert (await until_hung_up(port, asked, b"G")).startswith(b"HTTP/1.1 204")


async def test_who_has_asked_is_answered_however_long_it_takes(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(2):  # on one connection
            writer.write(b"GET /slow HTTP/1.1\r\nHost: lanzhou\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
    writer.close()


def test_the_server_speaks_through_these_connections() -> None:
    listen = Listen("127.0.0.1", 1, None, None)
    assert _settings(answering, listen).http_protocol_class is connections.Connection
    assert issubclass(connections.Connection, H11Protocol)
