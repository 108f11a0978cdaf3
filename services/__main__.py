"""The single server binary: `python -m services <name>` serves, `... <name> migrate` migrates.

Exit codes: 0 stopped in order, 1 something broke (the supervisor starts it again), 2 misconfigured.
"""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
from typing import Any, Final

from kernel.config import Environment
from kernel.errors import Misconfigured
from kernel.logs import configure_logs, get_logger
from kernel.migrate import upgrade

NAMES: Final = ("accounts", "registry", "market", "inclusive", "ledger")
USAGE: Final = f"usage: python -m services {{{'|'.join(NAMES)}}} [migrate]"

log = get_logger(__name__)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in NAMES or arguments[1:] not in ([], ["migrate"]):
        print(USAGE, file=sys.stderr)
        return 2
    name = arguments[0]
    configure_logs(name)
    env = Environment()
    try:
        if arguments[1:] == ["migrate"]:
            print(upgrade(env.text("DATABASE_URL"), name))
            return 0
        service: Any = importlib.import_module(f"services.{name}.main")
        return asyncio.run(_serve(service, env))
    except Misconfigured as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


async def _serve(service: Any, env: Environment) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await service.serve(env, stop)
    except Misconfigured:
        raise
    except Exception as error:
        log.error("process.broken", exc_info=error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
