"""Projections: a book's events into tables for queries, position saved with the effect.

Read models are not trusted: drop them, forget the watermark, and they are made again from the
journal, the same. Queries that name a min_position wait here until it is projected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from kernel import metrics
from kernel.crash import crash_point
from kernel.errors import Conflict
from kernel.frames import Frame, StoredEvent
from kernel.journal.database import Connection, Engine, commit_lazily
from kernel.journal.watermarks import claim_watermark, load_watermark, save_watermark
from kernel.record import EventTypes, Record
from kernel.tail import Tail
from kernel.waiting import PositionWaiters

WAIT_S: Final = 5.0
IDLE_S: Final = 1.0


class Recorded(NamedTuple):
    """An event as projections and reactions see it: envelope and typed body."""

    raw: Record[Any]
    event: msgspec.Struct


# Writes what some consecutive events, all of them decoded by a Decode, mean for the read model.
Apply = Callable[[Connection, Sequence[Any]], None]
Decode = Callable[[StoredEvent], Any]


def recorded_by(types: EventTypes) -> Decode:
    """What a projection is given unless it reads records in its own way."""

    def decode(event: StoredEvent) -> Recorded:
        record = types.decode(event.record)
        return Recorded(record, record.body)

    return decode


class Projector:
    """One named read model of one book of this process."""

    def __init__(
        self, name: str, book: str, engine: Engine, tail: Tail, decode: Decode, apply: Apply
    ) -> None:
        self._name = name
        self._book = book
        self._engine = engine
        self._tail = tail
        self._decode = decode
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
        decode, start = self._decode, self.next_position
        decoded = [
            decode(event) for frame in frames for event in frame.events if event.position >= start
        ]
        next_position = frames[-1].last + 1
        with self._engine.begin() as connection:
            reached = claim_watermark(connection, self._name, self._book)
            if reached != self.next_position:
                return reached  # somebody else of our name has been here: go on from there
            commit_lazily(connection)
            self._apply(connection, decoded)
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
