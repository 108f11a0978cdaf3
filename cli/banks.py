"""`tanzhang banks`: per settlement bank the balance, the last statement, and the breaks."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Final

import typer

from cli.bank_client import bank_standings
from cli.clients import Books, Persona
from cli.errors import NO
from cli.reading import amount
from cli.values import BankBreak, BankStanding
from cli.workspace import Workspace

AUDITOR: Final = Persona("auditor at the desk", ("auditor",))
SHOWN_LINES: Final = 10  # of each side; --json has the first thousand


def show(directory: Path, as_json: bool) -> int:
    """Prints how it stands; answers the exit code."""
    standings = asyncio.run(_ask(directory))
    if as_json:
        rows = [dataclasses.asdict(one) for one in standings]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif not standings:
        typer.echo("no settlement bank is agreed with")
    else:
        for one in standings:
            for line in lines_of(one):
                typer.echo(line)
    return NO if any(one.breaks for one in standings) else 0


async def _ask(directory: Path) -> list[BankStanding]:
    async with Books(Workspace(directory)) as books:
        return await bank_standings(books, AUDITOR)


def lines_of(one: BankStanding) -> list[str]:
    stated = (
        f"{one.stated_day}, closed with {amount(one.asset, one.stated_fen)}"
        if one.stated_day
        else f"none yet, the first day is {one.first_day}"
    )
    lines = [
        f"bank {one.bank} for {one.clearing_house}",
        f"  by the books    {amount(one.asset, one.balance_fen)}",
        f"  last statement  {stated}",
        f"  not stated yet  {one.unstated_lines:,} lines",
        f"  default reserve {amount(one.asset, one.default_reserve_fen)}",
    ]
    for found in one.breaks:
        lines += _break_lines(found, one.asset)
    return lines


def _break_lines(found: BankBreak, asset: str) -> list[str]:
    lines = [f"  BREAK of {found.day}: nothing is withdrawn until it is resolved"]
    for side, rows, count in (
        ("stated, not booked", found.theirs, found.theirs_count),
        ("booked, not stated", found.ours, found.ours_count),
    ):
        lines += [f"    {side}: {line}  {amount(asset, fen)}" for line, fen in rows[:SHOWN_LINES]]
        if count > SHOWN_LINES:
            lines.append(f"    {side}: and {count - SHOWN_LINES:,} more")
    return lines
