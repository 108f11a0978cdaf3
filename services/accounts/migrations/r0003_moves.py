"""Narrow read models of moves, with anchors; nothing writes `movements` and `serial_moves` now.

They fill from the journal by themselves. The old ones stay, until nothing runs that reads them.
"""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import create_missing
from services.accounts.tables import anchors, moved_serials, moves

revision = "accounts_0003"
down_revision = "accounts_0002"


def upgrade() -> None:
    create_missing(op.get_bind(), moves, anchors, moved_serials)
