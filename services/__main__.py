"""The single server binary: `python -m services <name>` serves.

`... <name> migrate` brings its schema up to date. Beside the one that serves, `... <name> snapshot`
writes a snapshot of its book, and `... <name> verify` replays the book from zero and compares.

Exit codes: 0 stopped in order or done, 1 something broke (the supervisor starts it again) or
differs, 2 misconfigured.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
from typing import Any, Final

from kernel.config import Environment, load_settings
from kernel.errors import Misconfigured
from kernel.logs import configure_logs, get_logger
from kernel.migrate import upgrade
from kernel.snapshot.offline import Reading, make_snapshot, opened, verify_book

NAMES: Final = ("accounts", "registry", "market", "inclusive", "ledger")
VERBS: Final = ("migrate", "snapshot", "verify")
USAGE: Final = f"usage: python -m services {{{'|'.join(NAMES)}}} [{'|'.join(VERBS)}]"
LOWEST_PRIORITY: Final = 19

# What a service makes by the thousand (commands, events, outcomes) dies by reference count; cycles
# are few. With Python's own thresholds a third of a batch's time went into looking for them.
COLLECT_AFTER: Final = (100_000, 20, 50)
# A commit is some six round trips to PostgreSQL in a thread, and after each it waits for the loop
# to let go of the interpreter: 5 ms a time with the default interval, more than the commit itself.
SWITCH_AFTER_S: Final = 0.0005

log = get_logger(__name__)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in NAMES or arguments[1:] not in ([], *map(_one, VERBS)):
        print(USAGE, file=sys.stderr)
        return 2
    name, verb = arguments[0], "".join(arguments[1:])
    sys.setswitchinterval(SWITCH_AFTER_S)
    gc.set_threshold(*COLLECT_AFTER)
    configure_logs(name)
    env = Environment()
    try:
        if verb == "migrate":
            print(upgrade(env.text("DATABASE_URL"), name))
            return 0
        service: Any = importlib.import_module(f"services.{name}.main")
        if verb:
            return _read(service, env, verb)
        return asyncio.run(_serve(service, env))
    except Misconfigured as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def _one(verb: str) -> list[str]:
    return [verb]


def _read(service: Any, env: Environment, verb: str) -> int:
    """Beside the writer, and never in its way."""
    os.nice(LOWEST_PRIORITY)
    settings = load_settings(service.SERVICE, env)
    with opened(service.SERVICE, service.BOOK, settings, service.DOMAIN) as book:
        right = verify_book(book, print) if verb == "verify" else _make(book)
        # A service that keeps more than its own book (services/ledger/beside.py) goes on with that.
        further = getattr(service, "beside", None)
        if further is not None:
            right &= further(env, book, verb, print)
        return 0 if right else 1


def _make(book: Reading) -> bool:
    made = make_snapshot(book)
    print(f"{book.writer.book}: " + ("nothing new" if made is None else f"at {made.position}"))
    return True


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
        # As with kill -9, which harms nothing here: an orderly end would wait for what may never
        # answer, a thread that asks a database behind a wire that has gone dead.
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
