"""Rules as data that are in force from an instant on: which of them judge an event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Timeline(Generic[T]):
    """The first terms reach back to the beginning; of two from one instant the later set counts."""

    first: T
    later: list[tuple[int, T]] = field(default_factory=list)  # as they were set

    def set(self, effective_from_ms: int, terms: T) -> None:
        self.later.append((effective_from_ms, terms))

    def at(self, ms: int) -> T:
        chosen, chosen_from_ms = self.first, -(2**63)
        for from_ms, terms in self.later:
            if chosen_from_ms <= from_ms <= ms:
                chosen, chosen_from_ms = terms, from_ms
        return chosen
