"""`python -m kernel.rpc.probe <service> [--alive]`: does the process beside us serve?

With `--alive`: does it answer at all? A standby does, and one that replays, and neither serves.

For probes that execute: a kubelet's own gRPC probe speaks no TLS, and nothing of ours that leaves
loopback speaks without. This one asks where the process listens (TANZHANG_LISTEN) and trusts what
its callers trust (TANZHANG_TLS_AUTHORITY, a certificate that names the service), so a wrong
certificate shows here.

Exit codes: 0 it serves (or is alive), 1 it does not, 2 misconfigured.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from kernel.config import Environment
from kernel.errors import Misconfigured
from kernel.rpc.health import SERVING, UNREACHABLE, health

ALIVE: Final = "--alive"
PROBE_DEADLINE_S: Final = 3.0  # below the timeout of the probes in k8s/
# Who listens everywhere is reached on loopback.
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing binds here


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2) or arguments[1:] not in ([], [ALIVE]):
        print(f"usage: python -m kernel.rpc.probe <service> [{ALIVE}]", file=sys.stderr)
        return 2
    try:
        target, authority = load_target(Environment())
        root_certificate = None if authority is None else authority.read_bytes()
    except (Misconfigured, OSError) as error:
        print(f"probe: {error}", file=sys.stderr)
        return 2
    status = health(target, PROBE_DEADLINE_S, root_certificate, arguments[0])
    print(status)
    well = status != UNREACHABLE if arguments[1:] else status == SERVING
    return 0 if well else 1


def load_target(env: Environment) -> tuple[str, Path | None]:
    """Where to ask, and the authority to trust; None: the process speaks plainly, over loopback."""
    host, _, port = env.text("LISTEN").rpartition(":")
    return f"{EVERYWHERE.get(host, host)}:{port}", env.optional_path("TLS_AUTHORITY")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
