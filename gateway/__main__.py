"""`python -m gateway` serves.

Exit codes as those of the services: 0 stopped in order, 1 something broke, 2 misconfigured.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from gateway.config import SERVICE
from gateway.main import serve
from kernel.config import Environment
from kernel.errors import Misconfigured
from kernel.logs import configure_logs, get_logger

log = get_logger(__name__)


def main(arguments: list[str]) -> int:
    # A supervisor that starts every process the same way names it.
    if arguments not in ([], [SERVICE]):
        print("usage: python -m gateway", file=sys.stderr)
        return 2
    configure_logs(SERVICE)
    try:
        return asyncio.run(_serve(Environment()))
    except Misconfigured as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)
        return 2


async def _serve(env: Environment) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await serve(env, stop)
    except Misconfigured:
        raise
    except Exception as error:
        log.error("process.broken", exc_info=error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
