"""What tests are handed: a database of their own in the session's PostgreSQL, or a whole world.

One PostgreSQL and one NATS a session, started by the first test that asks; only the tests that kill
servers bring their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.stack.ports import free_port
from tests.support.database import Database, DatabaseServer, database_server
from tests.support.lanzhou import CITY_GROUP
from tests.support.shared_nats import SharedNats
from tests.support.world import FUNDS_FEN, World, Worlds


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """The embedded PostgreSQL, started by the first test that asks for it."""
    with database_server(tmp_path_factory.mktemp("databases")) as server:
        yield server


@pytest.fixture
def database(databases: DatabaseServer) -> Iterator[Database]:
    """A fresh, migrated database."""
    with databases.fresh_database() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def worlds(databases: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """Makes worlds: the services as processes, over the session's PostgreSQL and NATS."""
    with SharedNats(tmp_path_factory.mktemp("nats"), free_port()) as nats:
        yield Worlds(databases, nats, tmp_path_factory)


@pytest.fixture(scope="module")
def world(worlds: Worlds) -> Iterator[World]:
    """One world for the tests of a module, which leave it well; checked at the end.

    The city group has FUNDS_FEN to pay with.
    """
    with worlds.open() as made:
        made.fund(CITY_GROUP, FUNDS_FEN)
        yield made


@pytest.fixture(scope="module")
def own_world(worlds: Worlds) -> Iterator[World]:
    """The same with a PostgreSQL and a NATS of its own, under a supervisor that restarts both."""
    with worlds.open_own() as made:
        made.fund(CITY_GROUP, FUNDS_FEN)
        yield made
