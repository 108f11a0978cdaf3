"""Keys of institutions in a book that believes their signatures: one part for all such books.

A book admits what the ledger's own book registered, and withdraws what it has ended. An act is
judged by the keys of its own moment, and not by a key that the ledger's book had ended before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kernel.record import RawRecord
from services.ledger.books.directory import Directory, acts_of
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.port import RuleBroken, instant_ms, require

# How long after a key was ended a book may still record its acts: two hops, and clocks apart.
REVOCATION_GRACE_MS: Final = 60_000


class KeyAdmitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_id: str
    public_key: str
    subject: str
    suite: str


class KeyWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_id: str


KEY_EVENTS: Final = (KeyAdmitted, KeyWithdrawn)
DIRECTORY: Final = "ledger"  # the book that says which keys there are


class AdmittedKeys:
    """The keys one book has admitted, and what they signed."""

    def __init__(self, ledger: LedgerBook) -> None:
        self._ledger = ledger
        self._directory = Directory()
        self._admitted: set[str] = set()

    def check(self, raw: RawRecord, event: KeyAdmitted | KeyWithdrawn) -> None:
        if isinstance(event, KeyAdmitted):
            self._check_admitted(event)
            told_at = self._ledger.registered_at.get(event.key_id)
        else:
            if event.key_id in self._ledger.directory.keys:
                raise RuleBroken("KEY_REVOKED", "a key the directory has ended", event.key_id)
            told_at = self._ledger.revoked_at.get(event.key_id)
        # Which of the two books is ahead is chance: by its cause, this one waits for the other.
        require("KEY_CAUSE", (DIRECTORY, told_at), raw.cause)

    def _check_admitted(self, event: KeyAdmitted) -> None:
        known = self._ledger.registered.get(event.key_id)
        if known is None:
            raise RuleBroken("KEY_REGISTERED", "a key of the directory", event.key_id)
        require(
            "KEY_AS_REGISTERED",
            (known.public_key, known.subject, known.suite),
            (event.public_key, event.subject, event.suite),
        )
        # The directory registers a key once: one that comes back here has been revoked there.
        require("KEY_ONCE", False, event.key_id in self._admitted)

    def apply(self, event: KeyAdmitted | KeyWithdrawn) -> None:
        if isinstance(event, KeyAdmitted):
            self._admitted.add(event.key_id)
            self._directory.add(event.key_id, event.subject, event.public_key)
        else:
            self._directory.remove(event.key_id)

    def statement(self, raw: RawRecord, subjects: Sequence[str], kind: str) -> dict[str, object]:
        """What each of these subjects has signed on a record: one and the same statement.

        A service that keeps back the withdrawal of a key gains a moment, not the key.
        """
        statement = self._directory.statement(raw, subjects, kind)
        for act in acts_of(raw):
            ended_ms = self._ledger.revoked_at_ms.get(act.key_id)
            if ended_ms is not None and instant_ms(raw.at) > ended_ms + REVOCATION_GRACE_MS:
                raise RuleBroken(
                    "ACT_KEY_ENDED", f"a live key of {' and '.join(subjects)}", act.key_id
                )
        return statement
