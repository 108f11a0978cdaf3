"""Later revisions do nothing to a fresh database, and add what is missing to an old one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import sqlalchemy as sa

from kernel.migrate import upgrade
from tests.support.database import Database, services_with_tables

# What each revision after the first has brought: without it, a database is as old as that.
EVERYWHERE: Mapping[str, tuple[str, ...]] = {"0002": ("snapshot_chunks", "snapshots")}
OF_ONE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "accounts": {"0003": ("moves", "anchors", "moved_serials"), "0004": ("public_transfers",)},
}


def brought(service: str) -> dict[str, tuple[str, ...]]:
    return {**EVERYWHERE, **OF_ONE.get(service, {})}


def made_older(database: Database, service: str, revision: str) -> None:
    """A database that was migrated when `revision` was not there yet, nor anything after it."""
    before = f"{service}_{int(revision) - 1:04}"
    with database.engine(service).begin() as connection:
        for later, tables in brought(service).items():
            if later >= revision:
                for table in tables:
                    connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = %s", (before,))


def shape(database: Database, service: str) -> dict[str, list[tuple[str, str, bool]]]:
    inspector = sa.inspect(database.engine(service))
    return {
        table: [
            (one["name"], str(one["type"]), bool(one["nullable"]))
            for one in inspector.get_columns(table)
        ]
        for table in inspector.get_table_names()
    }


@pytest.mark.parametrize(
    ("service", "revision"),
    [(service, revision) for service in services_with_tables() for revision in brought(service)],
)
def test_an_old_database_becomes_what_a_fresh_one_is(
    database: Database, service: str, revision: str
) -> None:
    fresh = shape(database, service)
    made_older(database, service, revision)
    assert shape(database, service) != fresh
    reached = upgrade(database.url(service), service)
    assert shape(database, service) == fresh
    assert upgrade(database.url(service), service) == reached
