"""What happened in the ledger's own book. Fields in sorted order, for canonical bytes."""

from __future__ import annotations

import msgspec

from kernel.values import Actor


class KeyProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A first person wants this key in the directory. The proposal's id is the command's."""

    proposal: str
    proposed_by: Actor
    public_key: str  # base64
    subject: str
    suite: str


class KeyRevocationProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_id: str
    proposal: str
    proposed_by: Actor


class OverrideProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    book: str
    justification: str
    position: int
    proposal: str
    proposed_by: Actor
    rule: str


class IdentitiesProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str
    proposal: str
    proposed_by: Actor


class ProposalWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    proposal: str


class KeyRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second person agreed: from here on acts by this key bind its subject."""

    key_id: str
    proposal: str
    proposed_by: Actor
    public_key: str
    subject: str
    suite: str


class KeyRevoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_id: str
    proposal: str
    proposed_by: Actor


class OverrideAccepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two persons take the halted event as it is: its leaf is appended, receipts show this."""

    book: str
    justification: str
    position: int
    proposal: str
    proposed_by: Actor
    rule: str


class IdentitiesPinned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The identities file in force. The first is taken as found; every later one by two persons."""

    digest: str
    proposal: str | None
    proposed_by: Actor | None


class BookHalted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event of a book breaks a rule: its log is not signed beyond the event before it."""

    actual: str
    book: str
    expected: str
    position: int
    rule: str


class WitnessDisagreed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A witness says something of a log of ours that cannot be: its word, not yet a proof.

    At most one for each log, witness and rule on a day (days since 1970, UTC).
    """

    actual: str
    book: str
    day: int
    expected: str
    rule: str
    witness: str


class LogKeyProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A first person wants a log to get this key. The old one signs that when a second agrees."""

    book: str
    new_vkey: str
    old_vkey: str
    proposal: str
    proposed_by: Actor


class LogKeyAnnounced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second person agreed: from here on both keys sign the log's checkpoints."""

    book: str
    new_vkey: str
    old_vkey: str
    proposal: str
    proposed_by: Actor
    statement: str  # base64 of the note that both keys signed: kernel/tlog/keychange.py


class LogKeyRetirementProposed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A first person wants this key to sign no more, and only `successor` from there on."""

    book: str
    proposal: str
    proposed_by: Actor
    reason: str  # rotated, leaked or lost
    statement: str  # empty; where it was not announced the note that its successor alone signed
    successor: str
    vkey: str


class LogKeyRetired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second person agreed. What it has signed stands; after a leak only witnesses tell which."""

    book: str
    proposal: str
    proposed_by: Actor
    reason: str
    statement: str
    successor: str
    vkey: str


EVENTS = (
    KeyProposed,
    KeyRevocationProposed,
    OverrideProposed,
    IdentitiesProposed,
    ProposalWithdrawn,
    KeyRegistered,
    KeyRevoked,
    OverrideAccepted,
    IdentitiesPinned,
    BookHalted,
    WitnessDisagreed,
    LogKeyProposed,
    LogKeyAnnounced,
    LogKeyRetirementProposed,
    LogKeyRetired,
)
