"""Sealing on a real PostgreSQL: stored, then signed, then public, and never anything smaller.

The last signed checkpoint lies in a file outside the database; every test here takes one of the two
back, changes it or lets a second process in, and looks at what is signed after that.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kernel.errors import Conflict, Fault
from kernel.tlog import merkle
from kernel.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from kernel.tlog.note import ED25519, Signer, parse_note
from kernel.tlog.tiles import prove_consistency
from services.ledger.log import Halt, Halted
from services.ledger.logkeys import InForce
from services.ledger.projections import READER
from services.ledger.queries import proven_at_ms
from services.ledger.sealing import CheckpointFile
from services.ledger.tables import checkpoints, commitments, tiles
from tests.support.books import MORNING_MS
from tests.support.database import Database
from tests.support.ledgers import (
    StoredLog,
    commitments_of,
    leaves_of,
    log_signer,
    long_history,
    origin_of,
    stored,
)

BOOK = "accounts"
HISTORY = long_history(BOOK, 1500)
LEAVES = leaves_of(BOOK, commitments_of(HISTORY))
OTHER_PAST = [*HISTORY[:200], *(stored(e.position, e.record, b"o" * 16) for e in HISTORY[200:])]
TWO_SEALS_S = 0.5  # the sealer looks for work every 10 ms and signs at most every 200 ms


@pytest.fixture
def log(database: Database, tmp_path: Path) -> StoredLog:
    fresh = StoredLog(database.engine("ledger"), tmp_path)
    fresh.sealer.open(0)
    return fresh


def restarted(log: StoredLog, tmp_path: Path) -> StoredLog:
    return StoredLog(log.engine, tmp_path, log.book)


def signed_by_us(log: StoredLog) -> Checkpoint:
    """What the file says, if our key signed it."""
    note = log.file.read()
    assert note is not None
    return open_checkpoint(note, log_signer(BOOK).verifier).checkpoint


def root_of(size: int, leaves: Sequence[bytes] = LEAVES) -> bytes:
    return merkle.root(leaves[:size])


def published_sizes(log: StoredLog) -> list[int]:
    with log.engine.connect() as connection:
        query = sa.select(checkpoints.c.size).where(checkpoints.c.book == log.book)
        return [size for (size,) in connection.execute(query.order_by(checkpoints.c.size))]


class Backup:
    """The ledger's tables as they were: what a database restored from it holds."""

    def __init__(self, log: StoredLog) -> None:
        with log.engine.connect() as connection:
            self._rows: dict[sa.Table, list[dict[str, Any]]] = {
                table: [dict(row._mapping) for row in connection.execute(sa.select(table))]
                for table in (commitments, tiles, checkpoints)
            }

    def restore(self, log: StoredLog) -> None:
        with log.engine.begin() as connection:
            for table, rows in self._rows.items():
                connection.execute(sa.delete(table))
                if rows:
                    connection.execute(sa.insert(table), rows)


async def nothing_is_signed(log: StoredLog) -> None:
    """Two seals long; the file stays as it is."""
    before, published = log.file.read(), log.sealer.published
    async with log.sealing() as running:
        await asyncio.sleep(TWO_SEALS_S)
        assert not running.done()
    assert (log.file.read(), log.sealer.published) == (before, published)


async def test_what_was_folded_is_signed_and_its_file_note_and_table_agree(
    log: StoredLog,
) -> None:
    await log.fold(HISTORY[:300])
    checkpoint = await log.seal()
    assert checkpoint == Checkpoint(origin_of(BOOK), 300, root_of(300))
    assert signed_by_us(log) == checkpoint
    assert log.file.read() == log.sealer.note
    assert published_sizes(log) == [300]
    with log.engine.connect() as connection:
        assert connection.execute(sa.select(checkpoints.c.note)).scalar() == log.sealer.note
        watermark = sa.text("SELECT next_position FROM watermarks WHERE reader = :reader")
        assert connection.execute(watermark, {"reader": READER}).scalar() == 300
    assert proven_at_ms(log.engine, BOOK, 299) == MORNING_MS
    assert proven_at_ms(log.engine, BOOK, 300) is None


async def test_every_published_size_is_larger_than_the_last_and_leads_on_from_it(
    log: StoredLog,
) -> None:
    published = [log.sealer.published]
    async with log.sealing():
        for end in (1, 2, 255, 256, 257, 900, 1500):
            await log.fold(HISTORY[log.log.next_position : end], [17, 1, 301])
            await log.sealer.proven(end - 1)
            published.append(log.sealer.published)
    sizes = [checkpoint.size for checkpoint in published]
    assert sizes == sorted(set(sizes))
    assert published_sizes(log) == sizes[1:]
    for old, new in itertools.pairwise(published[1:]):
        assert new.root == root_of(new.size)
        path = prove_consistency(old.size, new.size, log.tiles.read_tile)
        merkle.verify_consistency(old.size, old.root, new.size, new.root, path)


async def test_with_nothing_new_nothing_is_signed_again(log: StoredLog) -> None:
    await nothing_is_signed(log)
    assert log.file.read() is None
    await log.fold(HISTORY[:10])
    await log.seal()
    await nothing_is_signed(log)


async def test_who_waits_for_a_position_is_told_once_a_checkpoint_covers_it(
    log: StoredLog,
) -> None:
    await log.fold(HISTORY[:10])
    async with log.sealing():
        early = asyncio.create_task(log.sealer.proven(9))
        late = asyncio.create_task(log.sealer.proven(10))
        await early
        assert log.sealer.published.size == 10
        assert not late.done()
        await log.fold(HISTORY[10:11])
        await late
        assert log.sealer.published.size == 11


async def test_who_waits_for_a_halted_log_is_told_why(log: StoredLog) -> None:
    log.log.halt = Halt(BOOK, 3, "SUFFICIENCY", "500", "480")
    with pytest.raises(Conflict, match="accounts is halted at 3 by SUFFICIENCY") as caught:
        await log.sealer.proven(3)
    assert caught.value.reason == "BOOK_HALTED"


# ---- deaths and restarts ------------------------------------------------------------------------


async def test_after_a_restart_the_published_checkpoint_is_the_last_signed_one(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    again = restarted(log, tmp_path)
    again.sealer.open(again.log.known)
    assert (again.sealer.note, again.sealer.published) == (log.sealer.note, log.sealer.published)
    await again.fold(HISTORY[:300])
    await nothing_is_signed(again)
    await again.fold(HISTORY[300:700])
    assert await again.seal() == Checkpoint(origin_of(BOOK), 700, root_of(700))


async def test_tiles_stored_and_not_signed_are_signed_after_the_restart(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    await log.fold(HISTORY[300:500])
    log.store()  # and the process dies: ledger.tiles
    again = restarted(log, tmp_path)
    again.sealer.open(again.log.known)
    assert again.sealer.published.size == 300
    assert await again.seal() == Checkpoint(origin_of(BOOK), 500, root_of(500))


async def test_a_note_signed_and_not_published_is_published_after_the_restart(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    log.store()
    note = sign_checkpoint(Checkpoint(origin_of(BOOK), 300, root_of(300)), [log.signer])
    log.file.swap(None, note)  # and the process dies: ledger.signed
    again = restarted(log, tmp_path)
    again.sealer.open(again.log.known)
    assert again.sealer.note == note
    assert published_sizes(again) == [300]
    await nothing_is_signed(again)


async def test_a_lost_database_is_made_again_from_the_journal_with_the_same_roots(
    log: StoredLog, tmp_path: Path
) -> None:
    empty = Backup(log)
    await log.fold(HISTORY[:700], [400])
    await log.seal()
    empty.restore(log)
    again = restarted(log, tmp_path)
    with pytest.raises(Halted) as caught:
        again.sealer.open(again.log.known)
    assert caught.value.halt.rule == "RESTORED_BACKWARDS"
    await again.fold(HISTORY[:900], [33, 256])
    assert await again.seal() == Checkpoint(origin_of(BOOK), 900, root_of(900))
    assert signed_by_us(again).size == 900


# ---- the database goes back ---------------------------------------------------------------------


async def test_a_database_restored_to_an_older_state_signs_nothing_before_it_is_where_it_was(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    backup = Backup(log)
    await log.fold(HISTORY[300:800], [111])
    at_eight_hundred = await log.seal()
    backup.restore(log)

    again = restarted(log, tmp_path)
    with pytest.raises(Halted) as caught:
        again.sealer.open(again.log.known)
    assert caught.value.halt == Halt(
        BOOK, 300, "RESTORED_BACKWARDS", "a tree of at least 800 entries", "one of 300"
    )
    # Two persons let it look again: it folds on, and is silent until it has reached 800.
    for end in (300, 301, 500, 799):
        await again.fold(HISTORY[again.log.next_position : end])
        await nothing_is_signed(again)
        assert again.sealer.note is None
        assert again.tiles.load_tree().size == end  # stored it is
    waiting = asyncio.create_task(again.sealer.proven(799))
    await again.fold(HISTORY[799:800])
    await nothing_is_signed_but_published(again, at_eight_hundred)
    await asyncio.wait_for(waiting, 1)
    await again.fold(HISTORY[800:801])
    assert await again.seal() == Checkpoint(origin_of(BOOK), 801, root_of(801))


async def nothing_is_signed_but_published(log: StoredLog, checkpoint: Checkpoint) -> None:
    """The tree is back where it was: the old note is published again, no new one is made."""
    before = log.file.read()
    async with log.sealing():
        await asyncio.sleep(TWO_SEALS_S)
    assert log.file.read() == before
    assert (log.sealer.note, log.sealer.published) == (before, checkpoint)


async def test_a_restored_database_that_jumps_over_the_signed_size_must_lead_through_it(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    backup = Backup(log)
    await log.fold(HISTORY[300:800])
    await log.seal()
    backup.restore(log)
    again = restarted(log, tmp_path)
    with pytest.raises(Halted):
        again.sealer.open(again.log.known)
    await again.fold(HISTORY[:1500])
    assert await again.seal() == Checkpoint(origin_of(BOOK), 1500, root_of(1500))


async def test_a_second_history_of_the_same_size_is_never_signed(
    log: StoredLog, tmp_path: Path
) -> None:
    """Database and journal both went back, and the journal went on otherwise."""
    await log.fold(HISTORY[:200])
    await log.seal()
    backup = Backup(log)
    await log.fold(HISTORY[200:800])
    eight_hundred = await log.seal()
    note = log.file.read()
    backup.restore(log)
    again = restarted(log, tmp_path)
    with pytest.raises(Halted):
        again.sealer.open(again.log.known)
    await again.fold(OTHER_PAST[:900])
    with pytest.raises(Halted) as caught:
        await again.seal()
    halt = caught.value.halt
    assert (halt.position, halt.rule) == (800, "TREE_DIFFERS")
    assert halt.expected == eight_hundred.root.hex()
    assert log.file.read() == note
    # Nor after the next restart, when the tree is the larger one.
    third = restarted(log, tmp_path)
    assert third.log.known == 900
    with pytest.raises(Halted) as caught:
        third.sealer.open(third.log.known)
    assert caught.value.halt == halt
    assert log.file.read() == note


def change_edge(log: StoredLog) -> None:
    with log.engine.begin() as connection:
        edge = (tiles.c.level == 0) & (tiles.c.n == 1)
        data = bytearray(connection.execute(sa.select(tiles.c.data).where(edge)).scalar_one())
        data[7] ^= 1
        connection.execute(sa.update(tiles).where(edge).values(data=bytes(data)))


async def test_a_tree_changed_in_the_database_is_named_and_not_signed(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    note = log.file.read()
    change_edge(log)
    again = restarted(log, tmp_path)
    with pytest.raises(Halted) as caught:
        again.sealer.open(again.log.known)
    halt = caught.value.halt
    assert (halt.position, halt.rule, halt.expected) == (300, "TREE_DIFFERS", root_of(300).hex())
    assert halt.actual != halt.expected
    assert log.file.read() == note


# ---- the file -----------------------------------------------------------------------------------


async def test_a_second_process_that_signed_in_between_stops_the_first(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    second = restarted(log, tmp_path)
    second.sealer.open(second.log.known)
    await second.fold(HISTORY[:310])
    assert (await second.seal()).size == 310
    note = log.file.read()
    # The first was stopped meanwhile. Its tables are the same ones, so it already fails there.
    await log.fold(HISTORY[300:310])
    log.log.take_pending()
    with pytest.raises(Fault, match="another process has signed since we read it"):
        await sign_at(log, 310)
    assert log.file.read() == note


async def sign_at(log: StoredLog, size: int) -> None:
    log.sealer._stored = (size, log.tree.root())
    await log.sealer.run()


async def test_a_note_put_into_the_file_by_hand_stops_the_running_sealer(log: StoredLog) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    ahead = sign_checkpoint(Checkpoint(origin_of(BOOK), 9000, bytes(32)), [log.signer])
    log.file.swap(log.sealer.note, ahead)
    await log.fold(HISTORY[300:310])
    with pytest.raises(Fault, match="another process has signed"):
        await log.seal()
    assert signed_by_us(log).size == 9000


THIEF = Signer(origin_of(BOOK), ED25519, b"a thief's seed, thirty-two bytes")
NEIGHBOUR = log_signer("registry")


def forged(kind: str) -> bytes:
    ours = Checkpoint(origin_of(BOOK), 300, root_of(300))
    notes = {
        "a thief's": sign_checkpoint(ours, [THIEF]),
        "another log's": sign_checkpoint(
            Checkpoint(origin_of("registry"), 300, root_of(300)), [NEIGHBOUR]
        ),
        "another size under our signature": sign_checkpoint(ours, [log_signer(BOOK)]).replace(
            b"\n300\n", b"\n200\n"
        ),
        "empty": b"",
        "not a note": b"\x00" * 100,
        "cut off": sign_checkpoint(ours, [log_signer(BOOK)])[:-5],
    }
    return notes[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("a thief's", "another log's", "another size under our signature"),
        *("empty", "not a note", "cut off"),
    ],
)
async def test_a_forged_checkpoint_file_is_named_and_nothing_is_signed_on_it(
    log: StoredLog, tmp_path: Path, kind: str
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    log.file.swap(log.sealer.note, forged(kind))
    again = restarted(log, tmp_path)
    with pytest.raises(Halted) as caught:
        again.sealer.open(again.log.known)
    halt = caught.value.halt
    assert (halt.book, halt.position, halt.rule) == (BOOK, 300, "CHECKPOINT_FILE")
    assert halt.expected == "a checkpoint of our own"
    assert log.file.read() == forged(kind)


async def test_a_lost_file_begins_anew_with_the_tree_as_it_is(
    log: StoredLog, tmp_path: Path
) -> None:
    """Its loss is what witnesses are for; a tree that only grew is signed on."""
    await log.fold(HISTORY[:300])
    await log.seal()
    (tmp_path / "accounts.checkpoint").unlink()
    again = restarted(log, tmp_path)
    again.sealer.open(again.log.known)
    assert await again.seal() == Checkpoint(origin_of(BOOK), 300, root_of(300))


async def test_with_a_lost_file_a_changed_tree_still_differs_from_what_was_published(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    (tmp_path / "accounts.checkpoint").unlink()
    change_edge(log)
    again = restarted(log, tmp_path)
    with pytest.raises(Halted) as caught:
        again.sealer.open(again.log.known)
    halt = caught.value.halt
    assert (halt.position, halt.rule, halt.expected) == (300, "TREE_DIFFERS", root_of(300).hex())
    assert log.file.read() is None


def test_the_file_replaces_exactly_what_was_read(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "a new folder" / "accounts.checkpoint")
    assert file.read() is None
    file.swap(None, b"one")
    with pytest.raises(Fault):
        file.swap(None, b"two")
    with pytest.raises(Fault):
        file.swap(b"zero", b"two")
    assert file.read() == b"one"
    file.swap(b"one", b"two")
    assert file.read() == b"two"


def test_of_many_who_swap_at_once_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "accounts.checkpoint"
    CheckpointFile(path).swap(None, b"0")

    def attempt(name: bytes) -> bytes | None:
        try:
            CheckpointFile(path).swap(b"0", name)
        except Fault:
            return None
        return name

    async def race() -> list[bytes | None]:
        names = [b"%d" % n for n in range(1, 9)]
        return await asyncio.gather(*(asyncio.to_thread(attempt, name) for name in names))

    won = [name for name in asyncio.run(race()) if name is not None]
    assert [CheckpointFile(path).read()] == won


# ---- another key follows ------------------------------------------------------------------------

NEXT = Signer(origin_of(BOOK), ED25519, b"the next key of the accounts log")


def ids_of(note: bytes | None) -> list[int]:
    return [] if note is None else [signature.key_id for signature in parse_note(note)[1]]


def in_force(*signers: Signer, known: Sequence[Signer] = ()) -> InForce:
    return InForce(tuple(signers), tuple(one.verifier for one in (*signers, *known)))


async def sealed_by(log: StoredLog, *signers: Signer) -> None:
    """Returns once the published note bears these signatures, in this order."""
    async with log.sealing() as running:
        for _ in range(100):
            if ids_of(log.sealer.note) == [signer.key_id for signer in signers]:
                return
            assert not running.done()
            await asyncio.sleep(0.02)
    assert ids_of(log.sealer.note) == [signer.key_id for signer in signers]


async def test_what_is_published_is_signed_anew_when_a_key_is_announced_and_when_one_is_retired(
    log: StoredLog, tmp_path: Path
) -> None:
    """Also in a log where nothing happens: else who trusts the new key alone reads nothing."""
    await log.fold(HISTORY[:300])
    checkpoint = await log.seal()
    log.keys.now = in_force(log.signer, NEXT)
    await sealed_by(log, log.signer, NEXT)
    assert log.file.read() == log.sealer.note
    for trusted in (log.signer, NEXT):
        assert open_checkpoint(log.file.read() or b"", trusted.verifier).checkpoint == checkpoint
    await nothing_is_signed(log)
    log.keys.now = in_force(NEXT, known=[log.signer])
    await sealed_by(log, NEXT)
    assert log.sealer.published == checkpoint
    again = restarted(log, tmp_path)
    again.keys.now = log.keys.now
    again.sealer.open(again.log.known)
    await again.fold(HISTORY[:310])
    assert (await again.seal()).size == 310
    assert ids_of(again.file.read()) == [NEXT.key_id]


async def test_a_crash_before_the_file_is_signed_anew_leaves_a_checkpoint_the_next_start_believes(
    log: StoredLog, tmp_path: Path
) -> None:
    """The retirement is recorded, the file still bears the retired key's signature alone."""
    await log.fold(HISTORY[:300])
    checkpoint = await log.seal()
    again = restarted(log, tmp_path)
    again.keys.now = in_force(NEXT, known=[log.signer])
    again.sealer.open(again.log.known)
    assert again.sealer.published == checkpoint
    await sealed_by(again, NEXT)
    stranger = restarted(log, tmp_path)
    stranger.keys.now = in_force(THIEF)
    with pytest.raises(Halted) as caught:
        stranger.sealer.open(stranger.log.known)
    assert caught.value.halt.rule == "CHECKPOINT_FILE"


async def test_without_all_its_keys_a_log_is_folded_on_and_not_signed(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    log.keys.now = InForce((log.signer,), (log.signer.verifier,), (NEXT.verifier.vkey,))
    assert log.sealer.missing_keys == (NEXT.verifier.vkey,)
    await log.fold(HISTORY[300:400])
    await nothing_is_signed(log)
    assert log.tiles.load_tree().size == 400
    log.keys.now = in_force(log.signer, NEXT)
    await sealed_by(log, log.signer, NEXT)
    assert log.sealer.published.size == 400


@pytest.mark.parametrize("went_back", [False, True])
async def test_a_log_whose_first_key_was_lost_meets_what_it_had_signed_before_another_signs(
    log: StoredLog, tmp_path: Path, went_back: bool
) -> None:
    await log.fold(HISTORY[:200])
    await log.seal()
    backup = Backup(log)
    await log.fold(HISTORY[200:300])
    await log.seal()
    if went_back:
        backup.restore(log)
    again = restarted(log, tmp_path)
    again.keys.now = InForce((), (), ("the first key",))
    again.sealer.open(again.log.known)
    await again.fold((OTHER_PAST if went_back else HISTORY)[:400])
    await nothing_is_signed(again)
    again.keys.now = in_force(NEXT, known=[log.signer])  # two persons have agreed
    if went_back:
        with pytest.raises(Halted) as caught:
            await again.seal()
        assert caught.value.halt.rule == "TREE_DIFFERS"
    else:
        await sealed_by(again, NEXT)
        assert again.sealer.published.size == 400
