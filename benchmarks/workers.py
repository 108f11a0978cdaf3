"""Processes that make load: started, ready, fired, heard.

A worker is a module of this folder run with a job file. It gets ready, says so, waits for the
starting shot, and answers one report at its end; `main` is its side of that. So several run side
by side, and their making ready is in nobody's measurement.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Generic, Self, TypeVar

import msgspec

from cli.stack.provision import PROJECT

READY: Final = b"ready\n"
END_WITHIN_S: Final = 300.0  # beyond its seconds of load: a long tail to be proven

J = TypeVar("J", bound=msgspec.Struct)
R = TypeVar("R")


class Worker(Generic[R]):
    """`with Worker(...)` returns when it is ready; then `fire`, then `report`."""

    def __init__(self, module: str, job: msgspec.Struct, answers: type[R]) -> None:
        self._module = module
        self._job = job
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._file = tempfile.NamedTemporaryFile(prefix="tanzhang-job-")
        self._file.write(msgspec.json.encode(self._job))
        self._file.flush()
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module, self._file.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=PROJECT,
        )
        said: list[bytes] = []
        while (line := self._readable.readline()) != READY:  # libraries may speak before it
            if not line:
                self._process.wait()
                words = b"".join(said).decode(errors="replace")
                raise RuntimeError(f"{self._module} ended before it was ready:\n{words}")
            said.append(line)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        if self._file is not None:
            self._file.close()

    @property
    def pid(self) -> int:
        return self._running.pid

    def fire(self) -> None:
        if self._running.stdin is not None:
            self._running.stdin.write(b"go\n")
            self._running.stdin.flush()

    def report(self, within_s: float) -> R:
        """Waits until it has ended; raises RuntimeError with its words if it did not end well."""
        out, err = self._running.communicate(timeout=within_s + END_WITHIN_S)
        if self._running.returncode != 0:
            raise RuntimeError(f"{self._module} failed:\n{err.decode(errors='replace')}")
        return msgspec.json.decode(out, type=self._answers)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self._module} was not started")
        return self._process

    @property
    def _readable(self) -> IO[bytes]:
        if self._running.stderr is None:
            raise RuntimeError(f"{self._module} has no standard error")
        return self._running.stderr


def ready() -> None:
    """A worker's side: says that it is ready, returns at the starting shot."""
    sys.stderr.buffer.write(READY)
    sys.stderr.buffer.flush()
    sys.stdin.readline()


def main(job: type[J], work: Callable[[J], msgspec.Struct]) -> None:
    """A worker's side: the job out of the file named on the command line, its report printed."""
    given = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=job)
    sys.stdout.buffer.write(msgspec.json.encode(work(given)))
