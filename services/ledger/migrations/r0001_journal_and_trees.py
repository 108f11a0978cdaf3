"""The journal's tables, and the stored trees.

The first revision creates what the table definitions say; every later one spells out its change.
"""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import metadata as journal
from services.ledger.tables import metadata as trees

revision = "ledger_0001"
down_revision = None


def upgrade() -> None:
    for metadata in (journal, trees):
        metadata.create_all(op.get_bind())
