"""The three families of errors, told apart once and mapped once (kernel/rpc/problems.py).

    TanzhangError
    ├── Refused      a rule says no: the caller can read why and change what was asked
    ├── Conflict     try again: somebody else was first, a queue is full, a lease is elsewhere
    └── Fault        we are broken: the operator is told why, the caller only that we are
        ├── Misconfigured      what this process was told is missing or makes no sense
        └── InvariantBroken    what must hold does not; the process stops and rebuilds

A reason is a stable UPPER_SNAKE word that programs may match on; the message is for people, lower
case, with what was expected and what came. Numbers and names travel beside it in `details`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

Detail = str | int


class Kind(StrEnum):
    """Which refusal it is, as far as a transport has to know."""

    INVALID = "invalid"  # the request itself is malformed
    RULE = "rule"  # well formed, but a rule of the books forbids it
    FORBIDDEN = "forbidden"  # not yours to do
    UNKNOWN = "unknown"  # names something that does not exist
    UNAUTHENTICATED = "unauthenticated"  # nobody we know


class TanzhangError(Exception):
    """Base of everything this product raises on purpose."""


class Refused(TanzhangError):
    """A rule says no. `reason` is stable, `details` hold the numbers: needed 500, available 480."""

    def __init__(
        self, reason: str, message: str, kind: Kind = Kind.RULE, **details: Detail
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.kind = kind
        self.details: Mapping[str, Detail] = details


class Conflict(TanzhangError):
    """Not now: the same request may succeed later, with the same id."""

    def __init__(self, reason: str, message: str, retry_after_ms: int = 200) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_ms = retry_after_ms


class Fault(TanzhangError):
    """We are broken. The message goes to the log, never to the caller."""


class Misconfigured(Fault):
    """A setting, key or file this process was given is missing or wrong: one line, exit code 2."""


class InvariantBroken(Fault):
    """Something that must always hold does not: stop, rebuild from the journal, do not guess."""
