"""`tanzhang bench …`: what the core can do on this machine, beside its peers, in one run each.

The measurements are the modules of `benchmarks/`, which come with a checkout and not with the
image: this gives them their options. Each starts a stack of its own in a temporary folder and
leaves nothing behind; no `tanzhang up` is needed, and one that runs takes its share of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import NOT_TRIED, CliError

app = typer.Typer(help="Measure this machine, beside peers.", no_args_is_help=True)

Json = Annotated[Path | None, typer.Option("--json", help="also write the figures to this file")]
Seconds = Annotated[float, typer.Option(min=0.2, help="of load, per round")]


@app.callback()
def bench() -> None:
    """Measure this machine, beside peers."""


@app.command("settlement")
def settlement(
    accounts: Annotated[list[int] | None, typer.Option(min=2, help="again for more rows")] = None,
    callers: Annotated[list[int] | None, typer.Option(min=1, help="again for more rows")] = None,
    trade_callers: Annotated[
        list[int] | None, typer.Option(min=1, help="of an exchange's trades; again for more rows")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=8000, help="entries per call")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="of ours and each peer, in turn")] = 3,
    seconds: Seconds = 3.0,
    peer_seconds: Annotated[float, typer.Option(min=1.0, help="of load on each peer")] = 2.0,
    json_file: Json = None,
) -> None:
    """Entries per second until proven, against PostgreSQL alone and an event-sourcing library.

    At the end accounts is killed in mid load, and nothing acknowledged may be lost.
    """
    options = {
        "accounts": tuple(accounts or (1000, 10)),
        "callers": tuple(callers or (1, 8, 64)),
        "trade_callers": tuple(trade_callers or (8,)),
        "batch": batch,
        "rounds": rounds,
        "seconds": seconds,
        "peer_seconds": peer_seconds,
    }
    _run("settlement", options, json_file)


@app.command("unary")
def unary(
    calls: Annotated[int, typer.Option(min=10, help="on an idle system")] = 500,
    loaded_calls: Annotated[int, typer.Option(min=10, help="beside a bulk load")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="of ours and the peer, in turn")] = 3,
    json_file: Json = None,
) -> None:
    """How long one command takes: idle, beside pgbench, and beside somebody's bulk load."""
    options = {"calls": calls, "loaded_calls": loaded_calls, "rounds": rounds}
    _run("unary", options, json_file)


@app.command("proven")
def proven(
    calls: Annotated[int, typer.Option(min=10, help="on an idle system")] = 200,
    loaded_calls: Annotated[int, typer.Option(min=10, help="beside a bulk load")] = 200,
    json_file: Json = None,
) -> None:
    """How long from recorded to proven: idle, and beside a bulk load of half of full."""
    _run("proven", {"calls": calls, "loaded_calls": loaded_calls}, json_file)


@app.command("replay")
def replay(
    events: Annotated[int, typer.Option(min=1000, help="in the journal")] = 60_000,
    json_file: Json = None,
) -> None:
    """How fast a journal is read again, and how fast the independent check is."""
    _run("replay", {"events": events}, json_file)


@app.command("memory")
def memory(
    accounts: Annotated[int, typer.Option(min=100, help="a million for the claim")] = 20_000,
    entries: Annotated[int, typer.Option(min=1000, help="ten million for the claim")] = 200_000,
    samples: Annotated[int, typer.Option(min=1, help="rows of the table")] = 10,
    json_file: Json = None,
) -> None:
    """What the processes hold in memory as accounts and entries grow."""
    options = {"accounts": accounts, "entries": entries, "samples": samples}
    _run("memory", options, json_file)


@app.command("trades")
def trades(
    trades: Annotated[int, typer.Option(min=100, help="to be made and settled")] = 12_000,
    batch: Annotated[int, typer.Option(min=1, max=8000, help="orders per call")] = 500,
    callers: Annotated[int, typer.Option(min=1, help="at a time")] = 4,
    json_file: Json = None,
) -> None:
    """The market's trades per second: matched, settled by an entry each, checked and signed."""
    _run("trades", {"trades": trades, "batch": batch, "callers": callers}, json_file)


@app.command("failover")
def failover(
    rounds: Annotated[int, typer.Option(min=1, help="of each fault, in turn")] = 3,
    callers: Annotated[int, typer.Option(min=1, help="at a time")] = 8,
    batch: Annotated[int, typer.Option(min=1, max=8000, help="entries per call")] = 20,
    json_file: Json = None,
) -> None:
    """How long callers wait when the writer is killed, stands still or loses its database."""
    _run("failover", {"rounds": rounds, "callers": callers, "batch": batch}, json_file)


@app.command("recovery")
def recovery(
    accounts: Annotated[int, typer.Option(min=2, help="a million for the claim")] = 20_000,
    entries: Annotated[
        int, typer.Option(min=1, help="beside one event for each account")
    ] = 100_000,
    json_file: Json = None,
) -> None:
    """How long a book takes to start: from zero, from a snapshot and the tail, loading alone."""
    _run("recovery", {"accounts": accounts, "entries": entries}, json_file)


@app.command("audit")
def audit(
    entries: Annotated[int, typer.Option(min=20_000, help="a million for the claim")] = 200_000,
    holders: Annotated[int, typer.Option(min=2, help="who hold something")] = 1_000,
    json_file: Json = None,
) -> None:
    """How fast an auditor checks, opens and folds a log, and in how much memory."""
    _run("audit", {"entries": entries, "holders": holders}, json_file)


@app.command("states")
def states(
    accounts: Annotated[int, typer.Option(min=10_000, help="of the larger map")] = 200_000,
    changes: Annotated[int, typer.Option(min=1, help="between two states")] = 2_000,
    rounds: Annotated[int, typer.Option(min=1, help="of both, turn by turn")] = 5,
    json_file: Json = None,
) -> None:
    """What a state costs: for the same changes, in a small map and a large one."""
    _run("states", {"accounts": accounts, "changes": changes, "rounds": rounds}, json_file)


def _run(name: str, options: Mapping[str, Any], json_file: Path | None) -> None:
    try:
        from benchmarks.suite import run  # noqa: PLC0415 - it loads all that a stack needs
    except ModuleNotFoundError as error:
        raise CliError(f"the benchmarks come with a checkout: {error}", NOT_TRIED) from error
    run({name: options}, json_file)
