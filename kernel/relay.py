"""The relay: publishes exactly the stored frames, in order, and announces the head every second.

Runs beside the writer, under its lease. It may die anywhere: what was published and not noted is
published again, byte for byte, under the same message id, and every follower knows positions.
"""

from __future__ import annotations

import asyncio
from typing import Final

from tanzhang.kernel.v1 import frames_pb2

from kernel import metrics
from kernel.bus import Bus, BusDown
from kernel.clock import monotonic_ms
from kernel.crash import crash_point
from kernel.frames import Frame, encode_frame
from kernel.journal.watermarks import Bookmark
from kernel.logs import get_logger
from kernel.replica import Progress
from kernel.tail import Tail

ANNOUNCE_EVERY_MS: Final = 1000
NOTE_EVERY_MS: Final = 500  # how often the published position is saved; more would cost, not gain
RETRY_S: Final = (0.05, 0.2, 0.5, 1.0)

log = get_logger(__name__)


class Relay:
    def __init__(
        self, book: str, bookmark: Bookmark, tail: Tail, bus: Bus, known: Progress
    ) -> None:
        self._book = book
        self._bookmark = bookmark
        self._tail = tail
        self._bus = bus
        self._known = known
        self._next = 0
        self._noted_ms = self._announced_ms = 0

    async def run(self) -> None:
        self._next = await asyncio.to_thread(self._bookmark.load)
        failures = 0
        while True:
            try:
                await self._announce()
                if await self._tail.wait(self._next, ANNOUNCE_EVERY_MS / 1000):
                    await self._publish(await self._tail.take(self._next))
                failures = 0
            except BusDown as error:
                log.warning("relay.bus_down", book=self._book, error=str(error))
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1

    async def _publish(self, frames: list[Frame]) -> None:
        await self._bus.publish_frames(
            self._book, [(message_id(frame), encode_frame(frame)) for frame in frames]
        )
        # A crash here: published, not noted; published again after the restart.
        crash_point("relay.published")
        self._next = frames[-1].last + 1
        metrics.published_position.labels(self._book).set(self._next)
        if monotonic_ms() - self._noted_ms > NOTE_EVERY_MS:
            self._noted_ms = monotonic_ms()
            await asyncio.to_thread(self._bookmark.save, self._next)

    async def _announce(self) -> None:
        if monotonic_ms() - self._announced_ms < ANNOUNCE_EVERY_MS:
            return
        self._announced_ms = monotonic_ms()
        head = frames_pb2.Head(
            book=self._book,
            book_id=self._known.book_id,
            next_position=self._tail.committed_next,
            epoch=self._known.epoch,
        )
        await self._bus.announce(self._book, head.SerializeToString())


def message_id(frame: Frame) -> str:
    """The same for the same frame, for ever: JetStream drops what it has seen lately."""
    return f"{frame.book_id.hex()}:{frame.first}-{frame.last}"
