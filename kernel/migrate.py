"""Runs one service's Alembic history in the service's own schema, as a step of its own.

`python -m services <name> migrate` upgrades; a process that finds its schema not at the head
refuses to start. Old and new code run side by side during an upgrade, so a history only adds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from kernel.errors import Misconfigured

ROOT: Final = Path(__file__).resolve().parent.parent
# One upgrade at a time per database, whoever starts it.
_LOCK: Final = 7_243_516_001


def _config(service: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "kernel" / "alembic"))
    config.set_main_option("version_locations", str(ROOT / "services" / service / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(database_url: str, service: str) -> str:
    """Brings the schema to the head of its history; answers the revision."""
    config = _config(service)
    engine = sa.create_engine(database_url)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            connection.commit()
            config.attributes.update(connection=connection, schema=service)
            command.upgrade(config, "head")
            connection.commit()
            connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
    finally:
        engine.dispose()
    return _head(service)


def check_current(engine: sa.Engine, service: str) -> None:
    """Raises Misconfigured unless the schema is where this code expects it."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table_schema": service})
        actual, expected = context.get_current_revision(), _head(service)
    if actual != expected:
        raise Misconfigured(f"{service}: expected schema {expected}, got {actual}: migrate first")


def _head(service: str) -> str:
    head = ScriptDirectory.from_config(_config(service)).get_current_head()
    if head is None:
        raise Misconfigured(f"{service}: no migrations")
    return head
