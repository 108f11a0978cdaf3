"""A caller as our own processes are: one channel, one payment after the other, and no word of who
answers. What it sent and what was acknowledged stands in the world, so that `check` holds the
journal to it; when, stands here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.rpc.client import call, open_channel
from tests.support.lanzhou import BUYER
from tests.support.world import Command, World, accepted, payment, until

PAUSE_S = 0.02


class Paying:
    """Runs in a thread; `target` is what a process is told of its peers."""

    def __init__(self, world: World, target: str) -> None:
        self._world = world
        self._target = target
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.acknowledged_s: list[float] = []
        self.broken: BaseException | None = None

    def begin(self) -> None:
        self._thread.start()
        self.await_more(3)

    def end(self) -> None:
        self._stopping.set()
        self._thread.join()
        if self.broken is not None:
            raise self.broken

    def await_more(self, count: int) -> None:
        """Returns once so many more payments were acknowledged."""
        wanted = len(self.acknowledged_s) + count
        until(
            lambda: self.broken is not None or len(self.acknowledged_s) >= wanted,
            "payments to be acknowledged",
        )
        if self.broken is not None:
            raise self.broken

    def gap_s(self, since_s: float) -> float:
        """From an instant to the first acknowledgement that came more than a moment after it."""
        late = [at_s for at_s in self.acknowledged_s if at_s > since_s]
        pauses = zip([since_s, *late], late, strict=False)
        return max((after - before, after - since_s) for before, after in pauses)[1]

    async def _run(self) -> None:
        channel = open_channel(self._target)
        try:
            stub = accounts_pb2_grpc.AccountsServiceStub(channel)
            while not self._stopping.is_set():
                await self._pay(stub)
                await asyncio.sleep(PAUSE_S)
        except BaseException as error:
            self.broken = error
        finally:
            await channel.close(None)

    async def _pay(self, stub: accounts_pb2_grpc.AccountsServiceStub) -> None:
        world = self._world
        entry = world.entry(payment(1))
        command = Command("accounts", BUYER.actor.sub, entry.id)
        world.sent[command] = None
        request = pb.PostEntriesRequest(entries=[entry])
        answer = await call(stub.PostEntries, request, world.token(BUYER))
        world.sent[command] = accepted(answer.results[0])
        self.acknowledged_s.append(time.monotonic())


@contextmanager
def paying(world: World, target: str) -> Iterator[Paying]:
    """Somebody who pays all the while; whatever broke for them is raised at the end."""
    caller = Paying(world, target)
    caller.begin()
    try:
        yield caller
    finally:
        caller.end()
