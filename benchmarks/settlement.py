"""Claim: durable one-leg entries, and trades of delivery, payment and fee, through gRPC in batches
of 1,000, journaled, published, checked and signed, beside peers on the same PostgreSQL in one run.

Rate = entries / time until a checkpoint covers the last one; building the requests is included, in
a process of its own. CPU is counted until the read models have caught up as well. Rounds are
interleaved (ours, each peer, ours, ...), figures are medians. At the end accounts is killed in mid
load, and what it had acknowledged is looked for in the journal.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from benchmarks.cpu import CpuMeter, us_per_entry
from benchmarks.exchange import ASSET, VENUE, open_exchange
from benchmarks.jobs import Job, Trading, load
from benchmarks.losses import kill_in_mid_load
from benchmarks.machine import postgres_settings, require_durable, spread
from benchmarks.peer_eventsourcing import LibraryJob, installed_version, library
from benchmarks.peers import Measured, Peers, ratio
from benchmarks.tables import say, table
from benchmarks.world import Bench, bench_world

OTHERS: Final = ("registry", "market", "inclusive", "gateway")  # they run, and follow along
LIBRARY_BATCH: Final = 1000


@dataclass(frozen=True)
class Options:
    accounts: Sequence[int] = (1000, 10)
    callers: Sequence[int] = (1, 8, 64)
    batch: int = 1000
    rounds: int = 3
    seconds: float = 3.0
    peer_seconds: float = 2.0
    kill_after_s: float = 2.0
    tpcb_scale: int = 10  # so that not all wait for one branch
    trade_callers: Sequence[int] = (8,)  # none: no trades


class Round(NamedTuple):
    """Of ours or of a peer; per second, microseconds per entry by process, milliseconds a call."""

    per_s: float
    recorded_per_s: float
    cpu_us: dict[str, float]
    call_ms: list[float]


def run(options: Options) -> dict[str, Any]:
    """All figures; prints them as they come."""
    with bench_world(max(options.accounts)) as bench:
        return measure_in(bench, options)


def measure_in(bench: Bench, options: Options) -> dict[str, Any]:
    """In a world that runs, with as many holders."""
    accounts = max(options.accounts)
    peers = Peers(bench.supervisor.admin_url(), accounts, scale=options.tpcb_scale)
    own = {"tanzhang": bench.supervisor.database_url("accounts")}
    settings = postgres_settings({**own, **peers.urls})
    say(f"every connection: {settings['tanzhang']}")
    measure_ours(bench, options, options.accounts[0], 8, seconds=1.0)  # warm
    rows = [
        _row(
            "entries",
            _contenders(bench, peers, options, accounts, callers),
            options,
            accounts,
            callers,
        )
        for accounts in options.accounts
        for callers in options.callers
    ]
    trades = _trade_rows(bench, peers, options)
    crash = kill_in_mid_load(bench, options.kill_after_s)
    say(f"accounts killed (-9) in mid load: {crash}")
    _print_rows(rows)
    if trades:
        _print_rows(trades)
    return {
        "settings": settings,
        "eventsourcing": installed_version(),
        "one_leg": rows,
        "trades": trades,
        "crash": crash,
    }


def measure_ours(
    bench: Bench,
    options: Options,
    accounts: int,
    callers: int,
    *,
    seconds: float | None = None,
    trading: Trading | None = None,
) -> Round:
    """One round of load on us, until nothing is left to be done about it."""
    job = Job(
        directory=bench.directory,
        people=bench.first(accounts),
        callers=callers,
        batch=options.batch,
        seconds=seconds or options.seconds,
        trading=trading,
    )
    with load(job) as generator:
        meter = CpuMeter(bench.pids())
        generator.fire()
        report = generator.report(job.seconds)
    if report.refused or report.failed or not report.accepted:
        raise RuntimeError(f"expected every entry accepted: {report.refused} {report.failed}")
    bench.await_read_models(report.last)
    used = meter.read()
    cpu_s = {name: used[name] for name in used if name not in OTHERS}
    cpu_s["others"] = sum(used[name] for name in OTHERS)
    cpu_s["load"] = report.cpu_s
    return Round(
        report.accepted / report.proven_s,
        report.accepted / report.recorded_s,
        us_per_entry(cpu_s, report.accepted),
        report.call_ms,
    )


def _trade_rows(bench: Bench, peers: Peers, options: Options) -> list[dict[str, Any]]:
    if not options.trade_callers:
        return []
    exchange = open_exchange(bench)
    trading = Trading(VENUE, ASSET, exchange.programme)
    accounts, seconds = len(bench.holders), options.peer_seconds
    rows = []
    for callers in options.trade_callers:

        def ours(callers: int = callers) -> Round:
            return measure_ours(bench, options, accounts, callers, trading=trading)

        def theirs(callers: int = callers) -> Measured:
            return peers.plpgsql_trades(accounts, callers, seconds)

        contenders = {"tanzhang": ours, "plpgsql": _pgbench(bench, theirs)}
        rows.append(_row("trades", contenders, options, accounts, callers))
    return rows


def _row(
    what: str,
    contenders: Mapping[str, Callable[[], Round]],
    options: Options,
    accounts: int,
    callers: int,
) -> dict[str, Any]:
    rounds: dict[str, list[Round]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, measure in contenders.items():
            rounds[name].append(measure())
    ours = rounds.pop("tanzhang")
    proven = _median(one.per_s for one in ours)
    row: dict[str, Any] = {
        "accounts": accounts,
        "callers": callers,
        "batch": options.batch,
        "recorded_per_s": _median(one.recorded_per_s for one in ours),
        "proven_per_s": proven,
        "proven_rounds": [round(one.per_s) for one in ours],
        "call_ms": spread([ms for one in ours for ms in one.call_ms]),
        "cpu_us": _middle(ours).cpu_us,
        "peers": {
            name: {
                "per_s": (theirs := _median(one.per_s for one in found)),
                "rounds": [round(one.per_s) for one in found],
                "cpu_us": _middle(found).cpu_us,
                "ratio": ratio(proven, theirs),
            }
            for name, found in rounds.items()
        },
    }
    told = {name: (peer["per_s"], peer["ratio"]) for name, peer in row["peers"].items()}
    say(
        f"{what}, {accounts} accounts, {callers} callers: {row['recorded_per_s']} recorded/s,"
        f" {proven} proven/s, calls {row['call_ms']} ms\n"
        f"    CPU us/entry {row['cpu_us']}\n    peers (per s, ours over it) {told}"
    )
    return row


def _pgbench(bench: Bench, measure: Callable[[], Measured]) -> Callable[[], Round]:
    postgres = {"postgres": bench.pids()["postgres"]}

    def once() -> Round:
        meter = CpuMeter(postgres)
        done = measure()
        cpu_s = {**meter.read(), "client": done.client_cpu_s}
        return Round(done.per_s, done.per_s, us_per_entry(cpu_s, done.transactions), [])

    return once


def _contenders(
    bench: Bench, peers: Peers, options: Options, accounts: int, callers: int
) -> dict[str, Callable[[], Round]]:
    postgres = {"postgres": bench.pids()["postgres"]}
    seconds = options.peer_seconds

    def saves(batch: int) -> Callable[[], Round]:
        def once() -> Round:
            job = LibraryJob(
                url=peers.url("eventsourcing"),
                accounts=accounts,
                threads=callers,
                batch=batch,
                seconds=seconds,
            )
            with library(job) as worker:
                meter = CpuMeter(postgres)
                worker.fire()
                done = worker.report(seconds)
                require_durable("eventsourcing", done.promises)
                cpu_s = {**meter.read(), "client": done.cpu_s}
            rate = done.transfers / done.elapsed_s
            return Round(rate, rate, us_per_entry(cpu_s, done.transfers), done.save_ms)

        return once

    contenders = {
        "tanzhang": lambda: measure_ours(bench, options, accounts, callers),
        "plpgsql": _pgbench(bench, lambda: peers.plpgsql(accounts, callers, seconds)),
        "tpcb": _pgbench(bench, lambda: peers.tpcb(callers, seconds)),
    }
    if installed_version() is not None:
        contenders["eventsourcing"] = saves(1)
        contenders[f"eventsourcing_{LIBRARY_BATCH}"] = saves(LIBRARY_BATCH)
    return contenders


def _median(values: Any) -> int:
    middle: float = statistics.median(values)
    return round(middle)


def _middle(rounds: Sequence[Round]) -> Round:
    """The round of the median rate, so that its CPU figures belong together."""
    return sorted(rounds, key=lambda one: one.per_s)[len(rounds) // 2]


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(rows[0]["peers"])
    table(
        ["accounts", "callers", "recorded/s", "proven/s", "p50 ms", "p99 ms", "CPU us", *names],
        [
            [
                row["accounts"],
                row["callers"],
                row["recorded_per_s"],
                row["proven_per_s"],
                row["call_ms"]["p50"],
                row["call_ms"]["p99"],
                row["cpu_us"]["total"],
                *(f"{row['peers'][n]['per_s']} ({row['peers'][n]['ratio']}x)" for n in names),
            ]
            for row in rows
        ],
    )
