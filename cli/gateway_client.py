"""The gateway as an app calls it: HTTP, JSON, a token, an Idempotency-Key; plain values out.

With patience a call is repeated by the same key while the gateway, or a service behind it, is away.
A refusal of the item is an outcome, as everywhere in the tools.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cli.clients import Books, Outcome, Persona
from kernel.errors import Conflict, Fault

DEADLINE_S: Final = 20.0
RETRY_EVERY_S: Final = 0.2
# Not now; the same key may be sent again.
AWAY: Final = {
    HTTPStatus.CONFLICT,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


class Gateway:
    """One gateway, with the tokens and the patience of `books`."""

    def __init__(self, books: Books, target: str) -> None:
        self._books = books
        self._base = f"http://{target}"

    async def get(self, path: str, who: Persona | None = None) -> dict[str, Any]:
        """A read that must be answered."""
        status, body = await self._call("GET", path, who)
        if status != HTTPStatus.OK:
            raise Fault(f"GET {path}: expected 200, got {status}: {body.get('detail')}")
        return body

    async def post(self, path: str, who: Persona, key: str, body: Mapping[str, Any]) -> Outcome:
        """One item under its key: recorded, recorded before, or refused."""
        status, answer = await self._call("POST", path, who, key, body)
        if status in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            return Outcome(key, int(answer["position"]), bool(answer["repeated"]))
        details = {name: str(value) for name, value in answer.get("details", {}).items()}
        return Outcome(
            key, reason=answer["reason"], message=str(answer.get("detail")), details=details
        )

    async def _call(
        self,
        method: str,
        path: str,
        who: Persona | None,
        key: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        give_up_s = time.monotonic() + self._books.patience_s
        while True:
            headers = {} if who is None else {"Authorization": f"Bearer {self._books.token(who)}"}
            if key is not None:
                headers |= {"Idempotency-Key": key, "Content-Type": "application/json"}
            data = None if body is None else json.dumps(body).encode()
            # The address is our own and loopback: see cli/workspace.py.
            request = Request(self._base + path, data, headers, method=method)  # noqa: S310
            try:
                status, answer = await asyncio.to_thread(_send, request)
                if status not in AWAY or time.monotonic() >= give_up_s:
                    return status, answer
            except (OSError, HTTPException) as error:
                if time.monotonic() >= give_up_s:
                    raise Conflict(
                        "UNAVAILABLE", f"the gateway does not answer: {error}"
                    ) from error
            await asyncio.sleep(RETRY_EVERY_S)


def _send(request: Request) -> tuple[int, dict[str, Any]]:
    try:
        with urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except HTTPError as problem:
        return problem.code, json.loads(problem.read())
