"""What every book takes from the ledger's book: keys of institutions come and go, logs halt.

Fields of the ledger's events are declared here in our own words; we read no more of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from kernel.keyring import AdmitKey, WithdrawKey
from kernel.logs import get_logger
from kernel.record import RawRecord

log = get_logger(__name__)


class KeyRegistered(msgspec.Struct, frozen=True):
    key_id: str
    public_key: str
    subject: str
    suite: str


class KeyRevoked(msgspec.Struct, frozen=True):
    key_id: str


class BookHalted(msgspec.Struct, frozen=True):
    book: str
    position: int
    rule: str


class OverrideAccepted(msgspec.Struct, frozen=True):
    book: str
    position: int
    rule: str


def react_to_directory(raw: RawRecord) -> msgspec.Struct | None:
    """A command of ours for an event of the ledger's book, or nothing."""
    if raw.type == "KeyRegistered":
        key = msgspec.json.decode(raw.body, type=KeyRegistered)
        return AdmitKey(key.key_id, key.public_key, key.subject, key.suite)
    if raw.type == "KeyRevoked":
        return WithdrawKey(msgspec.json.decode(raw.body, type=KeyRevoked).key_id)
    return None


class HaltWatch:
    """Which of some books' logs stand halted, followed through the ledger's book.

    `changed` is told of every book after each event about it: the standing halts in words, or None.
    """

    def __init__(self, books: Iterable[str], changed: Callable[[str, str | None], None]) -> None:
        self._standing: dict[str, set[tuple[int, str]]] = {book: set() for book in books}
        self._changed = changed

    def observe(self, raw: RawRecord) -> None:
        if raw.type == "BookHalted":
            halt = msgspec.json.decode(raw.body, type=BookHalted)
            if halt.book in self._standing:
                self._standing[halt.book].add((halt.position, halt.rule))
                log.error("book.halted", book=halt.book, rule=halt.rule, position=halt.position)
                self._tell(halt.book)
        elif raw.type == "OverrideAccepted":
            override = msgspec.json.decode(raw.body, type=OverrideAccepted)
            if override.book in self._standing:
                self._standing[override.book].discard((override.position, override.rule))
                log.info("book.resumed", book=override.book, position=override.position)
                self._tell(override.book)

    def _tell(self, book: str) -> None:
        standing = sorted(self._standing[book])
        self._changed(book, ", ".join(f"{rule} at position {at}" for at, rule in standing) or None)
