"""The journal in memory: same promises but durability, for domain tests and property tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kernel.errors import InvariantBroken
from kernel.frames import Frame, StoredEvent
from kernel.journal.port import Batch, Fenced, Outcome


class MemoryJournal:
    def __init__(self, book: str) -> None:
        self.book = book
        self.epoch = 0
        self._events: list[StoredEvent] = []
        self._frames: list[Frame] = []
        self._outcomes: dict[tuple[str, str], Outcome] = {}

    def append(self, batch: Batch) -> None:
        if batch.epoch != self.epoch:
            raise Fenced(self.book, batch.epoch, self.epoch)
        for i, event in enumerate(batch.events):
            if event.position != len(self._events) + i:
                raise InvariantBroken(
                    f"{self.book}: expected position {len(self._events) + i}, got {event.position}"
                )
        outcomes: dict[tuple[str, str], Outcome] = {}
        for outcome in _all_outcomes(batch):
            key = (outcome.id, outcome.principal)
            if key in outcomes or key in self._outcomes:
                raise InvariantBroken(f"{self.book}: a second outcome for {key}")
            outcomes[key] = outcome
        self._events.extend(batch.events)
        self._frames.extend(batch.frames)
        self._outcomes.update(outcomes)

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
        return [outcome for outcome in self._outcomes.values() if outcome.id in wanted]

    def outcomes_since(self, id_floor: str) -> Iterator[Outcome]:
        for outcome in list(self._outcomes.values()):
            if outcome.id >= id_floor:
                yield outcome


def _all_outcomes(batch: Batch) -> Iterator[Outcome]:
    for event, key in zip(batch.events, batch.keys, strict=True):
        if key is not None:
            yield Outcome(key.id, key.principal, key.digest, event.position, 1, None)
    yield from batch.outcomes
