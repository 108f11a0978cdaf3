"""Waiting for a position: of a journal, of a read model, of a signed log.

Who waits and goes away is forgotten lazily: the heap is cleaned once most of it is dead, so that
positions that never come cost nothing for long and leaving is cheap.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Final

MIN_CLEANED: Final = 64  # below that nobody minds


class PositionWaiters:
    """Futures by the position they wait for. Not for use from several threads."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._gone = 0

    async def wait(self, next_position: int) -> None:
        """Returns once `wake` was called with at least this; raises what `fail` was given."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._heap, (next_position, self._count, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            self._gone += 1
            self._clean()
            raise

    def wake(self, next_position: int) -> None:
        """Everything below this position is there."""
        while self._heap and self._heap[0][0] <= next_position:
            waiter = heapq.heappop(self._heap)[2]
            if waiter.done():
                self._gone -= 1
            else:
                waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """Nothing more will come: everybody who waits hears why."""
        for _, _, waiter in self._heap:
            if not waiter.done():
                waiter.set_exception(error)
        self._heap.clear()
        self._gone = 0

    def _clean(self) -> None:
        if len(self._heap) >= MIN_CLEANED and self._gone * 2 > len(self._heap):
            self._heap = [one for one in self._heap if not one[2].done()]
            heapq.heapify(self._heap)
            self._gone = 0
