"""Which ranges of events auditors were shown."""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import create_missing, disclosed_ranges

revision = "registry_0003"
down_revision = "registry_0002"


def upgrade() -> None:
    create_missing(op.get_bind(), disclosed_ranges)
