"""Checks the keys of the logs: who signed which change, and whose turn it was.

The notes are opened here once more: an announcement carries the old key's signature and the new
one's, a replacement of a key that leaked or was lost at least its successor's. A key is named by
its public half: one that has been a log's never comes again under any name.
"""

from __future__ import annotations

from kernel.tlog.encoding import decode_base64
from kernel.tlog.errors import TlogError
from kernel.tlog.keychange import OpenedKeyChange, open_key_change
from kernel.tlog.note import parse_vkey
from services.ledger.books.port import RuleBroken, require, require_holds
from services.ledger.domain.events import (
    LogKeyAnnounced,
    LogKeyProposed,
    LogKeyRetired,
    LogKeyRetirementProposed,
)

Announcing = LogKeyProposed | LogKeyAnnounced
Retiring = LogKeyRetirementProposed | LogKeyRetired
REASONS = frozenset({"rotated", "leaked", "lost"})


class LogKeyBook:
    """Of each log, by book: the key in force, the announced one, and every public half so far."""

    def __init__(self) -> None:
        self.current: dict[str, str] = {}
        self.announced: dict[str, str] = {}
        self._seen: set[bytes] = set()

    def check_announced(self, event: LogKeyAnnounced) -> None:
        """The one event that bears the old key's signature: with it, its policy follows."""
        opened = _opened(event.statement)
        change = opened.change
        require("LOG_KEY_ORIGIN", event.book, change.origin.rpartition("/")[2])
        require("LOG_KEY_STATEMENT", change.old.vkey, event.old_vkey)
        require("LOG_KEY_STATEMENT", change.new.vkey, event.new_vkey)
        require_holds("LOG_KEY_SIGNED", opened.announced, "the old key's signature", "none")
        self.check_announcing(event)

    def check_announcing(self, event: Announcing) -> None:
        require("LOG_KEY_IN_FORCE", self.current.get(event.book, event.old_vkey), event.old_vkey)
        require("LOG_KEY_UNDER_WAY", None, self.announced.get(event.book))
        self._require_new(event.new_vkey)

    def check_retiring(self, event: Retiring) -> None:
        require_holds("LOG_KEY_REASON", event.reason in REASONS, sorted(REASONS), event.reason)
        current = self.current.get(event.book, event.vkey)
        announced = self.announced.get(event.book)
        if event.successor in (current, announced):
            require("LOG_KEY_STATEMENT", "", event.statement)
        if (event.vkey, event.successor) == (announced, current):
            return
        require("LOG_KEY_IN_FORCE", current, event.vkey)
        if event.successor == announced:
            return
        if event.reason == "rotated":
            raise RuleBroken("LOG_KEY_UNDER_WAY", announced, event.successor)
        change = _opened(event.statement).change
        require("LOG_KEY_ORIGIN", event.book, change.origin.rpartition("/")[2])
        require("LOG_KEY_STATEMENT", change.old.vkey, event.vkey)
        require("LOG_KEY_STATEMENT", change.new.vkey, event.successor)
        self._require_new(event.successor)

    def on_announced(self, event: LogKeyAnnounced) -> None:
        self.current[event.book] = event.old_vkey
        self.announced[event.book] = event.new_vkey
        self._seen |= {_public(event.old_vkey), _public(event.new_vkey)}

    def on_retired(self, event: LogKeyRetired) -> None:
        self.current[event.book] = event.successor
        self.announced.pop(event.book, None)
        self._seen |= {_public(event.vkey), _public(event.successor)}

    def _require_new(self, vkey: str) -> None:
        if _public(vkey) in self._seen:
            raise RuleBroken("LOG_KEY_NEW", "a key that was no log's before", vkey)


def _opened(statement: str) -> OpenedKeyChange:
    try:
        return open_key_change(decode_base64(statement, "statement"))
    except TlogError as error:
        raise RuleBroken("LOG_KEY_SIGNED", "a note signed by the keys it names", error) from error


def _public(vkey: str) -> bytes:
    """What two persons accepted as it is need not be a key: then it is its own text."""
    try:
        return parse_vkey(vkey)[2]
    except TlogError:
        return vkey.encode()
