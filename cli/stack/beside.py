"""A verb of `python -m services <name>` beside the service that serves, told what it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from cli.stack.folder import NATS, POSTGRES
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.provision import (
    DATABASE,
    PROJECT,
    Endpoints,
    Provisioned,
    provision,
    service_environment,
)


def run_beside(directory: Path, ports: Mapping[str, int], name: str, verb: str) -> int:
    """In the foreground, with this terminal; answers its exit code."""
    given = provision(directory)
    endpoints = Endpoints(
        ports[name],
        ports[f"{name}-metrics"],
        _database_url(given, ports, name),
        os.environ.get("TANZHANG_NATS_URL") or f"nats://127.0.0.1:{ports.get(NATS, 0)}",
        {},
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "services", name, verb],
        env=service_environment(given, name, endpoints),
        cwd=PROJECT,
        check=False,
    )
    return done.returncode


def _database_url(given: Provisioned, ports: Mapping[str, int], name: str) -> str:
    own, password = os.environ.get("TANZHANG_DATABASE_URL"), given.database_passwords[name]
    if own is None:
        server = EmbeddedPostgres(given.directory, ports[POSTGRES])
        return server.url(name, password, DATABASE)
    url = sa.make_url(own).set(
        drivername="postgresql+psycopg", username=name, password=password, database=DATABASE
    )
    return url.render_as_string(hide_password=False)
