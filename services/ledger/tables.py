"""The trees of the logs, as stored.

Trust: who can write here can make the service refuse to go on (a tree that does not lead to the
last signed checkpoint halts the log at start), never make it sign a second history: the last
signed checkpoint of each log lies in a file outside this database. Lost tables are made again from
the books' journals, and must come out with the same roots.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

metadata = sa.MetaData()

# Commitments in order, in runs as they were folded: leaves and entry bundles follow from them.
commitments = sa.Table(
    "commitments",
    metadata,
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("first", sa.BigInteger, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("data", BYTEA, nullable=False),
)

# Full tiles, written once, and the right edge, which grows in place.
tiles = sa.Table(
    "tiles",
    metadata,
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("data", BYTEA, nullable=False),
)

# The leaves of the log of states, which no journal has.
state_entries = sa.Table(
    "state_entries",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data", BYTEA, nullable=False),
)

# Published checkpoints: when a position was proven. The file is what counts, not this.
checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("book", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, primary_key=True),
    sa.Column("published_at_ms", sa.BigInteger, nullable=False),
    sa.Column("note", BYTEA, nullable=False),
)
