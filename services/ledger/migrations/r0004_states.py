"""The entries of the log of states."""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import create_missing
from services.ledger.tables import state_entries

revision = "ledger_0004"
down_revision = "ledger_0003"


def upgrade() -> None:
    create_missing(op.get_bind(), state_entries)
