"""Snapshots of the book's state, so that a start need not replay all of its journal."""

from __future__ import annotations

from alembic import op

from kernel.journal.schema import create_missing, snapshot_chunks, snapshots

revision = "accounts_0002"
down_revision = "accounts_0001"


def upgrade() -> None:
    create_missing(op.get_bind(), snapshots, snapshot_chunks)
