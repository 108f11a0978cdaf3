"""Where snapshots of a book are kept: one port, two adapters.

- durable, atomic: a snapshot is there whole once `save` has returned, or not at all
- pruned: the newest KEPT of a book stay
- not trusted: whoever reads one checks it (kernel/snapshot/recovery.py)

Losing them costs time at the next start, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

import sqlalchemy as sa

from kernel.crash import crash_point
from kernel.journal.schema import snapshot_chunks, snapshots

KEPT: Final = 2  # the newest, and one before it should the newest not be believed


class Head(NamedTuple):
    """What is signed of a snapshot. `position`: of the next event, as everywhere."""

    book: str
    book_id: bytes
    position: int
    version: bytes  # of the state's shape
    commitment: bytes  # of the event before `position`: which history this is of
    digests: bytes  # of all chunks, in order, 32 bytes each
    key_id: str
    signature: bytes


class Snapshots(Protocol):
    book: str

    def heads(self) -> list[Head]:
        """Newest first."""
        ...

    def chunk(self, position: int, number: int) -> bytes | None:
        """One chunk of the snapshot at this position, None if it is not there."""
        ...

    def save(self, position: int, chunks: Iterable[bytes], sign: Callable[[], Head]) -> Head:
        """Takes the chunks as they come, then the head; in the place of one at this position."""
        ...


class MemorySnapshots:
    def __init__(self, book: str) -> None:
        self.book = book
        self._kept: dict[int, tuple[Head, list[bytes]]] = {}

    def heads(self) -> list[Head]:
        return [self._kept[position][0] for position in sorted(self._kept, reverse=True)]

    def chunk(self, position: int, number: int) -> bytes | None:
        chunks = self._kept[position][1] if position in self._kept else []
        return chunks[number] if number < len(chunks) else None

    def save(self, position: int, chunks: Iterable[bytes], sign: Callable[[], Head]) -> Head:
        taken = list(chunks)
        head = sign()
        self._kept[position] = (head, taken)
        for old in sorted(self._kept, reverse=True)[KEPT:]:
            del self._kept[old]
        return head


class PostgresSnapshots:
    """In the schema of the book's service, whose role alone may write there."""

    def __init__(self, engine: sa.Engine, book: str) -> None:
        self.book = book
        self._engine = engine

    def heads(self) -> list[Head]:
        with self._engine.connect() as connection:
            return self._heads(connection)

    def _heads(self, connection: sa.Connection) -> list[Head]:
        query = (
            sa.select(*(snapshots.c[name] for name in Head._fields))
            .where(snapshots.c.book == self.book)
            .order_by(snapshots.c.position.desc())
        )
        return [Head(**row._mapping) for row in connection.execute(query)]

    def chunk(self, position: int, number: int) -> bytes | None:
        query = sa.select(snapshot_chunks.c.data).where(
            snapshot_chunks.c.book == self.book,
            snapshot_chunks.c.position == position,
            snapshot_chunks.c.number == number,
        )
        with self._engine.connect() as connection:
            data = connection.execute(query).scalar()
        return None if data is None else bytes(data)

    def save(self, position: int, chunks: Iterable[bytes], sign: Callable[[], Head]) -> Head:
        with self._engine.begin() as connection:
            turn = sa.func.hashtextextended(f"snapshot {self.book}", 0)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(turn)))
            self._remove(connection, lambda table: table.c.position == position)
            for number, data in enumerate(chunks):
                connection.execute(
                    sa.insert(snapshot_chunks),
                    {"book": self.book, "position": position, "number": number, "data": data},
                )
            head = sign()
            connection.execute(sa.insert(snapshots), head._asdict())
            kept = [one.position for one in self._heads(connection)[:KEPT]]
            self._remove(connection, lambda table: table.c.position.not_in(kept))
            # A crash here: all of it goes, the older ones stay; the next run makes one.
            crash_point("snapshot.writing")
        return head

    def _remove(
        self, connection: sa.Connection, which: Callable[[sa.Table], sa.ColumnElement[bool]]
    ) -> None:
        for table in (snapshot_chunks, snapshots):
            connection.execute(sa.delete(table).where(table.c.book == self.book, which(table)))
