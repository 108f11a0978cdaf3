"""The journal's tables, one set in each service's schema; made by each service's first migration.

Trust: the journal is the truth of its book. Who can write to these tables can add nothing that
passes for the service's (frames are signed), and what they change or remove is found at the next
start (commitments, gapless positions) and by the ledger. Who loses them loses the book's contents;
the signed log still shows how many events there were and what each one was committed to.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, UUID

metadata = sa.MetaData()

events = sa.Table(
    "events",
    metadata,
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("record", BYTEA, nullable=False),
    sa.Column("salt", BYTEA, nullable=False),
    # On the first event of an accepted command; of one with one event this row is the outcome.
    sa.Column("principal", sa.Text),
    sa.Column("command_id", UUID(as_uuid=False)),
    sa.Column("digest", BYTEA),
    # The id first: UUIDv7 keeps the index's hot end together, and look-ups are by id.
    sa.Index("events_command", "command_id", "principal", "book", unique=True),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("command_id", UUID(as_uuid=False), primary_key=True),
    sa.Column("principal", sa.Text, primary_key=True),
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("digest", BYTEA, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    # Canonical JSON of kernel.journal.port.Refusal; null when accepted.
    sa.Column("refusal", BYTEA),
)

frames = sa.Table(
    "frames",
    metadata,
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("first", sa.BigInteger, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("book_id", BYTEA, nullable=False),
    sa.Column("commitments", BYTEA, nullable=False),
    sa.Column("digest", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("signature", BYTEA, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("backend_pid", sa.Integer),
    sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
)

# Trust: it may be read, never changed; who can write to the database can hide a disclosure.
disclosed_ranges = sa.Table(
    "disclosed_ranges",
    metadata,
    sa.Column("number", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("book", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
)

# How far each reader of a book has come, saved in the transaction of its effect.
watermarks = sa.Table(
    "watermarks",
    metadata,
    sa.Column("reader", sa.Text, primary_key=True),
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("next_position", sa.BigInteger, nullable=False),
)

# Trust: anybody may lose them, it costs time. Who changes one changes nothing: head and chunks are
# signed with the service's frame key, and what does not hold is not read. The worst that follows is
# a longer start. But what lies before a snapshot is not read again at start: a journal that was
# changed there is found by `verify`, by whoever follows from zero, and at every proof.
snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("book_id", BYTEA, nullable=False),
    sa.Column("version", BYTEA, nullable=False),
    sa.Column("commitment", BYTEA, nullable=False),
    sa.Column("digests", BYTEA, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("signature", BYTEA, nullable=False),
    sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
)

snapshot_chunks = sa.Table(
    "snapshot_chunks",
    metadata,
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("data", BYTEA, nullable=False),
)


def create_missing(connection: sa.Connection, *tables: sa.Table) -> None:
    """For a later revision: a database made by today's first one has them already."""
    for table in tables:
        table.create(connection, checkfirst=True)
