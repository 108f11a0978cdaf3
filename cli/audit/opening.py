"""Opening commitments: a book's disclosed events in pages, each held to its leaf in the mirror.

Pages are asked for ahead, several at a time; what comes is folded in order. Whoever shows events is
not believed in anything: which positions are there, the mirror says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Final, NamedTuple, Protocol

import msgspec

from cli.audit.findings import Findings
from cli.audit.records import NotTheEvent, Opened, open_event
from cli.errors import NOT_TRIED, CliError
from cli.log_sources import Web, is_loopback
from kernel.errors import Refused

PAGE: Final = 1000  # events; what one answer of a gateway holds
PAGES_AHEAD: Final = 3  # each is at most MAX_PAGE_BYTES
MAX_KEY_BYTES: Final = 4096
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024


class Shown(msgspec.Struct):
    """An event as it was shown: nothing is known of it yet."""

    position: int
    record: bytes
    salt: bytes


class Page(msgspec.Struct):
    events: list[Shown]
    next_position: int


class MapKey(msgspec.Struct):
    map_key: bytes


class Opener(Protocol):
    """Who shows events. `shows_all`: asked as an auditor, so that every event has to be there."""

    shows_all: bool

    async def page(self, book: str, begin: int, limit: int) -> Page:
        """Events from `begin` on; raises Refused where this book shows none."""
        ...

    async def map_key(self) -> bytes | None:
        """The secret of the balance map, from who gives it."""
        ...


class GatewayOpener:
    """A gateway's two routes: public facts without a token, everything with an auditor's."""

    def __init__(self, web: Web, base: str, token: str | None) -> None:
        if token is not None and not base.startswith("https://") and not is_loopback(base):
            raise CliError(f"{base}: a token is sent over https only", NOT_TRIED)
        self._web = web
        self._base = base.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.shows_all = token is not None

    async def page(self, book: str, begin: int, limit: int) -> Page:
        name = "disclosed-events" if self.shows_all else "public-events"
        url = f"{self._base}/v1/logs/{book}/{name}?begin={begin}&limit={limit}"
        body = await self._web.get(url, MAX_PAGE_BYTES, self._headers)
        try:
            return _page.decode(body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise CliError(f"{url}: expected a page of events: {error}", NOT_TRIED) from error

    async def map_key(self) -> bytes | None:
        """The secret of the balance map, which an auditor is given; None where there is none."""
        if not self.shows_all:
            return None
        url = f"{self._base}/v1/map-key"
        try:
            return _map_key.decode(await self._web.get(url, MAX_KEY_BYTES, self._headers)).map_key
        except Refused:
            return None
        except (msgspec.MsgspecError, ValueError) as error:
            raise CliError(f"{url}: expected a key: {error}", NOT_TRIED) from error


_page = msgspec.json.Decoder(Page)
_map_key = msgspec.json.Decoder(MapKey)


class Span(NamedTuple):
    """A page that was asked for: events begin..end-1 of a book."""

    begin: int
    end: int
    page: Page


async def open_events(
    opener: Opener,
    book: str,
    begin: int,
    end: int,
    entries: Iterator[bytes],
    findings: Findings,
) -> AsyncIterator[tuple[int, list[Opened]]]:
    """(next position, events opened) page by page, up to `end`; `entries` are the leaves' data
    from `begin` on, out of the mirror. What is not what it should be becomes a finding.
    """
    async for span in _spans(opener, book, begin, end):
        shown = {one.position: one for one in span.page.events}
        opened: list[Opened] = []
        for position in range(span.begin, span.end):
            entry, event = next(entries), shown.pop(position, None)
            if event is None:
                if opener.shows_all:
                    findings.add("EVENT_WITHHELD", book, position, "the event", "nothing")
                continue
            try:
                opened.append(open_event(book, position, entry, event.record, event.salt))
            except NotTheEvent as error:
                findings.add(error.rule, book, position, error.expected, error.actual)
        yield span.end, opened


async def _spans(opener: Opener, book: str, begin: int, end: int) -> AsyncIterator[Span]:
    """Whole spans in order: a page that ends early is asked for its rest."""
    ahead: deque[tuple[int, int, asyncio.Task[Page]]] = deque()
    at = begin
    try:
        while at < end or ahead:
            while at < end and len(ahead) < PAGES_AHEAD:
                until = min(at + PAGE, end)
                task = asyncio.create_task(opener.page(book, at, until - at))
                ahead.append((at, until, task))
                at = until
            first, until, task = ahead.popleft()
            while first < until:
                page = await task
                reached = min(until, page.next_position)
                if reached <= first:  # nothing more is shown, and no entry is without an event
                    reached = until
                yield Span(first, reached, page)
                first = reached
                if first < until:
                    task = asyncio.create_task(opener.page(book, first, until - first))
    finally:
        for _, _, task in ahead:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in ahead), return_exceptions=True)
