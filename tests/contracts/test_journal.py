"""One class of tests for every adapter of the journal port (kernel/journal/port.py).

What only PostgreSQL can promise, durability against a killed backend, stands below the class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import kernel.journal.postgres
from kernel.acts import public_bytes
from kernel.errors import InvariantBroken, Kind
from kernel.frames import FrameError, FrameSigner, StoredEvent, verify_frame
from kernel.ids import derived_id, uuid7
from kernel.journal.memory import MemoryJournal
from kernel.journal.port import Batch, Fenced, Journal, Outcome, Refusal
from kernel.journal.postgres import READ_PAGE_FRAMES, PostgresJournal
from kernel.lease import PostgresLease
from kernel.record import commit
from tests.support.database import Connection, Database

SERVICE = BOOK = "accounts"
BOOK_ID = bytes(range(16))
KEY = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
SIGNER = FrameSigner(KEY)
COMMUTER, TRADER = "shenzhen commuter", "lanzhou trader"
AT_MS = 1_795_163_400_000


class Shelf(Protocol):
    """A journal under test, and the epoch under which it may be written."""

    @property
    def journal(self) -> Journal: ...
    @property
    def epoch(self) -> int: ...


class MemoryShelf:
    def __init__(self) -> None:
        self.journal = MemoryJournal(BOOK)
        self.epoch = self.journal.epoch = 1


class PostgresShelf:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.connection: Connection = database.writing_connection(SERVICE, BOOK)
        epoch = PostgresLease(self.connection, BOOK).try_take(0)
        assert epoch == 1
        self.epoch = epoch
        self.journal = PostgresJournal(database.engine(SERVICE), BOOK, self.connection)


@pytest.fixture(params=["memory", "postgres"])
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    if request.param == "memory":
        yield MemoryShelf()
    else:
        yield PostgresShelf(request.getfixturevalue("database"))


def id_of(n: int, at_ms: int = AT_MS) -> str:
    return derived_id(at_ms, "ride", n)


def digest_of(n: int) -> bytes:
    return hashlib.sha256(b"command %d" % n).digest()


def key_of(n: int, principal: str = COMMUTER) -> Outcome:
    return Outcome(id_of(n), principal, digest_of(n), n, 1, None)


def refused(n: int, principal: str = COMMUTER) -> Outcome:
    refusal = Refusal(
        "INSUFFICIENT_BALANCE",
        "needed 500, available 480: 余额不足",
        Kind.RULE,
        {"needed": 500, "available": 480, "holder": "h-兰州"},
    )
    return Outcome(id_of(n), principal, digest_of(n), 0, 0, refusal)


def events_at(first: int, count: int) -> list[StoredEvent]:
    events = []
    for position in range(first, first + count):
        record, salt = b'{"position":%d}' % position, position.to_bytes(16, "big")
        events.append(StoredEvent(position, record, salt, commit(salt, record)))
    return events


def batch(
    shelf: Shelf,
    first: int,
    count: int,
    *,
    keys: Sequence[Outcome | None] | None = None,
    outcomes: Sequence[Outcome] = (),
    epoch: int | None = None,
) -> Batch:
    events = events_at(first, count)
    return Batch(
        shelf.epoch if epoch is None else epoch,
        events,
        [None] * count if keys is None else keys,
        outcomes,
        SIGNER.cut(BOOK, BOOK_ID, events),
    )


def all_events(journal: Journal) -> list[StoredEvent]:
    return [event for frame in journal.read_frames(0) for event in frame.events]


def nothing_there(journal: Journal) -> bool:
    return (
        journal.head() == 0
        and not list(journal.read_frames(0))
        and journal.newest_outcomes(uuid7(0, bytes), 10) == ([], uuid7(0, bytes))
        and not journal.read_events([0, 1])
    )


class TestJournal:
    """What kernel/journal/port.py promises of every adapter."""

    def test_an_empty_journal_begins_at_nought(self, shelf: Shelf) -> None:
        assert nothing_there(shelf.journal)
        assert shelf.journal.find_outcomes([id_of(0)]) == []
        assert shelf.journal.find_outcomes([]) == []

    def test_what_is_appended_is_read_back_byte_for_byte(self, shelf: Shelf) -> None:
        appended = batch(shelf, 0, 5)
        shelf.journal.append(appended)
        assert list(shelf.journal.read_frames(0)) == list(appended.frames)
        assert all_events(shelf.journal) == appended.events
        for frame in shelf.journal.read_frames(0):
            verify_frame(frame, lambda book, key: public_bytes(KEY))

    def test_bytes_of_every_kind_survive(self, shelf: Shelf) -> None:
        record, salt = bytes(range(256)) * 250, bytes(16)
        event = StoredEvent(0, record, salt, commit(salt, record))
        frames = SIGNER.cut(BOOK, BOOK_ID, [event])
        shelf.journal.append(Batch(shelf.epoch, [event], [None], [], frames))
        assert all_events(shelf.journal) == [event]

    def test_the_head_is_the_position_of_the_next_event(self, shelf: Shelf) -> None:
        for first, count in ((0, 1), (1, 3), (4, 2)):
            shelf.journal.append(batch(shelf, first, count))
            assert shelf.journal.head() == first + count

    @pytest.mark.parametrize("first", [0, 2, 4, 100])
    def test_a_batch_that_does_not_continue_the_head_is_refused(
        self, shelf: Shelf, first: int
    ) -> None:
        shelf.journal.append(batch(shelf, 0, 3))
        with pytest.raises(InvariantBroken):
            shelf.journal.append(batch(shelf, first, 2))
        assert shelf.journal.head() == 3
        assert len(all_events(shelf.journal)) == 3

    @pytest.mark.parametrize("positions", [(0, 2), (0, 0), (0, 2, 1), (1, 0), (0, 5, 2)])
    def test_a_batch_with_a_gap_inside_is_refused(
        self, shelf: Shelf, positions: tuple[int, ...]
    ) -> None:
        events = [events_at(position, 1)[0] for position in positions]
        frames = SIGNER.cut(BOOK, BOOK_ID, events)
        with pytest.raises(InvariantBroken):
            shelf.journal.append(Batch(shelf.epoch, events, [None] * len(events), [], frames))
        assert nothing_there(shelf.journal)

    @pytest.mark.parametrize("epoch", [0, 2])
    def test_a_batch_under_another_epoch_is_fenced(self, shelf: Shelf, epoch: int) -> None:
        with pytest.raises(Fenced):
            shelf.journal.append(batch(shelf, 0, 1, epoch=epoch))
        with pytest.raises(Fenced):
            shelf.journal.append(Batch(epoch, [], [], [refused(0)], []))
        assert nothing_there(shelf.journal)

    def test_an_event_row_is_the_outcome_of_its_command(self, shelf: Shelf) -> None:
        shelf.journal.append(batch(shelf, 0, 3, keys=[key_of(0), None, key_of(2, TRADER)]))
        found = shelf.journal.find_outcomes([id_of(2), id_of(0), id_of(1)])
        assert sorted(found, key=lambda one: one.first) == [
            Outcome(id_of(0), COMMUTER, digest_of(0), 0, 1, None),
            Outcome(id_of(2), TRADER, digest_of(2), 2, 1, None),
        ]

    def test_an_outcome_of_several_events_and_a_refusal_come_back_whole(self, shelf: Shelf) -> None:
        several = Outcome(id_of(0), COMMUTER, digest_of(0), 0, 2, None)
        shelf.journal.append(batch(shelf, 0, 2, outcomes=[several, refused(1)]))
        found = {one.id: one for one in shelf.journal.find_outcomes([id_of(0), id_of(1)])}
        assert found == {id_of(0): several, id_of(1): refused(1)}

    def test_refusals_alone_are_recorded_without_an_event(self, shelf: Shelf) -> None:
        shelf.journal.append(Batch(shelf.epoch, [], [], [refused(0)], []))
        assert shelf.journal.head() == 0
        assert shelf.journal.find_outcomes([id_of(0)]) == [refused(0)]

    def test_one_id_of_two_principals_has_two_outcomes(self, shelf: Shelf) -> None:
        shelf.journal.append(batch(shelf, 0, 1, keys=[key_of(0)], outcomes=[refused(0, TRADER)]))
        shelf.journal.append(batch(shelf, 1, 1, keys=[key_of(0, "meishan")]))
        found = shelf.journal.find_outcomes([id_of(0)])
        assert {one.principal for one in found} == {COMMUTER, TRADER, "meishan"}

    @pytest.mark.parametrize("before", ["event", "outcome"])
    def test_a_second_outcome_of_the_same_kind_is_our_fault(
        self, shelf: Shelf, before: str
    ) -> None:
        if before == "event":
            shelf.journal.append(batch(shelf, 0, 1, keys=[key_of(0)]))
            again = batch(shelf, 1, 2, keys=[key_of(1), key_of(0)])
        else:
            shelf.journal.append(batch(shelf, 0, 1, outcomes=[refused(0)]))
            again = batch(shelf, 1, 2, keys=[key_of(1), None], outcomes=[refused(0)])
        with pytest.raises(InvariantBroken):
            shelf.journal.append(again)
        assert shelf.journal.head() == 1
        assert len(list(shelf.journal.read_frames(0))) == 1
        assert shelf.journal.find_outcomes([id_of(1)]) == []

    def test_no_id_has_two_effects_however_many_events_each_would_have(self, shelf: Shelf) -> None:
        several = Outcome(id_of(0), COMMUTER, digest_of(0), 0, 2, None)
        shelf.journal.append(batch(shelf, 0, 2, keys=[key_of(0), None], outcomes=[several]))
        assert shelf.journal.find_outcomes([id_of(0)]) == [several]
        with pytest.raises(InvariantBroken):
            shelf.journal.append(batch(shelf, 2, 1, keys=[key_of(0)]))
        assert shelf.journal.head() == 2

    def test_a_batch_with_one_id_twice_leaves_nothing(self, shelf: Shelf) -> None:
        with pytest.raises(InvariantBroken):
            shelf.journal.append(batch(shelf, 0, 2, keys=[key_of(0), key_of(0)]))
        with pytest.raises(InvariantBroken):
            shelf.journal.append(batch(shelf, 0, 2, outcomes=[refused(0), refused(0)]))
        assert nothing_there(shelf.journal)
        shelf.journal.append(batch(shelf, 0, 2, keys=[key_of(0), key_of(1)]))
        assert shelf.journal.head() == 2

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (0, None, [0, 3, 7, 8]),
            (2, None, [0, 3, 7, 8]),
            (3, None, [3, 7, 8]),
            (5, None, [3, 7, 8]),
            (6, 7, [3]),
            (6, 8, [3, 7]),
            (0, 3, [0]),
            (0, 4, [0, 3]),
            (7, 8, [7]),
            (9, None, [8]),
            (10, None, []),
            (99, None, []),
            (4, 4, []),
        ],
    )
    def test_reading_begins_with_the_frame_that_holds_the_position(
        self, shelf: Shelf, start: int, end: int | None, expected: list[int]
    ) -> None:
        for first, count in ((0, 3), (3, 4), (7, 1), (8, 2)):
            shelf.journal.append(batch(shelf, first, count))
        assert [f.first for f in shelf.journal.read_frames(start, end)] == expected

    def test_more_frames_than_a_page_come_in_order_and_without_a_gap(self, shelf: Shelf) -> None:
        events = events_at(0, 2 * READ_PAGE_FRAMES + 3)
        frames = [frame for e in events for frame in SIGNER.cut(BOOK, BOOK_ID, [e])]
        shelf.journal.append(Batch(shelf.epoch, events, [None] * len(events), [], frames))
        assert all_events(shelf.journal) == events
        assert [f.first for f in shelf.journal.read_frames(READ_PAGE_FRAMES - 1)] == list(
            range(READ_PAGE_FRAMES - 1, len(events))
        )

    def test_single_events_come_in_the_order_asked_without_the_missing(self, shelf: Shelf) -> None:
        appended = batch(shelf, 0, 5)
        shelf.journal.append(appended)
        found = shelf.journal.read_events([4, 99, 0, 2, -1, 5])
        assert [one.position for one in found] == [4, 0, 2]
        assert [(one.record, one.salt) for one in found] == [
            (appended.events[p].record, appended.events[p].salt) for p in (4, 0, 2)
        ]

    def test_newest_outcomes_are_those_of_younger_ids(self, shelf: Shelf) -> None:
        ids = journal_of_six(shelf)
        for floor, expected in (
            (uuid7(AT_MS + 2, bytes), ids[2:]),
            (ids[3], ids[4:]),
            (ids[5], []),
        ):
            found, reached = shelf.journal.newest_outcomes(floor, 10)
            assert sorted(one.id for one in found) == expected
            assert reached == floor

    @pytest.mark.parametrize("limit", [1, 2, 3, 5])
    def test_of_too_many_newest_outcomes_none_is_missing_above_the_floor_answered(
        self, shelf: Shelf, limit: int
    ) -> None:
        ids = journal_of_six(shelf)
        found, floor = shelf.journal.newest_outcomes(uuid7(0, bytes), limit)
        assert sorted(one.id for one in found) == [id for id in ids if id > floor]
        assert limit <= len(found) <= 2 * limit


def journal_of_six(shelf: Shelf) -> list[str]:
    """Their ids in order; every other one was refused."""
    ids = [id_of(n, AT_MS + n) for n in range(6)]
    keys = [key_of(n)._replace(id=ids[n]) for n in (0, 2, 4)]
    outcomes = [refused(n)._replace(id=ids[n]) for n in (1, 3, 5)]
    shelf.journal.append(batch(shelf, 0, 3, keys=keys, outcomes=outcomes))
    return ids


# Only PostgreSQL


@pytest.fixture
def postgres(database: Database) -> PostgresShelf:
    return PostgresShelf(database)


def test_a_second_reader_sees_what_was_appended(postgres: PostgresShelf) -> None:
    postgres.journal.append(batch(postgres, 0, 4, keys=[key_of(n) for n in range(4)]))
    reader = PostgresJournal(postgres.database.engine(SERVICE), BOOK)
    assert reader.head() == 4
    assert all_events(reader) == all_events(postgres.journal)
    with pytest.raises(InvariantBroken, match="opened for reading"):
        reader.append(batch(postgres, 4, 1))


def test_books_of_one_schema_do_not_see_each_other(postgres: PostgresShelf) -> None:
    postgres.journal.append(batch(postgres, 0, 2, keys=[key_of(0), None], outcomes=[refused(1)]))
    other = PostgresJournal(postgres.database.engine(SERVICE), "accounts-08of16")
    assert nothing_there(other)
    assert other.find_outcomes([id_of(0), id_of(1)]) == []


def test_a_backend_killed_in_the_middle_of_an_append_leaves_nothing(
    postgres: PostgresShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.journal.append(batch(postgres, 0, 2))
    backend = postgres.connection.info.backend_pid
    admin_url = postgres.database.admin_url().replace("postgresql+psycopg", "postgresql")

    def kill_backend(point: str) -> None:
        # Everything is on the connection, the commit is not sent yet.
        assert point == "journal.committing"
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])

    monkeypatch.setattr(kernel.journal.postgres, "crash_point", kill_backend)
    with pytest.raises(psycopg.OperationalError):
        postgres.journal.append(batch(postgres, 2, 3, keys=[key_of(n) for n in range(3)]))
    reader = PostgresJournal(postgres.database.engine(SERVICE), BOOK)
    assert reader.head() == 2
    assert [frame.first for frame in reader.read_frames(0)] == [0]
    assert reader.find_outcomes([id_of(0)]) == []


def test_an_append_that_returned_is_committed_synchronously(postgres: PostgresShelf) -> None:
    shown = postgres.connection.execute("SHOW synchronous_commit").fetchall()
    assert shown == [("on",)]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET record = '{}' WHERE position = 3",
        "UPDATE events SET salt = repeat('x', 16)::bytea WHERE position = 3",
        "DELETE FROM events WHERE position = 3",
    ],
)
def test_an_edited_row_is_found_by_position_when_it_is_read(
    postgres: PostgresShelf, damage: str
) -> None:
    postgres.journal.append(batch(postgres, 0, 5))
    postgres.connection.execute(damage.encode())
    (frame,) = postgres.journal.read_frames(0)
    with pytest.raises(FrameError, match="EVENT_COMMITMENT at 3"):
        verify_frame(frame, lambda book, key: public_bytes(KEY))


def test_a_missing_frame_is_found_when_it_is_read(postgres: PostgresShelf) -> None:
    for first in range(3):
        postgres.journal.append(batch(postgres, first, 1))
    postgres.connection.execute("DELETE FROM frames WHERE first = 2")
    with pytest.raises(InvariantBroken, match="expected a frame with position 2"):
        list(postgres.journal.read_frames(0))


def test_a_journal_without_a_lease_row_is_not_written(database: Database) -> None:
    connection = database.writing_connection(SERVICE, BOOK)
    journal = PostgresJournal(database.engine(SERVICE), BOOK, connection)
    events = events_at(0, 1)
    with pytest.raises(InvariantBroken, match="no lease row"):
        journal.append(Batch(1, events, [None], [], SIGNER.cut(BOOK, BOOK_ID, events)))
