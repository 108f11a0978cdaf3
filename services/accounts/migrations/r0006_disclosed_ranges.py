"""Which ranges of events auditors were shown."""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import create_missing, disclosed_ranges

revision = "accounts_0006"
down_revision = "accounts_0005"


def upgrade() -> None:
    create_missing(op.get_bind(), disclosed_ranges)
