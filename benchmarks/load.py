"""The load generator: a process of its own that posts one-leg entries through gRPC.

    python -m benchmarks.load JOB.json > report.json

Requests are made while the clock runs, as the bytes of protobuf: what differs between two entries
(id, payer, payee) is put into the bytes of one real message. That costs about a microsecond an
entry, so on a small machine the service is measured and not its client; the report says what the
process used. Every answer is read, item by item. Never repeats a call: what was not acknowledged
counts as that.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from tanzhang.accounts.v1 import accounts_pb2 as pb

from benchmarks.jobs import Job, Person, Report
from benchmarks.workers import main, ready
from cli.clients import Books
from cli.workspace import Workspace
from kernel.rpc.client import DEADLINE_S, metadata, open_channel

POST_ENTRIES: Final = "/tanzhang.accounts.v1.AccountsService/PostEntries"
CALLERS_PER_CHANNEL: Final = 8
# Three texts as long as the real ones, that occur nowhere else in a message.
_ID: Final = "0" * 36
_PAYER: Final = "h-" + "1" * 16
_PAYEE: Final = "h-" + "2" * 16

Note = Callable[[bytes, int], None]  # what was acknowledged: id and position


def template() -> bytes:
    """One entry of a request, with `%b` for id, payer and payee in this order."""
    available = pb.Purpose.PURPOSE_AVAILABLE
    leg = pb.Leg(
        debit=pb.Account(holder=_PAYER, purpose=available),
        credit=pb.Account(holder=_PAYEE, purpose=available),
        asset="CNY",
        amount=1,
    )
    whole = pb.PostEntriesRequest(entries=[pb.Entry(id=_ID, legs=[leg])]).SerializeToString()
    pieces: bytes = whole.replace(b"%", b"%%")
    for marker in (_ID, _PAYER, _PAYEE):
        pieces = pieces.replace(marker.encode(), b"%b")
    return pieces


def new_ids(count: int, now_ms: int) -> list[bytes]:
    """UUIDv7 of this instant; the same as kernel/ids.py:uuid7, many at a time."""
    head = f"{now_ms:012x}"
    front, chance = f"{head[:8]}-{head[8:]}-7".encode(), os.urandom(10 * count).hex().encode()
    return [
        front
        + chance[at : at + 3]
        + b"-8"
        + chance[at + 3 : at + 6]
        + b"-"
        + chance[at + 6 : at + 18]
        for at in range(0, 20 * count, 20)
    ]


class Generator:
    """Fills requests. Payers are the caller's own holders, payees any of the chosen ones."""

    def __init__(self, job: Job, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._template = template()
        payees = job.payees or [holder for person in job.people for holder in person.holders]
        self._payees = [holder.encode() for holder in payees]
        self._chance = random.Random(job.seed)  # noqa: S311 - load, not secrets

    def request(self, size: int, person: Person) -> tuple[list[bytes], bytes]:
        ids = new_ids(size, self._now_ms())
        payers = [holder.encode() for holder in person.holders]
        debits = self._chance.choices(payers, k=size)
        credits = self._chance.choices(self._payees, k=size)
        fill = self._template
        parts = []
        for id, debit, credit in zip(ids, debits, credits, strict=True):
            while credit == debit:  # nobody pays oneself
                credit = self._chance.choice(self._payees)  # noqa: PLW2901
            parts.append(fill % (id, debit, credit))
        return ids, b"".join(parts)


class Caller:
    """One of the concurrent callers: one batch after the other, in one person's name."""

    def __init__(
        self, job: Job, place: float, person: Person, token: str, post: Any, make: Generator
    ) -> None:
        self._job = job
        self._place = place  # of its calls among those of the others, 0 to 1
        self._person = person
        self._metadata = metadata(token)
        self._post = post
        self._make = make
        self.call_ms: list[float] = []
        self.accepted = 0
        self.refused: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self.last = 0

    async def run(self, begin_s: float, end_s: float, note: Note) -> None:
        turn = 0
        while time.perf_counter() < end_s and (not self._job.calls or turn < self._job.calls):
            if self._job.every_s:  # on time, however long the call before took
                due_s = begin_s + (turn + self._place) * self._job.every_s
                await asyncio.sleep(due_s - time.perf_counter())
            turn += 1
            try:
                await self._once(note)
            except grpc.aio.AioRpcError as error:
                code = error.code().name
                self.failed[code] = self.failed.get(code, 0) + 1
                if code != "RESOURCE_EXHAUSTED":
                    return

    async def _once(self, note: Note) -> None:
        ids, request = self._make.request(self._job.batch, self._person)
        sent_s = time.perf_counter()
        answer = await self._post(request, timeout=DEADLINE_S, metadata=self._metadata)
        self.call_ms.append((time.perf_counter() - sent_s) * 1000)
        for id, result in zip(ids, pb.PostEntriesResponse.FromString(answer).results, strict=True):
            if result.HasField("accepted"):
                self.last = position = result.accepted.first_position
                self.accepted += 1
                note(id, position)
            else:
                reason = result.refused.reason
                self.refused[reason] = self.refused.get(reason, 0) + 1


async def run(job: Job) -> Report:
    """All callers until the time is over or each has made its calls; then until all is proven."""
    workspace = Workspace(Path(job.directory))
    make = Generator(job, workspace.clock.now_ms)
    _check_template(make, job.people[0])
    async with Books(workspace) as books:
        tokens = [books.token(who.persona()) for who in job.people]
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
                channels[n % len(channels)].unary_unary(POST_ENTRIES),
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
        last=last,
        recorded_s=recorded_s,
        proven_s=proven_s,
        cpu_s=cpu_s,
        call_ms=[round(ms, 3) for one in callers for ms in one.call_ms],
    )


def _check_template(make: Generator, person: Person) -> None:
    """Our bytes must be what protobuf itself would write."""
    ids, request = make.request(3, person)
    message = pb.PostEntriesRequest.FromString(request)
    found = [entry.id.encode() for entry in message.entries]
    if found != ids or message.SerializeToString(deterministic=True) != request:
        raise RuntimeError("expected the request to be the bytes protobuf makes of it")


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


def _summed(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


if __name__ == "__main__":
    main(Job, lambda job: asyncio.run(run(job)))
