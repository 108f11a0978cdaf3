"""`tanzhang streams`: the books' streams on a NATS of one's own, made or brought up to date.

The operator's work (docs/decisions/0001): no service may make a stream. Repeating it is harmless;
one that has vanished is made again, empty, and followers read from the owners meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import typer

from cli.errors import NOT_TRIED, CliError
from cli.stack.nats import OPERATOR
from cli.stack.provision import BOOKS
from kernel.bus import Bus, BusDown, stream_name
from kernel.config import Environment
from kernel.errors import Misconfigured

DEADLINE_S = 60.0  # a cluster that has just started elects its leaders first
AGAIN_S = 1.0


def make_streams(replicas: int) -> None:
    """Make the stream of every book on the NATS that TANZHANG_NATS_URL names, as its operator.

    Raises CliError without the variable, and when NATS does not do it within DEADLINE_S.
    """
    try:
        url = Environment().text("NATS_URL")
    except Misconfigured as error:
        raise CliError(str(error), NOT_TRIED) from error
    asyncio.run(_make(url, BOOKS, replicas))
    for book in BOOKS:
        typer.echo(f"{stream_name(book)}: {replicas} replicas")


async def _make(url: str, books: Sequence[str], replicas: int) -> None:
    bus: Bus | None = None
    try:
        async with asyncio.timeout(DEADLINE_S):
            bus = await Bus.connect(url, OPERATOR)
            for book in books:
                await _make_one(bus, book, replicas)
    except TimeoutError as error:
        raise CliError(f"nats: not all streams within {DEADLINE_S:.0f} s", NOT_TRIED) from error
    finally:
        if bus is not None:
            await bus.close()


async def _make_one(bus: Bus, book: str, replicas: int) -> None:
    while True:
        try:
            await bus.ensure_stream(book, replicas)
        except BusDown as error:
            typer.echo(f"{stream_name(book)}: not yet: {error}", err=True)
            await asyncio.sleep(AGAIN_S)
        else:
            return
