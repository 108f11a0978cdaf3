"""`tanzhang up` without its words: servers, database, streams and every service as its own process.

Starts what a data folder needs in order, restarts what dies with back-off, and stops services
before NATS before PostgreSQL. One supervisor per folder (cli/stack/folder.py); the same for tests
as for users. Not for production: there the cluster starts, watches and restarts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import psycopg
import sqlalchemy as sa

from cli.stack import StackFault
from cli.stack.companion import Companion
from cli.stack.folder import NATS, POSTGRES, FolderNote, Report, end_orphans, noting, silent
from cli.stack.nats import EmbeddedNats, StreamKeeper
from cli.stack.ports import PortBook, free_port, standby_name
from cli.stack.postgres import EmbeddedPostgres, ensure_database, ensure_service
from cli.stack.process import ServiceProcess
from cli.stack.provision import (
    DATABASE,
    GATEWAY,
    PROGRAMS,
    SERVICES,
    Endpoints,
    Provisioned,
    clock_file,
    provision,
    service_environment,
)
from cli.stack.witnesses import (
    arguments_of,
    process_name,
    witness_names,
    write_deployment_policy,
)
from kernel.rpc.health import SERVING

RESTART_FIRST_S = 0.2
RESTART_LAST_S = 5.0
STEADY_S = 30.0  # who lived this long is restarted at once when it dies
LOOK_EVERY_S = 0.1
START_DEADLINE_S = 120.0  # initdb, migrations and a long journal on a slow machine
MIGRATE_DEADLINE_S = 120.0
DEATHS_AT_START = 3  # a fourth is not bad luck
EXIT_MISCONFIGURED = 2  # of `python -m services`: trying again changes nothing


class Watched(Protocol):
    """What the supervisor can keep alive: a server of cli/stack, or a service."""

    @property
    def pid(self) -> int | None: ...
    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def log_tail(self) -> str: ...


@dataclass
class Charge:
    """One thing to keep alive, and how that went."""

    process: Watched
    wanted: bool = True
    restarts: int = 0
    delay_s: float = RESTART_FIRST_S
    started_s: float = 0.0  # monotonic, as the next
    due_s: float | None = None  # when a dead one is started again


class Supervisor:
    """Everything of one data folder: `start`, and `stop`; in between it restarts what dies.

    Safe for concurrent use. `restart=False` leaves the dead dead, for fault tests. `services`
    chooses which run (none: the servers alone); of `standbys` a second process stands by, named
    `accounts-2`, and either may be the one that writes. `database_url` and `nats_url` name servers
    of your own, which are then neither started nor stopped; `database` is the one to use there. A
    NATS of your own is used by every process as the user in that url, so rights per service are
    yours to set up; or give a url for `operator` and for each service. So many `witnesses` run, or
    as many as the folder has. `report` is told of deaths and restarts, from another thread.
    """

    def __init__(
        self,
        directory: Path,
        *,
        services: Sequence[str] = PROGRAMS,
        standbys: Sequence[str] = (),
        base_port: int | None = None,
        log_prefix: str | None = None,
        database_url: str | None = None,
        database: str = DATABASE,
        nats_url: str | Mapping[str, str] | None = None,
        witnesses: int = 0,
        restart: bool = True,
        report: Report = silent,
    ) -> None:
        self.directory = directory.absolute()
        self.services = tuple(services)
        self.standbys = {name: standby_name(name) for name in standbys}
        if unknown := set(standbys) - set(SERVICES):
            raise StackFault(f"standby: expected one of {', '.join(SERVICES)}, got {min(unknown)}")
        self._witnesses = witness_names(self.directory, witnesses)
        self._base_port = base_port
        self._log_prefix = log_prefix
        self._own_database_url = database_url
        self._database = database
        self._own_nats_url = nats_url
        self._restart = restart
        self._report = report
        self._guard = threading.RLock()
        self._charges: dict[str, Charge] = {}
        self._ports: dict[str, int] = {}
        self._provisioned: Provisioned | None = None
        self._postgres: EmbeddedPostgres | None = None
        self._nats: EmbeddedNats | None = None
        self._streams: StreamKeeper | None = None
        self._note: FolderNote | None = None
        self._ending = threading.Event()
        self._monitor: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    # ------------------------------------------------------------------------ start and stop

    def start(self, waiting: Report = silent, deadline_s: float = START_DEADLINE_S) -> None:
        """Return once every service is SERVING; `waiting` is told what for, again and again.

        Raises AlreadyRunning, or StackFault with the last words of what did not start; everything
        is stopped again then.
        """
        deadline = time.monotonic() + deadline_s
        self._note = FolderNote.take(self.directory)
        try:
            self._start(noting(self._note, waiting), deadline)
        except BaseException:
            self.stop()
            raise
        self._note.write("ready", None)

    def _start(self, waiting: Report, deadline: float) -> None:
        waiting("leftovers of an earlier run to end")
        end_orphans(self.directory, self._report)
        self._provisioned = provision(self.directory, self._log_prefix, self._witnesses)
        self._choose_ports()
        self._start_witnesses()
        self._start_servers(waiting)
        waiting("database and streams")
        self._prepare()
        for name in self.services:
            self._charges[name] = Charge(self._service(name, name, self._ports[name]))
        waiting("migrations")
        self._migrate()
        for name in self.services:
            self._begin(self._charges[name])
        self._ending.clear()
        self._monitor = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._monitor.start()
        self._await_serving(self.services, waiting, deadline)
        # Not before: it must not be first at a lease that everybody waits for the other to have.
        with self._guard:
            for name, second in self.standbys.items():
                self._charges[second] = Charge(self._service(second, name, self._ports[second]))
                self._begin(self._charges[second])

    def stop(self) -> None:
        """Services first, all at once; then NATS, then PostgreSQL. Repeating it is harmless.

        Raises StackFault at the end if something had to be killed.
        """
        self._ending.set()
        if self._monitor is not None:
            self._monitor.join()
            self._monitor = None
        with self._guard:
            if self._note is None:
                return
            self._note.write("stopping", None)
            troubles = self._stop_all()
            self._charges.clear()
            self._write_processes()
            self._note.release()
            self._note = None
        if troubles:
            raise StackFault("\n".join(troubles))

    def _stop_all(self) -> list[str]:
        """Everything, whatever goes wrong on the way; answers what did."""
        if self._streams is not None:
            self._streams.stop()
            self._streams = None
        processes = [charge.process for charge in self._charges.values()]
        services = [one for one in processes if isinstance(one, ServiceProcess)]
        for service in services:
            service.ask_to_stop()
        troubles = []
        for process in (*services, self._nats, self._postgres):
            try:
                if process is not None:
                    process.stop()
            except StackFault as fault:
                troubles.append(str(fault))
        self._nats = self._postgres = None
        return troubles

    # ------------------------------------------------------------------------ single processes

    def process(self, name: str) -> Watched:
        """A service (or `accounts-2`, a second one), `postgres` or `nats`. KeyError for others."""
        return self._charges[name].process

    def restarts(self, name: str) -> int:
        """How often it was started again because it had died."""
        return self._charges[name].restarts

    def target(self, name: str) -> str:
        """host:port of a service or of a second one of it."""
        process = self._charges[name].process
        if not isinstance(process, ServiceProcess):
            raise StackFault(f"expected a service, got {name}")
        return f"127.0.0.1:{process.port}"

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process; answers the pid it went to. StackFault if it is not alive."""
        with self._guard:
            pid = self.process(name).pid
            if pid is None:
                raise StackFault(f"{name} is not running")
            os.kill(pid, number)
            return pid

    def start_service(
        self,
        name: str,
        extra_env: Mapping[str, str] | None = None,
        port: int | None = None,
        module: str = "services",
    ) -> str:
        """Start what was stopped or died; of a service that runs, a second one beside it.

        `extra_env` goes on top of its environment (TANZHANG_CRASH=journal.committed). A second one
        listens on `port` or a free one; `module` is another entry point than `services`. Answers
        the name it goes by: `accounts`, or `accounts-2`. Does not wait until it serves: a standby
        does not, before it takes over.
        """
        with self._guard:
            charge = self._charges.get(name)
            if charge is not None and not charge.process.running:
                if isinstance(charge.process, Companion):
                    pass  # as it was: it has no port or environment that could be others
                elif isinstance(charge.process, ServiceProcess):
                    old = charge.process
                    charge.process = self._service(
                        name, old.service, port or old.port, extra_env, module
                    )
                self._begin(charge)
                return name
            if name not in PROGRAMS:
                raise StackFault(f"expected one of {', '.join(PROGRAMS)}, got {name}")
            key = name if charge is None else self._free_name(name)
            port = port or self._ports.get(key) or free_port()
            self._charges[key] = Charge(self._service(key, name, port, extra_env, module))
            self._begin(self._charges[key])
            return key

    def start_companion(self, name: str, arguments: Sequence[str]) -> None:
        """Start a command of `tanzhang` that is no service, and keep it alive like one."""
        with self._guard:
            charge = self._charges.get(name)
            if charge is None:
                process = Companion(name, arguments, self.directory)
                charge = self._charges[name] = Charge(process)
            if not charge.process.running:
                self._begin(charge)

    def stop_service(self, name: str) -> None:
        """End one process in order; it stays down until it is started again."""
        with self._guard:
            charge = self._charges[name]
            charge.wanted = False
            charge.process.stop()
            self._write_processes()

    def restart_service(self, name: str, extra_env: Mapping[str, str] | None = None) -> None:
        """Stop and start again, with a fresh environment."""
        with self._guard:
            self.stop_service(name)
            self.start_service(name, extra_env)

    def await_serving(self, name: str, deadline_s: float = START_DEADLINE_S) -> None:
        """Return once the process answers SERVING. Raises StackFault with its last words."""
        self._await_serving([name], silent, time.monotonic() + deadline_s)

    # ------------------------------------------------------------------------ how it starts

    def _choose_ports(self) -> None:
        book = PortBook(self.directory / "ports.json", self._base_port)
        wanted = [*PROGRAMS, *(f"{name}-metrics" for name in PROGRAMS)]
        for second in self.standbys.values():
            wanted += [second, f"{second}-metrics"]
        wanted += [process_name(name) for name in self._given.witnesses]
        wanted += [POSTGRES] if self._own_database_url is None else []
        wanted += [NATS] if self._own_nats_url is None else []
        self._ports = {name: book.port(name) for name in wanted}

    def _start_witnesses(self) -> None:
        """Before the ledger, which asks them; they need nothing of ours."""
        given = self._given
        if given.witnesses:
            ports = self._ports
            write_deployment_policy(self.directory, given.log_vkeys, given.witnesses, ports)
        for name in given.witnesses:
            process = process_name(name)
            arguments = arguments_of(
                self.directory, name, self._ports[process], clock_file(self.directory)
            )
            self.start_companion(process, arguments)

    def _start_servers(self, waiting: Report) -> None:
        if self._own_database_url is None:
            waiting("postgres to start")
            self._postgres = EmbeddedPostgres(self.directory, self._ports[POSTGRES])
            self._charges[POSTGRES] = Charge(self._postgres)
            self._begin(self._charges[POSTGRES])
        if self._own_nats_url is None:
            waiting("nats to start")
            users = self._given.nats_users
            self._nats = EmbeddedNats(self.directory, self._ports[NATS], users)
            self._charges[NATS] = Charge(self._nats)
            self._begin(self._charges[NATS])

    def _prepare(self) -> None:
        admin_url = self.admin_url()
        try:
            ensure_database(admin_url, self._database)
            for name, password in self._given.database_passwords.items():
                ensure_service(admin_url, self._database, name, password)
        except psycopg.Error as error:
            raise StackFault(f"database {self._database} cannot be prepared: {error}") from error
        self._streams = StreamKeeper(self._nats_url("operator"), self.books, self._report)
        self._streams.start()

    def _migrate(self) -> None:
        """All at once: they spend their time importing, and the database lets one in at a time."""
        services = [self._charges[name].process for name in self.services]
        running = [
            (one, one.migrate())
            for one in services
            if isinstance(one, ServiceProcess) and one.service != GATEWAY
        ]
        try:
            deadline = time.monotonic() + MIGRATE_DEADLINE_S
            for service, migration in running:
                status = migration.wait(max(0.0, deadline - time.monotonic()))
                if status != 0:
                    raise StackFault(
                        f"{service.name}: its migration ended with status {status}\n"
                        + service.log_tail()
                    )
        except subprocess.TimeoutExpired:
            raise StackFault(f"migrations are not done after {MIGRATE_DEADLINE_S:.0f} s") from None
        finally:
            for _, migration in running:
                if migration.poll() is None:
                    migration.kill()
                    migration.wait()

    def _await_serving(self, names: Sequence[str], waiting: Report, deadline: float) -> None:
        for name in names:
            while True:
                with self._guard:
                    self._give_up_if_hopeless(name)
                    process = self._charges[name].process
                    target = self.target(name)
                far = process.progress() if isinstance(process, ServiceProcess) else ""
                waiting(f"{name} to serve{far}")
                if isinstance(process, ServiceProcess) and process.health() == SERVING:
                    break
                if time.monotonic() > deadline:
                    raise StackFault(
                        f"{name} does not serve on {target}\n{self.process(name).log_tail()}"
                    )
                time.sleep(LOOK_EVERY_S)

    def _give_up_if_hopeless(self, name: str) -> None:
        charge = self._charges[name]
        process = charge.process
        if process.running or not isinstance(process, ServiceProcess):
            return
        comes_back = self._restart and charge.wanted and charge.restarts < DEATHS_AT_START
        if not comes_back or process.status == EXIT_MISCONFIGURED:
            raise StackFault(
                f"{name} ended with status {process.status} instead of serving\n"
                + process.log_tail()
            )

    def _service(
        self,
        name: str,
        service: str,
        port: int,
        extra_env: Mapping[str, str] | None = None,
        module: str = "services",
    ) -> ServiceProcess:
        metrics_port = self._ports[f"{name}-metrics"] if name in self._ports else free_port()
        keeps_nothing = service == GATEWAY
        endpoints = Endpoints(
            port,
            metrics_port,
            "" if keeps_nothing else self.database_url(service),
            "" if keeps_nothing else self._nats_url(service),
            # Also those this run leaves out: a service waits for its peers, it does not need them.
            {peer: self._targets(peer) for peer in SERVICES if peer != service},
            self.books,
        )
        environment = service_environment(self._given, service, endpoints, extra_env)
        return ServiceProcess(name, service, port, environment, self.directory, module)

    def _targets(self, service: str) -> str:
        """Where others find a service: its address, and that of its standby."""
        names = [service, *([self.standbys[service]] if service in self.standbys else [])]
        return ",".join(f"127.0.0.1:{self._ports[name]}" for name in names)

    def _free_name(self, name: str) -> str:
        return next(
            f"{name}-{number}"
            for number in range(2, len(self._charges) + 3)
            if f"{name}-{number}" not in self._charges
        )

    @property
    def _given(self) -> Provisioned:
        if self._provisioned is None:
            raise StackFault(f"{self.directory} is not started")
        return self._provisioned

    @property
    def books(self) -> tuple[str, ...]:
        """The books of the services that run here."""
        return tuple(
            book for name in self.services if name in SERVICES for book in SERVICES[name].books
        )

    def admin_url(self) -> str:
        if self._own_database_url is not None:
            return self._own_database_url
        if self._postgres is None:
            raise StackFault("postgres is not started")
        return self._postgres.admin_url()

    def database_url(self, service: str) -> str:
        url = sa.make_url(self.admin_url()).set(
            drivername="postgresql+psycopg",
            username=service,
            password=self._given.database_passwords[service],
            database=self._database,
        )
        return url.render_as_string(hide_password=False)

    def _nats_url(self, user: str) -> str:
        if isinstance(self._own_nats_url, str):
            return self._own_nats_url
        if self._own_nats_url is not None:
            return self._own_nats_url[user]
        if self._nats is None:
            raise StackFault("nats is not started")
        return self._nats.url(user)

    # ------------------------------------------------------------------------ how it watches

    def _watch(self) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            with self._guard:
                for name, charge in list(self._charges.items()):
                    if charge.wanted and not charge.process.running and self._restart:
                        self._revive(name, charge)

    def _revive(self, name: str, charge: Charge) -> None:
        """Start a dead one again once its time has come."""
        now_s = time.monotonic()
        if charge.due_s is None:
            if now_s - charge.started_s >= STEADY_S:
                charge.delay_s = RESTART_FIRST_S
            charge.due_s = now_s + charge.delay_s
            how = ""
            if isinstance(charge.process, ServiceProcess):
                how = f" with status {charge.process.status}"
            self._report(f"{name} ended{how}, starts again in {charge.delay_s:.1f} s")
            charge.delay_s = min(charge.delay_s * 2, RESTART_LAST_S)
        if now_s < charge.due_s:
            return
        charge.restarts += 1
        if isinstance(charge.process, ServiceProcess):
            # A crash point is for one life, else it would never get past it.
            charge.process.environment.pop("TANZHANG_CRASH", None)
        try:
            self._begin(charge)
        except (StackFault, OSError) as fault:
            charge.started_s = time.monotonic()
            charge.due_s = charge.started_s + charge.delay_s
            charge.delay_s = min(charge.delay_s * 2, RESTART_LAST_S)
            self._report(f"{name} did not start: {fault}")

    def _begin(self, charge: Charge) -> None:
        charge.process.start()
        charge.wanted = True
        charge.due_s = None
        charge.started_s = time.monotonic()
        self._write_processes()

    def _write_processes(self) -> None:
        listing = {
            name: {"pid": charge.process.pid, "restarts": charge.restarts}
            for name, charge in self._charges.items()
        }
        path = self.directory / "processes.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(listing, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        fresh.replace(path)
