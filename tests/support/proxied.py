"""A supervisor whose processes reach one another, the database and the bus through a TcpProxy.

Nothing in the product knows: the urls and peers a process is handed name the proxy's ports instead.
Each (process, what it reaches) is a link of its own: `accounts→postgres`, `ledger→accounts`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.stack.folder import NATS, POSTGRES
from cli.stack.ports import standby_name
from cli.stack.process import ServiceProcess
from cli.stack.supervisor import Supervisor
from tests.support.tcp_proxy import Link, TcpProxy

ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
PEER = "TANZHANG_PEER_"
REACHED = {"TANZHANG_DATABASE_URL": POSTGRES, "TANZHANG_NATS_URL": NATS}
STANDBY = standby_name("accounts")
SNAPSHOT_EVENTS = 400  # so that starts begin at snapshots, and in the middle of making them


class ProxiedSupervisor(Supervisor):
    """Everything between processes goes through the proxy; accounts has a standby."""

    def __init__(
        self,
        directory: Path,
        proxy: TcpProxy,
        services: Sequence[str],
        builds: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, services=services, standbys=["accounts"])
        self._proxy = proxy
        self._builds = builds or {}  # of services that are to run another build: its module

    def way(self, who: str, what: str) -> Link:
        """From somebody outside, a client, to one process."""
        port = int(self.target(what).rpartition(":")[2])
        return self._proxy.link(f"{who}→{what}", port)

    def view(self, who: str) -> Path:
        """This data folder as a tool sees it whose ways to the services lead through the proxy."""
        made = self.directory / "as-seen-by" / who
        made.mkdir(parents=True)
        for name in ("keys", "policy.txt", "processes.json", "clock.offset", who):
            (made / name).symlink_to(self.directory / name)
        (self.directory / who).mkdir()
        running = {*self.services, *self.standbys.values()}
        ports = {
            name: self._proxy.link(f"{who}→{name}", port).port if name in running else port
            for name, port in self._ports.items()
        }
        (made / "ports.json").write_text(json.dumps(ports), encoding="utf-8")
        return made

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
            port = int(found[1])
            to = STANDBY if port == self._ports[STANDBY] else what
            return f"127.0.0.1:{self._proxy.link(f'{name}→{to}', port).port}"

        return ADDRESS.sub(replaced, value)
