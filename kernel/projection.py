"""Projections: a book's events into tables for queries, position saved with the effect.

Read models are not trusted: drop them, forget the watermark, and they are made again from the
journal, the same. Queries that name a min_position wait here until it is projected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from kernel import metrics
from kernel.crash import crash_point
from kernel.errors import Conflict
from kernel.frames import Frame
from kernel.journal.database import Connection, Engine
from kernel.journal.watermarks import claim_watermark, load_watermark, save_watermark
from kernel.record import EventTypes, RawRecord, decode_record
from kernel.tail import Tail
from kernel.waiting import PositionWaiters

WAIT_S: Final = 5.0
IDLE_S: Final = 1.0


class Recorded(NamedTuple):
    """An event as projections and reactions see it: envelope and typed body."""

    raw: RawRecord
    event: msgspec.Struct


Apply = Callable[[Connection, Sequence[Recorded]], None]


class Projector:
    """One named read model of one book of this process."""

    def __init__(
        self, name: str, book: str, engine: Engine, tail: Tail, types: EventTypes, apply: Apply
    ) -> None:
        self._name = name
        self._book = book
        self._engine = engine
        self._tail = tail
        self._types = types
        self._apply = apply
        self.next_position = 0
        self._waiters = PositionWaiters()

    async def run(self) -> None:
        self.next_position = await asyncio.to_thread(
            load_watermark, self._engine, self._name, self._book
        )
        while True:
            if await self._tail.wait(self.next_position, IDLE_S):
                frames = await self._tail.take(self.next_position)
                self.next_position = await asyncio.to_thread(self._project, frames)
                metrics.followed_position.labels(self._name, self._book).set(self.next_position)
            self._waiters.wake(self.next_position)

    def _project(self, frames: Sequence[Frame]) -> int:
        recorded = [
            Recorded(raw, self._types.decode(raw))
            for frame in frames
            for event in frame.events
            if event.position >= self.next_position
            for raw in (decode_record(event.record),)
        ]
        next_position = frames[-1].last + 1
        with self._engine.begin() as connection:
            reached = claim_watermark(connection, self._name, self._book)
            if reached != self.next_position:
                return reached  # somebody else of our name has been here: go on from there
            self._apply(connection, recorded)
            save_watermark(connection, self._name, self._book, next_position)
            # A crash here: the transaction is gone with us, the same events are projected again.
            crash_point("projection.applied")
        return next_position

    async def reached(self, min_position: int) -> int:
        """Waits (bounded) until min_position is projected; answers the last projected position."""
        if min_position >= self.next_position:
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._waiters.wait(min_position + 1)
            except TimeoutError:
                raise Conflict(
                    "POSITION_NOT_REACHED",
                    f"{self._name}: expected position {min_position}, got {self.next_position - 1}",
                ) from None
        return self.next_position - 1
