"""The read model of the inclusive service, and its vault.

Trust in `trips`: none. It may be lost or changed by anyone who can write to the database: the worst
is a trip missing from a list, or one that overlaps another and is paid, until it is made again from
the journal. `disclosures` is an audit trail, append-only by convention.

Trust in the vault (`vault_keys`, `vault_persons`, `vault_riders`): it alone says whose a pseudonym
is. Who reads it knows who rode, and with the journal when and where. Who changes it can give one
person's trips to another from then on; what was recorded stays with its pseudonym. Who loses it
loses every sealed part and every link for ever, and nothing that was counted. Forgetting deletes
rows here: copies of this database must not live longer than forgetting may take.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from kernel.journal.disclosures import disclosures_table

metadata = sa.MetaData()

# Which events are whose trips: the events themselves are read from the journal.
trips = sa.Table(
    "trips",
    metadata,
    sa.Column("citizen", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("credited", sa.Boolean, nullable=False),
    sa.Index("trips_day", "citizen", "day"),
)

# Who was shown which event, and when.
disclosures = disclosures_table(metadata)

# A citizen's own key, 32 random bytes: it opens what is sealed in her records.
vault_keys = sa.Table(
    "vault_keys",
    metadata,
    sa.Column("citizen", sa.Text, primary_key=True),
    sa.Column("key", BYTEA, nullable=False),
)

# Whose a pseudonym is: the token's issuer and subject.
vault_persons = sa.Table(
    "vault_persons",
    metadata,
    sa.Column("iss", sa.Text, primary_key=True),
    sa.Column("sub", sa.Text, primary_key=True),
    sa.Column("citizen", sa.Text, nullable=False, unique=True),
)

# As whom an operator knows her.
vault_riders = sa.Table(
    "vault_riders",
    metadata,
    sa.Column("operator", sa.Text, primary_key=True),
    sa.Column("rider_ref", sa.Text, primary_key=True),
    sa.Column("citizen", sa.Text, nullable=False),
    sa.Index("vault_riders_citizen", "citizen"),
)
