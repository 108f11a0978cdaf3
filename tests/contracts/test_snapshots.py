"""One class of tests for every place where snapshots are kept (kernel/journal/snapshots.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernel.journal.snapshots import (
    KEPT,
    Head,
    MemorySnapshots,
    PostgresSnapshots,
    Snapshots,
)
from tests.support.database import Database

BOOK = "accounts"


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Snapshots:
    if request.param == "memory":
        return MemorySnapshots(BOOK)
    database: Database = request.getfixturevalue("database")
    return PostgresSnapshots(database.engine(BOOK), BOOK)


def head_at(position: int, key_id: str = "the key of Lanzhou's books") -> Head:
    return Head(BOOK, b"i" * 16, position, b"v" * 32, b"c" * 32, b"d" * 64, key_id, b"s" * 64)


def save(store: Snapshots, position: int, *chunks: bytes) -> Head:
    return store.save(position, iter(chunks), lambda: head_at(position))


class TestSnapshots:
    def test_a_snapshot_is_read_as_it_was_saved(self, store: Snapshots) -> None:
        saved = save(store, 7, b"first", b"second")
        assert saved == head_at(7)
        assert store.heads() == [saved]
        assert [store.chunk(7, 0), store.chunk(7, 1)] == [b"first", b"second"]

    def test_what_is_not_there_is_none(self, store: Snapshots) -> None:
        assert store.heads() == []
        assert store.chunk(7, 0) is None
        save(store, 7, b"first")
        assert store.chunk(7, 1) is None
        assert store.chunk(8, 0) is None

    def test_the_newest_comes_first_and_only_the_newest_are_kept(self, store: Snapshots) -> None:
        for position in (10, 20, 30, 40):
            save(store, position, b"chunk of %d" % position)
        assert [head.position for head in store.heads()] == [40, 30]
        assert len(store.heads()) == KEPT
        assert store.chunk(40, 0) == b"chunk of 40"
        assert store.chunk(20, 0) is None

    def test_one_at_the_same_position_takes_the_place_of_the_other(self, store: Snapshots) -> None:
        save(store, 7, b"first", b"second")
        store.save(7, iter([b"other"]), lambda: head_at(7, "another key"))
        assert [head.key_id for head in store.heads()] == ["another key"]
        assert [store.chunk(7, 0), store.chunk(7, 1)] == [b"other", None]

    def test_the_head_is_signed_after_the_last_chunk_was_taken(self, store: Snapshots) -> None:
        taken: list[bytes] = []

        def chunks() -> Iterator[bytes]:
            for chunk in (b"first", b"second"):
                taken.append(chunk)
                yield chunk

        def sign() -> Head:
            assert taken == [b"first", b"second"]
            return head_at(7)

        store.save(7, chunks(), sign)

    def test_one_that_breaks_in_its_middle_is_not_there_and_the_last_one_stays(
        self, store: Snapshots
    ) -> None:
        save(store, 7, b"whole")

        def broken() -> Iterator[bytes]:
            yield b"first"
            raise OSError("the process of the snapshot was ended")

        with pytest.raises(OSError, match="was ended"):
            store.save(9, broken(), lambda: head_at(9))
        assert [head.position for head in store.heads()] == [7]
        assert store.chunk(9, 0) is None


def test_chunks_that_somebody_left_without_a_head_are_not_in_the_way(database: Database) -> None:
    store = PostgresSnapshots(database.engine(BOOK), BOOK)
    with database.engine(BOOK).begin() as connection:
        connection.exec_driver_sql("INSERT INTO snapshot_chunks VALUES ('accounts', 7, 0, 'left')")
    save(store, 7, b"whole")
    assert store.chunk(7, 0) == b"whole"
