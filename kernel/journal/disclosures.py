"""Who was shown which event, and when: an audit trail, append-only by convention.

The table `disclosures` is one of each service's own (its tables.py and migrations).
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kernel.journal.database import Engine

_disclosures = sa.table(
    "disclosures",
    sa.column("at", sa.Text),
    sa.column("principal", sa.Text),
    sa.column("position", sa.BigInteger),
)


def log_disclosures(engine: Engine, at: str, principal: str, positions: Sequence[int]) -> None:
    """One row per event, before it is handed out."""
    with engine.begin() as connection:
        connection.execute(
            sa.insert(_disclosures),
            [{"at": at, "principal": principal, "position": p} for p in positions],
        )
