"""A book's state in memory, made from its journal by the functions that run every day.

The writer is one that goes on from there; a standby, a snapshot and `verify` are replicas too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from kernel.asks import Domain, reaction_actor
from kernel.errors import InvariantBroken
from kernel.frames import KeyLookup, StoredEvent, verify_frame
from kernel.journal.port import Journal
from kernel.record import KERNEL_EVENTS, BookOpened, WriterStarted
from kernel.values import Actor, Envelope, parse_instant

S = TypeVar("S")


@dataclass
class Progress:
    """What the kernel itself knows of a book; rebuilt from the records like any state."""

    book_id: bytes = b""
    next_position: int = 0
    epoch: int = 0
    last_at_ms: int = 0
    # How far each source book's events have been answered by this one, as next positions.
    watermarks: dict[str, int] = field(default_factory=dict)


class Replica(Generic[S]):
    """One book, as far as it has been replayed."""

    def __init__(self, journal: Journal, domain: Domain[S], keys: KeyLookup) -> None:
        self.book = journal.book
        self.journal = journal
        self.domain = domain
        self.state = domain.new_state()
        self.progress = Progress()
        self.committed_next = 0  # position after the last committed event
        self._keys = keys

    def begin_at(self, state: S, progress: Progress) -> None:
        """Takes a state from a snapshot that was believed; what came after it is replayed."""
        self.state, self.progress = state, progress
        self.committed_next = progress.next_position

    def catch_up(
        self, progress: Callable[[int, int], None] | None = None, end: int | None = None
    ) -> None:
        """Replays the journal from where memory stands to its end (or `end`), checking every frame.

        Blocks; called before serving, and over and over by a standby. Raises FrameError at the
        first event that is not what was signed.
        """
        head = self.journal.head() if end is None else end
        for frame in self.journal.read_frames(self.progress.next_position, head):
            verify_frame(frame, self._keys)
            for event in frame.events:
                if event.position >= self.progress.next_position:
                    self._replay(event, frame.book_id)
            if progress is not None:
                progress(self.progress.next_position, head)
        self.committed_next = self.progress.next_position

    def _replay(self, event: StoredEvent, book_id: bytes) -> None:
        raw = self.domain.events.decode(event.record)
        known = self.progress
        if raw.position != known.next_position or raw.book != self.book:
            raise InvariantBroken(
                f"expected {self.book} at {known.next_position}, got {raw.book} at {raw.position}"
            )
        if known.next_position and book_id != known.book_id:
            raise InvariantBroken(
                f"{self.book}: expected book id {known.book_id.hex()}, got {book_id.hex()}"
            )
        if self.domain.told is not None:
            on_ms = parse_instant(raw.on)
            envelope = Envelope(raw.position, raw.by, raw.actor, on_ms, raw.cause)
            self.domain.told(self.state, envelope)
        self.evolve(raw.body, raw.actor, raw.cause)
        known.last_at_ms = max(known.last_at_ms, parse_instant(raw.at))

    def evolve(self, event: msgspec.Struct, actor: Actor, cause: tuple[str, int] | None) -> None:
        known = self.progress
        known.next_position += 1
        # Only a reaction reads its source in order; errands and other services name causes too.
        if cause is not None and actor == reaction_actor(self.book, cause[0]):
            source, position = cause
            known.watermarks[source] = max(known.watermarks.get(source, 0), position + 1)
        if type(event) not in KERNEL_EVENTS:
            self.domain.evolve(self.state, event)
        elif isinstance(event, WriterStarted):
            known.epoch = event.epoch
        elif isinstance(event, BookOpened):
            known.book_id = bytes.fromhex(event.book_id)
