"""COSE Receipts of one log entry: RFC 9942 (RFC9162_SHA256), the receipts of SCITT (RFC 9943).

The same inclusion proof as a `.tlog-proof`, in CBOR and signed over the root alone, for who has
COSE software and no C2SP one. CBOR is written and read in its shortest form (RFC 8949, 4.2.1); the
protected header has the RFC's order of labels and, being signed, may be read in any. Makes and
verifies inclusion receipts by Ed25519 (alg -8); no consistency proofs, no other algorithm or tree.

Weaker than a checkpoint, by the RFC: the signature covers the root and not the tree's size, and no
witness stands in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kernel.tlog import merkle
from kernel.tlog.encoding import HASH_BYTES, MAX_UINT63, shorten
from kernel.tlog.errors import FormatError, NoteError, ProofError
from kernel.tlog.note import ED25519, Signer, Verifier

MAX_COSE_BYTES: Final = 16 * 1024  # a path of 63 hashes, names, a signature: 3 kB
_MAX_DEPTH: Final = 8  # a receipt nests five deep
_ALG, _KID, _CWT, _VDS, _VDP = 1, 4, 15, 395, 396
_ISSUER, _SUBJECT = 1, 2
_EDDSA: Final = -8
_RFC9162_SHA256: Final = 1
_INCLUSION: Final = -1
_SIGN1: Final = 18
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class CoseReceipt:
    """The parts of a COSE receipt, unverified; `issuer` is the log's origin."""

    issuer: str
    subject: str
    key_id: bytes
    size: int
    index: int
    path: tuple[bytes, ...]
    protected: bytes
    signature: bytes


def make_cose_receipt(
    signer: Signer, subject: str, index: int, size: int, path: tuple[bytes, ...], root: bytes
) -> bytes:
    """The receipt of the entry at `index`, signed by the log's own key over a root.

    The caller has published this root: a log signs no other. FormatError if the log has one entry
    (the RFC has no receipt with an empty path) or the key is not a log's.
    """
    if signer.kind != ED25519:
        raise FormatError(f"COSE receipt: expected a log's Ed25519 key, got 0x{signer.kind:02x}")
    if not path or len(root) != HASH_BYTES:
        raise FormatError(f"COSE receipt: expected a path and a root, got {len(path)} hashes")
    protected = encode_cbor(
        {
            _ALG: _EDDSA,
            _VDS: _RFC9162_SHA256,
            _KID: signer.key_id.to_bytes(4, "big"),
            _CWT: {_ISSUER: signer.name, _SUBJECT: subject},
        }
    )
    signature = signer.sign_bytes(_signed_bytes(protected, root))
    return _encode(protected, [size, index, list(path)], signature)


def parse_cose_receipt(data: bytes) -> CoseReceipt:
    """The parts of a receipt, nothing verified. FormatError."""
    match decode_cbor(data):
        case Tag(18, [bytes(protected), dict(unprotected), None, bytes(signature)]):
            pass
        case _:
            raise FormatError("COSE receipt: expected a COSE_Sign1 with a detached payload")
    match decode_cbor(protected):
        case {1: -8, 4: bytes(kid), 15: {1: str(iss), 2: str(sub), **claims}, 395: 1, **rest} if (
            not rest and not claims
        ):
            pass
        case _:
            raise FormatError(
                "COSE receipt: expected alg -8, kid, iss, sub and vds 1 in the protected header"
            )
    match unprotected:
        case {396: {-1: [bytes(proof)], **proofs}, **rest} if not proofs and not rest:
            pass
        case _:
            raise FormatError("COSE receipt: expected one inclusion proof in the other header")
    match decode_cbor(proof):
        case [int(size), int(index), [bytes(), *_] as path] if all(map(_is_hash, path)):
            hashes = tuple(path)
        case _:
            raise FormatError("COSE receipt: expected [tree size, leaf index, path of hashes]")
    if len(signature) != _SIGNATURE_BYTES:
        raise FormatError(f"COSE receipt: expected 64 bytes of signature, got {len(signature)}")
    return CoseReceipt(iss, sub, kid, size, index, hashes, protected, signature)


def verify_cose_receipt(data: bytes, entry: bytes, log: Verifier) -> CoseReceipt:
    """Verify that `log` signed a root to which this entry leads.

    FormatError, ProofError, or NoteError if another log is named or the signature is false. The
    tree's size is not signed: believe the index and not that the tree had this size.
    """
    receipt = parse_cose_receipt(data)
    if (receipt.issuer, receipt.key_id) != (log.name, log.key_id.to_bytes(4, "big")):
        raise NoteError(
            f"COSE receipt: expected key {log}, got {shorten(receipt.issuer)}"
            f"+{receipt.key_id.hex()[:16]}"
        )
    if log.kind != ED25519:
        raise NoteError(f"COSE receipt: expected a log's Ed25519 key, got 0x{log.kind:02x}")
    leaf = merkle.leaf_hash(entry)
    root = merkle.inclusion_root(receipt.index, receipt.size, leaf, receipt.path)
    try:
        Ed25519PublicKey.from_public_bytes(log.public).verify(
            receipt.signature, _signed_bytes(receipt.protected, root)
        )
    except InvalidSignature as error:
        # the root is not in it: a wrong entry, path and signature look alike
        raise ProofError(
            f"COSE receipt: {log} has not signed a root to which this entry leads"
        ) from error
    return receipt


def _encode(protected: bytes, proof: list[Any], signature: bytes) -> bytes:
    unprotected = {_VDP: {_INCLUSION: [encode_cbor(proof)]}}
    return encode_cbor(Tag(_SIGN1, [protected, unprotected, None, signature]))


def _signed_bytes(protected: bytes, root: bytes) -> bytes:
    # begins with 0x84, which no UTF-8 text can: never the text of a signed note
    return encode_cbor(["Signature1", protected, b"", root])


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == HASH_BYTES


# ---- the shortest CBOR, of the few types a receipt has ------------------------------------------


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged value."""

    number: int
    value: Any


def encode_cbor(value: Any) -> bytes:
    """Integers, bytes, text, lists, null, tags, and maps in the order of their keys here."""
    match value:
        case None:
            return b"\xf6"
        case bool():
            raise FormatError("CBOR: expected no booleans")
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            text = value.encode()
            return _head(3, len(text)) + text
        case list():
            return _head(4, len(value)) + b"".join(map(encode_cbor, value))
        case dict():
            pairs = (encode_cbor(key) + encode_cbor(one) for key, one in value.items())
            return _head(5, len(value)) + b"".join(pairs)
        case Tag():
            return _head(6, value.number) + encode_cbor(value.value)
    raise FormatError(f"CBOR: expected a type that receipts have, got {type(value).__name__}")


def decode_cbor(data: bytes) -> Any:
    """The value of bytes that encode_cbor makes of it; FormatError on every other spelling."""
    if len(data) > MAX_COSE_BYTES:
        raise FormatError(f"CBOR: expected at most {MAX_COSE_BYTES} bytes, got {len(data)}")
    value, end = _decode(data, 0, 0)
    # one spelling: no bytes after it, no longer head, no key twice
    if end != len(data) or encode_cbor(value) != data:
        raise FormatError("CBOR: expected the shortest encoding, got another")
    return value


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for extra, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * width):
            return bytes([major << 5 | extra]) + number.to_bytes(width, "big")
    raise FormatError("CBOR: expected a number of at most 64 bits")


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH:
        raise FormatError(f"CBOR: expected at most {_MAX_DEPTH} levels")
    if data[at : at + 1] == b"\xf6":
        return None, at + 1
    major, number, at = _read_head(data, at)
    match major:
        case 0:
            return _bounded(number), at
        case 1:
            return -1 - _bounded(number), at
        case 2 | 3:
            return _read_text(data, at, number, major), at + number
        case 4:
            return _read_items(data, at, number, depth)
        case 5:
            items, at = _read_items(data, at, 2 * number, depth)
            if not all(isinstance(key, int | str) for key in items[::2]):
                raise FormatError("CBOR: expected integers or texts as keys")
            return dict(zip(items[::2], items[1::2], strict=True)), at
        case 6:
            value, at = _decode(data, at, depth + 1)
            return Tag(number, value), at
    raise FormatError(f"CBOR: expected a type that receipts have, got major type {major}")


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    if at >= len(data):
        raise FormatError("CBOR: ends before it should")
    major, low = data[at] >> 5, data[at] & 31
    if low < 24:
        return major, low, at + 1
    if low > 27:
        raise FormatError("CBOR: expected a definite length")
    end = at + 1 + (1 << (low - 24))
    if end > len(data):
        raise FormatError("CBOR: ends before it should")
    return major, int.from_bytes(data[at + 1 : end], "big"), end


def _read_text(data: bytes, at: int, length: int, major: int) -> bytes | str:
    taken = data[at : at + length]
    if len(taken) != length:
        raise FormatError("CBOR: ends before it should")
    if major == 2:
        return taken
    try:
        return taken.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"CBOR: expected UTF-8: {error}") from error


def _read_items(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    if count > len(data) - at:  # every item takes a byte
        raise FormatError("CBOR: ends before it should")
    items: list[Any] = []
    for _ in range(count):
        item, at = _decode(data, at, depth + 1)
        items.append(item)
    return items, at


def _bounded(number: int) -> int:
    if number > MAX_UINT63:
        raise FormatError(f"CBOR: expected a number up to {MAX_UINT63}, got {number}")
    return number
