"""Merkle trees against the RFC's own recursive definitions, written out again here."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.tlog import merkle
from kernel.tlog.errors import ProofError

FOREST = [merkle.leaf_hash(f"兰州新区 forest, plot {n}".encode()) for n in range(600)]


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = largest_power_below(len(hashes))
    return sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def path(m: int, hashes: list[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1."""
    if len(hashes) == 1:
        return []
    k = largest_power_below(len(hashes))
    if m < k:
        return [*path(m, hashes[:k]), mth(hashes[k:])]
    return [*path(m - k, hashes[k:]), mth(hashes[:k])]


def subproof(m: int, hashes: list[bytes], known: bool) -> list[bytes]:
    """RFC 6962 section 2.1.2."""
    if m == len(hashes):
        return [] if known else [mth(hashes)]
    k = largest_power_below(len(hashes))
    if m <= k:
        return [*subproof(m, hashes[:k], known), mth(hashes[k:])]
    return [*subproof(m - k, hashes[k:], False), mth(hashes[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def test_the_root_of_every_small_list_is_the_one_the_rfc_defines() -> None:
    for size in range(130):
        assert merkle.root(FOREST[:size]) == mth(FOREST[:size])


def test_the_frontier_has_the_root_of_its_leaves_however_they_come() -> None:
    for step in (1, 2, 3, 7, 64, 599):
        frontier = merkle.Frontier()
        for start in range(0, 600, step):
            frontier.extend(FOREST[start : start + step])
            assert frontier.size == min(600, start + step)
            if step > 1:
                assert frontier.root() == merkle.root(FOREST[: frontier.size])
        assert frontier.root() == merkle.root(FOREST)


def test_an_empty_frontier_has_the_empty_root() -> None:
    frontier = merkle.Frontier()
    frontier.extend([])
    assert frontier.root() == merkle.EMPTY_ROOT == sha256(b"").digest()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_inclusion_proofs_are_the_rfc_path_and_verify(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    leaves = FOREST[:size]
    proof = merkle.prove_inclusion(index, size, merkle.ListedLeaves(leaves))
    assert proof == path(index, leaves)
    merkle.verify_inclusion(index, size, leaves[index], mth(leaves), proof)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_consistency_proofs_are_the_rfc_proof_and_verify(data: st.DataObject) -> None:
    new_size = data.draw(st.integers(1, 300))
    old_size = data.draw(st.integers(1, new_size))
    leaves = FOREST[:new_size]
    proof = merkle.prove_consistency(old_size, new_size, merkle.ListedLeaves(leaves))
    assert proof == subproof(old_size, leaves, True)
    merkle.verify_consistency(old_size, mth(leaves[:old_size]), new_size, mth(leaves), proof)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_one_bit_of_an_inclusion_proof_refuses(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    index = data.draw(st.integers(0, size - 1))
    leaves = FOREST[:size]
    parts = [leaves[index], merkle.root(leaves), *path(index, leaves)]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flip_bit(parts[which], data.draw(st.integers(0, 255)))
    with pytest.raises(ProofError, match="expected"):
        merkle.verify_inclusion(index, size, parts[0], parts[1], parts[2:])


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_one_bit_of_a_consistency_proof_refuses(data: st.DataObject) -> None:
    new_size = data.draw(st.integers(2, 300))
    old_size = data.draw(st.integers(1, new_size - 1))
    leaves = FOREST[:new_size]
    parts = [merkle.root(leaves[:old_size]), merkle.root(leaves), *subproof(old_size, leaves, True)]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flip_bit(parts[which], data.draw(st.integers(0, 255)))
    with pytest.raises(ProofError, match="expected"):
        merkle.verify_consistency(old_size, parts[0], new_size, parts[1], parts[2:])


def test_an_inclusion_proof_is_good_for_one_index_only() -> None:
    leaves = FOREST[:37]
    proof = path(11, leaves)
    for index in range(37):
        if index != 11:
            with pytest.raises(ProofError):
                merkle.verify_inclusion(index, 37, leaves[11], merkle.root(leaves), proof)


def test_there_is_no_proof_of_what_is_not_in_the_tree() -> None:
    reader = merkle.ListedLeaves(FOREST)
    for index, size in ((5, 5), (-1, 5), (0, 0)):
        with pytest.raises(ProofError, match="expected an index"):
            merkle.prove_inclusion(index, size, reader)
    for old_size, new_size in ((0, 5), (6, 5), (-1, 5)):
        with pytest.raises(ProofError, match="expected an old size"):
            merkle.prove_consistency(old_size, new_size, reader)


def flip_bit(value: bytes, bit: int) -> bytes:
    number = int.from_bytes(value, "big") ^ (1 << bit)
    return number.to_bytes(len(value), "big")
