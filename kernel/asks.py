"""What a writer is asked and what it answers, and what a service's domain has to be for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from kernel.journal.port import Outcome
from kernel.record import EventTypes
from kernel.values import Act, Actor, Caller, Context, Envelope

S = TypeVar("S")

_pack = msgspec.msgpack.Encoder().encode


def reaction_actor(book: str, source: str) -> Actor:
    """Who is answerable for what a book does about another book's events."""
    return Actor(f"book:{book}", f"reaction:{source}")


class Ask(msgspec.Struct, frozen=True):
    """One command on its way to the writer. `on_ms` None: business time is the recording.

    `sealed` goes into the record of every event it becomes, unread (base64 of ciphertext). `same`
    stands for the command when the id is used again, where not all of it can be made a second
    time. Neighbours with one `group` are carried out together or not at all (kernel/linked.py).
    """

    id: str
    caller: Caller
    command: msgspec.Struct
    on_ms: int | None = None
    acts: tuple[Act, ...] = ()
    cause: tuple[str, int] | None = None
    sealed: str | None = None
    same: bytes | msgspec.Struct | None = None
    group: bytes | None = None

    def digest(self) -> bytes:
        """What must be the same when an id is used again; not `sealed`, whose key may be gone.

        It is kept for ever and has no salt: of hours and places it would give away what it hashes.
        """
        what = self.command if self.same is None else self.same
        said = (type(self.command).__name__, what, self.on_ms, self.acts, self.cause)
        # A member of a group is no repeat of the same command alone or among others.
        body = _pack(said if self.group is None else (*said, self.group))
        return hashlib.sha256(body).digest()


@dataclass(frozen=True)
class Domain(Generic[S]):
    """A service's plain functions, as the writer calls them. No I/O, clock or randomness inside."""

    events: EventTypes
    new_state: Callable[[], S]
    # Events, at least one, or raises Refused. Does not change the state.
    decide: Callable[[S, Any, Context], Sequence[msgspec.Struct]]
    # Changes the state; never refuses.
    evolve: Callable[[S, Any], None]
    # Commands that have fallen due: (when, in ms; what makes it this one; command).
    due: Callable[[S, int], Iterable[tuple[int, str, msgspec.Struct]]]
    # For states that fold more than bodies: told of each event's envelope just before `evolve`.
    told: Callable[[S, Envelope], None] | None = None
    # To be raised when `evolve` makes something else of old events: older snapshots are then void.
    version: int = 1
    # Commands whose acts stand on the first of their events alone: those after it rest on that one.
    acts_once: frozenset[type[msgspec.Struct]] = frozenset()


class Result(msgspec.Struct, frozen=True):
    """Recorded: the outcome of one ask. `repeated`: it had been carried out before."""

    outcome: Outcome
    repeated: bool
