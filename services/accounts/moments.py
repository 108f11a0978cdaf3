"""What a question about the past means: up to which position of the book it looks.

The book has one order, its positions, and two clocks. Recording (`at`) never goes back along the
positions, so an instant of it is a position: the last one recorded at or before it. Business time
(`on`) is at most the recording and may be dated back: what counts by it are all events of that time
or before, whenever they were recorded, among those that are known at a position.

An instant is answered once it has passed and all that was decided until then is projected, so the
answer never changes; by business time it may, as long as somebody can still date back, and the
position that was looked at says of what it was true.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import NamedTuple

from kernel.clock import Clock
from kernel.errors import Kind, Refused
from kernel.journal.database import Engine
from kernel.projection import Projector
from kernel.values import MAX_INTEGER, format_instant
from kernel.writer import Writer
from services.accounts import queries
from services.accounts.domain.state import State
from services.accounts.holdings import Holdings
from services.accounts.queries import Scope


class Clockwork(StrEnum):
    """By which of the book's clocks."""

    NOW = "now"
    POSITION = "position"
    AT = "at"
    ON = "on"


class Asked(NamedTuple):
    """One of the three; `position` beside `on_ms` says what is to be known of that time."""

    position: int | None = None
    at_ms: int | None = None
    on_ms: int | None = None


class Seen(NamedTuple):
    """`position` is the last event that is looked at, `recorded` the last one recorded in time."""

    clock: Clockwork
    position: int
    recorded: int
    instant_ms: int | None = None


class PeriodAsked(NamedTuple):
    """From an instant, included, to another, which is not; None: up to the last event."""

    clock: Clockwork
    from_ms: int
    to_ms: int | None
    position: int | None = None


class Span(NamedTuple):
    """A period as positions: after `before`, up to `last`, of what is known at `known`."""

    before: int
    last: int
    known: int


class Moments:
    """Finds moments of one book; waits, bounded, for what has to be projected before."""

    def __init__(
        self, writer: Writer[State], engine: Engine, moves: Projector, clock: Clock
    ) -> None:
        self._writer = writer
        self._engine = engine
        self._moves = moves
        self._clock = clock

    async def find(self, asked: Asked, min_position: int) -> Seen:
        """Raises Refused for what is no moment of the past, Conflict for what is not there yet."""
        if asked.at_ms is not None and (asked.position is not None or asked.on_ms is not None):
            raise Refused(
                "MOMENT_AMBIGUOUS",
                "expected one of position, at and on; of these only position may stand beside on",
                Kind.INVALID,
            )
        if asked.at_ms is not None:
            position = await self.recorded_at(asked.at_ms, "at", min_position)
            if position < 0:
                raise await self._before_the_book(asked.at_ms)
            return Seen(Clockwork.AT, position, position, asked.at_ms)
        if asked.on_ms is not None:
            return await self._by_business_time(asked.on_ms, asked.position, min_position)
        position = check_position(asked.position or 0)
        await self._moves.reached(max(min_position, position))
        return Seen(Clockwork.POSITION, position, position)

    async def _by_business_time(self, on_ms: int, position: int | None, min_position: int) -> Seen:
        recorded = await self.recorded_at(on_ms, "on", min_position)
        known = await self.known(position, min_position)
        return Seen(Clockwork.ON, known, min(recorded, known), on_ms)

    async def find_span(self, asked: PeriodAsked, min_position: int) -> Span:
        """Raises Refused for a period that ends before it begins, or has not ended yet."""
        by_recording = asked.clock is Clockwork.AT
        if by_recording and asked.position is not None:
            raise Refused(
                "MOMENT_AMBIGUOUS",
                "by the time of recording a period is known whole: expected no position",
                Kind.INVALID,
            )
        if asked.to_ms is not None and asked.from_ms >= asked.to_ms:
            raise Refused(
                "PERIOD_REVERSED",
                f"expected a period that ends after {format_instant(asked.from_ms)},"
                f" got one up to {format_instant(asked.to_ms)}",
                Kind.INVALID,
            )
        before = await self.recorded_at(asked.from_ms - 1, "from", min_position)
        if asked.to_ms is None:
            known = await self.known(asked.position, min_position)
            return Span(min(before, known), known, known)
        last = await self.recorded_at(asked.to_ms - 1, "to", min_position)
        if not by_recording:
            known = await self.known(asked.position, min_position)
            return Span(min(before, known), min(last, known), known)
        if last < 0:
            raise await self._before_the_book(asked.to_ms)
        return Span(before, last, last)

    async def known(self, position: int | None, min_position: int) -> int:
        """The position asked for, once it is projected; the last one there is, for none."""
        if position is None:
            return await self._moves.reached(self._decided(min_position))
        await self._moves.reached(max(min_position, check_position(position)))
        return position

    async def recorded_at(self, at_ms: int, field: str, min_position: int = 0) -> int:
        """The last position recorded at or before an instant that has passed; -1 for none."""
        self.check_passed(at_ms, field)
        # What the writer has decided may still be on its way; what it decides from here on is
        # recorded after this instant.
        head = await self._moves.reached(self._decided(min_position))
        return await asyncio.to_thread(
            queries.position_at, self._engine, self._writer.book, at_ms, head + 1
        )

    def check_passed(self, at_ms: int, field: str) -> None:
        now_ms = self._clock.now_ms()
        if at_ms >= now_ms:
            raise Refused(
                "INSTANT_IN_FUTURE",
                f"{field}: expected an instant that has passed, before {format_instant(now_ms)},"
                f" got {format_instant(at_ms)}",
                Kind.INVALID,
                field=field,
            )

    def _decided(self, min_position: int) -> int:
        return max(min_position, self._writer.progress.next_position - 1)

    async def _before_the_book(self, at_ms: int) -> Refused:
        opened = await asyncio.to_thread(queries.recorded_at, self._engine, self._writer.book, 0)
        return Refused(
            "INSTANT_BEFORE_BOOK",
            f"expected an instant from {opened} on, when the book was opened,"
            f" got {format_instant(at_ms)}",
            Kind.INVALID,
            opened=opened,
        )


def holdings_then(engine: Engine, scope: Scope, seen: Seen) -> Holdings:
    """What somebody had at a moment, in the accounts that are asked for."""
    with engine.connect() as connection:
        if seen.clock is Clockwork.ON and seen.instant_ms is not None:
            found = queries.holdings_on(
                connection, scope.holder, seen.instant_ms, seen.recorded, seen.position
            )
        else:
            found = queries.holdings_at(connection, scope.holder, seen.position)
    kept = {place: held for place, held in found.accounts.items() if scope.holds(place)}
    return Holdings(kept)


def check_position(position: int) -> int:
    """A position that could be there some day."""
    if position > MAX_INTEGER:
        raise Refused(
            "POSITION_OUT_OF_RANGE",
            f"expected a position up to {MAX_INTEGER}, got {position}",
            Kind.INVALID,
        )
    return position
