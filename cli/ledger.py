"""`tanzhang ledger …`: what anybody may ask of the signed logs, and how two persons resume one.

`mirror` keeps a checked copy of a log in a folder (cli/mirror.py), without a token: the logs are
open. `override` and `approve` take a first and a second person; the development issuer speaks for
whoever `--person` names. Exit codes: 0 done, 1 no (the log is not what it says, a rule refuses), 2
could not try.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from cli.errors import NO, NOT_TRIED, CliError
from kernel.tlog.encoding import encode_base64
from kernel.tlog.policy import Policy

if TYPE_CHECKING:
    from cli.clients import Books
    from cli.log_sources import LogSource
    from cli.mirror import Mirrored

app = typer.Typer(help="The signed logs: open to everyone.", no_args_is_help=True)


@app.callback()
def ledger() -> None:
    """The signed logs: open to everyone."""


@app.command("mirror")
def mirror(
    source: Annotated[
        str, typer.Argument(help="a book, accounts or another; or a log's URL or folder, anywhere")
    ],
    folder: Annotated[Path, typer.Argument(help="where the copy is kept")],
    policy: Annotated[
        Path | None, typer.Option(help="whom you trust; without it <dir>/policy.txt")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="data folder")] = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Copy a log into a folder, and check it.

    Checkpoint, tiles and entries; a second run proves that the log has only grown. Any static host
    may serve the folder as it is.
    """
    from cli.mirror import MirrorRefused  # noqa: PLC0415
    from cli.trust import read_policy  # noqa: PLC0415

    trusted = read_policy(policy if policy is not None else directory / "policy.txt")
    try:
        done = asyncio.run(_mirror(source, folder, trusted, directory, quiet=as_json))
    except MirrorRefused as error:
        told = {"ok": False, "book": source, "rule": error.rule, "error": str(error)}
        typer.echo(json.dumps(told, indent=2) if as_json else f"refused: {error}")
        raise typer.Exit(NO) from None
    typer.echo(json.dumps(_told(source, done), indent=2) if as_json else _sentence(done, folder))


Person = Annotated[str, typer.Option("--person", help="who acts: a ledger operator")]
Folder = Annotated[Path, typer.Option("--dir", help="data folder")]


@app.command("override")
def override(
    book: Annotated[str, typer.Argument(help="the halted book")],
    why: Annotated[str, typer.Option("--why", help="kept in the ledger's book for ever")],
    person: Person,
    directory: Folder = Path("var"),
) -> None:
    """Propose that a halted log goes on.

    It takes its event as it is. A second person must approve.
    """
    typer.echo(asyncio.run(_override(book, why, person, directory)))


async def _override(book: str, why: str, person: str, directory: Path) -> str:
    from cli.clients import Books, Persona  # noqa: PLC0415
    from cli.directory import accept  # noqa: PLC0415
    from cli.workspace import Workspace  # noqa: PLC0415
    from kernel.ids import uuid7  # noqa: PLC0415

    workspace = Workspace(directory)
    workspace.require_running()
    async with Books(workspace) as books:
        halt = await books.standing_halt(book)
        if halt is None:
            raise CliError(f"{book} is not halted", NO)
        proposal = uuid7(workspace.clock.now_ms())
        who = Persona(person, ("ledger-operator",))
        accept(await books.propose_override(who, proposal, book, halt, why))
    return (
        f"{book} at {halt.position}: {halt.rule}: expected {halt.expected}, got {halt.actual}\n"
        f"proposal {proposal} by {person}: another person approves it with\n"
        f"tanzhang ledger approve {proposal} --person WHO"
    )


@app.command("approve")
def approve(
    proposal: Annotated[str, typer.Argument(help="the id that the first person was given")],
    person: Person,
    directory: Folder = Path("var"),
) -> None:
    """Approve another person's proposal.

    An override, a key, new identities.
    """
    asyncio.run(_approve(proposal, person, directory))
    typer.echo(f"approved by {person}")


async def _approve(proposal: str, person: str, directory: Path) -> None:
    from cli.clients import Books, Persona  # noqa: PLC0415
    from cli.directory import accept  # noqa: PLC0415
    from cli.workspace import Workspace  # noqa: PLC0415
    from kernel.ids import uuid7  # noqa: PLC0415

    workspace = Workspace(directory)
    workspace.require_running()
    async with Books(workspace) as books:
        who = Persona(person, ("ledger-operator",))
        accept(await books.approve(who, uuid7(workspace.clock.now_ms()), proposal))


async def _mirror(
    source: str, folder: Path, trusted: Policy, directory: Path, *, quiet: bool
) -> Mirrored:
    from cli.mirror import mirror_log  # noqa: PLC0415

    async with _opened(source, directory) as log:
        with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar:
            task = bar.add_task(f"{source} into {folder}", total=None)
            return await mirror_log(
                folder,
                await log.checkpoint(),
                trusted,
                log.tile,
                lambda done, total: bar.update(task, completed=done, total=total),
            )


@asynccontextmanager
async def _opened(source: str, directory: Path) -> AsyncIterator[LogSource]:
    """A log by URL, by folder, or by the name of a book of what runs here."""
    from cli.log_sources import FolderLog, HttpLog, Web, is_url  # noqa: PLC0415

    if is_url(source):
        web = Web.open(source)
        try:
            yield HttpLog(web, source)
        finally:
            await web.close()
    elif (Path(source) / "checkpoint").is_file():
        yield FolderLog(Path(source))
    else:
        async with _own_log(source, directory) as log:
            yield log


@asynccontextmanager
async def _own_log(book: str, directory: Path) -> AsyncIterator[LogSource]:
    from cli.clients import OWNERS, Books  # noqa: PLC0415 - gRPC is loaded by who needs it
    from cli.workspace import Workspace  # noqa: PLC0415

    if book not in OWNERS:
        known = " or ".join(sorted(OWNERS))
        raise CliError(f"expected a book, {known}, a URL or a folder, got {book}", NOT_TRIED)
    workspace = Workspace(directory)
    workspace.require_running()
    async with Books(workspace) as books:
        yield _OwnLog(books, book)


@dataclass(frozen=True)
class _OwnLog:
    """A log of what runs here, asked of the ledger itself."""

    books: Books
    book: str

    async def checkpoint(self) -> bytes:
        return await self.books.checkpoint(self.book)

    async def tile(self, path: str) -> bytes:
        return await self.books.tile(self.book, path)


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
