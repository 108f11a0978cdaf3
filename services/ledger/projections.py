"""Writes what the logs have become: leaves, tiles, watermark, published checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kernel.journal.watermarks import save_watermark
from services.ledger.log import Pending
from services.ledger.tables import checkpoints, commitments, state_entries, tiles

READER = "ledger.log"


def store_pending(engine: sa.Engine, pending: Pending) -> None:
    """One transaction: source position, leaves, full tiles once, and the right edge."""
    with engine.begin() as connection:
        if pending.entries:
            _store_entries(connection, pending)
        else:
            _store_commitments(connection, pending)
        edge = insert(tiles)
        connection.execute(
            edge.on_conflict_do_update(
                index_elements=[tiles.c.book, tiles.c.level, tiles.c.n],
                set_={"data": edge.excluded.data},
            ),
            [
                {"book": pending.book, "level": tile.level, "n": tile.n, "data": tile.data}
                for tile in pending.tiles
            ],
        )


def _store_entries(connection: sa.Connection, pending: Pending) -> None:
    rows = [
        {"position": position, "data": entry}
        for position, entry in enumerate(pending.entries, pending.first)
    ]
    connection.execute(sa.insert(state_entries), rows)


def _store_commitments(connection: sa.Connection, pending: Pending) -> None:
    connection.execute(
        sa.insert(commitments).values(
            book=pending.book,
            first=pending.first,
            last=pending.size - 1,
            data=pending.commitments,
        )
    )
    save_watermark(connection, READER, pending.book, pending.size)


def store_checkpoint(
    engine: sa.Engine, book: str, size: int, published_at_ms: int, note: bytes
) -> None:
    """Notes when a checkpoint was published; the first note for a size stands."""
    statement = insert(checkpoints).values(
        book=book, size=size, published_at_ms=published_at_ms, note=note
    )
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_nothing())
