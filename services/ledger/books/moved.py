"""What has moved in the accounts book since somebody last looked: for the maps of states."""

from __future__ import annotations

from typing import TypeAlias

from services.ledger.books.crossings import Place

Batch: TypeAlias = tuple[str, str]  # asset and batch


class Moved:
    """Places whose balance may differ, and serials that may lie elsewhere.

    It passes: no snapshot has it (memory.py), for who begins at one looks at everything first.
    Nothing is noted before `start`, so that a checker nobody asks keeps nothing here.
    """

    passing = True

    def __init__(self) -> None:
        self.places: set[Place] | None = None
        self.serials: dict[Batch, list[tuple[int, int]]] = {}

    def start(self) -> None:
        self.places, self.serials = set(), {}

    def take(self) -> tuple[set[Place], dict[Batch, list[tuple[int, int]]]]:
        """Everything noted since the last time; nothing of it is noted any more."""
        taken = (self.places or set(), self.serials)
        self.start()
        return taken
