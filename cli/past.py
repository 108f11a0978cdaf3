"""What `tanzhang balance` and `tanzhang statement` do (cli/history.py has their words).

Reads with the rights of an auditor of the data folder. A statement is written to a file beside its
name first and takes the name when it is whole: nobody finds half of one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from cli.accounts_client import Accounts, Period, Shown, Then, balances_then, instant_or_refuse
from cli.accounts_client import statement as ask_statement
from cli.clients import Books, Persona
from cli.reading import amount
from cli.workspace import Workspace
from kernel.errors import TanzhangError
from kernel.statement.formats import StatementFile, make_file, write_part
from kernel.statement.plain import Head, Part
from kernel.values import DAY_MS, check_day, day_start_ms

AUDITOR: Final = Persona("reader of histories", ("auditor",))
STDOUT: Final = "-"
_CLOCK_WORDS: Final = {
    "now": "as it stands",
    "position": "after that event",
    "at": "by the time of recording",
    "on": "by business time",
}


def show_balance(
    directory: Path, accounts: Accounts, at: str | None, on: str | None, as_json: bool
) -> None:
    """Prints what a holder has, or had at a moment."""
    shown = asyncio.run(_balance(Workspace(directory), accounts, _then(at, on)))
    if as_json:
        values = _as_values(accounts.holder, shown)
        typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
        return
    clock = _CLOCK_WORDS[shown.by]
    typer.echo(f"{accounts.holder}, up to position {shown.position:,} ({clock})")
    for one in shown.balances:
        place = f"{one.account.purpose} {one.account.ref}".strip()
        typer.echo(f"  {amount(one.asset, one.amount)}  {place}")
        for block in one.serials:
            typer.echo(f"    serials {block.first:,} to {block.last:,} of {block.batch}")
    if not shown.balances:
        typer.echo("  nothing")


def write_statement(
    directory: Path, accounts: Accounts, period: Period, format: str, bom: bool, out: Path
) -> None:
    """Writes a statement to a file, or to standard output."""
    file = make_file(format, bom=bom)
    parts = _parts(Workspace(directory), accounts, period)
    lines = asyncio.run(_write(out, file, parts))
    if str(out) != STDOUT:
        typer.echo(f"{out}: {lines:,} lines")


async def _balance(workspace: Workspace, accounts: Accounts, then: Then) -> Shown:
    workspace.require_running()
    async with Books(workspace) as books:
        return await balances_then(books, AUDITOR, accounts, then)


def _then(at: str | None, on: str | None) -> Then:
    if at is not None and at.isascii() and at.isdigit():
        return Then(int(at), None, None if on is None else _instant(on, "on"))
    return Then(
        None,
        None if at is None else _instant(at, "at"),
        None if on is None else _instant(on, "on"),
    )


def _instant(text: str, what: str) -> int:
    """An instant, or the last one of a day in Shanghai."""
    if "T" in text:
        return instant_or_refuse(text, what)
    return day_start_ms(check_day(text, what)) + DAY_MS - 1


async def _parts(
    workspace: Workspace, accounts: Accounts, period: Period
) -> AsyncIterator[Head | Part]:
    """The statement, its head with whether all of it is proven."""
    workspace.require_running()
    async with Books(workspace) as books:
        async for one in ask_statement(books, AUDITOR, accounts, period):
            yield await _with_proof(books, one) if isinstance(one, Head) else one


async def _with_proof(books: Books, head: Head) -> Head:
    """Without a word about it when the ledger is away: a statement does not need it."""
    with suppress(TanzhangError):
        for status in await books.status():
            if status.book == head.book:
                return msgspec.structs.replace(head, proven=status.proven > head.as_of_position)
    return head


async def _write(out: Path, file: StatementFile, parts: AsyncIterator[Head | Part]) -> int:
    """Answers the number of lines. The file is there when it is whole, or not at all."""
    if str(out) == STDOUT:
        return await _pour(sys.stdout.buffer, file, parts)
    unfinished = out.with_name(f"{out.name}.part")
    try:
        with unfinished.open("wb") as target:
            lines = await _pour(target, file, parts)
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)
    return lines


async def _pour(target: Any, file: StatementFile, parts: AsyncIterator[Head | Part]) -> int:
    lines = 0
    async for one in parts:
        if isinstance(one, Head):
            target.write(file.begin(one))
        else:
            target.write(write_part(file, one))
            lines += len(one.lines)
    target.flush()
    return lines


def _as_values(holder: str, shown: Shown) -> dict[str, Any]:
    balances = [
        {
            "asset": one.asset,
            "purpose": one.account.purpose,
            "ref": one.account.ref,
            "amount": one.amount,
            "serials": [vars(block) for block in one.serials],
        }
        for one in shown.balances
    ]
    return {
        "holder": holder,
        "balances": balances,
        "as_of_position": shown.position,
        "moment": shown.by,
    }
