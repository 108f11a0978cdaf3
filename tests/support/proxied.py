"""A supervisor whose processes reach one another, the database and the bus through a TcpProxy.

Nothing in the product knows: the urls and peers a process is handed name the proxy's ports instead.
Each (process, what it reaches) is a link of its own: `accounts→postgres`, `ledger→accounts`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.stack.folder import NATS, POSTGRES
from cli.stack.ports import free_port
from cli.stack.process import ServiceProcess
from cli.stack.supervisor import Supervisor
from tests.support.tcp_proxy import Link, TcpProxy

ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
PEER = "TANZHANG_PEER_"
REACHED = {"TANZHANG_DATABASE_URL": POSTGRES, "TANZHANG_NATS_URL": NATS}
STANDBY = "accounts-2"
SNAPSHOT_EVENTS = 400  # so that starts begin at snapshots, and in the middle of making them


class ProxiedSupervisor(Supervisor):
    """Everything between processes goes through the proxy; `start_standby` is the second accounts.

    What asks for accounts is let in by whichever of the two listens, as behind one address of a
    cluster.
    """

    def __init__(
        self,
        directory: Path,
        proxy: TcpProxy,
        services: Sequence[str],
        builds: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, services=services)
        self._proxy = proxy
        self._builds = builds or {}  # of services that are to run another build: its module
        self._standby_port = free_port()

    def start_standby(self) -> None:
        name = self.start_service("accounts", port=self._standby_port)
        if name != STANDBY:
            raise ValueError(f"expected {STANDBY}, got {name}")

    def way(self, who: str, what: str) -> Link:
        """From somebody outside, a client, to one process."""
        port = int(self.target(what).rpartition(":")[2])
        return self._proxy.link(f"{who}→{what}", port)

    def _service(
        self,
        name: str,
        service: str,
        port: int,
        extra_env: Mapping[str, str] | None = None,
        module: str = "services",
    ) -> ServiceProcess:
        extra = {"TANZHANG_SNAPSHOT_EVENTS": str(SNAPSHOT_EVENTS), **(extra_env or {})}
        made = super()._service(name, service, port, extra, self._builds.get(service, module))
        for variable, value in made.environment.items():
            what = REACHED.get(variable) or variable.removeprefix(PEER).lower()
            if variable in REACHED or variable.startswith(PEER):
                made.environment[variable] = self._through(name, what, value)
        return made

    def _through(self, name: str, what: str, value: str) -> str:
        """The value with every address in it replaced by the link's that leads there."""

        def replaced(found: re.Match[str]) -> str:
            targets = [int(found[1])]
            if what == "accounts":
                targets.append(self._standby_port)
            return f"127.0.0.1:{self._proxy.link(f'{name}→{what}', *targets).port}"

        return ADDRESS.sub(replaced, value)
