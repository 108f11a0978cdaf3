"""`tanzhang book …`: is what a process holds of a book what its journal says?

`verify` replays a book from position 0 in a process of its own and compares it with the snapshots;
`compare` asks the process that writes and its standby for the hash of their state; `snapshot` makes
a snapshot now. Exit codes: 0 equal, or done; 1 something differs; 2 could not try.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import NO, NOT_TRIED, CliError

if TYPE_CHECKING:
    from cli.workspace import Workspace

app = typer.Typer(help="What a process holds of its book.", no_args_is_help=True)

Book = Annotated[str, typer.Argument(help="accounts, registry, market, inclusive or ledger")]
Folder = Annotated[Path, typer.Option("--dir", help="data folder")]


@app.callback()
def book() -> None:
    """What a process holds of its book."""


@app.command("verify")
def verify(name: Book, directory: Folder = Path("var")) -> None:
    """Replay a book from its first event, beside the process that writes, and compare."""
    raise typer.Exit(_beside(directory, name, "verify"))


@app.command("snapshot")
def snapshot(name: Book, directory: Folder = Path("var")) -> None:
    """Make a snapshot of a book now; the next start begins there."""
    raise typer.Exit(_beside(directory, name, "snapshot"))


@app.command("compare")
def compare(
    name: Book,
    directory: Folder = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Compare what the process that writes and its standby hold."""
    from cli.book_client import state_hashes  # noqa: PLC0415 - gRPC is loaded by who needs it

    found = asyncio.run(state_hashes(_running(directory, name), name))
    same = len({one.position for one in found.values()}) == 1
    equal = len({one.sha256 for one in found.values()}) == 1
    if as_json:
        told = {process: one._asdict() for process, one in found.items()}
        answer = {"equal": equal if same else None, "processes": told}
        typer.echo(json.dumps(answer, indent=2, sort_keys=True))
    else:
        for process, one in found.items():
            role = "stands by" if one.standby else "writes"
            typer.echo(f"{process:<12} {role:<10} at {one.position}   {one.sha256}")
    if not same:
        raise CliError(f"{name} is written meanwhile: nothing was compared", NOT_TRIED)
    if not equal:
        raise CliError(f"{name}: the states differ", NO)


def _running(directory: Path, name: str) -> Workspace:
    # Imported late: who verifies a receipt loads no library that could speak to a network.
    from cli.stack.provision import SERVICES  # noqa: PLC0415
    from cli.workspace import Workspace  # noqa: PLC0415

    if name not in SERVICES:
        raise CliError(f"expected one of {', '.join(SERVICES)}, got {name}", NOT_TRIED)
    workspace = Workspace(directory)
    workspace.require_running()
    return workspace


def _beside(directory: Path, name: str, verb: str) -> int:
    workspace = _running(directory, name)
    from cli.stack.beside import run_beside  # noqa: PLC0415

    return run_beside(workspace.directory, workspace.ports, name, verb)
