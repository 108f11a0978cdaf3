"""Non-trade transfers as anyone may list them."""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import create_missing
from services.accounts.tables import public_transfers

revision = "accounts_0004"
down_revision = "accounts_0003"


def upgrade() -> None:
    create_missing(op.get_bind(), public_transfers)
