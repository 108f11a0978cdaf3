"""A database that is away for a moment is nobody's fault: callers are told to ask again."""

from __future__ import annotations

import grpc
import psycopg
import pytest
import sqlalchemy as sa

from kernel.journal.database import is_away
from kernel.rpc.interceptors import _status_of

METHOD = "/tanzhang.ledger.v1.LedgerService/GetTile"


def wrapped(error: Exception) -> sa.exc.DBAPIError:
    """As the pool raises it, around the driver's own."""
    kind = (
        sa.exc.OperationalError
        if isinstance(error, psycopg.OperationalError)
        else sa.exc.ProgrammingError
    )
    return kind("SELECT data FROM tiles", {}, error)


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("connection refused"),
        wrapped(psycopg.OperationalError("server closed the connection unexpectedly")),
        wrapped(psycopg.errors.AdminShutdown("terminating connection")),
        sa.exc.TimeoutError("QueuePool limit of size 8 overflow 8 reached"),
    ],
    ids=["refused", "closed", "shut down", "pool exhausted"],
)
def test_a_database_that_is_away_is_a_conflict_and_says_nothing_of_itself(error: Exception) -> None:
    assert is_away(error)
    status = _status_of(METHOD, error)
    assert status.code == grpc.StatusCode.UNAVAILABLE
    assert status.details == f"{METHOD}: the database is away, ask again by id"


@pytest.mark.parametrize(
    "error",
    [wrapped(psycopg.errors.UndefinedTable("relation tiles does not exist")), KeyError("tiles")],
    ids=["no such table", "our own mistake"],
)
def test_what_asking_again_will_not_mend_stays_a_fault(error: Exception) -> None:
    assert not is_away(error)
    assert _status_of(METHOD, error).code == grpc.StatusCode.INTERNAL
