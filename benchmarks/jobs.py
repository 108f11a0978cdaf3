"""What a load generator is told and what it answers (benchmarks/load.py)."""

from __future__ import annotations

import msgspec

from benchmarks.workers import Worker
from cli.values import Persona


class Person(msgspec.Struct, frozen=True):
    """Who calls, and for whom: a token names all of them, so no more than some hundred."""

    sub: str
    holders: tuple[str, ...]

    def persona(self) -> Persona:
        return Persona(self.sub, (), self.holders)


class Trading(msgspec.Struct, frozen=True):
    """Trades of this venue are settled instead, each between two of the people's holders."""

    venue: str
    asset: str
    fee_holder: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One-leg entries of 1 fen between the holders of these people, or trades between them."""

    directory: str
    people: tuple[Person, ...]
    payees: tuple[str, ...] = ()  # empty: the holders of these people
    callers: int = 1
    batch: int = 1000
    seconds: float = 3.0
    calls: int = 0  # per caller; 0: as many as the seconds allow
    every_s: float = 0.0  # between the beginnings of two calls of a caller; 0: without a pause
    await_proof: bool = True
    acknowledged: str = ""  # a file for ids and positions
    trading: Trading | None = None
    seed: int = 1

    def persona(self, person: Person) -> Persona:
        """As who a person's calls are made: trades are the venue's."""
        if self.trading is None:
            return person.persona()
        return Persona(self.trading.venue, (f"venue:{self.trading.venue}",))


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds count from the starting shot. `failed`: calls that ended in a gRPC status;
    `pushed_back`: how often one was told to come back, and did."""

    accepted: int
    refused: dict[str, int]
    failed: dict[str, int]
    pushed_back: int
    last: int
    recorded_s: float
    proven_s: float
    cpu_s: float
    call_ms: list[float]


def load(job: Job) -> Worker[Report]:
    """A generator, to be entered, fired and heard."""
    return Worker("benchmarks.load", job, Report)


def run_load(job: Job) -> Report:
    """One generator, from the beginning to the end."""
    with load(job) as generator:
        generator.fire()
        return generator.report(job.seconds)
