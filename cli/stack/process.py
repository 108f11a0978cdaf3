"""A service of ours as a child process: one output file, one way to start and one to stop it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from cli.stack import kill_tree
from cli.stack.folder import our_mark, rotate, tail
from cli.stack.provision import GATEWAY, PROJECT
from kernel.rpc.health import DEADLINE_S, SERVING, UNREACHABLE, health

STOP_DEADLINE_S = 15.0  # an orderly stop of a service takes two


def process_health(service: str, target: str) -> str:
    """As kernel/rpc/health.py; of the gateway by its /healthz."""
    if service != GATEWAY:
        return health(target)
    try:
        with urlopen(f"http://{target}/healthz", timeout=DEADLINE_S) as answer:
            return SERVING if answer.status == HTTPStatus.OK else UNREACHABLE
    except (OSError, HTTPException):
        return UNREACHABLE


class ServiceProcess:
    """`python -m services <service>`, or the gateway, as a child; logs to `<dir>/logs/<name>.log`.

    `module` names another entry point with the same arguments: a build of the service to be tried.
    Not safe for concurrent use; the supervisor's lock is around it.
    """

    def __init__(
        self,
        name: str,
        service: str,
        port: int,
        environment: Mapping[str, str],
        directory: Path,
        module: str = "services",
    ) -> None:
        self.name = name
        self.service = service
        self.port = port
        self.environment = dict(environment)
        self.log = directory / "logs" / f"{name}.log"
        self.status: int | None = None
        self._command = [GATEWAY] if service == GATEWAY else [module, service]
        self._directory = directory
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None when it is not running."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether it lives; one that died is reaped by asking, and `status` says how."""
        if self._process is None:
            return False
        self.status = self._process.poll()
        return self.status is None

    def start(self) -> None:
        """Spawn it; whether it serves is another question (kernel/rpc/health.py)."""
        self._process = self._spawn([])

    def migrate(self) -> subprocess.Popen[bytes]:
        """Bring its schema to the head of its history, as a process of its own."""
        return self._spawn(["migrate"])

    def beside(
        self, verb: str, extra_env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `snapshot` or `verify` beside it; what it says is in `stdout`."""
        return subprocess.run(
            [*self._argv(), verb],
            env={**self.environment, **(extra_env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=PROJECT,
            check=False,
        )

    def stop(self) -> None:
        """SIGTERM, wait, SIGKILL after STOP_DEADLINE_S. A stopped one (SIGSTOP) is woken for it."""
        if self._process is None:
            return
        if self.running:
            self.ask_to_stop()
            try:
                self._process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                kill_tree(self._process.pid)
        self.status = self._process.wait()
        self._process = None

    def ask_to_stop(self) -> None:
        """Without waiting, so that several can stop side by side."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)

    def health(self) -> str:
        """SERVING, NOT_SERVING or UNREACHABLE."""
        return process_health(self.service, f"127.0.0.1:{self.port}")

    def progress(self) -> str:
        """How far it has replayed its book, by the last line of its log; else nothing."""
        try:
            said = json.loads(self.log_tail().rpartition("\n")[2])
            return f" ({said['done']:,} of {said['total']:,} events replayed)"
        except (ValueError, KeyError, TypeError):  # it speaks of something else
            return ""

    def log_tail(self) -> str:
        """Its last lines since it was last spawned, after the log's path."""
        return tail(self.log, self._log_start)

    def _spawn(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        rotate(self.log)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                [*self._argv(), *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
                # A session of its own: Ctrl-C in the terminal reaches the supervisor alone.
                start_new_session=True,
            )

    def _argv(self) -> list[str]:
        # -X takes any word and ignores those it does not know: this one is ours, see
        # cli/stack/folder.py. UTF-8 whatever the locale.
        mark = our_mark(self._directory)
        return [sys.executable, "-X", "utf8", "-X", mark, "-m", *self._command]
