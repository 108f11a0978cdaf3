"""A heap of (when in ms, what): what has passed, without taking it out."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def passed(heap: list[tuple[int, T]], at_ms: int) -> list[tuple[int, T]]:
    """What is due, soonest first. Only that is looked at: below a later one everything is later."""
    places, found = [0], []
    while places:
        place = places.pop()
        if place < len(heap) and heap[place][0] <= at_ms:
            found.append(heap[place])
            places += (2 * place + 1, 2 * place + 2)
    return sorted(found, key=lambda one: one[0])
