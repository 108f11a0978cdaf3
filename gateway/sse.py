"""Live views: the movements of a holder as they are recorded (server-sent events, WHATWG HTML 9.2).

An event's id is `<position>.<leg>`, the place the accounts book pages by: who comes back with
Last-Event-ID goes on exactly there, at any gateway. Nothing is kept here between two looks. A
stream ends after STREAM_S, or with an event `problem`; its reader then comes back by itself.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.clients import Services, Values
from gateway.entrance import Visitor
from gateway.problems import problem_response
from kernel import metrics
from kernel.clock import monotonic_ms
from kernel.errors import Conflict, Kind, Refused, TanzhangError

MEDIA_TYPE: Final = "text/event-stream"
STREAM_S: Final = 900  # balancers and tokens change: nobody is to hang on one connection for ever
LOOK_EVERY_S: Final = 0.25  # a busy book moves faster than anybody reads
AWAY_S: Final = 1.0
RETRY_MS: Final = 2000
MAX_STREAMS: Final = 1000
MAX_STREAMS_OF_ONE: Final = 8  # tabs of one person
PAGE: Final = 200
LAST_LEG: Final = 1_000_000  # no entry has as many legs: the end of a position
HEARTBEAT: Final = b": nothing new\n\n"
HEARTBEAT_EVERY_MS: Final = 5000  # what lies between gives up on a silent line after thirty seconds

_PLACE = re.compile(r"(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,8})", re.ASCII)


class Streams:
    """How many live views are open, and whether they are to end: one per process."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self._open: Counter[str] = Counter()

    def enter(self, principal: str) -> None:
        """One more, counted from here on. Raises Refused when there are too many already."""
        if (
            self._open.total() >= MAX_STREAMS
            or self._open[principal] >= MAX_STREAMS_OF_ONE
            or self.closing.is_set()
        ):
            raise Refused(
                "TOO_MANY_STREAMS",
                f"expected at most {MAX_STREAMS_OF_ONE} live views of one caller",
                Kind.INVALID,
                limit=MAX_STREAMS_OF_ONE,
            )
        self._open[principal] += 1
        metrics.http_streams.inc()

    def leave(self, principal: str) -> None:
        self._open[principal] -= 1
        self._open += Counter()  # forgets those at zero
        metrics.http_streams.dec()

    async def pause(self, seconds: float) -> None:
        """Sleeps, unless the process is to end."""
        try:
            async with asyncio.timeout(seconds):
                await self.closing.wait()
        except TimeoutError:
            pass


def check_place(last_event_id: str) -> str:
    """`<position>.<leg>`, or a refusal."""
    if last_event_id and not _PLACE.fullmatch(last_event_id):
        raise Refused(
            "LAST_EVENT_ID_MALFORMED",
            f"expected an id of this stream like 1234.0, got {last_event_id[:40]!r}",
            Kind.INVALID,
        )
    return last_event_id


class HolderView:
    """One reader's view of a holder. `begin` first: it refuses who may not see."""

    def __init__(self, services: Services, streams: Streams, visitor: Visitor, holder: str) -> None:
        self._services = services
        self._streams = streams
        self._visitor = visitor
        self._holder = holder
        self._place = ""
        self._seen = 0  # the book has come this far
        self._spoke_ms = monotonic_ms()

    async def begin(self, last_event_id: str) -> None:
        """Where to go on, or from now on. Raises in families: nothing has been sent yet."""
        look = await self._look(last_event_id, 0, 1)
        self._seen = look["as_of_position"]
        # The place of now has an id too: who loses the line before the first event misses none.
        self._place = last_event_id or f"{self._seen}.{LAST_LEG}"

    async def events(self) -> AsyncIterator[bytes]:
        """Everything from that place on, in order; a comment while there is nothing."""
        yield f"retry: {RETRY_MS}\n\n".encode()
        yield _event("ready", self._place, {"as_of_position": self._seen})
        ends_ms = monotonic_ms() + STREAM_S * 1000
        behind = True  # what was recorded between Last-Event-ID and now
        while not self._streams.closing.is_set() and monotonic_ms() < ends_ms:
            try:
                look = await self._look(self._place, 0 if behind else self._seen + 1, PAGE)
            except Conflict as conflict:
                if self._is_silent():
                    yield HEARTBEAT
                waited = conflict.reason == "POSITION_NOT_REACHED"
                await self._streams.pause(LOOK_EVERY_S if waited else AWAY_S)
                continue
            except TanzhangError as error:  # the token's time is over, or rights were taken
                yield b"event: problem\ndata: " + bytes(problem_response(error).body) + b"\n\n"
                return
            for movement in look["movements"]:
                self._place = f"{movement['position']}.{movement['leg']}"
                yield _event("movement", self._place, movement)
            behind = bool(look["next_page_token"])
            self._seen = max(self._seen, look["as_of_position"])
            if look["movements"]:
                self._spoke_ms = monotonic_ms()
            elif self._is_silent():
                yield HEARTBEAT
            await self._streams.pause(0 if behind else LOOK_EVERY_S)

    def _is_silent(self) -> bool:
        """Is it time for a comment? Then it counts as said."""
        now_ms = monotonic_ms()
        if now_ms - self._spoke_ms < HEARTBEAT_EVERY_MS:
            return False
        self._spoke_ms = now_ms
        return True

    async def _look(self, place: str, min_position: int, size: int) -> Values:
        request = {
            "holder": self._holder,
            "page_token": place,
            "min_position": min_position,
            "page_size": size,
        }
        return await self._services.ask("accounts.ListMovements", request, self._visitor.token)


class LongResponse(StreamingResponse):
    """Has its place among the long answers of its caller until nobody reads it any more."""

    def __init__(
        self, body: AsyncIterator[bytes], streams: Streams, principal: str, **rest: Any
    ) -> None:
        super().__init__(body, **rest)
        self._streams = streams
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._principal)


def _event(name: str, id: str, values: Values) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        id.encode(),
        name.encode(),
        msgspec.json.encode(values),
    )
