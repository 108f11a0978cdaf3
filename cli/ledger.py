"""`tanzhang ledger …`: what anybody may ask of the signed logs.

`mirror` keeps a checked copy of a log in a folder (cli/mirror.py), without a token: the logs are
open. Exit codes: 0 done, 1 the log is not what it says, 2 could not try.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from cli.errors import NO, NOT_TRIED, CliError
from kernel.tlog.encoding import encode_base64
from kernel.tlog.policy import Policy

if TYPE_CHECKING:
    from cli.mirror import Mirrored

app = typer.Typer(help="The signed logs: open to everyone.", no_args_is_help=True)


@app.callback()
def ledger() -> None:
    """The signed logs: open to everyone."""


@app.command("mirror")
def mirror(
    book: Annotated[str, typer.Argument(help="accounts or ledger")],
    folder: Annotated[Path, typer.Argument(help="where the copy is kept")],
    policy: Annotated[
        Path | None, typer.Option(help="whom you trust; without it <dir>/policy.txt")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="data folder")] = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Copy a log's checkpoint, tiles and entries into a folder, and check all of it."""
    from cli.mirror import MirrorRefused  # noqa: PLC0415 - gRPC is loaded by who needs it
    from cli.verify import read_policy  # noqa: PLC0415

    trusted = read_policy(policy if policy is not None else directory / "policy.txt")
    try:
        done = asyncio.run(_mirror(book, folder, trusted, directory, quiet=as_json))
    except MirrorRefused as error:
        told = {"ok": False, "book": book, "error": str(error)}
        typer.echo(json.dumps(told, indent=2) if as_json else f"refused: {error}")
        raise typer.Exit(NO) from None
    typer.echo(json.dumps(_told(book, done), indent=2) if as_json else _sentence(done, folder))


async def _mirror(
    book: str, folder: Path, trusted: Policy, directory: Path, *, quiet: bool
) -> Mirrored:
    from cli.clients import OWNERS, Books  # noqa: PLC0415
    from cli.mirror import mirror_log  # noqa: PLC0415
    from cli.workspace import Workspace  # noqa: PLC0415

    if book not in OWNERS:
        raise CliError(f"expected a book, {' or '.join(sorted(OWNERS))}, got {book}", NOT_TRIED)
    workspace = Workspace(directory)
    workspace.require_running()
    async with Books(workspace) as books:
        note = await books.checkpoint(book)
        with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar:
            task = bar.add_task(f"{book} into {folder}", total=None)
            return await mirror_log(
                folder,
                note,
                trusted,
                lambda path: books.tile(book, path),
                lambda done, total: bar.update(task, completed=done, total=total),
            )


def _told(book: str, done: Mirrored) -> dict[str, object]:
    return {
        "ok": True,
        "book": book,
        "origin": done.origin,
        "tree_size": done.size,
        "root": encode_base64(done.root),
        "earlier_tree_size": done.earlier_size,
        "tiles_fetched": done.fetched,
        "tiles_kept": done.kept,
    }


def _sentence(done: Mirrored, folder: Path) -> str:
    grown = "" if done.earlier_size is None else f", grown from {done.earlier_size}, consistent"
    return (
        f"{done.origin}: {done.size} entries{grown}\n"
        f"root {encode_base64(done.root)}, signed by the log, and computed again from its entries\n"
        f"{done.fetched} tiles fetched, {done.kept} kept in {folder}"
    )
