"""Who runs a data folder, what it started, and what a dead one left running.

One supervisor per folder: it holds a lock (flock) on `<dir>/supervisor.json` that the kernel drops
when it dies, however it dies. Services carry the folder's path among their arguments, so the next
start, holding the lock, finds orphans by that and ends them: pids repeat, this path does not.

Trust: supervisor.json and processes.json are notes about what runs; losing them loses nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cli.stack import (
    HAS_PROC,
    LOG_ROTATE_BYTES,
    LOG_TAIL_BYTES,
    LOG_TAIL_LINES,
    has_argument,
    is_alive,
    kill_tree,
)
from kernel.clock import SystemClock
from kernel.errors import Conflict

POSTGRES = "postgres"
NATS = "nats"
LOCK_WAIT_S = 1.0  # somebody who only asks whether we run holds the lock for an instant
LOCK_POLL_S = 0.05
NOTE_BYTES = 1024  # supervisor.json has one size, so that one write replaces all of it

Report = Callable[[str], None]


def silent(line: str) -> None:
    """Tells nobody."""


class AlreadyRunning(Conflict):
    """The folder has a supervisor that lives."""

    def __init__(self, directory: Path, pid: object) -> None:
        super().__init__(
            "ALREADY_RUNNING",
            f"{directory} is in use: already running" + (f" with pid {pid}" if pid else ""),
        )


class FolderNote:
    """`<dir>/supervisor.json`: who runs the folder, and how far it is; locked while it lives.

    The file is written in place and never replaced: the lock is on this very file.
    """

    def __init__(self, descriptor: int, started_at: str) -> None:
        self._descriptor = descriptor
        self._started_at = started_at

    @classmethod
    def take(cls, directory: Path) -> FolderNote:
        """Own the folder, or raise AlreadyRunning. What a dead one left is not in the way."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = note_path(directory)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    holder = running_note(directory) or {}
                    raise AlreadyRunning(directory, holder.get("pid")) from None
                time.sleep(LOCK_POLL_S)
        now = datetime.fromtimestamp(SystemClock().now_ms() // 1000, UTC)
        note = cls(descriptor, now.isoformat().replace("+00:00", "Z"))
        note.write("starting", None)
        return note

    def write(self, state: str, waiting_for: str | None) -> None:
        """`state` is starting, ready or stopping."""
        self._put(
            {
                "pid": os.getpid(),
                "started_at": self._started_at,
                "state": state,
                "waiting_for": waiting_for,
            }
        )

    def release(self) -> None:
        """Give the folder up in order."""
        self._put({})
        os.close(self._descriptor)

    def _put(self, note: dict[str, object]) -> None:
        text = json.dumps(note, sort_keys=True)
        os.pwrite(self._descriptor, text.ljust(NOTE_BYTES - 1).encode() + b"\n", 0)


def note_path(directory: Path) -> Path:
    return directory / "supervisor.json"


def running_note(directory: Path) -> dict[str, object] | None:
    """What the supervisor that holds the folder says of itself; None if none holds it.

    Keys: pid, started_at, state, waiting_for; none of them in the instant before it has spoken.
    """
    try:
        with note_path(directory).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                note = json.loads(file.read() or b"{}")
                return note if isinstance(note, dict) else {}
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return None


def recorded_processes(directory: Path) -> dict[str, dict[str, int | None]]:
    """`<dir>/processes.json`: name to pid and restarts; {} if there is none to be read."""
    try:
        listing = json.loads((directory / "processes.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return listing if isinstance(listing, dict) else {}


def our_mark(directory: Path) -> str:
    """An argument that only processes of services of this folder carry."""
    return f"tanzhang={directory.absolute()}"


def orphans(directory: Path) -> list[int]:
    """What runs for a folder. Whoever holds its lock and started nothing yet may call it orphaned.

    Services are found by their mark; without /proc only among the recorded ones. The servers are
    those their own pid files name, if they carry the folder's path: a number alone proves nothing.
    """
    candidates = {entry.get("pid") for entry in recorded_processes(directory).values()}
    if HAS_PROC:
        candidates |= {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    services = [pid for pid in candidates if pid and is_alive(pid) and _serves(pid, directory)]
    home = directory.absolute()
    servers = (
        (home / NATS / "nats.pid", str(home / NATS / "nats.conf")),
        (home / POSTGRES / "data" / "postmaster.pid", str(home / POSTGRES / "data")),
    )
    left = [pid for file, argument in servers if (pid := _named_in(file, argument)) is not None]
    return [*sorted(services), *left]


def end_orphans(directory: Path, report: Report = silent) -> int:
    """Kill what a dead supervisor left running, services before servers; answers how many.

    Only with the folder's lock held. SIGKILL is safe: services and servers recover from journals.
    """
    left = orphans(directory)
    for pid in left:
        report(f"ending process {pid}, left by an earlier run")
        kill_tree(pid)
    return len(left)


def _serves(pid: int, directory: Path) -> bool:
    # "-X" and "-m" as well: whoever looks for the mark with a tool has it among its arguments too.
    return all(has_argument(pid, argument) for argument in ("-X", our_mark(directory), "-m"))


def _named_in(pid_file: Path, argument: str) -> int | None:
    try:
        pid = int(pid_file.read_bytes().split()[0])  # bytes: a path follows, of any encoding
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return pid if is_alive(pid) and has_argument(pid, argument) else None


def noting(note: FolderNote, waiting: Report) -> Report:
    """Tells `waiting`, and whoever reads supervisor.json."""
    last: list[str] = []

    def tell(what: str) -> None:
        if last != [what]:
            last[:] = [what]
            note.write("starting", what)
        waiting(what)

    return tell


def rotate(log: Path) -> None:
    """Put a log that has grown too large aside, in place of the one put aside before."""
    if log.exists() and log.stat().st_size > LOG_ROTATE_BYTES:
        log.replace(log.with_suffix(".log.1"))


def tail(log: Path, start: int = 0) -> str:
    """The last lines of a log from byte `start` on, after its path."""
    lines: list[str] = []
    if log.exists():
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    return "\n".join([f"{log}:", *lines[-LOG_TAIL_LINES:]])
