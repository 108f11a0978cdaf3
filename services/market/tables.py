"""The read models of the market service.

Trust: none. They may be lost or changed by anyone who can write to the database: the worst is a
wrong answer to a history query until they are dropped and made again from the journal. No decision
and no proof reads them. `disclosures` is the exception: an audit trail, append-only by convention.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kernel.journal.disclosures import disclosures_table

metadata = sa.MetaData()

# One row per order; `ended` is empty, cancelled or expired; `open_t` is what nobody took.
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("instrument", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("price_fen_per_t", sa.BigInteger, nullable=False),
    sa.Column("quantity_t", sa.BigInteger, nullable=False),
    sa.Column("open_t", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.Text, nullable=False),
    sa.Index("orders_holder", "holder", "position"),
)

# One row per trade, numbered within its event.
trades = sa.Table(
    "trades",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("trade", sa.Text, nullable=False),
    sa.Column("settlement", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("instrument", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("buyer", sa.Text, nullable=False),
    sa.Column("seller", sa.Text, nullable=False),
    sa.Column("price_fen_per_t", sa.BigInteger, nullable=False),
    sa.Column("quantity_t", sa.BigInteger, nullable=False),
    sa.Index("trades_buyer", "buyer", "position"),
    sa.Index("trades_seller", "seller", "position"),
    sa.Index("trades_settlement", "settlement"),
)

# One row per release asked for.
releases = sa.Table(
    "releases",
    metadata,
    sa.Column("release", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
)

# How a trade or a release ended (or, of old, all trades of a settlement); all are named after ids,
# so they share their names' space.
# `entry_position` in the accounts book, or why not: exactly one of them.
endings = sa.Table(
    "endings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("entry_position", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("details", JSONB, nullable=False),
)

# Who was shown which event, and when.
disclosures = disclosures_table(metadata)
