"""The load generator: a process of its own that posts entries, or settles trades, through gRPC.

    python -m benchmarks.load JOB.json > report.json

Requests are made while the clock runs, as cheaply as it can be (benchmarks/makers.py), so on a
small machine the service is measured and not its client; the report says what the process used.
Every answer is read, item by item. A call that is told to come back later is sent again, with the
same ids; any other failure ends its caller: what was not acknowledged counts as that.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.jobs import Job, Person, Report
from benchmarks.makers import Entries, Maker, Trades
from benchmarks.workers import main, ready
from cli.clients import Books
from cli.workspace import Workspace
from kernel.rpc.client import DEADLINE_S, metadata, open_channel

CALLERS_PER_CHANNEL: Final = 8
COME_BACK_S: Final = 0.05

Note = Callable[[bytes, int], None]  # what was acknowledged: id and position


class Caller:
    """One of the concurrent callers: one batch after the other, in one person's name."""

    def __init__(
        self, job: Job, place: float, person: Person, token: str, post: Any, make: Maker
    ) -> None:
        self._job = job
        self._place = place  # of its calls among those of the others, 0 to 1
        self._person = person
        self._metadata = metadata(token)
        self._post = post
        self._make = make
        self.call_ms: list[float] = []
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.pushed_back = 0
        self.last = 0

    async def run(self, begin_s: float, end_s: float, note: Note) -> None:
        turn = 0
        while time.perf_counter() < end_s and (not self._job.calls or turn < self._job.calls):
            if self._job.every_s:  # on time, however long the call before took
                due_s = begin_s + (turn + self._place) * self._job.every_s
                await asyncio.sleep(due_s - time.perf_counter())
            turn += 1
            try:
                await self._once(note, end_s)
            except grpc.aio.AioRpcError as error:
                self.failed[error.code().name] += 1
                return

    async def _once(self, note: Note, end_s: float) -> None:
        ids, request = self._make.request(self._job.batch, self._person)
        asked_s = time.perf_counter()
        while True:
            try:
                answer = await self._post(request, timeout=DEADLINE_S, metadata=self._metadata)
                break
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
            self.pushed_back += 1
            await asyncio.sleep(COME_BACK_S)
            if time.perf_counter() > end_s:
                return
        self.call_ms.append((time.perf_counter() - asked_s) * 1000)
        for id, position, reason in self._make.answers(ids, answer):
            if reason:
                self.refused[reason] += 1
                continue
            self.last = position
            self.accepted += 1
            note(id, position)


async def run(job: Job) -> Report:
    """All callers until the time is over or each has made its calls; then until all is proven."""
    workspace = Workspace(Path(job.directory))
    make = _maker(job, workspace)
    async with Books(workspace) as books:
        tokens = [books.token(job.persona(person)) for person in job.people]
        channels = [
            open_channel(workspace.target("accounts"))
            for _ in range(-(-job.callers // CALLERS_PER_CHANNEL))
        ]
        callers = [
            Caller(
                job,
                n / job.callers,
                job.people[n % len(job.people)],
                tokens[n % len(job.people)],
                channels[n % len(channels)].unary_unary(make.method),
                make,
            )
            for n in range(job.callers)
        ]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        await asyncio.to_thread(ready)
        with _noting(job.acknowledged) as note:
            started_cpu_s, started_s = time.process_time(), time.perf_counter()
            end_s = started_s + job.seconds
            await asyncio.gather(*(one.run(started_s, end_s, note) for one in callers))
            recorded_s = time.perf_counter() - started_s
        proven_s = 0.0
        last = max(one.last for one in callers)
        if last and job.await_proof:
            await books.proofs("accounts", [last])
            proven_s = time.perf_counter() - started_s
        cpu_s = time.process_time() - started_cpu_s
        for channel in channels:
            await channel.close(None)
    return Report(
        accepted=sum(one.accepted for one in callers),
        refused=_summed(one.refused for one in callers),
        failed=_summed(one.failed for one in callers),
        pushed_back=sum(one.pushed_back for one in callers),
        last=last,
        recorded_s=recorded_s,
        proven_s=proven_s,
        cpu_s=cpu_s,
        call_ms=[round(ms, 3) for one in callers for ms in one.call_ms],
    )


def _maker(job: Job, workspace: Workspace) -> Maker:
    if job.trading is None:
        return Entries(job, workspace.clock.now_ms)
    key = workspace.institution_key(job.trading.venue)
    return Trades(job, job.trading, key, workspace.clock.now_ms)


@contextmanager
def _noting(path: str) -> Iterator[Note]:
    """Writes each acknowledged id and position to a file, if somebody wants to know them."""
    if not path:
        yield lambda id, position: None
        return
    with Path(path).open("wb", buffering=1 << 20) as file:

        def note(id: bytes, position: int) -> None:
            file.write(b"%b %d\n" % (id, position))

        yield note


def _summed(counts: Iterable[Counter[str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


if __name__ == "__main__":
    main(Job, lambda job: asyncio.run(run(job)))
