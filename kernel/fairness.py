"""What waits for the writer: bounded, and taken in turns, so that no bulk load starves anybody.

Each principal has a line of its own; a batch takes one submission of each in turn. A full queue
says so at once and when to come back; its last part is kept for callers with little to ask. Counted
are commands, and one that may make many events, as a settlement file does, counts as so many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from kernel.clock import monotonic_ms
from kernel.errors import Conflict

MAX_QUEUED_ASKS: Final = 64_000  # some 100 MB; beyond that callers are told to come back
MAX_OWN_ASKS: Final = 32_000  # of one principal: half of the queue is always somebody else's
# Bulk callers leave this much of the queue to who asks for little.
RESERVED_ASKS: Final = 4_000
FEW_ASKS: Final = 100
MIN_RETRY_MS: Final = 50
MAX_RETRY_MS: Final = 5_000
FIRST_RATE: Final = 5_000.0  # asks a second, until we have seen our own
RATE_WEIGHT: Final = 0.2  # of the newest batch in the running mean

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Things of a weight in asks, by principal. Not for use from several threads."""

    def __init__(self, book: str, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._book = book
        self._now_ms = now_ms
        self._lines: dict[str, deque[tuple[int, T]]] = {}  # in the order of their turns
        self._own: dict[str, int] = {}
        self.asks = 0
        self._rate = FIRST_RATE
        self._taken_ms = now_ms()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def check_room(self, principal: str, weight: int) -> None:
        """Raises Conflict(QUEUE_FULL) with the time after which there should be room."""
        own = self._own.get(principal, 0)
        limit = MAX_QUEUED_ASKS if own + weight <= FEW_ASKS else MAX_QUEUED_ASKS - RESERVED_ASKS
        if self.asks + weight <= limit and own + weight <= MAX_OWN_ASKS:
            return
        wait_ms = round(1000 * self.asks / self._rate)
        raise Conflict(
            "QUEUE_FULL",
            f"{self._book}: expected at most {limit} commands waiting, {MAX_OWN_ASKS} of one"
            f" caller, by the events they may make; there are {self.asks}, {own} of yours, and"
            f" {weight} more came",
            retry_after_ms=min(max(wait_ms, MIN_RETRY_MS), MAX_RETRY_MS),
        )

    def put(self, principal: str, weight: int, thing: T) -> None:
        self._lines.setdefault(principal, deque()).append((weight, thing))
        self._own[principal] = self._own.get(principal, 0) + weight
        self.asks += weight

    def take(self, target: int, limit: int) -> list[T]:
        """One of each line in turn, until there are `target` asks; more than `limit` never.

        At least one thing, however large. Who had a turn goes to the end of the round.
        """
        taken: list[T] = []
        asks = 0
        while self._lines and (not taken or asks < target):
            principal, line = next(iter(self._lines.items()))
            weight, thing = line[0]
            if taken and asks + weight > limit:
                break
            line.popleft()
            taken.append(thing)
            asks += weight
            del self._lines[principal]  # its next turn comes after everybody else's
            self._own[principal] -= weight
            if line:
                self._lines[principal] = line
            else:
                del self._own[principal]
        self.asks -= asks
        self._note_rate(asks)
        return taken

    def _note_rate(self, asks: int) -> None:
        """How fast we take while there is something to take."""
        now_ms, before_ms = self._now_ms(), self._taken_ms
        self._taken_ms = now_ms
        if self._lines and now_ms > before_ms:
            rate = asks * 1000 / (now_ms - before_ms)
            self._rate += RATE_WEIGHT * (rate - self._rate)

    def __iter__(self) -> Iterator[T]:
        """Everything that waits, in no order that matters."""
        return (thing for line in self._lines.values() for _, thing in line)
