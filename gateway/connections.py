"""Connections that say nothing: who does not finish asking in time is hung up on.

The server by itself bounds only the pause between two requests. A connection costs its other end
nothing and takes one of MAX_CONNECTIONS here, so the wait for a request's head is bounded too, and
for the rest of a body that has been answered already. Bodies in between: gateway/edge.py.
"""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ASK_DEADLINE_S: Final = 10.0


class Connection(H11Protocol):
    """HTTP/1.1 with an end to waiting."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        answered = self.cycle is not None and self.cycle.response_complete
        if self.conn.their_state is h11.IDLE or (
            answered and self.conn.their_state is h11.SEND_BODY
        ):
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """From the first byte on: one more now and then wins no time."""
        if self._waiting is None:
            self._waiting = self.loop.call_later(ASK_DEADLINE_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
