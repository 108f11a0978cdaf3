"""Tiles: which ones a tree has, and that growing, recovering and proving from them agree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.tlog import merkle, tiles
from kernel.tlog.errors import FormatError, ProofError, TileError

RIDES = [merkle.leaf_hash(f"深圳 ride {n}".encode()) for n in range(1100)]


class Shelf:
    """A store of tiles as the ledger has one: full tiles once, and the latest edge."""

    def __init__(self) -> None:
        self.full: dict[tuple[int, int], bytes] = {}
        self.edge: dict[tuple[int, int], bytes] = {}
        self.asked: list[tuple[int, int, int]] = []

    def save(self, completed: list[tiles.Tile], edge: tuple[tiles.Tile, ...]) -> None:
        for level, n, data in completed:
            assert (level, n) not in self.full
            assert len(data) == tiles.TILE_BYTES
            self.full[level, n] = data
        self.edge = {(level, n): data for level, n, data in edge}

    def read_tile(self, level: int, n: int, width: int) -> bytes:
        self.asked.append((level, n, width))
        return self.full.get((level, n)) or self.edge.get((level, n), b"")


def grown(leaves: list[bytes], step: int) -> tuple[tiles.TileTree, Shelf]:
    tree, shelf = tiles.TileTree(), Shelf()
    for start in range(0, len(leaves), step):
        shelf.save(tree.append(leaves[start : start + step]), tree.edge())
    return tree, shelf


def test_a_tree_grown_leaf_by_leaf_has_the_right_root_and_edge_at_every_size() -> None:
    tree, shelf, frontier = tiles.TileTree(), Shelf(), merkle.Frontier()
    assert tree.root() == merkle.EMPTY_ROOT
    for size, leaf in enumerate(RIDES, 1):
        shelf.save(tree.append([leaf]), tree.edge())
        frontier.extend([leaf])
        assert tree.size == size
        assert tree.root() == frontier.root()
        widths = [(level, n, len(data) // 32) for level, n, data in tree.edge()]
        assert widths == tiles.edge_of(size)
        if size < 20 or size % 97 == 0 or size % 256 in (0, 1, 255):
            assert tree.root() == merkle.root(RIDES[:size])
            assert tiles.root_at(size, shelf.read_tile) == tree.root()
            assert tiles.TileTree.from_edge(size, tree.edge()).root() == tree.root()
    assert [len(data) for data in shelf.full.values()] == [8192] * 4


def test_batches_give_the_same_tiles_as_single_leaves() -> None:
    single, one_by_one = grown(RIDES, 1)
    for step in (2, 255, 256, 257, 1000, 1100):
        tree, shelf = grown(RIDES, step)
        assert (shelf.full, shelf.edge) == (one_by_one.full, one_by_one.edge)
        assert (tree.size, tree.root()) == (single.size, single.root())


def test_a_large_tree_carries_full_tiles_up_level_by_level() -> None:
    leaves = [n.to_bytes(32, "big") for n in range(70_000)]
    tree, shelf = grown(leaves, 10_000)
    assert sorted(shelf.full) == [*((0, n) for n in range(273)), (1, 0)]
    assert [(t.level, t.n, len(t.data) // 32) for t in tree.edge()] == [
        (0, 273, 112),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert tree.root() == merkle.root(leaves)
    assert tiles.root_at(70_000, shelf.read_tile) == tree.root()
    assert tiles.root_at(65_536, shelf.read_tile) == merkle.root(leaves[:65_536])
    for old_size in (1, 256, 65_535, 65_536, 69_999):
        proof = tiles.prove_consistency(old_size, 70_000, shelf.read_tile)
        old_root = tiles.root_at(old_size, shelf.read_tile)
        merkle.verify_consistency(old_size, old_root, 70_000, tree.root(), proof)
    for index in (0, 255, 65_535, 65_536, 69_887, 69_888, 69_999):
        proof = tiles.prove_inclusion(index, 70_000, shelf.read_tile)
        merkle.verify_inclusion(index, 70_000, leaves[index], tree.root(), proof)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_proofs_from_tiles_are_those_from_the_list_of_leaves(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 1100))
    index = data.draw(st.integers(0, size - 1))
    _, shelf = SHELVED
    listed = merkle.ListedLeaves(RIDES)
    assert tiles.prove_inclusion(index, size, shelf.read_tile) == merkle.prove_inclusion(
        index, size, listed
    )
    assert tiles.prove_consistency(index + 1, size, shelf.read_tile) == merkle.prove_consistency(
        index + 1, size, listed
    )
    assert tiles.root_at(size, shelf.read_tile) == merkle.root(RIDES[:size])


SHELVED = grown(RIDES, 1100)


@given(st.lists(st.integers(0, 700), max_size=8), st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_a_restart_from_the_edge_at_any_moment_changes_nothing(
    steps: list[int], crash: int
) -> None:
    tree, restarted = tiles.TileTree(), tiles.TileTree()
    for number, step in enumerate(steps):
        leaves = RIDES[:step]
        if number == crash:
            restarted = tiles.TileTree.from_edge(tree.size, reversed(tree.edge()))
        assert restarted.append(leaves) == tree.append(leaves)
        assert (restarted.size, restarted.root()) == (tree.size, tree.root())


def test_a_reader_is_asked_only_for_tiles_the_tree_has() -> None:
    _, shelf = grown(RIDES, 500)
    for size in (1, 255, 256, 257, 300, 1000):
        shelf.asked.clear()
        tiles.prove_inclusion(size // 2, size, shelf.read_tile)
        tiles.root_at(size, shelf.read_tile)
        assert set(shelf.asked) <= set(tiles.tiles_of(size))


def test_a_proof_reads_each_tile_once() -> None:
    _, shelf = grown(RIDES, 1100)
    shelf.asked.clear()
    tiles.prove_inclusion(700, 1100, shelf.read_tile)
    assert len(shelf.asked) == len(set(shelf.asked)) <= 4


def test_a_missing_or_short_tile_is_an_error_and_not_a_wrong_root() -> None:
    for answer in (b"", bytes(31), bytes(32 * 43), bytes(8193)):
        shelf = Shelf()
        shelf.edge[0, 1] = answer
        with pytest.raises(TileError, match=r"expected 1408 bytes, got"):
            tiles.root_at(300, shelf.read_tile)


def test_an_edge_must_be_exactly_that_of_its_size() -> None:
    tree, _ = grown(RIDES, 1100)
    first, second = tree.edge()
    for edge in (
        (),
        (first,),
        (first, first),
        (first, second, second),
        (first, second._replace(level=2)),
        (first._replace(n=0), second),
        (first._replace(data=first.data[:-1]), second),
        (first._replace(data=first.data + bytes(32)), second),
    ):
        with pytest.raises(TileError, match="edge of a tree of 1100"):
            tiles.TileTree.from_edge(1100, edge)
    with pytest.raises(TileError, match="expected"):
        tiles.TileTree.from_edge(1101, tree.edge())


def test_a_leaf_hash_of_another_length_is_refused_and_nothing_appended() -> None:
    tree = tiles.TileTree()
    with pytest.raises(TileError, match=r"got \[31, 33\]"):
        tree.append([bytes(31), bytes(33)])
    assert (tree.size, tree.edge(), tree.root()) == (0, (), merkle.EMPTY_ROOT)


def test_a_range_that_is_no_subtree_is_refused() -> None:
    stored = tiles.StoredTiles(1100, SHELVED[1].read_tile)
    for start, end in ((0, 1101), (5, 5), (-1, 3), (1, 3)):
        with pytest.raises(ProofError, match="expected"):
            stored.subtree(start, end)


@given(st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256))
def test_tile_paths_read_back(level: int, n: int, width: int) -> None:
    assert tiles.parse_tile_path(tiles.tile_path(level, n, width)) == (level, n, width)
    assert tiles.parse_tile_path(tiles.entries_path(n, width)) == (None, n, width)


@pytest.mark.parametrize(("level", "n", "width"), [(64, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, 257)])
def test_there_is_no_path_outside_the_format(level: int, n: int, width: int) -> None:
    with pytest.raises(FormatError, match="expected"):
        tiles.tile_path(level, n, width)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
@settings(max_examples=40, deadline=None)
def test_entry_bundles_read_back(entries: list[bytes]) -> None:
    bundle = tiles.encode_bundle(entries)
    assert tiles.decode_bundle(bundle, len(entries)) == entries
    with pytest.raises(FormatError, match="expected"):
        tiles.decode_bundle(bundle, len(entries) + 1)
    with pytest.raises(FormatError, match="expected"):
        tiles.decode_bundle(bundle[:-1] or b"\0", len(entries))


def test_an_entry_has_at_most_65535_bytes_and_a_bundle_256_entries() -> None:
    longest = bytes(65_535)
    assert tiles.decode_bundle(tiles.encode_bundle([longest]), 1) == [longest]
    for entries in ([bytes(65_536)], [], [b""] * 257):
        with pytest.raises(FormatError, match="expected"):
            tiles.encode_bundle(entries)
