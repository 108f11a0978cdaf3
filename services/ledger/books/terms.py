"""Rules as data that are in force from an instant on: which of them judge an event."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Timeline(Generic[T]):
    """The first terms reach back to the beginning; of two from one instant the later set counts."""

    def __init__(self, first: T) -> None:
        self._first = first
        self._later: list[tuple[int, T]] = []  # as they were set

    def set(self, effective_from_ms: int, terms: T) -> None:
        self._later.append((effective_from_ms, terms))

    def at(self, ms: int) -> T:
        chosen, chosen_from_ms = self._first, -(2**63)
        for from_ms, terms in self._later:
            if chosen_from_ms <= from_ms <= ms:
                chosen, chosen_from_ms = terms, from_ms
        return chosen
