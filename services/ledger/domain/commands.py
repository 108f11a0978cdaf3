"""What the ledger's own book can be asked."""

from __future__ import annotations

import msgspec


class ProposeKey(msgspec.Struct, frozen=True):
    subject: str
    suite: str
    public_key: bytes


class ProposeKeyRevocation(msgspec.Struct, frozen=True):
    key_id: str


class ProposeOverride(msgspec.Struct, frozen=True):
    book: str
    position: int
    rule: str
    justification: str


class ProposeIdentities(msgspec.Struct, frozen=True):
    digest: str


class Approve(msgspec.Struct, frozen=True):
    proposal: str


class Withdraw(msgspec.Struct, frozen=True):
    proposal: str


class HaltBook(msgspec.Struct, frozen=True):
    """From the ledger's own checks alone."""

    book: str
    position: int
    rule: str
    expected: str
    actual: str


class NoteDisagreement(msgspec.Struct, frozen=True):
    """From the ledger's own feeding of witnesses alone."""

    book: str
    witness: str
    rule: str
    expected: str
    actual: str


class PinFirstIdentities(msgspec.Struct, frozen=True):
    """From the ledger's own start alone, and only once."""

    digest: str
