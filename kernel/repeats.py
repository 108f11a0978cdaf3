"""Ids that are not carried out: repeats in other words, and those of no time of ours.

Such a refusal leaves no row: the id belongs to another command, or to no time of ours.
"""

from __future__ import annotations

from kernel.asks import Ask
from kernel.errors import Kind, Refused
from kernel.ids import uuid7_ms
from kernel.journal.port import Outcome, Refusal
from kernel.recent import MAX_ID_AHEAD_MS
from kernel.values import format_instant


def same_command(before: Outcome, ask: Ask, digest: bytes) -> Outcome:
    if before.digest == digest:
        return before
    return unrecorded(ask, digest, _id_reused(before, ask, digest))


def refuse_other_command(before: Outcome, ask: Ask) -> None:
    digest = ask.digest()
    if before.digest != digest:
        raise _id_reused(before, ask, digest)


def _id_reused(before: Outcome, ask: Ask, digest: bytes) -> Refused:
    return Refused(
        "ID_REUSED",
        f"id {ask.id} was used for another command: expected digest {before.digest.hex()[:16]},"
        f" got {digest.hex()[:16]}",
        Kind.RULE,
        expected=before.digest.hex()[:16],
        actual=digest.hex()[:16],
    )


def id_from_future(id: str, at_ms: int) -> Refused:
    return Refused(
        "ID_FROM_FUTURE",
        f"expected an id of at most {format_instant(at_ms + MAX_ID_AHEAD_MS)},"
        f" got one of {format_instant(min(uuid7_ms(id), 253_402_300_799_999))}",
        Kind.INVALID,
        at=format_instant(at_ms),
    )


def unrecorded(ask: Ask, digest: bytes, refused: Refused) -> Outcome:
    """A refusal that leaves no row: the id belongs to another command, or to no time of ours."""
    return Outcome(ask.id, ask.caller.principal, digest, 0, 0, Refusal.of(refused))
