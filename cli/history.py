"""`tanzhang balance` and `tanzhang statement`: what somebody had, and what moved in a period.

Only their words and options: what they do is in cli/past.py, loaded when one of them runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option("--dir", help="data folder")]
Holder = Annotated[str, typer.Option(help="holder id, h-…")]
Asset = Annotated[str, typer.Option(help="only this asset")]
Purpose = Annotated[str, typer.Option(help="only this purpose: available, trading, held, …")]
Ref = Annotated[str | None, typer.Option(help="only this ref of the purpose")]


def balance(
    holder: Holder,
    asset: Asset = "",
    purpose: Purpose = "",
    ref: Ref = None,
    at: Annotated[
        str | None,
        typer.Option(help="position, instant of recording, or day (its end, in Shanghai)"),
    ] = None,
    on: Annotated[str | None, typer.Option(help="instant of business time, or day")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    directory: Folder = Path("var"),
) -> None:
    """What a holder has in its accounts, or had at a moment."""
    from cli.accounts_client import Accounts  # noqa: PLC0415 - see the module
    from cli.past import show_balance  # noqa: PLC0415

    show_balance(directory, Accounts(holder, asset, purpose, ref), at, on, as_json)


def statement(
    holder: Holder,
    begins: Annotated[str, typer.Option("--from", help="first business day, or an instant")],
    out: Annotated[Path, typer.Option("--out", help="file to write; - for standard output")],
    ends: Annotated[
        str | None,
        typer.Option(
            "--to", help="last business day, or the instant before which it ends; absent: now"
        ),
    ] = None,
    asset: Asset = "",
    purpose: Purpose = "",
    ref: Ref = None,
    by: Annotated[str, typer.Option(help="at: the time of recording; on: business time")] = "at",
    position: Annotated[
        int | None, typer.Option(min=0, help="with --by on: as it was known after this event")
    ] = None,
    format: Annotated[str, typer.Option(help="json, csv or parquet")] = "json",
    bom: Annotated[
        bool, typer.Option("--bom", help="mark CSV as UTF-8, for Excel in Chinese")
    ] = False,
    directory: Folder = Path("var"),
) -> None:
    """A statement of account, as a file."""
    from cli.accounts_client import Accounts, Period  # noqa: PLC0415
    from cli.past import write_statement  # noqa: PLC0415

    if by not in ("at", "on"):
        raise typer.BadParameter(f"expected at or on, got {by}", param_hint="--by")
    accounts, period = Accounts(holder, asset, purpose, ref), Period(begins, ends, by, position)
    write_statement(directory, accounts, period, format, bom, out)
