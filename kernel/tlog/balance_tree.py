"""The sparse Merkle trie behind both maps, as who builds them keeps it. See maps.py for the hashes.

The upper levels are a heap of hashes; below each of its lowest nodes is a bucket, the sorted leaves
in one byte string. So a million leaves are 72 MB and no objects, a change costs the hashes of one
bucket and of the levels above it, and a frozen copy takes a millisecond whatever changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kernel.tlog.encoding import HASH_BYTES
from kernel.tlog.errors import FormatError
from kernel.tlog.maps import EMPTY, Leaf, key_bit, leaf_hash, node_hash

BALANCE_TOP_BITS = 16  # 65,536 buckets: some 15 leaves in each with a million accounts
MAX_TOP_BITS = 24
_NUMBER_BYTES = 8
_ROW = 2 * HASH_BYTES + _NUMBER_BYTES
_MANY = 2  # more leaves than one: nothing asks how many


class Row(NamedTuple):
    """A value and a number that is kept beside it and not hashed, as signed 64 bits."""

    value: bytes
    number: int = 0


class Found(NamedTuple):
    """The row at a key, and the siblings from the root's child down to it."""

    row: Row
    path: list[bytes]


class FrozenTree:
    """A tree as it was when it was copied. Nothing changes it any more."""

    def __init__(self, top_bits: int, buckets: Sequence[bytes], hashes: bytes, counts: bytes):
        self._top_bits = top_bits
        self._buckets = buckets
        self._hashes = hashes
        self._counts = counts

    @property
    def root(self) -> bytes:
        return _hash_at(self._hashes, 1)

    def find(self, key: bytes) -> Found | None:
        """The row of a key with its proof; None where the tree has no such key."""
        path: list[bytes] = []
        node = 1
        while node < len(self._buckets) and self._counts[node] >= _MANY:
            node = 2 * node + key_bit(key, len(path))
            path.append(_hash_at(self._hashes, node ^ 1))
        rows = self._rows_below(node)
        while len(rows) > 1:
            depth = len(path)
            middle = _split(rows, depth)
            sides = rows[:middle], rows[middle:]
            bit = key_bit(key, depth)
            path.append(_subtree(sides[1 - bit], depth + 1))
            rows = sides[bit]
        if not rows or not rows[0].startswith(key):
            return None
        leaf, number = _parse(rows[0])
        return Found(Row(leaf.value, number), path)

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """Every key and row, in the order of the keys."""
        for bucket in self._buckets:
            for row in _rows(bucket):
                leaf, number = _parse(row)
                yield leaf.key, Row(leaf.value, number)

    def _rows_below(self, node: int) -> list[bytes]:
        """Of a bucket; of a higher node, which then has one leaf at most."""
        level = node.bit_length() - 1
        span = 1 << (self._top_bits - level)
        first = (node << (self._top_bits - level)) - len(self._buckets)
        if span > 1 and not self._counts[node]:
            return []
        return [row for bucket in self._buckets[first : first + span] for row in _rows(bucket)]


class BalanceTree:
    """The tree that grows. `put` as often as wanted, then `freeze`."""

    def __init__(self, top_bits: int = BALANCE_TOP_BITS) -> None:
        if not 1 <= top_bits <= MAX_TOP_BITS:
            raise FormatError(f"tree: expected 1..{MAX_TOP_BITS} upper bits, got {top_bits}")
        self._top_bits = top_bits
        self._buckets = [b""] * (1 << top_bits)
        self._hashes = bytearray(2 * HASH_BYTES << top_bits)
        self._counts = bytearray(2 << top_bits)

    def put(self, changes: Mapping[bytes, Row | None]) -> None:
        """Sets the rows of these keys; None takes one out. O(changes), in any order."""
        of_bucket: dict[int, list[tuple[bytes, Row | None]]] = {}
        shift = 32 - self._top_bits
        for key, row in changes.items():
            if len(key) != HASH_BYTES or (row is not None and len(row.value) != HASH_BYTES):
                raise FormatError(f"tree: expected keys and values of {HASH_BYTES} bytes")
            index = int.from_bytes(key[:4], "big") >> shift
            of_bucket.setdefault(index, []).append((key, row))
        dirty = {self._change(index, some) for index, some in of_bucket.items()}
        while dirty:
            dirty = self._rehash(dirty)

    def freeze(self) -> FrozenTree:
        return FrozenTree(
            self._top_bits, self._buckets.copy(), bytes(self._hashes), bytes(self._counts)
        )

    def _change(self, index: int, changes: Iterable[tuple[bytes, Row | None]]) -> int:
        """Makes a bucket anew; the heap's node of its parent."""
        known = {row[:HASH_BYTES]: row for row in _rows(self._buckets[index])}
        for key, row in changes:
            if row is None:
                known.pop(key, None)
            else:
                number = row.number.to_bytes(_NUMBER_BYTES, "big", signed=True)
                known[key] = key + row.value + number
        rows = sorted(known.values())
        self._buckets[index] = b"".join(rows)
        node = len(self._buckets) + index
        self._set(node, _subtree(rows, self._top_bits), min(len(rows), _MANY))
        return node >> 1

    def _rehash(self, nodes: set[int]) -> set[int]:
        """One level of the heap; its parents."""
        hashes, counts = self._hashes, self._counts
        for node in nodes:
            left, right = 2 * node, 2 * node + 1
            count = counts[left] + counts[right]
            if count >= _MANY:
                both = node_hash(_hash_at(hashes, left), _hash_at(hashes, right))
                self._set(node, both, _MANY)
            else:  # one leaf is its own subtree, at whatever depth
                self._set(node, _hash_at(hashes, left if counts[left] else right), count)
        return {node >> 1 for node in nodes if node > 1}

    def _set(self, node: int, value: bytes, count: int) -> None:
        self._hashes[node * HASH_BYTES : (node + 1) * HASH_BYTES] = value
        self._counts[node] = count


def _hash_at(hashes: bytes | bytearray, node: int) -> bytes:
    return bytes(hashes[node * HASH_BYTES : (node + 1) * HASH_BYTES])


def _rows(bucket: bytes) -> list[bytes]:
    return [bucket[at : at + _ROW] for at in range(0, len(bucket), _ROW)]


def _parse(row: bytes) -> tuple[Leaf, int]:
    leaf = Leaf(row[:HASH_BYTES], row[HASH_BYTES : 2 * HASH_BYTES])
    return leaf, int.from_bytes(row[2 * HASH_BYTES :], "big", signed=True)


def _subtree(rows: Sequence[bytes], depth: int) -> bytes:
    """The hash over sorted rows that share their first `depth` bits."""
    if len(rows) > 1:
        middle = _split(rows, depth)
        return node_hash(_subtree(rows[:middle], depth + 1), _subtree(rows[middle:], depth + 1))
    return leaf_hash(_parse(rows[0])[0]) if rows else EMPTY


def _split(rows: Sequence[bytes], depth: int) -> int:
    """How many of the sorted rows go left."""
    at, mask = depth >> 3, 0x80 >> (depth & 7)
    for i, row in enumerate(rows):
        if row[at] & mask:
            return i
    return len(rows)
