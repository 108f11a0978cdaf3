"""The journal port: what every adapter promises. tests/contracts/test_journal.py holds them to it.

- durable: when append returns, the batch survives the loss of this process and of power
- atomic: events, outcomes and frames of a batch are there together or not at all
- ordered, gapless: events stand at 0, 1, 2, ...; a batch that does not continue is refused
- fenced: a batch under an epoch that is not the book's current one is refused
- idempotent: no. The writer looks ids up first; a second effect of one (id, principal) is
  InvariantBroken, because the first event of every accepted command carries its key
- concurrent: one writer per book at a time; any number of readers

Methods block: callers in an event loop run them in a thread of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from kernel.errors import Conflict, Kind, Refused
from kernel.frames import Frame, StoredEvent

MAX_MESSAGE_CHARS = 600  # a refusal is kept for ever, and may quote what was asked
MAX_DETAIL_CHARS = 200


class Fenced(Conflict):
    """Another writer has taken the book: this one must stop at once and write nothing more."""

    def __init__(self, book: str, mine: int, current: int) -> None:
        super().__init__("FENCED", f"{book}: expected epoch {mine}, the book is at {current}")


class Refusal(msgspec.Struct, frozen=True):
    """A recorded refusal, so that a repeat is refused in the same words."""

    reason: str
    message: str
    kind: Kind
    details: dict[str, str | int]

    @classmethod
    def of(cls, refused: Refused) -> Refusal:
        details = {
            name: value[:MAX_DETAIL_CHARS] if isinstance(value, str) else value
            for name, value in refused.details.items()
        }
        return cls(refused.reason, refused.message[:MAX_MESSAGE_CHARS], refused.kind, details)

    def to_error(self) -> Refused:
        return Refused(self.reason, self.message, self.kind, **self.details)


class Outcome(NamedTuple):
    """What became of one command: accepted at first..first+events-1, or refused."""

    id: str
    principal: str
    digest: bytes
    first: int
    events: int
    refusal: Refusal | None


class Batch(NamedTuple):
    """What one commit writes."""

    epoch: int
    events: Sequence[StoredEvent]
    # One per event: what became of the command whose first event it is, or None. The row carries
    # the command's key; of a command with one event it is the whole outcome.
    keys: Sequence[Outcome | None]
    # Outcomes of refused commands and of commands with several events.
    outcomes: Sequence[Outcome]
    frames: Sequence[Frame]


class Journal(Protocol):
    book: str

    def append(self, batch: Batch) -> None:
        """Writes one batch; raises Fenced, or InvariantBroken if it does not continue the head."""
        ...

    def head(self) -> int:
        """Position of the next event: as many events as the book has."""
        ...

    def read_frames(self, from_position: int, to_position: int | None = None) -> Iterator[Frame]:
        """Stored frames in order, from the one that holds from_position, to the head (or to)."""
        ...

    def read_events(self, positions: Sequence[int]) -> list[StoredEvent]:
        """Single events, in the order asked; positions that do not exist are left out."""
        ...

    def find_outcomes(self, ids: Sequence[str]) -> list[Outcome]:
        """Outcomes of these command ids, whoever the principal."""
        ...

    def newest_outcomes(self, id_floor: str, limit: int) -> tuple[list[Outcome], str]:
        """Outcomes whose id sorts above the floor (UUIDv7: from an instant on), and the floor.

        When there are more than about `limit`, the newest of them, and a floor just below those:
        above it none is missing.
        """
        ...
