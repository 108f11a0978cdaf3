"""Two authenticated maps: who holds how much, and where every serial is.

The format is docs/reference/state-proofs.md.

A *balance map* is a sparse Merkle trie over 256-bit keys in which a subtree with one leaf is that
leaf. A *serial map* is the same over batches, and below each batch a binary trie over the bits of
the serial: a leaf there covers an aligned range and has one status, so that a serial has one place
by construction. Here are the hashes and what a verifier computes; who builds the maps is
services/ledger/states. A proof is worth as much as the signature over the root it leads to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from kernel.tlog.encoding import HASH_BYTES, decode_hash, shorten
from kernel.tlog.errors import FormatError, ProofError

EMPTY = bytes(HASH_BYTES)  # the hash of a subtree in which there is nothing
KEY_BITS = 256
MAX_SERIAL_BITS = 53  # serials are below 2^53
MAX_TOKENS = 200_000  # of one batch's shown subtree: 64 ranges take some 3,000

SPLIT, NOTHING, HIDDEN, UNIFORM = "/", "-", "#", "="


class Leaf(NamedTuple):
    """What stands at a key: 32 bytes each, `value` being the hash of what is said there."""

    key: bytes
    value: bytes


class Piece(NamedTuple):
    """Serials first..last, both included, and their status; None where there are no such."""

    first: int
    last: int
    status: str | None


def leaf_hash(leaf: Leaf) -> bytes:
    return sha256(b"\x00" + leaf.key + leaf.value).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def batch_value(bits: int, root: bytes) -> bytes:
    """The value of a batch's leaf: its serials lie below 2^bits, in a trie with this root."""
    return sha256(b"\x02" + bytes([bits]) + root).digest()


def status_hash(status: str) -> bytes:
    """Of an aligned range of which every serial has this status, a canonical JSON text."""
    return sha256(b"\x03" + status.encode()).digest()


def key_bit(key: bytes, depth: int) -> int:
    """0 goes left, 1 goes right; the first bit is the highest of the first byte."""
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def present_root(leaf: Leaf, siblings: Sequence[bytes]) -> bytes:
    """The root of a map that has this leaf; `siblings` from the root's child down.

    There is no proof of the contrary: who does not have the secret that keys are made with cannot
    tell that a key is the one of an account, and anybody can show nothing at some other key.
    """
    if len(leaf.key) != HASH_BYTES or len(siblings) > KEY_BITS:
        raise ProofError(
            f"expected a key of {HASH_BYTES} bytes and at most {KEY_BITS} siblings, "
            f"got {len(leaf.key)} and {len(siblings)}"
        )
    found = leaf_hash(leaf)
    for depth in reversed(range(len(siblings))):
        bit = key_bit(leaf.key, depth)
        found = node_hash(siblings[depth], found) if bit else node_hash(found, siblings[depth])
    return found


def shown_serials(tokens: Sequence[str], bits: int) -> tuple[bytes, list[Piece]]:
    """(root, pieces) of a batch's trie of which a part is shown, in the order of the serials.

    Tokens, in pre-order: `/` two subtrees follow, `-` nothing here, `#<base64>` a subtree that is
    not shown, `=<status>` every serial here has this status. FormatError on anything else, and on
    a spelling that an honest builder would not use: two equal halves that are not one.
    """
    if not 1 <= bits <= MAX_SERIAL_BITS:
        raise FormatError(f"serials: expected 1..{MAX_SERIAL_BITS} bits, got {bits}")
    if len(tokens) > MAX_TOKENS:
        raise FormatError(f"serials: expected at most {MAX_TOKENS} tokens, got {len(tokens)}")
    pieces: list[Piece] = []
    waiting = iter(tokens)
    root = _read(waiting, 0, bits, pieces)
    if (extra := next(waiting, None)) is not None:
        raise FormatError(f"serials: expected the end, got {shorten(extra)}")
    return root, pieces


def _read(tokens: Iterator[str], first: int, bits: int, pieces: list[Piece]) -> bytes:
    token = next(tokens, None)
    if token is None:
        raise FormatError("serials: expected another subtree, got the end")
    match token[:1], token[1:]:
        case "/", "" if bits:
            middle, begun = first + (1 << (bits - 1)), len(pieces)
            left = _read(tokens, first, bits - 1, pieces)
            right = _read(tokens, middle, bits - 1, pieces)
            shown, status = pieces[begun : begun + 3], pieces[-1].status if pieces else None
            last = first + (1 << bits) - 1
            if shown == [Piece(first, middle - 1, status), Piece(middle, last, status)]:
                # else a range could be spelled in two ways
                raise FormatError(f"serials: expected one leaf for the equal halves at {first}")
            return node_hash(left, right)
        case "-", "":
            pieces.append(Piece(first, first + (1 << bits) - 1, None))
            return EMPTY
        case "#", text:
            return decode_hash(text, "serials subtree")
        case "=", status if status:
            pieces.append(Piece(first, first + (1 << bits) - 1, status))
            return status_hash(status)
        case _:
            raise FormatError(f"serials: expected /, -, #hash or =status, got {shorten(token)}")


def require_status(pieces: Sequence[Piece], first: int, last: int, status: str) -> None:
    """Every serial of first..last is shown with this status. ProofError names the first other."""
    at = first
    for piece in pieces:
        if piece.last < at or at > last:
            continue
        if piece.first > at:
            break  # a hidden part
        if piece.status != status:
            actual = "nothing" if piece.status is None else piece.status
            raise ProofError(f"serial {at}: expected {status}, got {actual}")
        at = piece.last + 1
    if at <= last:
        raise ProofError(f"serial {at}: expected {status}, got a part that is not shown")
