"""The serial map as who builds it keeps it: where every serial of every batch is. See maps.py.

Per batch a binary trie whose leaves are aligned ranges of one status. Its nodes never change: a
move makes the nodes on its way anew, so that a frozen copy is the roots and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from kernel.tlog.balance_tree import BalanceTree, FrozenTree, Row
from kernel.tlog.encoding import encode_base64
from kernel.tlog.errors import FormatError
from kernel.tlog.maps import (
    EMPTY,
    HIDDEN,
    MAX_SERIAL_BITS,
    NOTHING,
    SPLIT,
    UNIFORM,
    Piece,
    batch_value,
    node_hash,
    status_hash,
)
from kernel.tlog.states import BatchProof, batch_key

BATCH_TOP_BITS = 8


class Uniform:
    """Every serial here has this status. One object for each status of a map."""

    __slots__ = ("hash", "status")

    def __init__(self, status: str) -> None:
        self.status = status
        self.hash = status_hash(status)


class Split:
    """Two halves that differ; hashed when first asked."""

    __slots__ = ("_hash", "left", "right")

    def __init__(self, left: Node, right: Node) -> None:
        self.left = left
        self.right = right
        self._hash: bytes | None = None

    @property
    def hash(self) -> bytes:
        if self._hash is None:
            self._hash = node_hash(_hash(self.left), _hash(self.right))
        return self._hash


Node: TypeAlias = Uniform | Split | None


class BatchTree(NamedTuple):
    """The serials of one batch, all below 2^bits."""

    bits: int
    node: Node

    def moved(self, first: int, last: int, leaf: Uniform) -> BatchTree:
        """The same with first..last given a status; wider when the batch has grown."""
        if not 0 <= first <= last < 1 << MAX_SERIAL_BITS:
            raise FormatError(f"serials: expected some below 2^53, got {first}..{last}")
        bits, node = self
        while last >= 1 << bits:
            node = Split(node, None) if node is not None else None
            bits += 1
        return BatchTree(bits, _moved(node, bits, first, last, leaf))

    @property
    def value(self) -> bytes:
        return batch_value(self.bits, _hash(self.node))

    def pieces(self, begin: int = 0, end: int = 1 << MAX_SERIAL_BITS) -> Iterator[Piece]:
        """Every range from begin to before end, and its status, in order.

        Neighbours of one status are one piece.
        """
        first, last, status = 0, -1, None
        for piece in _pieces(self.node, 0, self.bits, begin, end):
            if piece.status == status and piece.first == last + 1:
                last = piece.last
                continue
            if status is not None:
                yield Piece(first, last, status)
            first, last, status = piece
        if status is not None:
            yield Piece(first, last, status)

    def shown(self, ranges: Sequence[tuple[int, int]]) -> list[str]:
        """The tokens that show these ranges and hide the rest (maps.shown_serials)."""
        return list(_shown(self.node, 0, self.bits, ranges))


class FrozenSerials:
    """The map as it was when it was copied."""

    def __init__(self, batches: dict[tuple[str, str], BatchTree], tree: FrozenTree) -> None:
        self._batches = batches
        self._tree = tree

    @property
    def root(self) -> bytes:
        return self._tree.root

    def ranges(
        self, asset: str, batch: str, status: str, within: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """The serials of a batch, among some of them, that have a status; ranges in order."""
        tree = self._batches.get((asset, batch), BatchTree(1, None))
        found: list[tuple[int, int]] = []
        for first, last in sorted(within):
            for one in tree.pieces(first, last + 1):
                if one.status != status:
                    continue
                if found and found[-1][1] + 1 == one.first:
                    found[-1] = (found[-1][0], one.last)
                else:
                    found.append((one.first, one.last))
        return found

    def prove(self, asset: str, batch: str, ranges: Sequence[tuple[int, int]]) -> BatchProof:
        """Shows these serials of a batch that is there (KeyError else)."""
        tree = self._batches[asset, batch]
        found = self._tree.find(batch_key(asset, batch))
        if found is None:
            raise KeyError((asset, batch))
        return BatchProof(batch, tree.bits, found.path, tree.shown(ranges), ranges)


class SerialTree:
    """The map that grows."""

    def __init__(self) -> None:
        self._statuses: dict[str, Uniform] = {}
        self._batches: dict[tuple[str, str], BatchTree] = {}
        self._tree = BalanceTree(BATCH_TOP_BITS)

    def move(self, asset: str, batch: str, pieces: Iterable[Piece]) -> None:
        """Gives ranges of one batch their statuses; a piece without a status is passed over."""
        tree = self._batches.get((asset, batch), BatchTree(1, None))
        for first, last, status in pieces:
            if status is not None:
                tree = tree.moved(first, last, self._leaf(status))
        self._batches[asset, batch] = tree
        self._tree.put({batch_key(asset, batch): Row(tree.value)})

    def freeze(self) -> FrozenSerials:
        return FrozenSerials(self._batches.copy(), self._tree.freeze())

    def _leaf(self, status: str) -> Uniform:
        known = self._statuses.get(status)
        if known is None:
            known = self._statuses[status] = Uniform(status)
        return known


def _hash(node: Node) -> bytes:
    return EMPTY if node is None else node.hash


def _moved(node: Node, bits: int, first: int, last: int, leaf: Uniform) -> Node:
    """`node` covers 0..2^bits - 1 and first..last lies within."""
    half = 1 << bits >> 1
    if node is leaf or last - first + 1 == 1 << bits:
        return leaf
    left, right = (node.left, node.right) if isinstance(node, Split) else (node, node)
    if first < half:
        left = _moved(left, bits - 1, first, min(last, half - 1), leaf)
    if last >= half:
        right = _moved(right, bits - 1, max(first, half) - half, last - half, leaf)
    # One object for each status: halves of one status are the same object. Splits stay apart, even
    # where both halves look alike.
    return left if left is right and not isinstance(left, Split) else Split(left, right)


def _pieces(node: Node, first: int, bits: int, begin: int, end: int) -> Iterator[Piece]:
    """What lies in begin..end-1 of a node whose serials begin at `first`."""
    after = first + (1 << bits)
    if node is None or after <= begin or end <= first:
        return
    if isinstance(node, Split):
        yield from _pieces(node.left, first, bits - 1, begin, end)
        yield from _pieces(node.right, first + (1 << (bits - 1)), bits - 1, begin, end)
    else:
        yield Piece(max(first, begin), min(after, end) - 1, node.status)


def _shown(node: Node, first: int, bits: int, ranges: Sequence[tuple[int, int]]) -> Iterator[str]:
    last = first + (1 << bits) - 1
    within = [one for one in ranges if one[0] <= last and one[1] >= first]
    if node is None:
        yield NOTHING
    elif not within:
        yield HIDDEN + encode_base64(node.hash)
    elif isinstance(node, Split):
        yield SPLIT
        yield from _shown(node.left, first, bits - 1, within)
        yield from _shown(node.right, first + (1 << (bits - 1)), bits - 1, within)
    else:
        yield UNIFORM + node.status
