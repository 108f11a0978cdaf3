"""What a witness has cosigned: a SQLite file, synced before anything is answered.

Every step is `advance`: read what is newest, judge, keep, in one transaction that no other thread
and no other process can come between. Trust: this file is the witness. Lost or put back to an
older copy, the witness can be led to cosign a second history: retire its key then, never restore.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

# A fork at a size cosigned before is proven by the checkpoint kept of it: some hours of a busy log.
KEPT_CHECKPOINTS: Final = 20_000
PRUNE_EVERY: Final = 256  # cosignatures of one log
BUSY_S: Final = 10.0  # how long another process may be in the middle of its step

_TABLES: Final = """
create table if not exists cosigned (
    origin text not null, size integer not null, at_s integer not null,
    note blob not null, lines text not null, number integer not null,
    primary key (origin, size)) without rowid;
"""
_HAS_TABLE: Final = "select 1 from sqlite_master where type = 'table' and name = 'cosigned'"
_COLUMNS: Final = "select size, at_s, note, lines, number from cosigned where origin = ?"


class Cosigned(NamedTuple):
    """The log's own signed checkpoint, our signature lines over it, and when (POSIX seconds).

    `number` counts the cosignatures of this log.
    """

    size: int
    at_s: int
    note: bytes
    lines: str
    number: int

    @property
    def shown(self) -> bytes:
        """The note with our lines at its end, as monitors are given it."""
        return self.note + self.lines.encode()


class StoreMissing(Exception):
    """There is no database, or nothing in it."""


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_S,
            check_same_thread=False,
            isolation_level=None,
        )
    except sqlite3.OperationalError as error:
        raise StoreMissing(f"{path}: {error}") from error


class Store:
    """Safe for concurrent use by threads and by processes on one machine."""

    def __init__(self, path: Path) -> None:
        """Raises StoreMissing. `make` is apart: what is made anew has forgotten everything."""
        self._lock = threading.Lock()
        self._db = _connect(path, "rw")
        if not self._db.execute(_HAS_TABLE).fetchone():
            self._db.close()
            raise StoreMissing(f"{path}: expected the table cosigned, got none")
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")  # a commit is on the disk when it returns

    @staticmethod
    def make(path: Path) -> None:
        """An empty one, where there is none."""
        made = _connect(path, "rwc")
        made.executescript(_TABLES)
        made.close()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def advance(self) -> Iterator[Step]:
        """One step, alone: all of it durable when this returns, or nothing of it."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield Step(self._db)
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    def newest(self, origin: str) -> Cosigned | None:
        """What was cosigned last of a log."""
        with self._lock:
            return Step(self._db).newest(origin)

    def origins(self) -> list[str]:
        with self._lock:
            rows = self._db.execute("select distinct origin from cosigned order by origin")
            return [str(origin) for (origin,) in rows.fetchall()]


class Step:
    """What can be done within one step."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def newest(self, origin: str) -> Cosigned | None:
        return self._one(f"{_COLUMNS} order by size desc limit 1", origin)

    def of_size(self, origin: str, size: int) -> Cosigned | None:
        """What was cosigned at exactly that size, if it is still kept."""
        return self._one(f"{_COLUMNS} and size = ?", origin, size)

    def keep(self, origin: str, cosigned: Cosigned) -> None:
        """The newest from now on; of the one before only the log's own note is kept."""
        before = self.newest(origin)
        if before is not None and before.size < cosigned.size:
            self._db.execute(
                "update cosigned set lines = '' where origin = ? and size = ?",
                (origin, before.size),
            )
        self._db.execute(
            "insert or replace into cosigned (origin, size, at_s, note, lines, number)"
            " values (?, ?, ?, ?, ?, ?)",
            (origin, *cosigned),
        )
        if cosigned.number % PRUNE_EVERY == 0:
            self._prune(origin)

    def _prune(self, origin: str) -> None:
        self._db.execute(
            "delete from cosigned where origin = ? and size <"
            " (select size from cosigned where origin = ? order by size desc limit 1 offset ?)",
            (origin, origin, KEPT_CHECKPOINTS),
        )

    def _one(self, query: str, *values: Any) -> Cosigned | None:
        row = self._db.execute(query, values).fetchone()
        return None if row is None else Cosigned(*row)
