"""What the ledger's own book knows, rebuilt from its events by evolve alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from kernel.values import Actor, Envelope
from services.ledger.domain.events import (
    IdentitiesProposed,
    KeyProposed,
    KeyRevocationProposed,
    LogKeyProposed,
    LogKeyRetirementProposed,
    OverrideProposed,
)

Proposed = (
    KeyProposed
    | KeyRevocationProposed
    | OverrideProposed
    | IdentitiesProposed
    | LogKeyProposed
    | LogKeyRetirementProposed
)


@dataclass(slots=True)
class DirectoryKey:
    subject: str
    suite: str
    public_key: bytes
    position: int  # where two persons registered it
    revoked: bool = False


@dataclass(slots=True)
class Proposal:
    """An open proposal: who made it, and the event that says what it asks."""

    by: Actor
    asked: Proposed


@dataclass(slots=True)
class LogKeys:
    """The keys of one log, as verifier keys, since the first change of them."""

    current: str
    announced: str | None = None  # signs beside the current one
    statement: str = ""  # base64 of the note that named the newest of them
    retired: dict[str, str] = field(default_factory=dict)  # why, by key


@dataclass
class State:
    keys: dict[str, DirectoryKey] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    # By (book, position, rule) of every halt that stands: expected and actual, as it was told.
    halts: dict[tuple[str, int, str], tuple[str, str]] = field(default_factory=dict)
    # How many were ever recorded.
    halts_recorded: int = 0
    # By (book, position, rule): where in this book two persons have accepted it, each time.
    overrides: dict[tuple[str, int, str], list[int]] = field(default_factory=dict)
    identities: str | None = None
    # The day on which (book, witness, rule) was noted last.
    disagreed: dict[tuple[str, str, str], int] = field(default_factory=dict)
    # By book; a log whose key was never changed is not here.
    log_keys: dict[str, LogKeys] = field(default_factory=dict)
    # Of the event that is folded next.
    position: int = 0


def overridden_at(state: State, book: str, position: int) -> list[int]:
    """Where two persons have accepted an event of a book; halts are few."""
    return sorted(
        at
        for (named, there, _), found in state.overrides.items()
        if (named, there) == (book, position)
        for at in found
    )


def told(state: State, envelope: Envelope) -> None:
    """The envelope of the event that evolve is given next."""
    state.position = envelope.position
