"""A stream of requests, answered in order while the next ones are already at work.

At most IN_FLIGHT of a stream are at work; no more are read meanwhile, and so gRPC's own flow
control holds the sender back. What cannot be taken ends the stream, and nothing after it is begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

IN_FLIGHT: Final = 4  # one is committed, one decided, one read, one on its way

R = TypeVar("R")
A = TypeVar("A")


async def in_order(
    requests: AsyncIterator[R], carry_out: Callable[[R], Awaitable[A]], in_flight: int = IN_FLIGHT
) -> AsyncGenerator[A, None]:
    """The answers in the order of the requests; raises what the first failing one raised."""
    room = asyncio.Semaphore(in_flight)
    begun: asyncio.Queue[asyncio.Task[A] | None] = asyncio.Queue()
    tasks: set[asyncio.Task[A]] = set()

    async def begin() -> None:
        try:
            await room.acquire()
            async for request in requests:
                task = asyncio.ensure_future(_awaited(carry_out, request))
                tasks.add(task)
                begun.put_nowait(task)
                await asyncio.sleep(0)  # until it waits for its answer: then it has its place
                if task.done() and task.exception() is not None:
                    return
                await room.acquire()
        finally:
            begun.put_nowait(None)

    reading = asyncio.create_task(begin())
    try:
        while (task := await begun.get()) is not None:
            answer = await task
            tasks.discard(task)
            room.release()
            yield answer
        await reading
    finally:
        for one in (reading, *tasks):
            one.cancel()
        await asyncio.gather(reading, *tasks, return_exceptions=True)


async def _awaited(carry_out: Callable[[R], Awaitable[A]], request: R) -> A:
    return await carry_out(request)
