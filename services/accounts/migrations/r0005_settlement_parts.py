"""Where the parts of settlement files stand. On a fresh database the first revision has made it."""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import create_missing
from services.accounts.tables import settlement_parts

revision = "accounts_0005"
down_revision = "accounts_0004"


def upgrade() -> None:
    create_missing(op.get_bind(), settlement_parts)
