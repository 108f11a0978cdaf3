"""Given, when, then for a domain without I/O: events make the state, one command meets it.

What a command gives is applied at once, so that a scene goes on from there. A refusal must leave
the state exactly as it was, and the same events applied to a fresh state must give an equal one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

import msgspec

from kernel.acts import verify_act
from kernel.clock import FixedClock
from kernel.errors import Refused
from kernel.ids import derived_id
from kernel.values import Act, Actor, Caller, Context, parse_instant

MORNING_MS = parse_instant("2026-11-20T01:30:00.000Z")  # half past nine in Lanzhou and Shenzhen

S = TypeVar("S")


def person(
    sub: str, *, roles: Sequence[str] = (), holders: Sequence[str] = (), iss: str = "lanzhou"
) -> Caller:
    """Somebody with a token: what it lets them do, and for whom."""
    return Caller(Actor(iss, sub), frozenset(roles), frozenset(holders))


class Book(Generic[S]):
    """One domain's state with everything that happened to it, on a clock moved by hand."""

    def __init__(
        self,
        new_state: Callable[[], S],
        decide: Callable[[S, Any, Context], Sequence[msgspec.Struct]],
        evolve: Callable[[S, Any], None],
    ) -> None:
        self._new_state = new_state
        self._decide = decide
        self._evolve = evolve
        self.state = new_state()
        self.history: list[msgspec.Struct] = []
        self.clock = FixedClock(MORNING_MS)
        self._asked = 0

    def given(self, *events: msgspec.Struct) -> Self:
        """Applies events that have happened already."""
        for event in events:
            self._evolve(self.state, event)
            self.history.append(event)
        return self

    def when(
        self,
        command: msgspec.Struct,
        caller: Caller,
        *,
        acts: Sequence[Act] = (),
        on_ms: int | None = None,
        id: str | None = None,
    ) -> list[Any]:
        """Decides and applies; answers the events. Raises Refused, with the state untouched."""
        self._asked += 1
        at_ms = self.clock.now_ms()
        context = Context(
            id=id or derived_id(at_ms, "asked", self._asked),
            at_ms=at_ms,
            on_ms=at_ms if on_ms is None else on_ms,
            caller=caller,
            acts=acts,
            cause=None,
            verify=verify_act,
        )
        before = copy.deepcopy(self.state)
        try:
            events = list(self._decide(self.state, command, context))
        finally:
            assert self.state == before, "decide changed the state"
        self.given(*events)
        return events

    def refusal(self, command: msgspec.Struct, caller: Caller, **context: Any) -> Refused:
        """Decides and answers the refusal; fails when there is none."""
        try:
            events = self.when(command, caller, **context)
        except Refused as refused:
            return refused
        raise AssertionError(f"expected a refusal of {command}, got {events}")

    def replayed(self) -> S:
        """A fresh state with the same history."""
        state = self._new_state()
        for event in self.history:
            self._evolve(state, event)
        return state
