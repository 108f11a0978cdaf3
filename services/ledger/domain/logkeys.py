"""Which key a log may get, and which one may go: the rules of a change, told by plain names.

That the notes are signed as they should be is checked where they are made (services/ledger/
logkeys.py) and again by the independent books; here it is whose turn it is. A key that has been one
of a log's is never one again, and never another log's.
"""

from __future__ import annotations

from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import Actor
from services.ledger.domain.commands import LogKeyNote
from services.ledger.domain.events import (
    LogKeyAnnounced,
    LogKeyProposed,
    LogKeyRetired,
    LogKeyRetirementProposed,
)
from services.ledger.domain.state import LogKeys, State

ROTATED: Final = "rotated"
LEAKED: Final = "leaked"
LOST: Final = "lost"
REASONS: Final = (ROTATED, LEAKED, LOST)


def check_announcement(state: State, book: str, old_vkey: str, new_vkey: str) -> None:
    """The old key is in force, no other change is under way, the new key is new."""
    keys = state.log_keys.get(book, LogKeys(old_vkey))
    if keys.current != old_vkey:
        raise _not_in_force(book, keys.current, old_vkey)
    if keys.announced is not None:
        raise Refused(
            "LOG_KEY_ANNOUNCED",
            f"{book}: {keys.announced} is announced already: retire {keys.current} first",
            announced=keys.announced,
        )
    _check_new(state, new_vkey)


def check_retirement(state: State, asked: LogKeyRetirementProposed) -> None:
    """Of the key in force in favour of its successor, or of an announced one that shall not be."""
    if asked.reason not in REASONS:
        raise Refused(
            "LOG_KEY_REASON",
            f"expected one of {', '.join(REASONS)}, got {asked.reason[:40]!r}",
            Kind.INVALID,
        )
    keys = state.log_keys.get(asked.book, LogKeys(asked.vkey))
    known = asked.successor in (keys.current, keys.announced)
    if known == bool(asked.statement):  # one that nobody checks would look like one that holds
        wanted = "none: the successor is known" if known else "the successor's own"
        raise Refused("LOG_KEY_STATEMENT", f"statement: expected {wanted}", Kind.INVALID)
    if asked.vkey == keys.announced and asked.successor == keys.current:
        return
    if asked.vkey != keys.current:
        raise _not_in_force(asked.book, keys.current, asked.vkey)
    if asked.successor == keys.announced:
        return
    if asked.reason == ROTATED:
        raise Refused(
            "LOG_KEY_NOT_ANNOUNCED",
            f"{asked.book}: expected {keys.announced or 'no successor: none is announced'},"
            f" got {asked.successor}",
            announced=keys.announced or "",
        )
    _check_new(state, asked.successor)


def to_be_signed(state: State, proposal: str, by: Actor) -> LogKeyProposed | None:
    """What this person may approve now. In every other case no key signs; decide says why."""
    found = state.proposals.get(proposal)
    if found is None or found.by == by or not isinstance(found.asked, LogKeyProposed):
        return None
    asked = found.asked
    try:
        check_announcement(state, asked.book, asked.old_vkey, asked.new_vkey)
    except Refused:
        return None
    return asked


def announced(asked: LogKeyProposed, note: LogKeyNote | None) -> LogKeyAnnounced:
    """With the note that was made for this very change. Raises Refused."""
    wanted = (asked.book, asked.old_vkey, asked.new_vkey)
    if note is None or (note.book, note.old_vkey, note.new_vkey) != wanted:
        raise Refused(
            "LOG_KEY_STATEMENT",
            f"{asked.book}: expected the note from {asked.old_vkey} to {asked.new_vkey}",
            Kind.INVALID,
        )
    return LogKeyAnnounced(
        asked.book,
        asked.new_vkey,
        asked.old_vkey,
        asked.proposal,
        asked.proposed_by,
        note.statement,
    )


def retired(asked: LogKeyRetirementProposed) -> LogKeyRetired:
    return LogKeyRetired(
        asked.book,
        asked.proposal,
        asked.proposed_by,
        asked.reason,
        asked.statement,
        asked.successor,
        asked.vkey,
    )


def _check_new(state: State, vkey: str) -> None:
    public = _public(vkey)
    for book, keys in state.log_keys.items():
        used = [keys.current, *keys.retired, *([keys.announced] if keys.announced else [])]
        if public in map(_public, used):
            raise Refused("LOG_KEY_USED", f"{vkey} is or was a key of {book}", book=book)


def _public(vkey: str) -> str:
    """Type and public half of a verifier key, whatever log it is named after."""
    return vkey.split("+", 2)[-1]


def _not_in_force(book: str, expected: str, actual: str) -> Refused:
    return Refused(
        "LOG_KEY_NOT_IN_FORCE",
        f"{book}: expected the key in force, {expected}, got {actual}",
        expected=expected,
        actual=actual,
    )
