"""Who may write a book: a lease with an epoch, in the book's own database (design section 3).

The row says (epoch, backend pid, renewed at, by database time); renewed each second on the writing
connection itself, stale after three. A taker terminates the old backend, compares-and-sets
epoch + 1 and only then reads the journal to its end: whatever the old holder still had in flight
has by then committed or died, and whatever it tries later fails on its epoch or on its position.
An advisory lock alone would not do: a stopped holder keeps it.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from kernel.clock import monotonic_ms
from kernel.errors import Fault
from kernel.journal.database import CONNECT_S
from kernel.logs import get_logger

RENEW_EVERY_MS: Final = 1000
STALE_AFTER_MS: Final = 3000
# A strong read is answered this long after the last renewal was *sent*: below STALE_AFTER_MS by
# more than any difference in how fast two clocks run.
FRESH_FOR_MS: Final = 2500
# A renewal that takes longer is not coming: by then somebody else may well write. More than a slow
# commit takes, on whose connection it waits.
LOST_AFTER_S: Final = 6.0
_TERMINATE_WAIT_S: Final = 5.0

log = get_logger(__name__)


class LeaseLost(Fault):
    """The lease is somebody else's, or the connection that holds it is gone: stop writing."""


def connect(url: str, application_name: str) -> psycopg.Connection:
    """The single writing connection of a book, autocommit between its transactions."""
    conninfo = make_conninfo(
        url.replace("postgresql+psycopg://", "postgresql://", 1),
        application_name=application_name,
        connect_timeout=CONNECT_S,
    )
    connection = psycopg.connect(conninfo, autocommit=True)
    connection.execute("SET synchronous_commit = on")  # whatever the server's default: we promise
    return connection


class PostgresLease:
    """The lease of one book, taken and renewed on the writing connection, which it owns."""

    def __init__(self, connection: psycopg.Connection, book: str) -> None:
        self.connection = connection
        self._book = book

    @classmethod
    def open(cls, url: str, book: str) -> PostgresLease:
        return cls(connect(url, application_name(book)), book)

    def try_take(self, known_epoch: int) -> int | None:
        """The new epoch, or None while another holder's lease is fresh (or it was just taken).

        Above known_epoch, the last one in the journal, also when the lease's row was lost.
        """
        self.connection.execute(
            "INSERT INTO leases (book, epoch, renewed_at) VALUES (%s, 0, '-infinity')"
            " ON CONFLICT DO NOTHING",
            (self._book,),
        )
        found = self.connection.execute(
            "SELECT epoch, backend_pid,"
            " renewed_at < clock_timestamp() - make_interval(secs => %s) FROM leases"
            " WHERE book = %s",
            (STALE_AFTER_MS / 1000, self._book),
        ).fetchone()
        if found is None or not found[2]:
            return None
        epoch, backend_pid, _ = found
        if backend_pid is not None:
            self._terminate(backend_pid)
        taken = self.connection.execute(
            "UPDATE leases SET epoch = greatest(epoch, %s) + 1, backend_pid = pg_backend_pid(),"
            " renewed_at = clock_timestamp() WHERE book = %s AND epoch = %s RETURNING epoch",
            (known_epoch, self._book, epoch),
        ).fetchone()
        return None if taken is None else int(taken[0])

    def _terminate(self, backend_pid: int) -> None:
        """Ends the old holder's backend and waits until it is gone.

        The application name guards against a pid that has meanwhile become someone else's.
        """
        deadline = time.monotonic() + _TERMINATE_WAIT_S
        while time.monotonic() < deadline:
            alive = self.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s"
                " AND pid <> pg_backend_pid() AND application_name = %s",
                (backend_pid, application_name(self._book)),
            ).fetchone()
            if alive is None:
                return
            time.sleep(0.02)
        raise LeaseLost(f"{self._book}: backend {backend_pid} of the old writer does not end")

    def renew(self, epoch: int) -> None:
        """Raises LeaseLost when the epoch is no longer ours, or the connection is gone."""
        try:
            renewed = self.connection.execute(
                "UPDATE leases SET renewed_at = clock_timestamp() WHERE book = %s AND epoch = %s",
                (self._book, epoch),
            )
        except psycopg.Error as error:
            raise LeaseLost(f"{self._book}: the writing connection is gone: {error}") from error
        if renewed.rowcount != 1:
            raise LeaseLost(f"{self._book}: expected epoch {epoch}, another writer has taken over")

    def cut(self) -> None:
        """From any thread: whoever waits for an answer on this connection hears that it is gone."""
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.connection.fileno())) as wire,
        ):
            wire.shutdown(socket.SHUT_RDWR)

    def release(self, epoch: int) -> None:
        """On an orderly stop: the next writer need not wait for the lease to go stale."""
        try:
            self.connection.execute(
                "UPDATE leases SET renewed_at = '-infinity' WHERE book = %s AND epoch = %s",
                (self._book, epoch),
            )
        except psycopg.Error as error:  # then it goes stale by itself
            log.info("lease.not_released", book=self._book, error=str(error))


def application_name(book: str) -> str:
    """How a book's writing connections call themselves in pg_stat_activity."""
    return f"tanzhang writer {book}"


class Freshness:
    """May strong reads be answered? Only if renewed recently enough by our own monotonic clock."""

    def __init__(self) -> None:
        self._sent_ms = -FRESH_FOR_MS

    def renewed(self, sent_ms: int) -> None:
        self._sent_ms = sent_ms

    def __call__(self) -> bool:
        return monotonic_ms() - self._sent_ms < FRESH_FOR_MS
