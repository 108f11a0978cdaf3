"""Receipts: one event, its salt and its proof in one file, checked with no network and no account.

`<book>-<position>.receipt` is a plain ZIP of `event.bin`, `salt` and `event.tlog-proof`; the proof
is the public format (proof.py), the ZIP only keeps the three together. What the log holds is the
leaf `{"book":…,"commitment":…,"position":…,"v":1}` with commitment = SHA-256(salt || record).

A receipt never brings a policy or a key: what it proves is relative to the policy its reader holds.
"""

from __future__ import annotations

import binascii
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from kernel.tlog import merkle
from kernel.tlog.checkpoint import OpenedCheckpoint
from kernel.tlog.container import CONTAINER, pack_members, unpack_members
from kernel.tlog.encoding import MAX_UINT63, encode_base64, shorten
from kernel.tlog.errors import (
    FormatError,
    NoteError,
    PolicyError,
    ProofError,
    ReceiptError,
)
from kernel.tlog.note import VerifiedSignature
from kernel.tlog.policy import Policy
from kernel.tlog.proof import TlogProof, parse_proof

EVENT, SALT, PROOF = "event.bin", "salt", "proof"
EVENT_OR_SALT = "event.bin or salt"  # the log holds only their hash: it cannot say which
CHECKPOINT, POLICY = "checkpoint", "policy"
PARTS = (CONTAINER, EVENT, SALT, EVENT_OR_SALT, PROOF, CHECKPOINT, POLICY)

SALT_BYTES = 16
MAX_RECORD_BYTES = 64 * 1024
MAX_PROOF_BYTES = 64 * 1024
_PROOF_FILE = "event.tlog-proof"
_LIMITS = {EVENT: MAX_RECORD_BYTES, SALT: SALT_BYTES, _PROOF_FILE: MAX_PROOF_BYTES}
MAX_RECEIPT_BYTES = sum(_LIMITS.values()) + 1024  # headers of the three members
_BOOK = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a verified receipt says: this record is at `position` of that log.

    `size` and `root` are those of the checkpoint that covers it; `cosigners` the policy's
    witnesses who saw that checkpoint, `log` the log's own signature on it.
    """

    book: str
    position: int
    record: bytes
    origin: str
    size: int
    root: bytes
    cosigners: tuple[VerifiedSignature, ...]
    log: VerifiedSignature


def commitment(salt: bytes, record: bytes) -> bytes:
    """SHA-256(salt || record): 32 bytes that say nothing of the record to who lacks the salt.

    The salt must have SALT_BYTES random bytes (not checked here: this runs for every event).
    """
    return sha256(salt + record).digest()


def leaf_data(book: str, position: int, commitment: bytes) -> bytes:
    """The log entry of one event: canonical JSON with sorted keys and no spaces.

    FormatError if the book's name would need escaping. Runs for every event.
    """
    encoded = binascii.b2a_base64(commitment, newline=False)
    return b'%b%b","position":%d,"v":1}' % (_leaf_head(book), encoded, position)


def book_of(origin: str) -> str:
    """The book a log's origin names: its last path part. FormatError if it is no book's name."""
    prefix, _, book = origin.rpartition("/")
    if not prefix:
        raise FormatError(f"expected an origin <prefix>/<book>, got {shorten(origin)}")
    _leaf_head(book)
    return book


def make_receipt(record: bytes, salt: bytes, proof: bytes) -> bytes:
    """The receipt file of a record, its salt and its proof file; equal input, equal bytes.

    ReceiptError if a part is outside its bounds. Does not verify the proof.
    """
    if len(salt) != SALT_BYTES:
        raise ReceiptError(SALT, f"expected {SALT_BYTES} bytes, got {len(salt)}")
    if len(record) > MAX_RECORD_BYTES:
        raise ReceiptError(EVENT, f"expected at most {MAX_RECORD_BYTES} bytes, got {len(record)}")
    if len(proof) > MAX_PROOF_BYTES:
        raise ReceiptError(PROOF, f"expected at most {MAX_PROOF_BYTES} bytes, got {len(proof)}")
    return pack_members({EVENT: record, SALT: salt, _PROOF_FILE: proof})


def split_receipt(data: bytes) -> tuple[bytes, bytes, bytes]:
    """(record, salt, proof file) of a receipt, unverified. ReceiptError if it is not one."""
    if len(data) > MAX_RECEIPT_BYTES:
        raise ReceiptError(
            CONTAINER, f"expected at most {MAX_RECEIPT_BYTES} bytes, got {len(data)}"
        )
    try:
        members = unpack_members(data, _LIMITS)
    except ReceiptError as error:
        if error.part == _PROOF_FILE:
            raise ReceiptError(PROOF, str(error)) from error
        raise
    if len(members[SALT]) != SALT_BYTES:
        raise ReceiptError(SALT, f"expected {SALT_BYTES} bytes, got {len(members[SALT])}")
    return members[EVENT], members[SALT], members[_PROOF_FILE]


def verify_receipt(data: bytes, policy: Policy) -> VerifiedReceipt:
    """Verify a receipt against a policy from elsewhere. ReceiptError names the part that differs.

    In order: container, proof's form, the log's and witnesses' signatures, the leaf rebuilt from
    origin, index and commitment, and last what the record says of itself.
    """
    record, salt, proof_bytes = split_receipt(data)
    try:
        proof = parse_proof(proof_bytes)
    except FormatError as error:
        raise ReceiptError(PROOF, str(error)) from error
    opened = _open_checkpoint(proof, policy)
    head = opened.checkpoint
    try:
        book = book_of(head.origin)
    except FormatError as error:
        raise ReceiptError(CHECKPOINT, str(error)) from error
    committed = commitment(salt, record)
    _check_leaf(book, proof, opened, committed, record)
    stated = stated_place(record)
    if stated != (book, proof.index):
        # the log holds it, so this is the log's own lie or the writer's, not an altered file
        raise ReceiptError(
            EVENT, f"expected book {book} and position {proof.index}, the record says {stated}"
        )
    return VerifiedReceipt(
        book,
        proof.index,
        record,
        head.origin,
        head.size,
        head.root,
        opened.cosignatures,
        opened.log,
    )


def _open_checkpoint(proof: TlogProof, policy: Policy) -> OpenedCheckpoint:
    try:
        return policy.open_checkpoint(proof.checkpoint)
    except PolicyError as error:
        raise ReceiptError(POLICY, str(error)) from error
    except (FormatError, NoteError) as error:
        raise ReceiptError(CHECKPOINT, str(error)) from error


def _check_leaf(
    book: str, proof: TlogProof, opened: OpenedCheckpoint, committed: bytes, record: bytes
) -> None:
    """Return if the log holds this commitment at the proof's index; else say which part differs."""
    head = opened.checkpoint

    def leads_to_root(position: int) -> bool:
        leaf = merkle.leaf_hash(leaf_data(book, position, committed))
        return merkle.inclusion_root(position, head.size, leaf, proof.path) == head.root

    try:
        if leads_to_root(proof.index):
            return
    except ProofError as error:  # no path for this index and size has this length
        raise ReceiptError(PROOF, str(error)) from error
    try:
        stated_book, position = stated_place(record)
        if (stated_book, position) != (book, proof.index) and leads_to_root(position):
            raise ReceiptError(PROOF, f"expected index {position}, got {proof.index}")
    except ProofError:
        pass  # the record's own position does not explain it either
    raise ReceiptError(
        EVENT_OR_SALT,
        f"commitment {encode_base64(committed)} is not what the log holds at position "
        f"{proof.index} of {book} (root {encode_base64(head.root)} at size {head.size}), "
        "unless the proof's own path was altered",
    )


def stated_place(record: bytes) -> tuple[str, int]:
    """(book, position) as the record itself says. ReceiptError if it does not say."""
    try:
        fields = json.loads(record.decode("utf-8"), object_pairs_hook=_unique_fields)
    except (ValueError, RecursionError) as error:
        raise ReceiptError(EVENT, f"expected a JSON object: {error}") from error
    if not isinstance(fields, dict):
        raise ReceiptError(EVENT, f"expected a JSON object, got {type(fields).__name__}")
    book, position = fields.get("book"), fields.get("position")
    if type(book) is not str or type(position) is not int or not 0 <= position <= MAX_UINT63:
        raise ReceiptError(EVENT, f"expected a book and a position, got {book!r} and {position!r}")
    return book, position


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # two fields of one name: different readers would see different records
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice in one object")
    return fields


@lru_cache(maxsize=1024)
def _leaf_head(book: str) -> bytes:
    if not _BOOK.fullmatch(book):
        raise FormatError(f"expected a book name [a-z0-9-], got {shorten(book)}")
    return f'{{"book":"{book}","commitment":"'.encode()
