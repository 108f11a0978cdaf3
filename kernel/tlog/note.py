"""Signed notes: c2sp.org/signed-note, with Ed25519 (0x01) and timestamped cosignatures (0x04).

Parses strictly, verifies against keys the caller brings, signs. A note is believed only if a known
key signed it and no known key's signature is false; unknown keys are ignored and reported. Does
not know what the text means (checkpoint.py does) and does not do ECDSA (0x02) or RFC 6962 (0x05).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kernel.tlog.encoding import MAX_UINT63, decode_base64, encode_base64, shorten
from kernel.tlog.errors import FormatError, NoteError

ED25519 = 0x01
COSIGNATURE = 0x04
MLDSA44 = 0x06

MAX_NOTE_BYTES = 256 * 1024  # room for 64 ML-DSA-44 lines of 3.3 kB, and nothing near a bomb
MAX_SIGNATURES = 64  # the specification asks for at least 16; each costs one verification
MAX_NAME_BYTES = 255  # what the ML-DSA-44 message can carry
_SEED_BYTES = 32
_PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, MLDSA44: 1312}
_PRIVATE_HEAD = "PRIVATE+KEY+"


def check_key_name(name: str) -> None:
    """FormatError unless `name` is non-empty and free of Unicode spaces, controls and '+'."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:  # bytes that are no UTF-8, carried as lone surrogates by policy.py
        length = 0
    spaced = any(char.isspace() or char < " " for char in name)
    if not 1 <= length <= MAX_NAME_BYTES or "+" in name or spaced:
        raise FormatError(
            f"expected a key name of 1..{MAX_NAME_BYTES} bytes of UTF-8 without space or '+', "
            f"got {shorten(name)}"
        )


def key_id(name: str, kind: int, public: bytes) -> int:
    """SHA-256(name || 0x0A || signature type || public key)[:4] as a big-endian number."""
    digest = sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()
    return int.from_bytes(digest[:4], "big")


class Verifier:
    """A public key under a name: Ed25519 (0x01) or Ed25519 cosignature (0x04).

    `kind` is the signature type byte, `key_id` the 32-bit number that stands before a signature.
    checkpoint.py adds the ML-DSA-44 kind.
    """

    kinds: tuple[int, ...] = (ED25519, COSIGNATURE)

    def __init__(self, name: str, kind: int, public: bytes) -> None:
        """FormatError on a kind this class does not verify, or a key of another length."""
        check_key_name(name)
        if kind not in self.kinds:
            wanted = " or ".join(f"0x{known:02x}" for known in self.kinds)
            raise FormatError(f"key {name}: expected signature type {wanted}, got 0x{kind:02x}")
        if len(public) != _PUBLIC_BYTES[kind]:
            raise FormatError(
                f"key {name}: expected {_PUBLIC_BYTES[kind]} bytes, got {len(public)}"
            )
        self.name = name
        self.kind = kind
        self.public = public
        self.key_id = key_id(name, kind, public)

    @property
    def vkey(self) -> str:
        """`<name>+<hex key id>+<base64 of type and key>`, as others are given it."""
        blob = encode_base64(bytes([self.kind]) + self.public)
        return f"{self.name}+{self.key_id:08x}+{blob}"

    def verify(self, text: str, blob: bytes) -> int | None:
        """Return the cosignature's timestamp in seconds (None for a plain signature).

        `text` is the note's text, `blob` what follows the key id. NoteError if it does not verify.
        """
        timestamp_s, signature = split_timestamp(self.kind, blob)
        message = text.encode() if timestamp_s is None else cosigned_message(text, timestamp_s)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature as error:
            raise NoteError(f"signature of known key {self} does not verify") from error
        return timestamp_s

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id:08x}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verifier) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, int, bytes]:
        return self.name, self.kind, self.public


class PrivateKey(Protocol):
    """What signs: a key in memory, or one that nobody ever sees (a subclass brings it)."""

    def sign(self, data: bytes, /) -> bytes: ...


class Signer:
    """A private key under a name: Ed25519 (0x01) or Ed25519 cosignature (0x04).

    One key must not serve two cosigners: the 0x04 message does not hold the cosigner's name.
    """

    _key: PrivateKey

    def __init__(self, name: str, kind: int, seed: bytes) -> None:
        """`seed` is the 32-byte private seed. FormatError on another length or kind."""
        if len(seed) != _SEED_BYTES:
            raise FormatError(
                f"key {name}: expected a seed of {_SEED_BYTES} bytes, got {len(seed)}"
            )
        self.name = name
        self.kind = kind
        self._seed = seed
        self.verifier = self._load(seed)
        self.key_id = self.verifier.key_id

    def _load(self, seed: bytes) -> Verifier:
        key = Ed25519PrivateKey.from_private_bytes(seed)
        self._key = key
        return Verifier(self.name, self.kind, key.public_key().public_bytes_raw())

    def private(self) -> str:
        """Go's `PRIVATE+KEY+<name>+<hex key id>+<base64 of type and seed>`. A secret."""
        blob = encode_base64(bytes([self.kind]) + self._seed)
        return f"{_PRIVATE_HEAD}{self.name}+{self.key_id:08x}+{blob}"

    def sign(self, text: str, timestamp_s: int | None = None) -> bytes:
        """The signature blob over a note's text; 0x04 needs a timestamp, 0x01 takes none."""
        if self.kind == ED25519:
            if timestamp_s is not None:
                raise FormatError(f"key {self.name}: a plain signature carries no timestamp")
            return self._key.sign(text.encode())
        when_s = check_timestamp(self.name, timestamp_s)
        return when_s.to_bytes(8, "big") + self._key.sign(cosigned_message(text, when_s))

    def sign_bytes(self, message: bytes) -> bytes:
        """The raw Ed25519 signature, for a format that is no note and cannot be taken for one."""
        return self._key.sign(message)

    def line(self, text: str, timestamp_s: int | None = None) -> str:
        """One signature line over `text`, with its newline."""
        blob = self.key_id.to_bytes(4, "big") + self.sign(text, timestamp_s)
        return f"— {self.name} {encode_base64(blob)}\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.verifier})"  # never the seed


def parse_vkey(vkey: str) -> tuple[str, int, bytes]:
    """(name, signature type, public key) of a verifier key of any type.

    FormatError if malformed or if the key id is not the one its name, type and key give.
    """
    name, kind, public, stated = _parse_key(vkey, "verifier key")
    _check_key_id(name, stated, key_id(name, kind, public))
    return name, kind, public


def parse_private(skey: str) -> tuple[str, int, bytes, int]:
    """(name, signature type, seed, stated key id) of Go's private form."""
    if not skey.startswith(_PRIVATE_HEAD):  # the text itself is a secret: say nothing of it
        raise FormatError(f"private key: expected a text that starts with {_PRIVATE_HEAD}")
    return _parse_key(skey.removeprefix(_PRIVATE_HEAD), "private key")


def load_verifier(vkey: str) -> Verifier:
    """The Verifier of a 0x01 or 0x04 verifier key (any kind: checkpoint.load_verifier)."""
    return Verifier(*parse_vkey(vkey))


def load_signer(skey: str) -> Signer:
    """The Signer of a 0x01 or 0x04 private key (any kind: checkpoint.load_signer)."""
    name, kind, seed, stated = parse_private(skey)
    signer = Signer(name, kind, seed)
    _check_key_id(name, stated, signer.key_id)
    return signer


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line as it stands in a note; nothing about it is verified."""

    name: str
    key_id: int
    blob: bytes

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id:08x}"


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature of a known key that verified; `timestamp_s` only for cosignatures."""

    name: str
    key_id: int
    kind: int
    public: bytes
    timestamp_s: int | None

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id:08x}"


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note that may be believed: at least one known key signed it, and none falsely."""

    text: str
    verified: tuple[VerifiedSignature, ...]
    unknown: tuple[Signature, ...]


def parse_note(data: bytes) -> tuple[str, tuple[Signature, ...]]:
    """Text and signature lines of a note, strictly, without verifying anything. FormatError."""
    if len(data) > MAX_NOTE_BYTES:
        raise FormatError(f"note: expected at most {MAX_NOTE_BYTES} bytes, got {len(data)}")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"note: expected UTF-8: {error}") from error
    control = next((char for char in note if char < " " and char != "\n"), None)
    if control is not None:
        raise FormatError(f"note: expected no control character but newline, got {control!r}")
    split = note.rfind("\n\n")
    if split < 0:
        raise FormatError("note: expected an empty line before the signatures, got none")
    text, block = note[: split + 1], note[split + 2 :]
    if not block.endswith("\n"):
        raise FormatError("note: expected signature lines that end in newline")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"note: expected at most {MAX_SIGNATURES} signatures, got {len(lines)}")
    return text, tuple(_parse_signature(line) for line in lines)


def open_note(data: bytes, verifiers: Iterable[Verifier]) -> OpenedNote:
    """Verify a note against known keys: c2sp.org/signed-note, section "Signatures".

    NoteError if a known key's signature is false or no known key signed; FormatError if malformed.
    """
    known: dict[tuple[str, int], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise NoteError(f"two different known keys share the name and id {verifier}")
    text, signatures = parse_note(data)
    verified: dict[tuple[str, int], VerifiedSignature] = {}
    unknown: list[Signature] = []
    for signature in signatures:
        match = known.get((signature.name, signature.key_id))
        if match is None:
            unknown.append(signature)
            continue
        timestamp_s = match.verify(text, signature.blob)
        # a key that signed twice counts once, with its first line
        verified.setdefault(
            (match.name, match.key_id),
            VerifiedSignature(match.name, match.key_id, match.kind, match.public, timestamp_s),
        )
    if not verified:
        expected = ", ".join(str(verifier) for verifier in known.values()) or "no key at all"
        actual = ", ".join(str(signature) for signature in unknown)
        raise NoteError(f"no known key signed this note: known {expected}, signed by {actual}")
    return OpenedNote(text, tuple(verified.values()), tuple(unknown))


def sign_note(text: str, lines: Sequence[str]) -> bytes:
    """A note of `text` and the signature lines given (see Signer.line), checked by parsing it."""
    data = f"{text}\n{''.join(lines)}".encode()
    if parse_note(data)[0] != text:
        raise FormatError(f"note: expected a text that ends in newline, got {shorten(text[-20:])}")
    return data


def add_lines(data: bytes, lines: Sequence[str]) -> bytes:
    """The same note with more signature lines (cosignatures of witnesses) at its end."""
    parse_note(data)
    extended = data + "".join(lines).encode()
    if parse_note(extended)[0] != parse_note(data)[0]:
        raise FormatError("note: expected signature lines only, got an empty line among them")
    return extended


def cosigned_message(text: str, timestamp_s: int) -> bytes:
    """What an Ed25519 cosigner signs: c2sp.org/tlog-cosignature, "Ed25519 signed message"."""
    return f"cosignature/v1\ntime {timestamp_s}\n{text}".encode()


def check_timestamp(name: str, timestamp_s: int | None) -> int:
    """A POSIX time fit for a cosignature: 1..2**63-1 (c2sp.org/tlog-witness forbids 0)."""
    if timestamp_s is None or not 0 < timestamp_s <= MAX_UINT63:
        raise FormatError(
            f"cosigner {name}: expected a timestamp in 1..{MAX_UINT63} seconds, got {timestamp_s}"
        )
    return timestamp_s


def split_timestamp(kind: int, blob: bytes) -> tuple[int | None, bytes]:
    """(timestamp in seconds, raw signature); a plain Ed25519 blob has no timestamp."""
    if kind == ED25519:
        return None, blob
    timestamp_s = int.from_bytes(blob[:8], "big")
    if len(blob) <= 8 or timestamp_s > MAX_UINT63:
        raise NoteError(
            f"cosignature: expected a timestamp up to {MAX_UINT63} and a signature, "
            f"got {len(blob)} bytes with {timestamp_s}"
        )
    return timestamp_s, blob[8:]


def _parse_signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise FormatError(f"note: expected '— <name> <base64>', got {shorten(line)}")
    check_key_name(parts[1])
    blob = decode_base64(parts[2], f"signature of {parts[1]}")
    if len(blob) < 5:
        raise FormatError(f"signature of {parts[1]}: expected 5 bytes or more, got {len(blob)}")
    return Signature(parts[1], int.from_bytes(blob[:4], "big"), blob[4:])


def _parse_key(text: str, what: str) -> tuple[str, int, bytes, int]:
    parts = text.split("+", 2)  # base64 has '+' of its own
    if len(parts) != 3:
        raise FormatError(f"{what}: expected <name>+<key id>+<base64>, got {len(parts)} parts")
    name, stated, encoded = parts
    check_key_name(name)
    if len(stated) != 8 or not set(stated) <= set("0123456789abcdef"):
        raise FormatError(f"{what} {name}: expected a key id of 8 hex digits, got {stated!r:.40}")
    try:
        blob = decode_base64(encoded, what)
    except FormatError:
        # not chained and not quoted: this may be a private key
        raise FormatError(f"{what} {name}: expected canonical base64") from None
    if len(blob) < 2:
        raise FormatError(f"{what} {name}: expected a type byte and a key, got {len(blob)} bytes")
    return name, blob[0], blob[1:], int(stated, 16)


def _check_key_id(name: str, stated: int, actual: int) -> None:
    if stated != actual:
        raise FormatError(f"key {name}: expected key id {actual:08x}, got {stated:08x}")
