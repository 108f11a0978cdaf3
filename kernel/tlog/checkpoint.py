"""Checkpoints: what a log signs (c2sp.org/tlog-checkpoint) and witnesses cosign (tlog-cosignature).

The text, its signatures of types 0x01 and 0x04 (note.py), and the ML-DSA-44 type 0x06 where
`cryptography` has it. Never decides whether a checkpoint may be signed: that a log signs no smaller
tree, and no other root for one size, is for its owner, who remembers what it signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from kernel.tlog import note
from kernel.tlog.encoding import (
    HASH_BYTES,
    MAX_UINT63,
    decode_hash,
    encode_base64,
    parse_decimal,
    shorten,
)
from kernel.tlog.errors import FormatError, NoteError
from kernel.tlog.merkle import EMPTY_ROOT

_SUBTREE_LABEL = b"subtree/v1\n\0"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Origin, tree size in leaves and 32-byte root; `extensions` are lines nobody can audit."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The note text, with its final newline. FormatError if a field does not fit."""
        _check_lines(self.origin, *self.extensions)
        if not 0 <= self.size <= MAX_UINT63 or len(self.root) != HASH_BYTES:
            raise FormatError(
                f"checkpoint: expected a size in 0..{MAX_UINT63} and {HASH_BYTES} bytes of root, "
                f"got {self.size} and {len(self.root)}"
            )
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class OpenedCheckpoint:
    """A checkpoint its log signed; `cosignatures` are those of the known cosigners."""

    checkpoint: Checkpoint
    log: note.VerifiedSignature
    cosignatures: tuple[note.VerifiedSignature, ...]
    unknown: tuple[note.Signature, ...]


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text, strictly. FormatError."""
    if not text.endswith("\n"):
        raise FormatError(f"checkpoint: expected a final newline, got {shorten(text[-20:])}")
    lines = text[:-1].split("\n")
    if len(lines) < 3:
        raise FormatError(f"checkpoint: expected origin, size and root, got {len(lines)} lines")
    _check_lines(lines[0], *lines[3:])
    size = parse_decimal(lines[1], "checkpoint size")
    return Checkpoint(lines[0], size, decode_hash(lines[2], "checkpoint root"), tuple(lines[3:]))


def sign_checkpoint(
    checkpoint: Checkpoint, signers: Sequence[note.Signer], timestamp_s: int | None = None
) -> bytes:
    """The signed note: one line per signer, in order; `timestamp_s` for signers that need one.

    The first signer must carry the origin as its name: that one is the log. FormatError if not, or
    if an empty tree comes with another root than the empty one.
    """
    if not signers or signers[0].name != checkpoint.origin:
        actual = signers[0].name if signers else "no signer"
        raise FormatError(f"checkpoint: expected a key named {checkpoint.origin}, got {actual}")
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise FormatError(
            f"checkpoint: expected the empty root {encode_base64(EMPTY_ROOT)} at size 0, "
            f"got {encode_base64(checkpoint.root)}"
        )
    text = checkpoint.text()
    return note.sign_note(text, [_line(signer, text, timestamp_s) for signer in signers])


def open_checkpoint(
    data: bytes, log: note.Verifier, cosigners: Iterable[note.Verifier] = ()
) -> OpenedCheckpoint:
    """Verify the log's signature, and the cosignatures of those cosigners that signed.

    NoteError if the log did not sign, if any known key's signature is false, or if the origin is
    not the log key's name; FormatError if malformed.
    """
    opened = note.open_note(data, [log, *cosigners])
    checkpoint = parse_checkpoint(opened.text)
    if checkpoint.origin != log.name:
        raise NoteError(f"checkpoint: expected origin {log.name}, got {shorten(checkpoint.origin)}")
    by_log = [s for s in opened.verified if (s.name, s.key_id) == (log.name, log.key_id)]
    if not by_log:
        raise NoteError(f"checkpoint: expected a signature of {log}, got none")
    others = tuple(signed for signed in opened.verified if signed is not by_log[0])
    return OpenedCheckpoint(checkpoint, by_log[0], others, opened.unknown)


def open_under_any(data: bytes, origin: str, keys: Iterable[note.Verifier]) -> Checkpoint:
    """The checkpoint of a log that has had several keys, signed by one of them or by more.

    NoteError if none of them signed, if one's signature is false, or if it is of another origin;
    FormatError if malformed.
    """
    checkpoint = parse_checkpoint(note.open_note(data, keys).text)
    if checkpoint.origin != origin:
        raise NoteError(f"checkpoint: expected origin {origin}, got {shorten(checkpoint.origin)}")
    return checkpoint


def cosign_line(data: bytes, signer: note.Signer, timestamp_s: int) -> str:
    """A witness's signature line over the checkpoint in `data`; append it with `note.add_lines`.

    Verifies nothing: a witness checks the log's signature and consistency first.
    """
    text, _ = note.parse_note(data)
    parse_checkpoint(text)
    return signer.line(text, timestamp_s)


def subtree_message(
    name: str, timestamp_s: int, origin: str, *, start: int, end: int, root: bytes
) -> bytes:
    """What an ML-DSA-44 cosigner signs: the `cosigned_message` struct of c2sp.org/tlog-cosignature.

    A checkpoint has start 0 and end = size. FormatError if a non-zero start has a timestamp.
    """
    if start and timestamp_s:
        raise FormatError(f"subtree: expected timestamp 0 with start {start}, got {timestamp_s}")
    return b"".join(
        (
            _SUBTREE_LABEL,
            _short_vector(name),
            timestamp_s.to_bytes(8, "big"),
            _short_vector(origin),
            start.to_bytes(8, "big"),
            end.to_bytes(8, "big"),
            root,
        )
    )


class MldsaVerifier(note.Verifier):
    """An ML-DSA-44 cosigner's public key (0x06). Covers origin, size and root; no extensions."""

    kinds = (note.MLDSA44,)

    def verify(self, text: str, blob: bytes) -> int | None:
        """As Verifier.verify; `text` must be a checkpoint. FormatError if it is not."""
        timestamp_s, signature = note.split_timestamp(self.kind, blob)
        message = _checkpoint_message(self.name, timestamp_s or 0, text)
        try:
            MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature as error:
            raise NoteError(f"signature of known key {self} does not verify") from error
        except UnsupportedAlgorithm as error:
            raise NoteError(f"signature of {self}: ML-DSA-44 is not available here") from error
        return timestamp_s


class MldsaSigner(note.Signer):
    """An ML-DSA-44 cosigner's private key (0x06), from a 32-byte seed. Signing is randomised."""

    def _load(self, seed: bytes) -> note.Verifier:
        try:
            self._mldsa = MLDSA44PrivateKey.from_seed_bytes(seed)
        except UnsupportedAlgorithm as error:
            raise FormatError(f"key {self.name}: ML-DSA-44 is not available here") from error
        return MldsaVerifier(self.name, self.kind, self._mldsa.public_key().public_bytes_raw())

    def sign(self, text: str, timestamp_s: int | None = None) -> bytes:
        """The signature blob over a checkpoint's text."""
        when_s = note.check_timestamp(self.name, timestamp_s)
        message = _checkpoint_message(self.name, when_s, text)
        return when_s.to_bytes(8, "big") + self._mldsa.sign(message)


def load_verifier(vkey: str) -> note.Verifier:
    """The verifier of a 0x01, 0x04 or 0x06 verifier key. FormatError."""
    name, kind, public = note.parse_vkey(vkey)
    return (MldsaVerifier if kind == note.MLDSA44 else note.Verifier)(name, kind, public)


def make_signer(name: str, kind: int, seed: bytes) -> note.Signer:
    """The signer of any kind from its 32-byte seed. FormatError."""
    return (MldsaSigner if kind == note.MLDSA44 else note.Signer)(name, kind, seed)


def load_signer(skey: str) -> note.Signer:
    """The signer of a 0x01, 0x04 or 0x06 private key in Go's form. FormatError."""
    name, kind, seed, stated = note.parse_private(skey)
    signer = make_signer(name, kind, seed)
    if stated != signer.key_id:
        raise FormatError(f"key {name}: expected key id {signer.key_id:08x}, got {stated:08x}")
    return signer


def _line(signer: note.Signer, text: str, timestamp_s: int | None) -> str:
    return signer.line(text, None if signer.kind == note.ED25519 else timestamp_s)


def _checkpoint_message(name: str, timestamp_s: int, text: str) -> bytes:
    # parsed strictly: two texts with one meaning would share one signature
    parsed = parse_checkpoint(text)
    return subtree_message(
        name, timestamp_s, parsed.origin, start=0, end=parsed.size, root=parsed.root
    )


def _short_vector(text: str) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= 255:
        raise FormatError(f"expected a name of 1..255 bytes, got {len(data)}: {shorten(text)}")
    return bytes([len(data)]) + data


def _check_lines(*lines: str) -> None:
    for line in lines:
        if not line or any(char < " " for char in line):
            raise FormatError(
                f"checkpoint: expected non-empty lines without controls, got {shorten(line)}"
            )
