"""What became of the commands of the last minutes, in memory: repeats are answered from here.

Two promises. An id above the horizon is here if it was ever carried out, so that only older ones
are looked up in the journal (ids are UUIDv7: their text sorts by time). And what was carried out in
a batch stays here until well after that batch has committed, however old its id: a look-up could
have read the journal a moment before. Memory is bounded: beyond MAX_RECENT the oldest batches are
forgotten early and the horizon rises, which costs repeats a look-up and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from kernel.ids import uuid7
from kernel.journal.port import Outcome

RECENT_IDS_MS: Final = 120_000  # ids this young are answered from memory alone
MAX_ID_AHEAD_MS: Final = 60_000  # how far a client's clock may run ahead of ours
MAX_RECENT: Final = 400_000  # outcomes, at some 400 bytes each
# Of the batches kept in any case: a look-up may be under way beside two of them.
MIN_BATCHES: Final = 8


def id_at(at_ms: int, *, last: bool = False) -> str:
    """The smallest or the largest UUIDv7 of an instant."""
    return uuid7(max(at_ms, 0), lambda count: (b"\xff" if last else b"\x00") * count)


class Fading:
    """The ids of one batch, and when they may be forgotten."""

    __slots__ = ("count", "ids", "newest", "when_ms")

    def __init__(self, at_ms: int) -> None:
        # As long as any id of it could still be above the horizon.
        self.when_ms = at_ms + MAX_ID_AHEAD_MS + RECENT_IDS_MS
        self.ids: dict[str, list[str]] = {}
        self.newest = ""  # this one and how many: once it has committed
        self.count = 0


class RecentOutcomes:
    """By principal and id. Not for use from several threads."""

    def __init__(self, limit: int = MAX_RECENT) -> None:
        self._limit = limit
        self._count = 0
        self._known: dict[str, dict[str, Outcome]] = {}
        self._fading: deque[Fading] = deque()
        self.horizon = ""  # ids up to this one are looked up unless they are here

    def of(self, principal: str) -> dict[str, Outcome]:
        """What is known of a principal, by id; to read, and to give to `add` again."""
        return self._known.get(principal) or {}

    def add(self, known: dict[str, Outcome], fading: Fading, outcome: Outcome) -> None:
        """Remembers an outcome of a batch that is not committed yet; `known` is `of` its owner."""
        principal = outcome.principal
        ids = fading.ids.get(principal)
        if ids is None:  # its first of the batch
            ids = fading.ids[principal] = []
            self._known[principal] = known
        known[outcome.id] = outcome
        ids.append(outcome.id)

    def committed(self, fading: Fading) -> None:
        """The batch is in the journal: from now on it may fade."""
        if fading.ids:
            fading.count = sum(map(len, fading.ids.values()))
            fading.newest = max(map(max, fading.ids.values()))
            self._count += fading.count
            self._fading.append(fading)

    def forget(self, now_ms: int) -> None:
        """Drops what may be looked up instead, and raises the horizon over it."""
        self.horizon = max(self.horizon, id_at(now_ms - RECENT_IDS_MS, last=True))
        waiting = self._fading
        while waiting and (
            waiting[0].when_ms < now_ms
            or (self._count > self._limit and len(waiting) > MIN_BATCHES)
        ):
            self._drop(waiting.popleft())

    def _drop(self, fading: Fading) -> None:
        self.horizon = max(self.horizon, fading.newest)
        self._count -= fading.count
        for principal, ids in fading.ids.items():
            known = self._known[principal]
            for id in ids:
                known.pop(id, None)
            if not known:
                del self._known[principal]

    def is_missing(self, principal: str, id: str) -> bool:
        """Must it be looked up?"""
        return id <= self.horizon and id not in self._known.get(principal, ())

    def load(self, outcomes: Sequence[Outcome], floor: str, at_ms: int) -> None:
        """At start: what the journal holds of the last minutes, above the floor."""
        self.horizon = max(self.horizon, floor)
        fading = Fading(at_ms)
        for outcome in outcomes:
            self.add(self.of(outcome.principal), fading, outcome)
        self.committed(fading)
