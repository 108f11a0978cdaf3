"""The services for one command: those that run on the data folder, else a stack of our own.

What this started it stops, also when it is interrupted or told to end; what ran before goes on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cli.stack.folder import AlreadyRunning
from cli.stack.supervisor import Supervisor
from cli.up import Waiting
from cli.workspace import Workspace

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def own_stack(directory: Path, witnesses: int = 0) -> Iterator[Supervisor | None]:
    """The supervisor if it had to be started, None if the folder is served already.

    Raises StackFault when it does not come up, CliError when what runs there is not ready.
    """
    supervisor = Supervisor(
        directory,
        log_prefix=os.environ.get("TANZHANG_LOG_PREFIX") or None,
        database_url=os.environ.get("TANZHANG_DATABASE_URL") or None,
        nats_url=os.environ.get("TANZHANG_NATS_URL") or None,
        witnesses=witnesses,
    )
    with _ended_by_signals():
        try:
            with Waiting() as waiting:
                supervisor.start(waiting)
        except AlreadyRunning:
            Workspace(directory).require_running()
            yield None
            return
        try:
            yield supervisor
        finally:
            supervisor.stop()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Told to end is treated like interrupted, so that everything is stopped in order."""
    before = {number: signal.signal(number, _interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
