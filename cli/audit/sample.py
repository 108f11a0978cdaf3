"""Which states are made again: drawn, because a ledger that knew which could lie in all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from secrets import SystemRandom, randbelow
from typing import Final

from kernel.tlog.states import StateEntry

MAX_RECOMPUTED: Final = 16  # of one run: each costs as much as there are accounts and ranges
MAX_SAMPLE: Final = 1024  # states that are kept to choose from


class Sample:
    """The newest of any number of entries, and of all of them so many, each as likely as any."""

    def __init__(self) -> None:
        self._drawn: list[StateEntry] = []
        self._count = 0
        self._newest: StateEntry | None = None

    def add(self, entry: StateEntry) -> None:
        if self._newest is None or entry.position > self._newest.position:
            self._newest = entry
        self._count += 1
        if len(self._drawn) < MAX_SAMPLE:
            self._drawn.append(entry)
        elif (place := randbelow(self._count)) < MAX_SAMPLE:
            self._drawn[place] = entry

    @property
    def entries(self) -> list[StateEntry]:
        """By position, the newest last."""
        newest = [] if self._newest is None else [self._newest]
        return sorted({one.position: one for one in [*self._drawn, *newest]}.values(), key=_place)


def chosen(
    entries: Sequence[StateEntry], named: Iterable[StateEntry], begin: int, end: int
) -> list[StateEntry]:
    """Of those made of begin..end events the newest, others drawn; what is named in any case."""
    able = [one for one in entries if begin <= one.size <= end]
    drawn = SystemRandom().sample(able[:-1], min(len(able[:-1]), MAX_RECOMPUTED - 1))
    asked = [one for one in named if begin <= one.size <= end]
    return sorted({one.position: one for one in [*drawn, *able[-1:], *asked]}.values(), key=_place)


def _place(entry: StateEntry) -> int:
    return entry.position
