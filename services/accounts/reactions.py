"""What the ledger's book means for ours: keys of institutions come and go, and our log may halt.

Fields of the ledger's events are declared here in our own words; we read no more of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kernel.logs import get_logger
from kernel.record import RawRecord
from kernel.writer import Writer
from services.accounts.domain.commands import AdmitKey, WithdrawKey

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


def react(raw: RawRecord) -> msgspec.Struct | None:
    """A command of ours for an event of the ledger's book, or nothing."""
    if raw.type == "KeyRegistered":
        key = msgspec.json.decode(raw.body, type=KeyRegistered)
        return AdmitKey(key.key_id, key.public_key, key.subject, key.suite)
    if raw.type == "KeyRevoked":
        return WithdrawKey(msgspec.json.decode(raw.body, type=KeyRevoked).key_id)
    return None


class HaltWatch:
    """While our log is halted we take no commands: nothing new is built on what is not proven."""

    def __init__(self, writer: Writer[Any]) -> None:
        self._writer = writer
        self._standing: set[tuple[int, str]] = set()

    def observe(self, raw: RawRecord) -> None:
        """Follows the halts of our book, and their ends, through the ledger's."""
        if raw.type == "BookHalted":
            halt = msgspec.json.decode(raw.body, type=BookHalted)
            if halt.book == self._writer.book:
                self._standing.add((halt.position, halt.rule))
                log.error("book.halted", book=halt.book, rule=halt.rule, position=halt.position)
        elif raw.type == "OverrideAccepted":
            override = msgspec.json.decode(raw.body, type=OverrideAccepted)
            if override.book == self._writer.book:
                self._standing.discard((override.position, override.rule))
                log.info("book.resumed", book=override.book, position=override.position)
        self._writer.halted = (
            ", ".join(f"{rule} at position {at}" for at, rule in sorted(self._standing)) or None
        )
