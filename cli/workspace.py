"""A data folder as the tools see it: where the services are, who may speak to them, what is kept.

Reads what the supervisor wrote and never starts anything. Tokens and institutions' keys are those
of development, where one folder holds everybody's; in production each has its own issuer and key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.errors import NOT_TRIED, CliError
from cli.stack import provision
from cli.stack.folder import recorded_processes, running_note
from cli.stack.ports import standby_name
from kernel.auth import mint_token
from kernel.clock import SystemClock

__all__ = ["CliError", "Workspace"]

TOKEN_TTL_S = 3600


class Workspace:
    """The folder `tanzhang up --dir` made. Cheap to make; every question reads the folder anew."""

    def __init__(self, directory: Path = Path("var")) -> None:
        self.directory = directory.absolute()
        self.clock = SystemClock(provision.clock_file(self.directory))

    @property
    def ports(self) -> dict[str, int]:
        """Ports by name: services, `<service>-metrics`, postgres, nats. CliError if none chosen."""
        path = self.directory / "ports.json"
        try:
            ports = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CliError(self._not_running(), NOT_TRIED) from None
        except ValueError as error:
            raise CliError(f"{path} is not JSON: {error}", NOT_TRIED) from error
        return {str(name): int(port) for name, port in ports.items()}

    def target(self, service: str) -> str:
        """host:port of a service's gRPC; with a comma, that of its standby, if it has one."""
        return ",".join(self.processes(service).values())

    def processes(self, service: str) -> dict[str, str]:
        """host:port of a service, and of its standby if it has one, by name of the process."""
        ports, second = self.ports, standby_name(service)
        if service not in ports:
            raise CliError(f"expected one of {', '.join(sorted(ports))}, got {service}", NOT_TRIED)
        # Remembered ports are only worth something where the supervisor runs a process.
        stands_by = second in ports and second in recorded_processes(self.directory)
        names = [service, second] if stands_by else [service]
        return {name: f"127.0.0.1:{ports[name]}" for name in names}

    def token(
        self,
        sub: str,
        roles: Iterable[str] = (),
        holders: Iterable[str] = (),
        ttl_s: int = TOKEN_TTL_S,
    ) -> str:
        """A token of the development issuer, by the development clock."""
        return mint_token(
            provision.issuer_key(self.directory),
            iss=f"{provision.known_prefix(self.directory)}/issuer",
            sub=sub,
            roles=roles,
            holders=holders,
            now_ms=self.clock.now_ms(),
            ttl_s=ttl_s,
        )

    @property
    def receipts(self) -> Path:
        """Where proof files are put; made by the first start."""
        return self.directory / "receipts"

    @property
    def policy_file(self) -> Path:
        """Whom receipts are judged by, unless another policy is given."""
        return provision.policy_file(self.directory)

    def institution_key(self, name: str) -> Ed25519PrivateKey:
        """The key of a bank, venue or authority, made when first asked for."""
        return provision.institution_key(self.directory, name)

    def venue_key(self) -> Ed25519PrivateKey:
        """The key that the market of this folder signs its settlements with."""
        return provision.venue_key(self.directory)

    def running(self) -> bool:
        """Whether a supervisor holds the folder, however far it is."""
        return running_note(self.directory) is not None

    def require_running(self) -> None:
        """Raises CliError (exit 2) unless everything was up when the supervisor last looked."""
        note = running_note(self.directory)
        if note is None:
            raise CliError(self._not_running(), NOT_TRIED)
        if note.get("state") != "ready":
            state = note.get("state", "starting")
            raise CliError(f"{self.directory} is {state}: try again in a moment", NOT_TRIED)

    def _not_running(self) -> str:
        return f"not running: start it with tanzhang up --dir {self.directory}"
