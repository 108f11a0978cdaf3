"""The door to PostgreSQL: who needs an engine or a connection takes it, and its type, from here.

SQL itself stays in tables, projections, queries, journal, lease and migrations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
import sqlalchemy as sa

Engine = sa.Engine
Connection = sa.Connection

POOL_SIZE: Final = 8  # readers: queries, outcome look-ups, projections, frames for followers
# A process stopped in the middle of a transaction holds its locks against whoever takes its place.
IDLE_MS: Final = 5000
CONNECT_S: Final = 10  # a server that says nothing for so long is as good as none


def open_engine(url: str) -> Engine:
    """A pool of reading connections; the writing one is the lease's own (kernel/lease.py)."""
    return sa.create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        hide_parameters=True,  # an error's text goes into a log: never with names or riders in it
        connect_args={
            "options": f"-c idle_in_transaction_session_timeout={IDLE_MS}",
            "connect_timeout": CONNECT_S,
        },
    )


def copy_rows(connection: Connection, table: sa.Table, rows: Sequence[Sequence[Any]]) -> None:
    """All columns of the table, in its order, by COPY: what a projection writes."""
    if not rows:
        return
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def copy_text(connection: Connection, table: sa.Table, lines: Sequence[str]) -> None:
    """The same for rows that are written out already, in PostgreSQL's text form of COPY."""
    if not lines:
        return
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy,
    ):
        copy.write("".join(lines))


def commit_lazily(connection: Connection) -> None:
    """This transaction need not wait for the disk: what it writes can be made again.

    A crash of the server may lose it as a whole, the reader's watermark with it; never a part.
    """
    connection.execute(sa.text("SET LOCAL synchronous_commit TO off"))


def is_away(error: Exception) -> bool:
    """Does the database not answer now, so that the same may well succeed in a moment?"""
    return isinstance(
        error, sa.exc.OperationalError | sa.exc.TimeoutError | psycopg.OperationalError
    )
