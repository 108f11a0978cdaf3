"""The calls a server is in the middle of, which can all be sent away at once.

A process whose lease is in doubt may wait for its database for as long as that says nothing; its
callers need not. Each is told a conflict, at once, and asks whoever writes now, by the same ids:
what became of the call here is for the journal to say, and nothing is taken back by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from kernel.errors import Conflict


class OpenCalls:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._sent_away: set[asyncio.Task[object]] = set()
        self._closed: str | None = None  # why nobody is let in

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around the serving of a call. Raises Conflict(LEASE_IN_DOUBT) if it is sent away."""
        task = asyncio.current_task()
        if self._closed is not None:
            raise self._conflict(self._closed)
        if task is None:
            raise RuntimeError("a call is served by a task")
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._sent_away:  # its client has gone, or the process ends
                raise
            task.uncancel()
            raise self._conflict(self._closed or "it was in doubt") from None
        finally:
            self._tasks.discard(task)
            self._sent_away.discard(task)

    def close(self, why: str) -> None:
        """Everybody goes, and nobody comes in before `reopen`."""
        self._closed = why
        self._sent_away |= self._tasks
        for task in tuple(self._tasks):
            task.cancel()

    def reopen(self) -> None:
        self._closed = None

    @staticmethod
    def _conflict(why: str) -> Conflict:
        return Conflict("LEASE_IN_DOUBT", f"{why}, ask again by id")
