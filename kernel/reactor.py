"""Reactions: another book's event becomes one of our commands (design section 3, "Between books").

The command's id derives from the event, its cause is the event, and it always ends in an event of
ours, which moves our watermark of that book. So a reaction repeated after a crash does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kernel.asks import Ask, reaction_actor
from kernel.crash import crash_point
from kernel.errors import InvariantBroken
from kernel.frames import Frame, FrameError, StoredEvent
from kernel.ids import derived_id
from kernel.record import RawRecord, decode_record
from kernel.values import Caller, parse_instant
from kernel.writer import Writer

React = Callable[[RawRecord], msgspec.Struct | None]
Observe = Callable[[RawRecord], None]


class Reactor:
    """A frame handler. `react` gives a command or nothing; `observe` sees every event.

    `marks`: one of them stands in every record that `react` has a command for. Others are
    not even decoded: of a book in which thousands of entries a second are not our business, that
    is most of the work.
    """

    def __init__(
        self,
        source: str,
        writer: Writer[Any],
        react: React,
        observe: Observe | None = None,
        marks: tuple[bytes, ...] = (b"",),
    ) -> None:
        self._source = source
        self._writer = writer
        self._react = react
        self._observe = observe
        self._marks = marks
        self._next = 0
        self._caller = Caller(
            reaction_actor(writer.book, source), frozenset({"system"}), frozenset()
        )

    async def frame(self, frame: Frame) -> None:
        for event in frame.events:
            if event.position < self._next:
                continue
            if self._observe is not None or self._is_marked(event.record):
                await self._take(event, frame.book_id)
            self._next = event.position + 1

    def _is_marked(self, record: bytes) -> bool:
        return any(mark in record for mark in self._marks)

    async def _take(self, event: StoredEvent, book_id: bytes) -> None:
        raw = decode_record(event.record)
        if self._observe is not None:
            self._observe(raw)
        if event.position >= self._writer.progress.watermarks.get(self._source, 0):
            await self._carry_out(raw, book_id)

    async def bad_frame(self, frame: Frame, error: FrameError) -> None:
        """Nothing of a frame we cannot believe becomes a command; the follower stops."""
        raise error

    async def repeated_frame(self, frame: Frame) -> None:
        """Known already: whether it is a fork is the ledger's to find out."""

    async def _carry_out(self, raw: RawRecord, book_id: bytes) -> None:
        command = self._react(raw)
        if command is None:
            return
        at_ms = parse_instant(raw.at)
        ask = Ask(
            id=derived_id(at_ms, self._writer.book, book_id.hex(), raw.position),
            caller=self._caller,
            command=command,
            on_ms=parse_instant(raw.on),  # the business time is that of what it answers
            cause=(self._source, raw.position),
        )
        (result,) = await self._writer.submit([ask], while_halted=True)
        if result.outcome.refusal is not None:
            raise InvariantBroken(
                f"{self._writer.book}: the reaction to {self._source} at {raw.position} must end"
                f" in an event, it was refused: {result.outcome.refusal.message}"
            )
        # A crash here: recorded; after the restart our watermark already covers it.
        crash_point("reaction.called")
