"""Linked commands: carried out together or not at all.

A group is first tried on a layer over the state (kernel/layers.py), command after command. If all
of them pass, they are decided again, as every day; the same state gives the same events. If one
does not, it is refused with its own reason and the others name it; nothing of the group was done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from kernel.errors import Refused

MAX_LINKED: Final = 500  # of one group: each is decided twice

S = TypeVar("S")


class Member(Protocol):
    @property
    def id(self) -> str: ...


A = TypeVar("A", bound=Member)


def group_of(ids: Sequence[str]) -> bytes:
    """What the members of a group have in common: all of their ids, in their order."""
    return hashlib.sha256(" ".join(ids).encode()).digest()


def refusals(
    trial: S, members: Sequence[A], carry_out: Callable[[S, A], None]
) -> Mapping[str, Refused]:
    """By id what each member is refused with, or nothing. Changes the trial state alone."""
    for failing in members:
        try:
            carry_out(trial, failing)
        except Refused as refused:
            others = refused_with(failing.id, refused.reason)
            return {one.id: others for one in members} | {failing.id: refused}
    return {}


def refused_with(id: str, reason: str) -> Refused:
    """Why the others of a group are refused: this one of them was."""
    return Refused(
        "LINKED_GROUP_REFUSED",
        f"nothing of the group was carried out: {id} was refused with {reason}",
        item=id,
        item_reason=reason,
    )
