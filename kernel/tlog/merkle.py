"""Merkle trees and their proofs: RFC 6962 section 2.1 (the same as RFC 9162 section 2.1), SHA-256.

Makes and verifies inclusion and consistency proofs, keeps the right frontier of a growing tree.
Stores nothing: where hashes come from is a SubtreeReader's business (a list here, tiles in
tiles.py). The trivial consistency of an empty old tree belongs to the protocol layer: refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol

from kernel.tlog.encoding import HASH_BYTES, encode_base64
from kernel.tlog.errors import ProofError

EMPTY_ROOT = sha256(b"").digest()
MAX_PROOF_HASHES = 64  # a tree of 2**63 leaves needs 63 for inclusion, 64 for consistency


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data): the hash of one entry. RFC 6962 section 2.1."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): the hash of an inner node. RFC 6962 section 2.1."""
    return sha256(b"\x01" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """Merkle tree hash of a list of subtree or leaf hashes; the empty list has EMPTY_ROOT.

    Goes level by level and lifts an odd last node unchanged, which gives the same tree as the
    RFC's split at the largest power of two. The last hash may therefore stand for a smaller,
    incomplete subtree: tiles.py relies on that.
    """
    if not hashes:
        return EMPTY_ROOT
    nodes = list(hashes)
    while len(nodes) > 1:
        odd = nodes[-1:] if len(nodes) & 1 else []
        pairs = iter(nodes)
        # strict=False on purpose: zip drops the odd last node, which is lifted below
        nodes = [sha256(b"\x01" + a + b).digest() for a, b in zip(pairs, pairs, strict=False)]
        nodes += odd
    return nodes[0]


class Frontier:
    """The right frontier of a growing tree: its size and at most one full subtree per height.

    For who only needs the root of what passes by (the ledger keeps tiles: see TileTree). State is
    at most 64 hashes; `extend` costs one SHA-256 per leaf.
    """

    __slots__ = ("_subtrees", "size")

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []  # index = height; b"" where there is none

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Append leaf hashes (32 bytes each) in order."""
        self.size += len(leaf_hashes)
        nodes: Sequence[bytes] = leaf_hashes
        height = 0
        while nodes:
            if height == len(self._subtrees):
                self._subtrees.append(b"")
            if self._subtrees[height]:
                nodes = [self._subtrees[height], *nodes]
            self._subtrees[height] = nodes[-1] if len(nodes) & 1 else b""
            pairs = iter(nodes)
            nodes = [sha256(b"\x01" + a + b).digest() for a, b in zip(pairs, pairs, strict=False)]
            height += 1

    def root(self) -> bytes:
        """Merkle tree hash of everything appended so far."""
        result = b""
        for subtree in self._subtrees:
            if subtree:
                result = node_hash(subtree, result) if result else subtree
        return result or EMPTY_ROOT


class SubtreeReader(Protocol):
    """Where proofs take their hashes from."""

    def subtree(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]) for a range the RFC's recursion produces, 0 <= start < end <= size."""


class ListedLeaves:
    """A SubtreeReader over a list of leaf hashes: for small trees and for tests of others."""

    __slots__ = ("_hashes",)

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        self._hashes = leaf_hashes

    def subtree(self, start: int, end: int) -> bytes:
        """MTH(D[start:end])."""
        return root(self._hashes[start:end])


def split_point(size: int) -> int:
    """The largest power of two smaller than `size` (size > 1)."""
    return 1 << ((size - 1).bit_length() - 1)


def prove_inclusion(index: int, size: int, reader: SubtreeReader) -> list[bytes]:
    """PATH(index, D[size]), leaf's sibling first. ProofError if the tree has no such leaf."""
    if not 0 <= index < size:
        raise ProofError(f"expected an index below the tree size {size}, got {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:  # from the root down; the format wants it from the leaf up
        middle = start + split_point(end - start)
        if index < middle:
            path.append(reader.subtree(middle, end))
            end = middle
        else:
            path.append(reader.subtree(start, middle))
            start = middle
    return path[::-1]


def prove_consistency(old_size: int, new_size: int, reader: SubtreeReader) -> list[bytes]:
    """PROOF(old_size, D[new_size]); empty when the sizes are equal. ProofError if old_size < 1."""
    if not 0 < old_size <= new_size:
        raise ProofError(f"expected an old size in 1..{new_size}, got {old_size}")
    path: list[bytes] = []
    start, end = 0, new_size
    while old_size != end:
        middle = start + split_point(end - start)
        if old_size <= middle:
            path.append(reader.subtree(middle, end))
            end = middle
        else:
            path.append(reader.subtree(start, middle))
            start = middle
    if start:  # the verifier knows the old root itself only when the old tree is a left subtree
        path.append(reader.subtree(start, end))
    return path[::-1]


def inclusion_root(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that `proof` leads to from `leaf`. RFC 9162 section 2.1.3.2 without its last step.

    ProofError if the index is outside the tree or the proof has a wrong number of hashes.
    """
    if not 0 <= index < size:
        raise ProofError(f"expected an index below the tree size {size}, got {index}")
    _check_hashes("leaf", [leaf])
    _check_hashes("inclusion proof", proof)
    node, last = index, size - 1
    result = leaf
    for sibling in proof:
        if last == 0:
            raise ProofError(f"inclusion proof is too long: got {len(proof)} hashes")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise ProofError(
            f"inclusion proof is too short: got {len(proof)} hashes for index {index} of {size}"
        )
    return result


def verify_inclusion(
    index: int, size: int, leaf: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if `leaf` (a leaf hash) is at `index` of the tree with `root`; else ProofError.

    A path does not bind `size`: take size and root together from one signed checkpoint.
    """
    actual = inclusion_root(index, size, leaf, proof)
    if actual != root:
        raise ProofError(
            f"inclusion proof leads to another root: expected {encode_base64(root)}, "
            f"got {encode_base64(actual)} from leaf {encode_base64(leaf)} at {index} of {size}"
        )


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the new tree only appended to the old one; else ProofError.

    RFC 9162 section 2.1.4.2. An old size of 0 is refused: the caller knows that it proves nothing.
    """
    if not 0 < old_size <= new_size:
        raise ProofError(f"expected an old size in 1..{new_size}, got {old_size}")
    _check_hashes("root", [old_root, new_root])
    _check_hashes("consistency proof", proof)
    if old_size == new_size:
        if proof:
            raise ProofError(f"expected no hashes for equal sizes, got {len(proof)}")
        _same_root("new", old_root, new_root)
        return
    if not proof:
        raise ProofError(f"expected hashes from {old_size} to {new_size}, got none")
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError(f"consistency proof is too long: got {len(proof)} hashes")
        if node & 1 or node == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        node >>= 1
        last >>= 1
    _same_root("old", old_root, old)
    _same_root("new", new_root, new)
    if last:
        raise ProofError(
            f"consistency proof is too short: got {len(proof)} hashes from {old_size} to {new_size}"
        )


def _check_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PROOF_HASHES:
        raise ProofError(f"{what}: expected at most {MAX_PROOF_HASHES} hashes, got {len(hashes)}")
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ProofError(f"{what}: expected hashes of {HASH_BYTES} bytes, got {len(value)}")


def _same_root(which: str, expected: bytes, actual: bytes) -> None:
    if expected != actual:
        raise ProofError(
            f"consistency proof leads to another {which} root: "
            f"expected {encode_base64(expected)}, got {encode_base64(actual)}"
        )
