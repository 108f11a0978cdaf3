"""Claim: when the process that writes a book is gone, its standby goes on within five seconds, as
its callers see it, and nothing they were acknowledged is lost or happens twice.

Two processes of accounts, each with a way of its own to the database (a small TCP proxy); callers
in a process of their own, which repeat by id. The one that writes is killed, stands still, has its
connections to the database cut, or has them hang: packets vanish and nobody says so. Waited is, by
caller, from the blow to the end of the longest pause between two answers after it.
"""

from __future__ import annotations

import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from benchmarks.jobs import Job
from benchmarks.losses import losses, read_acknowledged
from benchmarks.patient import patient
from benchmarks.tables import say, table
from benchmarks.world import Bench, bench_world
from kernel.rpc.health import SERVING, health
from tests.support.tcp_proxy import LOOPBACK, Cut, Link, TcpProxy

SERVICE: Final = "accounts"
PAIR: Final = ("accounts", "accounts-2")
HOLDERS: Final = 200
LEAD_S: Final = 1.5  # of load before the blow
WITHIN_S: Final = 60.0  # for both to be there again
POLL_S: Final = 0.05


@dataclass(frozen=True)
class Options:
    rounds: int = 3
    callers: int = 8
    batch: int = 20
    seconds: float = 10.0  # of load after the blow
    faults: tuple[str, ...] = ()  # all of them


class Stage(NamedTuple):
    bench: Bench
    proxy: TcpProxy


class Fault(NamedTuple):
    """What happens to the process of that name, and how it can live again afterwards."""

    strike: Callable[[Stage, str], object]
    mend: Callable[[Stage, str], object]


FAULTS: Final[Mapping[str, Fault]] = {
    "killed": Fault(lambda on, name: on.bench.supervisor.kill(name), lambda on, name: None),
    "standing still": Fault(
        lambda on, name: on.bench.supervisor.kill(name, signal.SIGSTOP),
        lambda on, name: on.bench.supervisor.kill(name, signal.SIGCONT),
    ),
    "database cut": Fault(
        lambda on, name: on.proxy.do(lambda link: link.cut(Cut.RST), name),
        lambda on, name: None,
    ),
    "database hangs": Fault(
        lambda on, name: on.proxy.do(Link.hang, name),
        lambda on, name: on.proxy.do(Link.heal, name),
    ),
}


def run(options: Options) -> dict[str, Any]:
    with bench_world(HOLDERS, standbys=[SERVICE]) as bench:
        return measure_in(bench, options)


def measure_in(bench: Bench, options: Options) -> dict[str, Any]:
    names = options.faults or tuple(FAULTS)
    waited: dict[str, list[float]] = {name: [] for name in names}
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    with TcpProxy() as proxy:
        on = Stage(bench, proxy)
        _route(on)
        for _ in range(options.rounds):
            for name in names:
                pauses, lost = _round(on, FAULTS[name], options)
                waited[name] += pauses
                counts[name].update(lost)
                say(f"{name}: callers waited {min(pauses):.1f} to {max(pauses):.1f} s")
        _await_pair(bench)
    figures = {name: _figures(waited[name], counts[name]) for name in names}
    columns = ["median_s", "max_s", "acknowledged", "lost", "doubled", "moved"]
    table(["fault", *columns], [[name, *map(one.get, columns)] for name, one in figures.items()])
    return figures


def _figures(pauses: Sequence[float], counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "median_s": round(statistics.median(pauses), 2),
        "max_s": round(max(pauses), 2),
        **counts,
    }


def _route(on: Stage) -> None:
    """Starts both again, each with its own way to the database; the standby first."""
    supervisor = on.bench.supervisor
    url = sa.make_url(supervisor.database_url(SERVICE))
    for name in reversed(PAIR):
        link = on.proxy.link(name, url.port or 0)
        mine = url.set(host=LOOPBACK, port=link.port).render_as_string(hide_password=False)
        supervisor.restart_service(name, {"TANZHANG_DATABASE_URL": mine})
        _await_pair(on.bench)


def _round(on: Stage, fault: Fault, options: Options) -> tuple[list[float], Mapping[str, int]]:
    """How long each caller waited, and what became of what they were acknowledged."""
    name = _await_pair(on.bench)
    with tempfile.NamedTemporaryFile(prefix="tanzhang-acknowledged-") as file:
        job = Job(
            directory=on.bench.directory,
            people=on.bench.people,
            callers=options.callers,
            batch=options.batch,
            seconds=LEAD_S + options.seconds,
            acknowledged=file.name,
        )
        with patient(job) as callers:
            callers.fire()
            time.sleep(LEAD_S)
            struck_s = time.monotonic()
            fault.strike(on, name)
            try:
                report = callers.report(job.seconds)
            finally:
                fault.mend(on, name)
        if report.refused:
            raise RuntimeError(f"expected every entry accepted, {report.refused} were refused")
        found = losses(on.bench, read_acknowledged(Path(file.name)))
    return [pause_s(one, struck_s) for one in report.answered_s], found


def pause_s(answered_s: Iterable[float], struck_s: float) -> float:
    """From the blow to the end of the longest pause after it; raises RuntimeError without one."""
    late = [at_s for at_s in answered_s if at_s > struck_s]
    pauses = zip([struck_s, *late], late, strict=False)
    ends = [(after_s - before_s, after_s - struck_s) for before_s, after_s in pauses]
    if not ends:
        raise RuntimeError("a caller was never answered again")
    return max(ends)[1]


def _await_pair(bench: Bench) -> str:
    """The name of the one that writes, once the other stands by."""
    give_up_s = time.monotonic() + WITHIN_S
    while time.monotonic() < give_up_s:
        said = {name: health(bench.supervisor.target(name)) for name in PAIR}
        if sorted(said.values()) == ["NOT_SERVING", SERVING]:
            return next(name for name in PAIR if said[name] == SERVING)
        time.sleep(POLL_S)
    raise RuntimeError(f"expected one to serve and one to stand by within {WITHIN_S:.0f} s: {said}")
