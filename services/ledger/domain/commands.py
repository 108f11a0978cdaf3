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


class ProposeLogKey(msgspec.Struct, frozen=True):
    """Nothing is signed for it: one person's word must not be an announcement."""

    book: str
    old_vkey: str
    new_vkey: str


class ProposeLogKeyRetirement(msgspec.Struct, frozen=True):
    """`statement` is empty, or the successor's own note where nothing was announced."""

    book: str
    vkey: str
    successor: str
    reason: str
    statement: str


class LogKeyNote(msgspec.Struct, frozen=True):
    """That one key of a log follows another, signed by both: our own RPC makes it."""

    book: str
    old_vkey: str
    new_vkey: str
    statement: str


class Approve(msgspec.Struct, frozen=True, omit_defaults=True):
    """With the note where a log's key is approved: the old key signs on a second person's word."""

    proposal: str
    note: LogKeyNote | None = None  # left out of its digest where there is none, as ever


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
