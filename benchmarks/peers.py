"""The peers on our own PostgreSQL server: what we are compared with, each in a database of its own.

- `plpgsql`: the honest "just use PostgreSQL": one function with two updates and an insert, called
  by pgbench, one transfer per transaction; and another one for trades with delivery, payment and
  fee. It has no journal, no check by others, no proof.
- `tpcb`: pgbench's own transaction, the usual limit of one commit each.
- `eventsourcing`: the library of that name with its own recorder (benchmarks/peer_eventsourcing.py)
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from benchmarks.machine import plain_url, spread
from cli.stack.postgres import drop_database, ensure_database, wheel_binaries

PEERS: Final = ("plpgsql", "tpcb", "eventsourcing")
START_BALANCE: Final = 10**12
THREADS: Final = "2"

SCHEMA: Final = """
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, debit int NOT NULL,
                    credit int NOT NULL, amount bigint NOT NULL, at timestamptz DEFAULT now());
CREATE FUNCTION transfer(debit int, credit int, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF debit < credit THEN  -- one order of locking, or pgbench deadlocks
        UPDATE account SET balance = balance - amount WHERE id = debit;
        UPDATE account SET balance = balance + amount WHERE id = credit;
    ELSE
        UPDATE account SET balance = balance + amount WHERE id = credit;
        UPDATE account SET balance = balance - amount WHERE id = debit;
    END IF;
    INSERT INTO entry (debit, credit, amount) VALUES (debit, credit, amount);
END $$;
CREATE TABLE units (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
CREATE FUNCTION settle(seller int, buyer int, quantity bigint, price bigint, fee bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM account WHERE id IN (seller, buyer) ORDER BY id FOR UPDATE;
    UPDATE units SET balance = balance - quantity WHERE id = seller;
    UPDATE units SET balance = balance + quantity WHERE id = buyer;
    UPDATE account SET balance = balance - quantity * price - fee WHERE id = buyer;
    UPDATE account SET balance = balance + quantity * price WHERE id = seller;
    INSERT INTO entry (debit, credit, amount) VALUES (seller, buyer, quantity),
        (buyer, seller, quantity * price), (buyer, 0, fee);
    UPDATE account SET balance = balance + fee WHERE id = 0;  -- everybody's, so last
END $$;
"""


class Measured(NamedTuple):
    """Per second; milliseconds of one transaction where they were asked for; the client's CPU."""

    per_s: float
    transactions: int
    call_ms: dict[str, float]
    client_cpu_s: float


class Peers:
    """Databases beside ours, made anew and filled; the library makes its own tables.

    `scale` of TPC-B: so many branches, and 100,000 rows for each.
    """

    def __init__(
        self, admin_url: str, accounts: int, names: Sequence[str] = PEERS, scale: int = 10
    ) -> None:
        self._admin_url = admin_url
        self.names = tuple(names)
        for name in names:
            drop_database(admin_url, name)
            ensure_database(admin_url, name)
        if "plpgsql" in names:
            self._fill_plpgsql(accounts)
        if "tpcb" in names:
            self._pgbench("tpcb", "--initialize", "--quiet", f"--scale={scale}")

    def _fill_plpgsql(self, accounts: int) -> None:
        with psycopg.connect(self.url("plpgsql"), autocommit=True) as connection:
            connection.execute(SCHEMA)
            connection.execute(
                "INSERT INTO account SELECT i, %s FROM generate_series(0, %s) AS i",
                (START_BALANCE, accounts),
            )
            connection.execute("INSERT INTO units SELECT id, balance FROM account")
            connection.execute("VACUUM ANALYZE account")

    @property
    def urls(self) -> dict[str, str]:
        return {name: self.url(name) for name in self.names}

    def url(self, name: str) -> str:
        return plain_url(self._admin_url, name)

    def plpgsql(
        self, accounts: int, clients: int, seconds: float, *, timed: bool = False
    ) -> Measured:
        script = (
            f"\\set d random(1, {accounts})\n"
            f"\\set c 1 + (:d + random(0, {accounts - 2})) % {accounts}\n"
            "SELECT transfer(:d, :c, 1);\n"
        )
        return self._run("plpgsql", clients, seconds, script, timed=timed)

    def plpgsql_trades(self, accounts: int, clients: int, seconds: float) -> Measured:
        """Delivery, payment and a fee, in one function and one transaction."""
        script = (
            f"\\set s random(1, {accounts})\n"
            f"\\set b 1 + (:s + random(0, {accounts - 2})) % {accounts}\n"
            "SELECT settle(:s, :b, 3, 7446, 100);\n"
        )
        return self._run("plpgsql", clients, seconds, script, timed=False)

    def tpcb(self, clients: int, seconds: float) -> Measured:
        return self._run("tpcb", clients, seconds, None, timed=False)

    def _run(
        self, name: str, clients: int, seconds: float, script: str | None, *, timed: bool
    ) -> Measured:
        with tempfile.TemporaryDirectory(prefix="tanzhang-pgbench-") as folder:
            arguments = [
                *("--no-vacuum", "--protocol=prepared", f"--client={clients}"),
                *(f"--jobs={THREADS}", f"--time={max(1, round(seconds))}"),
                *(("--file=/dev/stdin",) if script is not None else ()),
                *(("--log", f"--log-prefix={folder}/log") if timed else ()),
            ]
            before_s = _children_cpu_s()
            said = self._pgbench(name, *arguments, script=script)
            used_s = _children_cpu_s() - before_s
            times = [
                int(line.split()[2]) / 1000  # microseconds of one transaction
                for log in Path(folder).glob("log*")
                for line in log.read_text().splitlines()
            ]
        return Measured(
            float(_line(said, "tps = ").split()[0]),
            int(_line(said, "number of transactions actually processed: ").split("/")[0]),
            spread(times) if timed else {},
            used_s,
        )

    def _pgbench(self, name: str, *arguments: str, script: str | None = None) -> str:
        with contextlib.suppress(KeyError):
            del os.environ["PGOPTIONS"]  # nobody's settings but the server's
        done = subprocess.run(
            [str(wheel_binaries() / "pgbench"), *arguments, self.url(name)],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"pgbench of {name} failed:\n{done.stderr}")
        return done.stdout


def _line(said: str, begins: str) -> str:
    return next(line.removeprefix(begins) for line in said.splitlines() if line.startswith(begins))


def _children_cpu_s() -> float:
    """What children that have ended have used."""
    times = os.times()
    return times.children_user + times.children_system


def ratio(ours: float, theirs: float) -> Any:
    return round(ours / theirs, 2) if theirs else None
