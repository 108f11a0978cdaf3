"""The journal's tables, and the read model of retirements.

The first revision creates what the table definitions say; every later one spells out its change.
"""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import metadata as journal
from services.registry.tables import metadata as read_models

revision = "registry_0001"
down_revision = None


def upgrade() -> None:
    for metadata in (journal, read_models):
        metadata.create_all(op.get_bind())
