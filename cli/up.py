"""`tanzhang up` and `down`: the supervisor with words, in the foreground or on its own.

A detached one is a session of its own that logs to `<dir>/logs/supervisor.log`; whoever started it
reads how far it is in `<dir>/supervisor.json`. SIGTERM, SIGINT and a closed terminal end it in
order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import typer
from rich.console import Console

from cli.errors import NOT_TRIED, CliError
from cli.stack import StackFault
from cli.stack.folder import (
    NATS,
    POSTGRES,
    FolderNote,
    end_orphans,
    orphans,
    rotate,
    running_note,
    tail,
)
from cli.stack.provision import GATEWAY, PROGRAMS, PROJECT, code_path, policy_file
from cli.stack.supervisor import START_DEADLINE_S, Supervisor
from cli.stack.witnesses import process_name, witness_names
from cli.telling import our_command, shown_path
from cli.workspace import Workspace
from kernel.clock import SystemClock
from kernel.config import Environment

BANK_SIM = "bank-sim"
QUIET_S = 2.0  # what takes less is not worth a progress line
LOOK_EVERY_S = 0.1
DETACHED_DEADLINE_S = START_DEADLINE_S + 60.0  # servers and migrations have deadlines of their own
DOWN_DEADLINE_S = 150.0  # every service, NATS and PostgreSQL one after the other at their slowest
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Waiting:
    """Shows what is waited for once that takes longer than QUIET_S.

    A spinner on a terminal; elsewhere one plain line for each new thing.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._status = self._console.status("")
        self._quiet_until_s = time.monotonic() + QUIET_S
        self._told = ""
        # A server that takes long to start tells nothing meanwhile, so time itself shows it.
        self._timer = threading.Timer(QUIET_S, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._timer.join()
        self._status.stop()

    def __call__(self, what: str) -> None:
        if what == self._told:
            return
        self._told = what
        if time.monotonic() > self._quiet_until_s:
            self._show()

    def _show(self) -> None:
        if self._console.is_terminal:
            self._status.update(f"waiting for {self._told}")
            self._status.start()
        elif self._told:
            typer.echo(f"waiting for {self._told}", err=True)


def run_attached(
    directory: Path,
    port: int | None,
    standbys: Sequence[str] = (),
    *,
    bank_sim: bool = False,
    witnesses: int = 0,
) -> None:
    """Start everything, stay until told to end, stop everything."""
    _refuse_production()
    supervisor = Supervisor(
        directory,
        standbys=standbys,
        witnesses=witnesses,
        base_port=port,
        log_prefix=os.environ.get("TANZHANG_LOG_PREFIX") or None,
        database_url=os.environ.get("TANZHANG_DATABASE_URL") or None,
        nats_url=os.environ.get("TANZHANG_NATS_URL") or None,
        report=_log_line,
    )
    with _told_to_end() as ending:
        try:
            with Waiting() as waiting:
                supervisor.start(waiting)
        except KeyboardInterrupt:
            raise CliError("ended before everything was up", NOT_TRIED) from None
        ending.up()
        try:
            if bank_sim:
                arguments = [BANK_SIM, "--dir", str(directory.absolute()), "--found"]
                supervisor.start_companion(BANK_SIM, arguments)
            for line in where_to_look(directory):
                typer.echo(line)
            ending.wait()
            _log_line("stopping")
        finally:
            supervisor.stop()
        _log_line("stopped")


def run_detached(
    directory: Path,
    port: int | None,
    standbys: Sequence[str] = (),
    *,
    bank_sim: bool = False,
    witnesses: int = 0,
) -> None:
    """Start a supervisor of its own and return once everything is SERVING.

    Raises CliError with the last words of its log if it did not come up.
    """
    _refuse_production()
    note = running_note(directory)
    if note is not None:
        raise CliError(f"{directory} is in use: already running with pid {note.get('pid')}")
    log = directory.absolute() / "logs" / "supervisor.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    rotate(log)
    start = log.stat().st_size if log.exists() else 0
    argv = [sys.executable, "-X", "utf8", "-m", "cli", "up", "--dir", str(directory.absolute())]
    with log.open("ab") as output:
        child = subprocess.Popen(
            [
                *argv,
                *(() if port is None else ("--port", str(port))),
                *(f"--standby={name}" for name in standbys),
                *(("--bank-sim",) if bank_sim else ()),
                *((f"--witnesses={witnesses}",) if witnesses else ()),
            ],
            env={**os.environ, "PYTHONPATH": code_path()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            start_new_session=True,
        )
    try:
        with Waiting() as waiting:
            _await_ready(directory, child, waiting)
    except BaseException as error:
        _end_child(child)
        if isinstance(error, StackFault):
            raise CliError(f"did not come up: {error}\n{tail(log, start)}") from error
        raise
    for line in where_to_look(directory):
        typer.echo(line)


def stop(directory: Path) -> None:
    """End what runs for a folder, in order, and wait; nothing to end is no error."""
    note = running_note(directory)
    if note is None:
        _stop_leftovers(directory)
        return
    pid = note.get("pid")
    if not isinstance(pid, int):
        raise CliError(f"{directory} is only just starting: try again in a moment")
    with Waiting() as waiting:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_DEADLINE_S
        while running_note(directory) is not None:
            if time.monotonic() > deadline:
                raise CliError(
                    f"the supervisor (pid {pid}) did not end within {DOWN_DEADLINE_S:.0f} s"
                )
            waiting(f"the supervisor (pid {pid}) to stop everything")
            time.sleep(LOOK_EVERY_S)
    typer.echo(f"stopped {directory}")


def where_to_look(directory: Path) -> list[str]:
    """What a person wants to know once everything is up."""
    workspace = Workspace(directory)
    ports = workspace.ports
    note = running_note(directory) or {}
    lines = [f"tanzhang is up (pid {note.get('pid')}), data in {directory.absolute()}"]
    for name in [one for program in PROGRAMS for one in workspace.processes(program)]:
        speaks = "http" if name == GATEWAY else "grpc"
        lines.append(
            f"  {name:<10} {speaks} 127.0.0.1:{ports[name]}"
            f"   metrics 127.0.0.1:{ports[f'{name}-metrics']}/metrics"
            f"   log {directory / 'logs' / name}.log"
        )
    for name in (POSTGRES, NATS):
        if name in ports:
            lines.append(
                f"  {name:<10} 127.0.0.1:{ports[name]}   log {directory / name / name}.log"
            )
    for name in witness_names(directory, 0):
        process = process_name(name)
        if process in ports:
            lines.append(
                f"  {process:<10} http 127.0.0.1:{ports[process]}"
                f"   log {directory / 'logs' / process}.log"
            )
    if GATEWAY in ports:
        lines.append(f"  {'verify':<10} http://127.0.0.1:{ports[GATEWAY]}/verify/")
    lines.append(f"  {'policy':<10} {policy_file(directory)}")
    lines.append(f"stop it with: {our_command()} down --dir {shown_path(directory)}")
    return lines


def _await_ready(directory: Path, child: subprocess.Popen[bytes], waiting: Waiting) -> None:
    deadline = time.monotonic() + DETACHED_DEADLINE_S
    while True:
        status = child.poll()
        if status is not None:
            raise StackFault(f"the supervisor ended with status {status}")
        note = running_note(directory) or {}
        if note.get("pid") == child.pid:
            if note.get("state") == "ready":
                return
            waiting(str(note.get("waiting_for") or "the supervisor"))
        if time.monotonic() > deadline:
            raise StackFault(f"not everything serves after {DETACHED_DEADLINE_S:.0f} s")
        time.sleep(LOOK_EVERY_S)


def _end_child(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        child.wait()


def _stop_leftovers(directory: Path) -> None:
    if not directory.is_dir() or not orphans(directory):
        typer.echo(f"nothing runs in {directory}")
        return
    note = FolderNote.take(directory)
    try:
        count = end_orphans(directory)
    finally:
        note.release()
    typer.echo(f"ended {count} processes that a killed supervisor had left in {directory}")


def _refuse_production() -> None:
    if Environment().text("MODE", "development") == "production":
        raise CliError("TANZHANG_MODE is production: up is for development, see k8s/", NOT_TRIED)


def _log_line(text: str) -> None:
    now = datetime.fromtimestamp(SystemClock().now_ms() // 1000, UTC)
    with suppress(OSError):  # the terminal may be gone, or the disk full: restarting goes on
        typer.echo(f"{now:%Y-%m-%dT%H:%M:%SZ} {text}", err=True)


class _Ending:
    """Told to end: while starting that interrupts, afterwards it is waited for."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._interrupts = True

    def up(self) -> None:
        self._interrupts = False

    def wait(self) -> None:
        self._told.wait()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self._told.set()
        if self._interrupts:
            self._interrupts = False  # once: what it leads to is an orderly stop, in peace
            raise KeyboardInterrupt


@contextmanager
def _told_to_end() -> Iterator[_Ending]:
    ending = _Ending()
    before = {number: signal.signal(number, ending.on_signal) for number in ENDING}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
