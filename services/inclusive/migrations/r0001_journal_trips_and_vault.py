"""The journal's tables, the read model of trips, and the vault.

The first revision creates what the table definitions say; every later one spells out its change.
"""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import metadata as journal
from services.inclusive.tables import metadata as own

revision = "inclusive_0001"
down_revision = None


def upgrade() -> None:
    for metadata in (journal, own):
        metadata.create_all(op.get_bind())
