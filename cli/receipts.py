"""`tanzhang receipts`: files that prove events, from the ledger into a folder.

One file per event, `<folder>/<book>-<position>.receipt` (kernel/tlog/receipt.py), with `--cose` a
COSE receipt beside it. Asks for many at a time: a thousand are a handful of calls. The ledger makes
them for parties of the events alone. Verifying them needs none of this: cli/verify.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.errors import NO, NOT_TRIED, CliError
from cli.mirror import write_whole
from cli.values import Persona, ReceiptAnswer
from kernel.errors import Kind, Refused

if TYPE_CHECKING:
    from cli.clients import Books

RECEIPT, COSE = ".receipt", ".cose"
AUDITOR: Final = "auditor"


async def fetch_receipts(
    books: Books, who: Persona, book: str, positions: Sequence[int]
) -> AsyncIterator[tuple[int, bytes]]:
    """(position, receipt file) of each event, in order; `who` is a party of each, or an auditor.

    Raises Refused for the first event it is no party of, and the like. Does not verify.
    """
    for one in await books.receipts(who, book, positions):
        if one.refused is not None:
            raise Refused(one.refused.reason, one.refused.message, Kind.RULE, **one.refused.details)
        yield one.position, one.file


def write_receipt(
    folder: Path, book: str, position: int, data: bytes, suffix: str = RECEIPT
) -> Path:
    """Puts a receipt into its file, whole or not at all; an older one gives way."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{book}-{position}{suffix}"
    write_whole(path, data)
    return path


def receipts(
    book: Annotated[str, typer.Argument(help="accounts, registry, market, inclusive or ledger")],
    positions: Annotated[list[int], typer.Argument(min=0, help="of the events in the book")],
    out: Annotated[Path, typer.Option("--out", help="folder for the files")] = Path(),
    cose: Annotated[
        bool, typer.Option("--cose", help="and a COSE receipt (RFC 9942) beside each")
    ] = False,
    holder: Annotated[
        list[str] | None, typer.Option(help="whom you act for, in development; repeatable")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="data folder")] = Path("var"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Fetch the receipts of events, to keep and to hand out.

    To a party of each event; without --holder as an auditor. Exit codes: 0 all came, 1 some were
    refused.
    """
    who = Persona("tanzhang-receipts", () if holder else (AUDITOR,), tuple(holder or ()))
    distinct = list(dict.fromkeys(positions))
    found = asyncio.run(_fetch(who, book, distinct, directory, cose=cose))
    told = [_kept(out, book, one) for one in found]
    lines = "\n".join(map(_line, told))
    typer.echo(json.dumps({"receipts": told}, indent=2) if as_json else lines)
    raise typer.Exit(NO if any("reason" in one for one in told) else 0)


async def _fetch(
    who: Persona, book: str, positions: Sequence[int], directory: Path, *, cose: bool
) -> list[ReceiptAnswer]:
    from cli.clients import OWNERS, Books  # noqa: PLC0415 - gRPC is loaded by who needs it
    from cli.workspace import Workspace  # noqa: PLC0415

    if book not in OWNERS:
        raise CliError(f"expected a book, {' or '.join(sorted(OWNERS))}, got {book}", NOT_TRIED)
    workspace = Workspace(directory)
    workspace.require_running()
    async with Books(workspace) as books:
        return await books.receipts(who, book, positions, cose=cose)


def _kept(out: Path, book: str, one: ReceiptAnswer) -> dict[str, Any]:
    if one.refused is not None:
        reason, message = one.refused.reason, one.refused.message
        return {"position": one.position, "reason": reason, "error": f"{message} ({reason})"}
    told: dict[str, Any] = {"position": one.position}
    told["receipt"] = str(write_receipt(out, book, one.position, one.file))
    if one.overrides:
        told["overrides"] = list(one.overrides)
    if one.cose:
        told["cose"] = str(write_receipt(out, book, one.position, one.cose, COSE))
    return told


def _line(told: dict[str, Any]) -> str:
    if "error" in told:
        return f"{told['position']}: {told['error']}"
    line = str(told["receipt"])
    if "overrides" in told:
        where = ", ".join(map(str, told["overrides"]))
        line += f": broke a rule, and two persons accepted it: receipts of ledger {where}"
    return line
