"""`tanzhang settlements …`: what became of the trades of a venue's session, row by row.

The report comes in parts and is printed as it comes, however long it is: CSV with one line per
trade, or JSON with one object per line and the totals as the last. With CSV the totals go to
standard error: the table stays a table. `--venue-desk` asks as the venue, else as an auditor.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

app = typer.Typer(help="Sessions of venues that match elsewhere.", no_args_is_help=True)

COLUMNS: Final = (
    "file",
    "part",
    "trade",
    "asset",
    "buyer",
    "seller",
    "quantity_t",
    "price_fen_per_t",
    "buyer_fee_fen",
    "seller_fee_fen",
    "settled_position",
    "reason",
    "holder",
    "short_of",
    "needed",
    "available",
)


class Form(StrEnum):
    CSV = "csv"
    JSON = "json"


@app.callback()
def settlements() -> None:
    """Sessions of venues that match elsewhere."""


@app.command("report")
def report(
    venue: Annotated[str, typer.Argument(help="as in its settlement files")],
    session: Annotated[str, typer.Argument(help="as in its settlement files")],
    form: Annotated[Form, typer.Option("--format", help="csv or json")] = Form.CSV,
    as_venue: Annotated[bool, typer.Option("--venue-desk", help="ask as the venue")] = False,
    directory: Annotated[Path, typer.Option("--dir", help="data folder")] = Path("var"),
) -> None:
    """Every trade of a session, settled or not, and the sums."""
    asyncio.run(_print(venue, session, form, as_venue, directory))


async def _print(venue: str, session: str, form: Form, as_venue: bool, directory: Path) -> None:
    from cli.clients import Books, Persona  # noqa: PLC0415 - gRPC is loaded by who needs it
    from cli.workspace import Workspace  # noqa: PLC0415

    role = f"venue:{venue}" if as_venue else "auditor"
    async with Books(Workspace(directory)) as books:
        parts = books.settlement_report(Persona("settlement-reader", (role,)), venue, session)
        await (_as_csv if form is Form.CSV else _as_json)(parts)


async def _as_csv(parts: AsyncIterator[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    async for row in parts:
        if "totals" in row:
            typer.echo(json.dumps(row, ensure_ascii=False), err=True)
        else:
            writer.writerow(row)


async def _as_json(parts: AsyncIterator[Mapping[str, Any]]) -> None:
    async for row in parts:
        typer.echo(json.dumps(row, ensure_ascii=False))
