"""The journal in memory: same promises but durability, for domain tests and property tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kernel.errors import InvariantBroken
from kernel.frames import Frame, StoredEvent
from kernel.journal.port import Batch, Fenced, Outcome


class MemoryJournal:
    def __init__(self, book: str) -> None:
        self.book = book
        self.epoch = 0
        self._events: list[StoredEvent] = []
        self._frames: list[Frame] = []
        # As in PostgreSQL: what the events' keys say, and the rows of their own.
        self._keyed: dict[tuple[str, str], Outcome] = {}
        self._others: dict[tuple[str, str], Outcome] = {}

    def append(self, batch: Batch) -> None:
        if batch.epoch != self.epoch:
            raise Fenced(self.book, batch.epoch, self.epoch)
        for i, event in enumerate(batch.events):
            if event.position != len(self._events) + i:
                raise InvariantBroken(
                    f"{self.book}: expected position {len(self._events) + i}, got {event.position}"
                )
        keyed = _unique(self.book, _keyed_outcomes(batch), self._keyed)
        others = _unique(self.book, batch.outcomes, self._others)
        self._events.extend(batch.events)
        self._frames.extend(batch.frames)
        self._keyed.update(keyed)
        self._others.update(others)

    def head(self) -> int:
        return len(self._events)

    def read_frames(self, from_position: int, to_position: int | None = None) -> Iterator[Frame]:
        end = self.head() if to_position is None else to_position
        for frame in list(self._frames):
            if from_position < end and frame.last >= from_position and frame.first < end:
                yield frame

    def read_events(self, positions: Sequence[int]) -> list[StoredEvent]:
        return [self._events[p] for p in positions if 0 <= p < len(self._events)]

    def find_outcomes(self, ids: Sequence[str]) -> list[Outcome]:
        wanted = set(ids)
        return [one for one in (self._keyed | self._others).values() if one.id in wanted]

    def newest_outcomes(self, id_floor: str, limit: int) -> tuple[list[Outcome], str]:
        found = [one for one in (self._keyed | self._others).values() if one.id > id_floor]
        if len(found) <= limit:
            return found, id_floor
        found.sort(key=lambda one: one.id)
        return found[-limit:], found[-limit - 1].id


def _unique(
    book: str, outcomes: Iterable[Outcome], known: Mapping[tuple[str, str], Outcome]
) -> dict[tuple[str, str], Outcome]:
    fresh: dict[tuple[str, str], Outcome] = {}
    for outcome in outcomes:
        key = (outcome.id, outcome.principal)
        if key in fresh or key in known:
            raise InvariantBroken(f"{book}: a second outcome for {key}")
        fresh[key] = outcome
    return fresh


def _keyed_outcomes(batch: Batch) -> Iterator[Outcome]:
    for event, key in zip(batch.events, batch.keys, strict=True):
        if key is not None:
            yield Outcome(key.id, key.principal, key.digest, event.position, 1, None)
