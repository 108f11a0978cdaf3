"""The read models of the accounts service.

Trust: none. They may be lost or changed by anyone who can write to the database: the worst is a
wrong answer to a history query until they are dropped and made again from the journal. No decision
and no proof reads them. What they name by position stands in the journal itself, beside them.
`disclosures` is the exception: an audit trail, append-only by convention.
"""

from __future__ import annotations

import sqlalchemy as sa

from kernel.journal.disclosures import disclosures_table

metadata = sa.MetaData()

_WORD = sa.Text(collation="C")  # compared byte by byte: half the cost of an index

# One row for each account that a leg touches, two rows a leg. Narrow, for it is written as fast as
# value moves: everything else about a leg is read from the journal, by its position.
moves = sa.Table(
    "moves",
    metadata,
    sa.Column("holder", _WORD, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("leg", sa.SmallInteger, nullable=False),
    # In the asset's unit; below zero for what left the account.
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("asset", _WORD, nullable=False),
    sa.Column("purpose", _WORD, nullable=False),
    sa.Column("ref", _WORD, nullable=False),
    # Business time in ms, only where it is not the time of recording: few rows, a small index.
    sa.Column("on_ms", sa.BigInteger),
    sa.Index("moves_holder", "holder", "position", "leg"),
    sa.Index(
        "moves_backdated",
        "holder",
        "on_ms",
        "position",
        postgresql_where=sa.text("on_ms IS NOT NULL"),
    ),
)

# All that a holder had after a position, now and then: a balance of any moment is the last one of
# these before it and the few moves since. Canonical JSON of services/accounts/holdings.py.
anchors = sa.Table(
    "anchors",
    metadata,
    sa.Column("holder", _WORD, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("holdings", sa.LargeBinary, nullable=False),
)

# One row per serial range a leg moved.
moved_serials = sa.Table(
    "moved_serials",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("leg", sa.SmallInteger, primary_key=True),
    sa.Column("range_no", sa.Integer, primary_key=True),
    sa.Column("asset", _WORD, nullable=False),
    sa.Column("batch", _WORD, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Index("moved_serials_batch", "asset", "batch", "first", "last"),
)

# Non-trade transfers as anyone may list them: one row per transfer and asset, and no holder.
public_transfers = sa.Table(
    "public_transfers",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("on", sa.Text, nullable=False),
    sa.Column("nature", sa.Text, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("authority", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
)

# One row per part of a settlement file: where a report begins to read.
settlement_parts = sa.Table(
    "settlement_parts",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("venue", sa.Text, nullable=False),
    sa.Column("session", sa.Text, nullable=False),
    sa.Column("unsettled", sa.Integer, nullable=False),
    sa.Index("settlement_parts_session", "venue", "session", "position"),
)

# Who was shown which event, and when.
disclosures = disclosures_table(metadata)
