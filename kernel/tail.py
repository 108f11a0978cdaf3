"""The tail of a book inside its own process: frames as they commit, from memory when they are
still there and from the journal otherwise. The relay and the projections both read through it.

Memory is bounded: a reader that falls behind reads rows instead; nothing is ever lost for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from kernel.frames import Frame
from kernel.journal.port import Journal

MAX_KEPT_FRAMES: Final = 64  # at most 64 x 480 KiB per reader
MAX_TAKEN_FRAMES: Final = 32


class Tail:
    """One reader's view. `offer` is called by the writer after each commit, never blocks."""

    def __init__(self, journal: Journal, committed_next: int) -> None:
        self._journal = journal
        self.committed_next = committed_next
        self._kept: deque[Frame] = deque(maxlen=MAX_KEPT_FRAMES)
        self._grown = asyncio.Event()

    def offer(self, frames: Sequence[Frame]) -> None:
        if frames:
            self._kept.extend(frames)
            self.committed_next = frames[-1].last + 1
            self._grown.set()

    async def wait(self, next_position: int, timeout_s: float) -> bool:
        """Is there something at next_position? Waits for it up to the timeout."""
        if next_position < self.committed_next:
            return True
        self._grown.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._grown.wait()
        except TimeoutError:
            return False
        return next_position < self.committed_next

    async def take(self, next_position: int) -> list[Frame]:
        """Frames in order from the one that holds next_position; some, not necessarily all."""
        while self._kept and self._kept[0].last < next_position:
            self._kept.popleft()
        if self._kept and self._kept[0].first <= next_position:
            return [self._kept[i] for i in range(min(len(self._kept), MAX_TAKEN_FRAMES))]
        return await asyncio.to_thread(self._read, next_position, self.committed_next)

    def _read(self, next_position: int, end: int) -> list[Frame]:
        taken = []
        for frame in self._journal.read_frames(next_position, end):
            taken.append(frame)
            if len(taken) == MAX_TAKEN_FRAMES:
                break
        return taken
