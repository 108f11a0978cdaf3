"""What the ledger asks of witnesses: c2sp.org/tlog-witness over HTTP, with an end to everything.

A witness belongs to somebody else: its answer is bounded in time and size, no redirect is followed,
and nothing in it is believed here. It is told what is public anyway.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final, NamedTuple

from kernel.tlog.witness import ADD_CHECKPOINT, MAX_ANSWER_BYTES, monitoring_path

TIMEOUT_S: Final = 5.0  # to connect, and between two pieces of an answer
TEXT_TYPE: Final = "text/plain; charset=utf-8"
ANSWER_S: Final = 10.0  # for all of it: a byte now and then wins no time
MAX_CONNECTIONS: Final = 32


class HttpAnswer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class WitnessUnreachable(Exception):
    """No whole answer came; the message says why."""


class WitnessClient:
    """Asks any number of witnesses; kept connections, closed with `close`."""

    def __init__(self, authority: Path | None) -> None:
        import httpx  # noqa: PLC0415 - a ledger without witnesses starts without it

        trusted = ssl.create_default_context()
        if authority is not None:
            trusted.load_verify_locations(authority)
        self._broken = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)
        self._http = httpx.AsyncClient(
            verify=trusted,
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def add_checkpoint(self, url: str, body: bytes) -> HttpAnswer:
        """POST <submission prefix>/add-checkpoint. Raises WitnessUnreachable."""
        return await self._ask("POST", f"{url}/{ADD_CHECKPOINT}", body)

    async def latest(self, url: str, origin: str) -> HttpAnswer:
        """GET <monitoring prefix>/<hash of the origin>/checkpoint. Raises WitnessUnreachable."""
        return await self._ask("GET", f"{url}/{monitoring_path(origin)}", None)

    async def _ask(self, method: str, url: str, body: bytes | None) -> HttpAnswer:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._whole(method, url, body)
        except self._broken as error:
            raise WitnessUnreachable(f"{type(error).__name__}: {error}"[:200]) from error

    async def _whole(self, method: str, url: str, body: bytes | None) -> HttpAnswer:
        headers = {} if body is None else {"Content-Type": TEXT_TYPE}
        async with self._http.stream(method, url, content=body, headers=headers) as answer:
            parts, size = [], 0
            async for part in answer.aiter_raw():
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise WitnessUnreachable(f"expected up to {MAX_ANSWER_BYTES} bytes")
                parts.append(part)
            kind = answer.headers.get("Content-Type", "")
            return HttpAnswer(answer.status_code, kind, b"".join(parts))
