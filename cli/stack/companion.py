"""Another program of ours under the supervisor's eyes, which is no service: `tanzhang bank-sim`.

`python -m cli <arguments>` with nothing in its environment but our code. It finds the services as
every tool does, through the data folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cli.stack.process import ServiceProcess
from cli.stack.provision import code_path, passed_on
from kernel.rpc.health import SERVING, UNREACHABLE


class Companion(ServiceProcess):
    """Starts and stops like a service; it serves while it runs."""

    def __init__(self, name: str, arguments: Sequence[str], directory: Path) -> None:
        super().__init__(name, name, 0, {**passed_on(), "PYTHONPATH": code_path()}, directory)
        self._command = ["cli", *arguments]

    def health(self) -> str:
        return SERVING if self.running else UNREACHABLE
