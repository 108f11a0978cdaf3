"""The follower: another book's frames, verified, in order, each at least once.

It subscribes, then reads from the owner up to its head, then takes frames from the bus; a gap, two
seconds behind the announced head, or no head for three, and it reads from the owner again. The bus
is not believed: a frame from it that does not verify is dropped, counted, and read from the owner
instead. Only what the owner itself answers is held against the owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from tanzhang.kernel.v1 import frames_pb2

from kernel import metrics
from kernel.bus import Bus, BusDown, BusSubscription
from kernel.clock import monotonic_ms
from kernel.errors import Conflict
from kernel.frames import Frame, FrameError, KeyLookup, decode_frame, verify_frame
from kernel.logs import get_logger

BEHIND_AFTER_MS: Final = 2000
SILENT_AFTER_MS: Final = 3000  # three announcements missed: the bus may be away, the owner need not
POLL_S: Final = 0.5
QUEUED_FRAMES: Final = 64  # then the subscription waits, and the consumer's flow control with it
OWNER_RETRY_S: Final = 0.5

log = get_logger(__name__)


class FrameSource(Protocol):
    """The owner of the book. Raises Conflict while it cannot be reached."""

    def frames(self, book: str, from_position: int) -> AsyncIterator[Frame]: ...


class FrameHandler(Protocol):
    async def frame(self, frame: Frame) -> None:
        """A verified frame that continues (or overlaps) what came before."""
        ...

    async def bad_frame(self, frame: Frame, error: FrameError) -> None:
        """The owner answered a frame that does not verify. Events before error.position do.

        Raises, or has dealt with the whole frame.
        """
        ...

    async def repeated_frame(self, frame: Frame) -> None:
        """A verified frame of positions that were handled before: the same again, or a fork."""
        ...


class Follower:
    """Follows one book from `next_position` on, for one named reader."""

    def __init__(
        self,
        reader: str,
        book: str,
        bus: Bus,
        source: FrameSource,
        keys: KeyLookup,
        handler: FrameHandler,
        next_position: int,
    ) -> None:
        self._reader = reader
        self._book = book
        self._bus = bus
        self._source = source
        self._keys = keys
        self._handler = handler
        self.next_position = next_position
        self._announced = 0
        self._heard_ms = monotonic_ms()
        self._behind_since_ms: int | None = None
        self.caught_up = asyncio.Event()  # the owner has been read to its head since the start
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED_FRAMES)
        self._early = b""  # a frame from the bus that came before its time

    async def run(self) -> None:
        subscriptions: list[BusSubscription] = []
        try:
            while True:
                if not subscriptions:
                    subscriptions = await self._subscribe()
                whole = await self._read_from_owner()
                await self._read_from_bus(POLL_S if whole else OWNER_RETRY_S, patient=whole)
                # Behind, or a gap: whatever happened to the consumer, a new one is cheap. But while
                # the owner is away nobody could give us what falls between two consumers.
                if whole:
                    await self._unsubscribe(subscriptions)
        finally:
            await self._unsubscribe(subscriptions)

    async def _subscribe(self) -> list[BusSubscription]:
        subscriptions: list[BusSubscription] = []
        try:
            subscriptions.append(await self._bus.follow_heads(self._book, self._on_head))
            subscriptions.append(await self._bus.follow_frames(self._book, self._queue.put))
        except BusDown as error:  # the owner still answers; the bus is tried again later
            log.info("follower.no_bus", book=self._book, error=str(error))
            await self._unsubscribe(subscriptions)
        return subscriptions

    @staticmethod
    async def _unsubscribe(subscriptions: list[BusSubscription]) -> None:
        while subscriptions:
            await subscriptions.pop().end()

    async def _on_head(self, data: bytes) -> None:
        try:
            head = frames_pb2.Head.FromString(data)
        except DecodeError:
            return
        if head.book == self._book:
            self._announced = head.next_position
            self._heard_ms = monotonic_ms()

    async def _read_from_owner(self) -> bool:
        """Up to the owner's head; False when the owner could not be read to the end now."""
        try:
            async for frame in self._source.frames(self._book, self.next_position):
                await self._take(frame)
        except Conflict as error:
            log.info("follower.owner_away", book=self._book, error=str(error))
            return False
        self._behind_since_ms = None
        self.caught_up.set()
        return True

    async def _take(self, frame: Frame) -> None:
        if frame.first > self.next_position or frame.book != self._book:
            raise FrameError(
                "FRAME_GAP",
                self.next_position,
                f"{self._book} at {self.next_position}",
                f"{frame.book} at {frame.first}",
            )
        try:
            verify_frame(frame, self._keys)
        except FrameError as error:
            metrics.bad_frames_total.labels(self._book, error.rule).inc()
            await self._handler.bad_frame(frame, error)
            self.next_position = frame.last + 1
            return
        await self._handle(frame)

    async def _handle(self, frame: Frame) -> None:
        if frame.last < self.next_position:
            await self._handler.repeated_frame(frame)
            return
        await self._handler.frame(frame)
        self.next_position = frame.last + 1
        metrics.followed_position.labels(self._reader, self._book).set(self.next_position)

    async def _read_from_bus(self, wait_s: float, *, patient: bool) -> None:
        """Until there is a gap, a frame that is not believed, we are behind, or nobody speaks.

        Impatient (the owner still has to be asked): until nothing came for a moment.
        """
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    data = self._early or await self._queue.get()
                self._early = b""
            except TimeoutError:
                if not patient or self._is_behind():
                    return
                continue
            try:
                frame = decode_frame(data)
                if frame.book != self._book or frame.first > self.next_position:
                    log.info("follower.gap", book=self._book, expected=self.next_position)
                    if not patient:  # what comes before it is still to be had from the owner
                        self._early = data
                        await asyncio.sleep(wait_s)
                    return
                verify_frame(frame, self._keys)
            except FrameError as error:
                metrics.bad_frames_total.labels(self._book, error.rule).inc()
                log.warning("follower.frame_dropped", book=self._book, error=str(error))
                return
            await self._handle(frame)
            self._behind_since_ms = None

    def _is_behind(self) -> bool:
        now_ms = monotonic_ms()
        if now_ms - self._heard_ms >= SILENT_AFTER_MS:
            self._heard_ms = now_ms
            return True
        if self._announced <= self.next_position:
            self._behind_since_ms = None
            return False
        if self._behind_since_ms is None:
            self._behind_since_ms = now_ms
        return now_ms - self._behind_since_ms >= BEHIND_AFTER_MS
