"""The read models of the accounts service.

Trust: none. They may be lost or changed by anyone who can write to the database: the worst is a
wrong answer to a history query until they are dropped and made again from the journal. No decision
and no proof reads them. `disclosures` is the exception: an audit trail, append-only by convention.
"""

from __future__ import annotations

import sqlalchemy as sa

from kernel.journal.disclosures import disclosures_table

metadata = sa.MetaData()

# One row per leg of every event that moves value.
movements = sa.Table(
    "movements",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("leg", sa.Integer, primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("on", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("debit_holder", sa.Text, nullable=False),
    sa.Column("debit_purpose", sa.Text, nullable=False),
    sa.Column("debit_ref", sa.Text, nullable=False),
    sa.Column("credit_holder", sa.Text, nullable=False),
    sa.Column("credit_purpose", sa.Text, nullable=False),
    sa.Column("credit_ref", sa.Text, nullable=False),
    sa.Index("movements_debit_holder", "debit_holder", "position"),
    sa.Index("movements_credit_holder", "credit_holder", "position"),
)

# One row per serial range a leg moved.
serial_moves = sa.Table(
    "serial_moves",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("leg", sa.Integer, primary_key=True),
    sa.Column("range_no", sa.Integer, primary_key=True),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("batch", sa.Text, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Index("serial_moves_batch", "asset", "batch", "first", "last"),
)

# Who was shown which event, and when.
disclosures = disclosures_table(metadata)
