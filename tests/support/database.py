"""A real PostgreSQL for tests: one server a session, one migrated template, a copy for each test.

The server is the embedded one, with the settings a user gets (fsync on). A copy of the template
costs some tens of milliseconds and shares nothing with any other test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from cli.stack.ports import free_port
from cli.stack.postgres import EmbeddedPostgres, drop_database, ensure_database, ensure_service
from kernel.lease import application_name, connect
from kernel.migrate import ROOT, upgrade

TEMPLATE = "tanzhang_template"

Connection = psycopg.Connection[tuple[Any, ...]]


def services_with_tables() -> list[str]:
    """Services that have a schema history."""
    folders = (ROOT / "services").glob("*/migrations/__init__.py")
    return sorted(folder.parent.parent.name for folder in folders)


class Database:
    """One database with every service's schema; what it hands out ends with it."""

    def __init__(self, server: EmbeddedPostgres, name: str) -> None:
        self._server = server
        self.name = name
        self._engines: list[sa.Engine] = []
        self._connections: list[Connection] = []

    def url(self, service: str) -> str:
        """SQLAlchemy URL of a service's role, whose search path is its own schema."""
        return self._server.url(service, _password(service), self.name)

    def admin_url(self) -> str:
        """SQLAlchemy URL of the superuser."""
        return self._server.admin_url(self.name)

    def engine(self, service: str) -> sa.Engine:
        engine = sa.create_engine(self.url(service))
        self._engines.append(engine)
        return engine

    def writing_connection(self, service: str, book: str) -> Connection:
        """What a book's writer holds: one connection, named so that a successor can end it."""
        connection: Connection = connect(self.url(service), application_name(book))
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for engine in self._engines:
            engine.dispose()


class DatabaseServer:
    """The session's PostgreSQL, with the template made once."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._made = 0
        admin = server.admin_url()
        ensure_database(admin, TEMPLATE)
        for service in services_with_tables():
            ensure_service(admin, TEMPLATE, service, _password(service))
            upgrade(server.url(service, _password(service), TEMPLATE), service)

    @contextmanager
    def fresh_database(self) -> Iterator[Database]:
        """An empty, migrated database, removed at the end with whoever is still connected."""
        self._made += 1
        name = f"tanzhang_{self._made}"
        ensure_database(self._server.admin_url(), name, template=TEMPLATE)
        database = Database(self._server, name)
        try:
            yield database
        finally:
            database.close()
            drop_database(self._server.admin_url(), name)


@contextmanager
def database_server(directory: Path) -> Iterator[DatabaseServer]:
    """Starts the embedded PostgreSQL on a free port, with its data under `directory`."""
    with EmbeddedPostgres(directory, free_port()) as server:
        yield DatabaseServer(server)


def _password(service: str) -> str:
    return f"{service}-in-tests"
