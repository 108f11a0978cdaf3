"""Callers as our own processes are, in a process of their own: they repeat by id until they are
answered, and write down when that was.

    python -m benchmarks.patient JOB.json > report.json
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from benchmarks.jobs import Job, Person
from benchmarks.makers import Entries
from benchmarks.workers import Worker, main, ready
from cli.clients import Books
from cli.workspace import Workspace
from kernel.rpc.client import Channel, call, open_channel

PATIENCE_S: Final = 60.0  # whatever happens, they go on
PAUSE_S: Final = 0.02


class Patience(msgspec.Struct, frozen=True):
    """By caller: when (of the system's monotonic clock) each of its calls was answered."""

    answered_s: list[list[float]]
    refused: int


def patient(job: Job) -> Worker[Patience]:
    return Worker("benchmarks.patient", job, Patience)


class Payer:
    def __init__(self, make: Entries, person: Person, token: str, channel: Channel) -> None:
        self._make = make
        self._person = person
        self._token = token
        self._post: Any = channel.unary_unary(make.method)
        self.answered_s: list[float] = []
        self.refused = 0

    async def run(self, job: Job, end_s: float, file: BinaryIO) -> None:
        while time.monotonic() < end_s:
            ids, request = self._make.request(job.batch, self._person)
            answer = await call(
                self._post, request, self._token, deadline_s=PATIENCE_S, patience_s=PATIENCE_S
            )
            self.answered_s.append(time.monotonic())
            for id, position, reason in self._make.answers(ids, answer):
                self.refused += bool(reason)
                if not reason:
                    file.write(b"%b %d\n" % (id, position))
            await asyncio.sleep(PAUSE_S)


async def run(job: Job) -> Patience:
    workspace = Workspace(Path(job.directory))
    make = Entries(job, workspace.clock.now_ms)
    async with Books(workspace) as books:
        people = [job.people[n % len(job.people)] for n in range(job.callers)]
        # One for each caller: each finds out for itself who serves.
        channels = [open_channel(workspace.target("accounts")) for _ in people]
        payers = [
            Payer(make, person, books.token(person.persona()), channel)
            for person, channel in zip(people, channels, strict=True)
        ]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        await asyncio.to_thread(ready)
        end_s = time.monotonic() + job.seconds
        with _file(job) as file:
            await asyncio.gather(*(one.run(job, end_s, file) for one in payers))
        for channel in channels:
            await channel.close(None)
    return Patience([one.answered_s for one in payers], sum(one.refused for one in payers))


def _file(job: Job) -> BinaryIO:
    return Path(job.acknowledged).open("wb")


if __name__ == "__main__":
    main(Job, lambda job: asyncio.run(run(job)))
