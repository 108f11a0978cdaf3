"""How far each reader of a book has come: the relay, and every projection.

May be lost: the reader starts again from 0 and does the same once more, to the same end.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kernel.journal.schema import watermarks


def load_watermark(engine: sa.Engine, reader: str, book: str) -> int:
    """The next position for this reader; 0 when it has read nothing."""
    query = sa.select(watermarks.c.next_position).where(
        watermarks.c.reader == reader, watermarks.c.book == book
    )
    with engine.connect() as connection:
        return connection.execute(query).scalar() or 0


def claim_watermark(connection: sa.Connection, reader: str, book: str) -> int:
    """The same, and this reader's turn until the transaction ends: nobody else goes on meanwhile.

    A process that was stopped and overtaken may still be in the middle of its own turn.
    """
    turn = sa.func.hashtextextended(f"{reader} {book}", 0)
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(turn)))
    query = sa.select(watermarks.c.next_position).where(
        watermarks.c.reader == reader, watermarks.c.book == book
    )
    return connection.execute(query).scalar() or 0


def save_watermark(connection: sa.Connection, reader: str, book: str, next_position: int) -> None:
    """In the transaction of the effect, or it means nothing."""
    statement = insert(watermarks).values(reader=reader, book=book, next_position=next_position)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[watermarks.c.reader, watermarks.c.book],
            set_={"next_position": next_position},
            # Somebody who was overtaken and wakes up must not set it back.
            where=watermarks.c.next_position < next_position,
        )
    )


class Bookmark:
    """One reader's watermark in one book, for readers whose effect lies outside the database."""

    def __init__(self, engine: sa.Engine, reader: str, book: str) -> None:
        self._engine = engine
        self._reader = reader
        self._book = book

    def load(self) -> int:
        return load_watermark(self._engine, self._reader, self._book)

    def save(self, next_position: int) -> None:
        with self._engine.begin() as connection:
            save_watermark(connection, self._reader, self._book, next_position)
