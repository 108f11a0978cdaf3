"""Another program of ours under the supervisor's eyes, which is no service: `tanzhang bank-sim`.

`python -m cli <arguments>` with nothing in its environment but our code. It finds the services as
every tool does, through the data folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cli.stack.process import ServiceProcess
from cli.stack.provision import PASSED_ON, code_path
from kernel.rpc.health import SERVING, UNREACHABLE


class Companion(ServiceProcess):
    """Starts and stops like a service; it serves while it runs."""

    def __init__(self, name: str, arguments: Sequence[str], directory: Path) -> None:
        environment = {one: os.environ[one] for one in PASSED_ON if one in os.environ}
        super().__init__(name, name, 0, {**environment, "PYTHONPATH": code_path()}, directory)
        self._command = ["cli", *arguments]

    def health(self) -> str:
        return SERVING if self.running else UNREACHABLE
