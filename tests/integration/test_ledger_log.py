"""A log on a real PostgreSQL: what is stored is the tree, and it is served byte for byte.

The tree is grown over the edges of its tiles (256 and 65,536 entries) in frames of odd sizes; what
is read back is compared with the plain definitions, not with the code that wrote it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from kernel.errors import InvariantBroken, Kind, Refused
from kernel.frames import StoredEvent
from kernel.record import COMMITMENT_BYTES
from kernel.tlog import merkle
from kernel.tlog.checkpoint import Checkpoint, sign_checkpoint
from kernel.tlog.errors import ProofError
from kernel.tlog.policy import Policy
from kernel.tlog.proof import verify_proof
from kernel.tlog.receipt import make_receipt, verify_receipt
from kernel.tlog.tiles import (
    bundles_of,
    entries_path,
    prove_consistency,
    tile_path,
    tiles_of,
)
from services.ledger.log import Halted
from services.ledger.queries import TileStore, make_proofs, read_commitments, read_path
from services.ledger.tables import commitments, tiles
from tests.support.database import Database
from tests.support.ledgers import (
    StoredLog,
    canonical,
    commitments_of,
    leaves_of,
    long_history,
    origin_of,
    stored,
)

BOOK = "accounts"
MANY = 66_000  # 257 full tiles and a bit: three levels
HISTORY = long_history(BOOK, MANY)
LEAVES = leaves_of(BOOK, commitments_of(HISTORY))
# Sizes at which something is stored: both sides of every edge, and odd ones in between.
STOPS = (
    *(1, 2, 3, 255, 256, 257, 400, 511, 512, 513, 1000, 5003, 30_011),
    *(65_279, 65_280, 65_281, 65_535, 65_536, 65_537, 65_791, 65_792, 65_793, MANY),
)
ODD = (1, 7, 97, 1999)  # events in a frame, over and over


def entry(position: int) -> bytes:
    """The log entry of formats §13, by the standard library."""
    commitment = base64.b64encode(HISTORY[position].commitment).decode()
    return canonical({"book": BOOK, "commitment": commitment, "position": position, "v": 1})


def naive_tile(level: int, n: int, width: int) -> bytes:
    """c2sp.org/tlog-tiles: hash i of a level-l tile is the root of 256^l leaves."""
    span = 256**level
    first = n * 256
    hashes = (merkle.root(LEAVES[i * span : (i + 1) * span]) for i in range(first, first + width))
    return b"".join(hashes)


def policy(log: StoredLog) -> Policy:
    known = Policy()
    known.add_log(log.signer.verifier.vkey)
    known.set_quorum("none")
    return known


@pytest.fixture
def log(database: Database, tmp_path: Path) -> StoredLog:
    return StoredLog(database.engine("ledger"), tmp_path)


async def grow(log: StoredLog, end: int) -> None:
    """Folds the history up to `end` in frames of odd sizes, and stores it."""
    await log.fold(HISTORY[log.log.next_position : end], itertools.islice(itertools.cycle(ODD), 80))
    log.store()


async def test_the_stored_tree_is_the_tree_at_every_edge_and_what_is_served_is_byte_exact(
    log: StoredLog,
) -> None:
    for size in STOPS:
        await grow(log, size)
        again = TileStore(log.engine, BOOK).load_tree()
        assert (again.size, again.root()) == (size, log.tree.root())
        assert again.edge() == log.tree.edge()
        if size in (1, 256, 257, 65_536, 65_537, MANY):
            assert log.tree.root() == merkle.root(LEAVES[:size])
    assert read_commitments(log.engine, BOOK, 0, MANY) == commitments_of(HISTORY)
    check_tiles(log, MANY)
    check_older_partials(log)
    check_bundles(log)
    check_proofs(log)


def check_tiles(log: StoredLog, size: int) -> None:
    served = TileStore(log.engine, BOOK)
    for level, n, width in tiles_of(size):
        path = tile_path(level, n, width)
        assert read_path(served, path, size) == naive_tile(level, n, width), path


def check_older_partials(log: StoredLog) -> None:
    """Who still holds a smaller checkpoint asks for partial tiles that have long been full."""
    served = TileStore(log.engine, BOOK)
    for size in STOPS:
        for level, n, width in tiles_of(size):
            if width < 256:
                path = tile_path(level, n, width)
                data = read_path(served, path, MANY)
                assert data == naive_tile(level, n, width), (size, path)


def check_bundles(log: StoredLog) -> None:
    served = TileStore(log.engine, BOOK)
    bundles = list(bundles_of(MANY))
    assert bundles[-1] == (257, MANY % 256)
    for n, width in (*bundles[:3], *bundles[254:], (0, 1), (1, 44), (256, 255)):
        data = read_path(served, entries_path(n, width), MANY)
        entries = [entry(n * 256 + i) for i in range(width)]
        assert data == b"".join(len(one).to_bytes(2, "big") + one for one in entries)


def check_proofs(log: StoredLog) -> None:
    """Inclusion under every size the log had, consistency from each of them to the next."""
    served, known = TileStore(log.engine, BOOK), policy(log)
    for size in (1, 257, 65_537, MANY):
        root = merkle.root(LEAVES[:size])
        note = sign_checkpoint(Checkpoint(origin_of(BOOK), size, root), [log.signer])
        positions = sorted({0, size // 2, size - 1, min(size - 1, 65_535)})
        for position, proof in zip(
            positions, make_proofs(served, positions, size, note), strict=True
        ):
            verified = verify_proof(proof, entry(position), known)
            assert (verified.index, verified.size, verified.root) == (position, size, root)
            event = HISTORY[position]
            receipt = verify_receipt(make_receipt(event.record, event.salt, proof), known)
            assert (receipt.book, receipt.position) == (BOOK, position)
    roots = {size: merkle.root(LEAVES[:size]) for size in STOPS}
    for old, new in itertools.pairwise(STOPS):
        path = prove_consistency(old, new, served.read_tile)
        merkle.verify_consistency(old, roots[old], new, roots[new], path)


async def test_only_what_a_checkpoint_covers_is_served(log: StoredLog) -> None:
    await grow(log, 600)
    served = TileStore(log.engine, BOOK)
    for path in (
        *("tile/0/000.p/1", "tile/0/000", "tile/0/001.p/255", "tile/1/000.p/1"),
        "tile/entries/001.p/255",
    ):
        assert read_path(served, path, 511), path
    for path in (
        *("tile/0/001", "tile/0/002.p/1", "tile/1/000.p/2", "tile/1/000", "tile/2/000.p/1"),
        *("tile/entries/001", "tile/entries/002.p/1", "tile/entries/x001/000"),
    ):
        with pytest.raises(Refused) as caught:
            read_path(served, path, 511)
        assert (caught.value.reason, caught.value.kind) == ("TILE_NOT_COVERED", Kind.UNKNOWN), path


@pytest.mark.parametrize(
    "path",
    [
        *("", "tile", "tile/0", "tile/0/0", "tile/0/000.p/0", "tile/0/000.p/256", "tile/64/000"),
        *("tile/-1/000", "tile/0/x000/001", "tile/entries/000.p/", "/tile/0/000", "tile/0/000/"),
        *("tile/0/../0/000", "checkpoint", "tile/0/٠٠٠"),
    ],
)
def test_another_spelling_of_a_path_is_refused(log: StoredLog, path: str) -> None:
    with pytest.raises(Refused) as caught:
        read_path(log.tiles, path, 511)
    assert (caught.value.reason, caught.value.kind) == ("TILE_PATH_MALFORMED", Kind.INVALID)


async def test_a_tile_that_has_gone_is_a_fault_and_not_an_empty_answer(log: StoredLog) -> None:
    await grow(log, 300)
    with log.engine.begin() as connection:
        connection.execute(sa.delete(tiles).where(tiles.c.level == 0, tiles.c.n == 0))
    with pytest.raises(InvariantBroken, match="tile 0/0: expected 256 hashes, got 0"):
        TileStore(log.engine, BOOK).read_tile(0, 0, 256)


async def test_two_logs_in_one_database_do_not_touch_each_other(
    log: StoredLog, tmp_path: Path
) -> None:
    other = StoredLog(log.engine, tmp_path, "registry")
    events = long_history("registry", 300)
    await grow(log, 257)
    await other.fold(events)
    other.store()
    await grow(log, 400)
    for book, size in ((BOOK, 400), ("registry", 300)):
        assert TileStore(log.engine, book).load_tree().size == size
    assert TileStore(log.engine, "registry").load_tree().root() == merkle.root(
        leaves_of("registry", commitments_of(events))
    )


# ---- restarts -----------------------------------------------------------------------------------


def restarted(log: StoredLog, tmp_path: Path) -> StoredLog:
    """Another process over the same tables: memory is gone."""
    return StoredLog(log.engine, tmp_path, log.book)


async def test_after_a_restart_the_book_is_folded_again_and_the_tree_goes_on(
    log: StoredLog, tmp_path: Path
) -> None:
    await grow(log, 700)
    again = restarted(log, tmp_path)
    assert (again.log.known, again.log.next_position) == (700, 0)
    await again.fold(HISTORY[:500], [3, 256])
    assert again.tree.size == 700  # nothing is appended twice
    assert again.log.take_pending() is None
    await again.fold(HISTORY[500:1000])  # known and new ones in one frame
    again.store()
    assert again.tree.root() == merkle.root(LEAVES[:1000])
    assert read_commitments(log.engine, BOOK, 0, 1000) == commitments_of(HISTORY[:1000])
    assert restarted(again, tmp_path).tree.root() == merkle.root(LEAVES[:1000])


async def test_what_was_folded_and_not_stored_is_folded_again_after_a_restart(
    log: StoredLog, tmp_path: Path
) -> None:
    await grow(log, 300)
    await log.fold(HISTORY[300:420])  # and the process dies before it stores them
    again = restarted(log, tmp_path)
    assert again.log.known == 300
    await again.fold(HISTORY[:600])
    again.store()
    assert again.tree.root() == merkle.root(LEAVES[:600])


def other_event(position: int) -> StoredEvent:
    """A truthful event in a false place: the journal says something else than it did."""
    truth = HISTORY[position]
    return stored(position, truth.record, hashlib.sha256(truth.salt).digest()[:16])


def with_other(events: Sequence[StoredEvent], position: int) -> list[StoredEvent]:
    return [*events[:position], other_event(position), *events[position + 1 :]]


@pytest.mark.parametrize("position", [0, 1, 255, 256, 257, 599])
async def test_a_changed_journal_is_found_at_exactly_the_changed_event(
    log: StoredLog, tmp_path: Path, position: int
) -> None:
    await grow(log, 600)
    again = restarted(log, tmp_path)
    with pytest.raises(Halted) as caught:
        await again.fold(with_other(HISTORY[:700], position), [100, 57])
    halt = caught.value.halt
    assert (halt.book, halt.position, halt.rule) == (BOOK, position, "JOURNAL_DIFFERS")
    assert halt.expected == HISTORY[position].commitment.hex()
    assert halt.actual == other_event(position).commitment.hex()
    assert again.log.next_position == position
    assert again.tree.size == 600


async def test_an_event_beyond_what_was_stored_may_be_any(log: StoredLog, tmp_path: Path) -> None:
    """Nobody has signed it yet: the journal, which lost its end in a crash, went on otherwise."""
    await grow(log, 600)
    again = restarted(log, tmp_path)
    await again.fold(with_other(HISTORY[:700], 600))
    assert again.tree.size == 700


async def test_a_commitment_changed_in_the_database_is_found_at_exactly_that_event(
    log: StoredLog, tmp_path: Path
) -> None:
    await grow(log, 300)
    await grow(log, 600)
    with log.engine.begin() as connection:
        row = connection.execute(sa.select(commitments).where(commitments.c.first == 300)).one()
        data = bytearray(row.data)
        data[45 * COMMITMENT_BYTES] ^= 1
        change = sa.update(commitments).where(commitments.c.first == 300)
        connection.execute(change.values(data=bytes(data)))
    again = restarted(log, tmp_path)
    with pytest.raises(Halted) as caught:
        await again.fold(HISTORY[:600], [211])
    assert (caught.value.halt.position, caught.value.halt.rule) == (345, "JOURNAL_DIFFERS")


async def test_a_commitment_missing_in_the_database_is_named(
    log: StoredLog, tmp_path: Path
) -> None:
    await grow(log, 300)
    await grow(log, 400)
    await grow(log, 600)
    with log.engine.begin() as connection:
        connection.execute(sa.delete(commitments).where(commitments.c.first == 300))
    again = restarted(log, tmp_path)
    with pytest.raises(Halted) as caught:
        await again.fold(HISTORY[:600])
    assert (caught.value.halt.position, caught.value.halt.rule) == (300, "JOURNAL_DIFFERS")


async def test_a_signed_note_is_the_only_thing_a_tile_is_trusted_for(log: StoredLog) -> None:
    """Tiles are not trusted: a changed one gives proofs that nobody's policy accepts."""
    await grow(log, 600)
    note = sign_checkpoint(Checkpoint(origin_of(BOOK), 600, log.tree.root()), [log.signer])
    with log.engine.begin() as connection:
        data = bytearray(naive_tile(0, 1, 256))
        data[0] ^= 1
        change = sa.update(tiles).where(tiles.c.level == 0, tiles.c.n == 1)
        connection.execute(change.values(data=bytes(data)))
    (proof,) = make_proofs(TileStore(log.engine, BOOK), [300], 600, note)
    with pytest.raises(ProofError):
        verify_proof(proof, entry(300), policy(log))
