"""Who may write a book: one holder at a time, and no late word from an old one (design, 3)."""

from __future__ import annotations

import threading

import psycopg
import pytest

from kernel.clock import monotonic_ms
from kernel.frames import Frame
from kernel.journal.port import Batch, Fenced
from kernel.journal.postgres import PostgresJournal
from kernel.lease import (
    FRESH_FOR_MS,
    STALE_AFTER_MS,
    Freshness,
    LeaseLost,
    PostgresLease,
)
from tests.contracts.test_journal import BOOK, SERVICE, batch, refused
from tests.support.database import Connection, Database


class Contender:
    """A process that wants to write the book."""

    def __init__(self, database: Database, book: str = BOOK) -> None:
        self.connection: Connection = database.writing_connection(SERVICE, book)
        self.lease = PostgresLease(self.connection, book)
        self.journal = PostgresJournal(database.engine(SERVICE), book, self.connection)
        self.epoch = 0

    def take(self) -> bool:
        epoch = self.lease.try_take(0)
        self.epoch = epoch or self.epoch
        return epoch is not None


def age(database: Database, by_ms: int) -> None:
    """As if the last renewal had been that much earlier, by database time."""
    with psycopg.connect(
        database.admin_url().replace("postgresql+psycopg", "postgresql"), autocommit=True
    ) as admin:
        admin.execute(
            "UPDATE accounts.leases SET renewed_at = renewed_at - make_interval(secs => %s)",
            [by_ms / 1000],
        )


def row(database: Database) -> tuple[object, ...]:
    with psycopg.connect(database.admin_url().replace("postgresql+psycopg", "postgresql")) as admin:
        found = admin.execute("SELECT epoch, backend_pid FROM accounts.leases").fetchone()
    assert found is not None
    return found


def test_the_first_taker_has_epoch_one_and_is_named_by_its_backend(database: Database) -> None:
    first = Contender(database)
    assert first.take()
    assert row(database) == (1, first.connection.info.backend_pid)


def test_a_second_taker_is_refused_while_the_lease_is_fresh(database: Database) -> None:
    first, second = Contender(database), Contender(database)
    assert first.take()
    assert not second.take()
    age(database, STALE_AFTER_MS - 1000)
    assert not second.take()
    first.lease.renew(first.epoch)
    assert row(database) == (1, first.connection.info.backend_pid)


def test_renewing_keeps_a_lease_that_was_nearly_stale(database: Database) -> None:
    first, second = Contender(database), Contender(database)
    assert first.take()
    age(database, STALE_AFTER_MS - 500)
    first.lease.renew(first.epoch)
    age(database, STALE_AFTER_MS - 500)
    assert not second.take()


def test_a_stale_lease_is_taken_with_the_next_epoch_and_the_old_backend_ends(
    database: Database,
) -> None:
    first, second = Contender(database), Contender(database)
    assert first.take()
    age(database, STALE_AFTER_MS)
    assert second.take()
    assert row(database) == (2, second.connection.info.backend_pid)
    with pytest.raises(psycopg.OperationalError):
        first.connection.execute("SELECT 1")


def test_who_lost_the_lease_cannot_renew_it(database: Database) -> None:
    first, second = Contender(database), Contender(database)
    assert first.take()
    age(database, STALE_AFTER_MS)
    assert second.take()
    with pytest.raises(LeaseLost):
        first.lease.renew(first.epoch)
    # The same from a connection that nobody ended: the epoch alone decides.
    survivor = PostgresLease(database.writing_connection(SERVICE, BOOK), BOOK)
    with pytest.raises(LeaseLost, match="expected epoch 1"):
        survivor.renew(1)
    survivor.release(1)
    assert not Contender(database).take()


def test_whatever_the_old_writer_still_tries_is_not_written(database: Database) -> None:
    first, second = Contender(database), Contender(database)
    assert first.take()
    first.journal.append(batch(first, 0, 2))
    age(database, STALE_AFTER_MS)
    assert second.take()
    with pytest.raises((Fenced, psycopg.OperationalError)):
        first.journal.append(batch(first, 2, 1))
    # Nor through a connection that survived: fenced by its epoch, refusals and all.
    survivor = PostgresJournal(
        database.engine(SERVICE), BOOK, database.writing_connection(SERVICE, BOOK)
    )
    no_frames: list[Frame] = []
    for late in (batch(first, 2, 1), Batch(first.epoch, [], [], [refused(0)], no_frames)):
        with pytest.raises(Fenced):
            survivor.append(late)
    assert second.journal.head() == 2
    second.journal.append(batch(second, 2, 1))
    assert second.journal.head() == 3


def test_of_takers_at_the_same_moment_exactly_one_gets_the_lease(database: Database) -> None:
    for round_number in range(1, 6):
        takers = [Contender(database) for _ in range(4)]
        start = threading.Barrier(len(takers))

        def race(taker: Contender, start: threading.Barrier = start) -> None:
            start.wait()
            taker.take()

        threads = [threading.Thread(target=race, args=(taker,)) for taker in takers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [taker for taker in takers if taker.epoch]
        assert [winner.epoch for winner in winners] == [round_number]
        winners[0].lease.renew(round_number)
        age(database, STALE_AFTER_MS + 1000)


def test_an_orderly_release_lets_the_next_take_over_at_once(database: Database) -> None:
    first, second = Contender(database), Contender(database)
    assert first.take()
    first.lease.release(first.epoch)
    assert second.take()
    assert second.epoch == 2


def test_taking_one_books_lease_does_not_touch_another_books(database: Database) -> None:
    accounts, citizens = Contender(database), Contender(database, "inclusive-07of16")
    assert accounts.take()
    assert citizens.take()
    assert (accounts.epoch, citizens.epoch) == (1, 1)
    accounts.lease.renew(1)
    citizens.lease.renew(1)


def test_a_backend_that_is_somebody_elses_by_now_is_left_alone(database: Database) -> None:
    """A pid may have been given to another process: the application name is asked for, too."""
    first = Contender(database)
    bystander = database.writing_connection(SERVICE, "another book")
    assert first.take()
    bystander.execute("UPDATE leases SET backend_pid = pg_backend_pid()")
    age(database, STALE_AFTER_MS)
    assert Contender(database).take()
    assert bystander.execute("SELECT 1").fetchone() == (1,)


def test_freshness_ends_before_anybody_else_may_take_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert FRESH_FOR_MS < STALE_AFTER_MS
    fresh = Freshness()
    now_ms = monotonic_ms()
    monkeypatch.setattr("kernel.lease.monotonic_ms", lambda: now_ms)
    fresh.renewed(now_ms)
    assert fresh()
    now_ms += FRESH_FOR_MS - 1
    assert fresh()
    now_ms += 1
    assert not fresh()


def test_a_lease_never_renewed_is_not_fresh() -> None:
    assert not Freshness()()
