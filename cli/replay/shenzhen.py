"""`tanzhang replay shenzhen-tong FILE --network FILE`: real taps, through the services' RPCs.

The command alone; rows are cli/replay/shenzhen_rows.py, the network shenzhen_network.py, the tariff
shenzhen_fares.py, planning shenzhen_plan.py, feeding shenzhen_feed.py, the report
shenzhen_report.py. Exit codes: 0 everything agrees (bad rows and refused trips are reported and are
no failure), 1 something does not, 2 could not try.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import NO, NOT_TRIED, CliError


def shenzhen_tong(
    source: Annotated[Path, typer.Argument(help="file with the card data (CSV)")],
    network: Annotated[Path, typer.Option("--network", help="file with the metro network (JSON)")],
    directory: Annotated[Path, typer.Option("--dir", help="data folder")] = Path("var"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the whole report into this file")
    ] = None,
) -> None:
    """Replay Shenzhen's card taps of 2018.

    As trips; measures what they would have saved.
    """
    from cli.replay.shenzhen_feed import replay  # noqa: PLC0415 - what costs time is loaded here
    from cli.replay.shenzhen_plan import plan_files  # noqa: PLC0415
    from cli.replay.shenzhen_report import agrees, show  # noqa: PLC0415
    from kernel.errors import Refused  # noqa: PLC0415

    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise CliError(f"{json_file}: expected a folder to write it into", NOT_TRIED)
    try:
        plan = plan_files(source, network)
    except Refused as refused:
        raise CliError(refused.message, NOT_TRIED) from refused
    report = replay(directory, plan)
    show(report)
    if json_file is not None:
        text = json.dumps(report, ensure_ascii=False, indent=2)
        json_file.write_text(text + "\n", encoding="utf-8")
    raise typer.Exit(0 if agrees(report) else NO)
