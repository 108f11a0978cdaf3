"""The read models of the registry service.

Trust: none. They may be lost or changed by anyone who can write to the database: the worst is a
wrong list of retirements until they are dropped and made again from the journal. No decision and no
proof reads them. `disclosures` is the exception: an audit trail, append-only by convention.
"""

from __future__ import annotations

import sqlalchemy as sa

from kernel.journal.disclosures import disclosures_table

metadata = sa.MetaData()

# One row per UnitsRetired; its position is the retirement's number.
retirements = sa.Table(
    "retirements",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("entry_position", sa.BigInteger, nullable=False),
    sa.Column("on", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("quantity_t", sa.BigInteger, nullable=False),
    sa.Column("beneficiary", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Index("retirements_asset", "asset", "position"),
    sa.Index("retirements_holder", "holder", "position"),
)

# One row per serial range of a retirement.
retired_serials = sa.Table(
    "retired_serials",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("range_no", sa.Integer, primary_key=True),
    sa.Column("batch", sa.Text, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
)

# Who was shown which event, and when.
disclosures = disclosures_table(metadata)
