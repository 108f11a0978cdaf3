"""`tanzhang`: its commands, and the one place where their errors become a line and an exit code.

0 yes; 1 no, a check failed or something is not as it should be; 2 could not try; 130 interrupted.
Never a traceback, unless TANZHANG_TRACEBACK is set. What a command needs is imported when it runs,
so that who verifies a receipt loads no library that could speak to a network.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import (
    bench,
    book,
    demo,
    history,
    keys,
    ledger,
    policy,
    proofs,
    qr,
    receipts,
    settlements,
    verify,
    watch,
)
from cli.audit.command import audit
from cli.errors import NO, NOT_TRIED, CliError, of_file
from cli.replay import shenzhen, vrod
from cli.witness import commands as witness
from kernel.errors import Kind, Refused, TanzhangError

INTERRUPTED = 130

Folder = Annotated[Path, typer.Option("--dir", help="data folder")]

app = typer.Typer(
    help="碳账: carbon accounts that strangers can check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the same help on every terminal
)
clock_app = typer.Typer(help="The development clock.", no_args_is_help=True)
replay_app = typer.Typer(help="Replay published data.", no_args_is_help=True)


@app.command()
def up(
    directory: Folder = Path("var"),
    port: Annotated[
        int | None, typer.Option(help="of accounts; the others take the next free ones")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="return once everything serves, and leave it running")
    ] = False,
    standby: Annotated[
        list[str] | None,
        typer.Option(help="run a second process of this service, which takes over; repeatable"),
    ] = None,
    bank_sim: Annotated[
        bool, typer.Option("--bank-sim", help="and a settlement bank to rehearse with")
    ] = False,
    witnesses: Annotated[
        int,
        typer.Option(
            min=0, max=4, help="run so many witnesses of the logs; a folder keeps its own"
        ),
    ] = 0,
) -> None:
    """Start everything: PostgreSQL, NATS, all services."""
    from cli.up import run_attached, run_detached  # noqa: PLC0415 - see the module

    chosen = run_detached if detach else run_attached
    chosen(directory, port, standby or (), bank_sim=bank_sim, witnesses=witnesses)


@app.command()
def down(directory: Folder = Path("var")) -> None:
    """Stop what `up` started, in order."""
    from cli.up import stop  # noqa: PLC0415

    stop(directory)


@app.command()
def status(
    directory: Folder = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """What runs, how far the ledger is, what is wrong.

    Exit codes: 0 all is well, 1 something is not, 2 nothing runs.
    """
    from cli.status import show  # noqa: PLC0415

    raise typer.Exit(show(directory, as_json))


@app.command()
def streams(
    replicas: Annotated[int, typer.Option(min=1, max=5, help="3 on a cluster of three")] = 1,
) -> None:
    """Make or update the streams of your own NATS.

    TANZHANG_NATS_URL names it, with the operator's user.
    """
    from cli.streams import make_streams  # noqa: PLC0415

    make_streams(replicas)


@clock_app.callback()
def clock() -> None:
    """The development clock."""


# A duration that begins with a minus is a wrong duration, and not an unknown option.
@clock_app.command("advance", context_settings={"ignore_unknown_options": True})
def clock_advance(
    duration: Annotated[str, typer.Argument(help="2d, 3h, 90m, 10s or 250ms")],
    directory: Folder = Path("var"),
) -> None:
    """Move the development clock of every process forward."""
    from cli.clock import advance, format_duration  # noqa: PLC0415

    offset_ms = advance(directory, duration)
    typer.echo(f"the clock of {directory} is {format_duration(offset_ms)} ahead")


@replay_app.callback()
def replay() -> None:
    """Replay published data."""


@app.command("bank-sim")
def bank_sim(
    directory: Folder = Path("var"),
    name: Annotated[str, typer.Option(help="of the bank, and of its folder")] = "bank-sim",
    bank: Annotated[str, typer.Option(help="its holder id; without it one made of its name")] = "",
    clearing_house: Annotated[str, typer.Option(help="holder id; as above")] = "",
    asset: Annotated[str, typer.Option(help="the money it keeps")] = "CNY",
    cutoff_minute: Annotated[
        int, typer.Option(min=1, max=1440, help="of the day in Shanghai at which its day ends")
    ] = 1440,
    port: Annotated[int, typer.Option(help="of its counter on loopback; 0: a free one")] = 0,
    found: Annotated[
        bool, typer.Option("--found", help="register it, its key and its agreement first")
    ] = False,
    seed: Annotated[int, typer.Option(help="of what becomes of its messages")] = 0,
    lose: Annotated[float, typer.Option(min=0, max=0.9, help="part that never arrives")] = 0.0,
    delay: Annotated[float, typer.Option(min=0, max=1, help="part that arrives late")] = 0.0,
    double: Annotated[float, typer.Option(min=0, max=1, help="part that arrives twice")] = 0.0,
    give_back: Annotated[float, typer.Option(min=0, max=1, help="part it does not pay")] = 0.0,
) -> None:
    """Be a settlement bank: advise, pay, state every day. With a key and books of its own."""
    from cli.bank_sim import Asked, run  # noqa: PLC0415
    from cli.banksim.chance import Chance  # noqa: PLC0415

    chance = Chance(seed, lose, delay, double, give_back)
    run(Asked(directory, name, bank, clearing_house, asset, cutoff_minute, port, found, chance))


@app.command("banks")
def banks(
    directory: Folder = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """How the books stand with the settlement banks.

    Exit codes: 0 all days are reconciled, 1 a break is open.
    """
    from cli.banks import show  # noqa: PLC0415

    raise typer.Exit(show(directory, as_json))


app.command("audit")(audit)
app.command("demo")(demo.demo)
app.command("verify")(verify.verify)
app.command("qr")(qr.qr)
app.command("watch")(watch.watch)
app.add_typer(proofs.app, name="proof")
app.command("receipts")(receipts.receipts)
app.command("balance")(history.balance)
app.command("statement")(history.statement)
app.add_typer(policy.app, name="policy")
app.add_typer(ledger.app, name="ledger")
app.add_typer(keys.app, name="keys")
app.add_typer(settlements.app, name="settlements")
app.add_typer(witness.app, name="witness")
app.add_typer(bench.app, name="bench")
app.add_typer(book.app, name="book")
app.add_typer(clock_app, name="clock")
app.add_typer(replay_app, name="replay")
replay_app.command("vrod")(vrod.vrod)
replay_app.command("shenzhen-tong")(shenzhen.shenzhen_tong)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark, not a failed command.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """One command; answers its exit code, having said on standard error what went wrong."""
    try:
        code = app(list(arguments), prog_name="tanzhang", standalone_mode=False)
    except Exception as error:
        if os.environ.get("TANZHANG_TRACEBACK"):
            raise
        message, code = _told(error)
        typer.echo(message, err=True)
    else:
        if code == INTERRUPTED:
            typer.echo("tanzhang: interrupted", err=True)
    return code if isinstance(code, int) else 0


def _told(error: Exception) -> tuple[str, int]:
    """What a person is told, and the exit code."""
    match error:
        case CliError():
            return f"tanzhang: {error.message}", error.exit_code
        case Refused(kind=Kind.INVALID):
            return f"tanzhang: {error.message}", NOT_TRIED
        case Refused():
            return f"tanzhang: refused: {error.message} ({error.reason})", NO
        case TanzhangError():
            return f"tanzhang: {error}", NOT_TRIED
        case typer.TyperException() if type(error).__name__ == "NoArgsIsHelpError":
            return error.format_message(), NOT_TRIED  # the help alone
        case typer.TyperException():
            return f"tanzhang: {error.format_message()}", NOT_TRIED
        case typer.Abort():
            return "tanzhang: ended", INTERRUPTED
        case OSError():
            return f"tanzhang: {of_file(error)}", NOT_TRIED
    return f"tanzhang: a fault of ours: {type(error).__name__}: {error}", NOT_TRIED
