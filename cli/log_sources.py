"""Where a log is read from: a static host over HTTP, or a folder (c2sp.org/tlog-tiles).

Both answer the bytes at a path below the log, or refuse with NOT_THERE. Nothing here is believed:
who reads checks. An answer is bounded before it is taken in, a redirect is not followed, and what
is away for a moment is asked again.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx

from cli.errors import NOT_TRIED, CliError
from kernel.errors import Kind, Refused
from kernel.tlog.tiles import MAX_ENTRY_BYTES, TILE_BYTES, TILE_WIDTH, parse_tile_path

CHECKPOINT: Final = "checkpoint"
MAX_CHECKPOINT_BYTES: Final = 256 * 1024  # fifty ML-DSA-44 cosignatures
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
MAX_CONNECTIONS: Final = 8  # of one reader: a static host is somebody else's
DEADLINE_S: Final = 30.0
ATTEMPTS: Final = 6  # with the waits between them about half a minute
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 15.0
AWAY: Final = frozenset(
    {
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.FORBIDDEN})


class LogSource(Protocol):
    """One log, somewhere."""

    async def checkpoint(self) -> bytes:
        """The signed note it shows now."""
        ...

    async def tile(self, path: str) -> bytes:
        """The bytes at a tile path. Raises Refused when there is nothing."""
        ...


class FolderLog:
    """A log as files, as `tanzhang ledger mirror` or any static host keeps it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def checkpoint(self) -> bytes:
        return self._read(CHECKPOINT)

    async def tile(self, path: str) -> bytes:
        parse_tile_path(path)  # nothing else leads into the folder
        return self._read(path)

    def _read(self, path: str) -> bytes:
        try:
            return (self._folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise not_there(str(self._folder / path)) from None


class HttpLog:
    """A log below a URL: a gateway's /log/<book>/, or any static host."""

    def __init__(self, web: Web, base: str) -> None:
        self._web = web
        self._base = base.rstrip("/")

    async def checkpoint(self) -> bytes:
        return await self._web.get(f"{self._base}/{CHECKPOINT}", MAX_CHECKPOINT_BYTES)

    async def tile(self, path: str) -> bytes:
        limit = MAX_BUNDLE_BYTES if parse_tile_path(path).level is None else TILE_BYTES
        return await self._web.get(f"{self._base}/{path}", limit)


class Web:
    """HTTP GET with bounds. One per run; close it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @classmethod
    def open(cls, url: str) -> Web:
        """For hosts like that of `url`: a machine's own address is asked without its proxies."""
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
        return cls(
            httpx.AsyncClient(timeout=DEADLINE_S, limits=limits, trust_env=not is_loopback(url))
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, url: str, limit: int, headers: Mapping[str, str] | None = None) -> bytes:
        """The body at a URL, at most `limit` bytes unpacked.

        Raises Refused when there is nothing, CliError when the host does not answer or says
        anything else.
        """
        wait_s = FIRST_WAIT_S
        for attempt in range(ATTEMPTS):
            try:
                status, body = await self._once(url, limit, headers or {})
            except httpx.HTTPError as error:
                status, told = 0, f"{type(error).__name__} {error}".strip()
            else:
                told = f"HTTP {status}"
                if status == HTTPStatus.OK:
                    return body
            if status in GONE:
                raise not_there(url)
            if status and status not in AWAY:
                break
            if attempt < ATTEMPTS - 1:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        raise CliError(f"{url}: expected an answer, got {told}", NOT_TRIED)

    async def _once(self, url: str, limit: int, headers: Mapping[str, str]) -> tuple[int, bytes]:
        async with self._client.stream("GET", url, headers=headers) as answer:
            if answer.status_code != HTTPStatus.OK:
                return answer.status_code, b""
            body = bytearray()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > limit:
                    raise CliError(f"{url}: expected at most {limit} bytes, got more", NOT_TRIED)
            return answer.status_code, bytes(body)


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def not_there(what: str) -> Refused:
    return Refused("NOT_THERE", f"{what}: there is nothing", Kind.UNKNOWN)
