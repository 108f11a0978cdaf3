"""Who was shown which event, and when: an audit trail, append-only by convention.

The table `disclosures` is one of each service's own: its tables.py asks for it here. What auditors
are shown by ranges stands in `disclosed_ranges` (kernel/journal/schema.py), a row for each answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kernel.journal.database import Engine
from kernel.journal.schema import disclosed_ranges


def disclosures_table(metadata: sa.MetaData) -> sa.Table:
    """Trust: it may be read, never changed; who can write to the database can hide a disclosure."""
    return sa.Table(
        "disclosures",
        metadata,
        sa.Column("number", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )


def log_disclosures(engine: Engine, at: str, principal: str, positions: Sequence[int]) -> None:
    """One row per event, before it is handed out."""
    with engine.begin() as connection:
        connection.execute(
            sa.insert(_DISCLOSURES),
            [{"at": at, "principal": principal, "position": p} for p in positions],
        )


def log_disclosed_range(
    engine: Engine, book: str, at: str, principal: str, first: int, last: int
) -> None:
    """One row for all of first..last, before they are handed out."""
    row = {"book": book, "at": at, "principal": principal, "first": first, "last": last}
    with engine.begin() as connection:
        connection.execute(sa.insert(disclosed_ranges), [row])


_DISCLOSURES = disclosures_table(sa.MetaData())
