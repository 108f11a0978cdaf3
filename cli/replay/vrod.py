"""`tanzhang replay vrod DIR`: the American Carbon Registry's tables, through the services' RPCs.

The command alone; planning is cli/replay/vrod_plan.py, feeding and looking cli/replay/vrod_feed.py,
the report cli/replay/vrod_report.py. Exit codes: 0 everything agrees (bad rows are reported and
are no failure), 1 something does not, 2 could not try.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import NO, NOT_TRIED, CliError


def vrod(
    source: Annotated[Path, typer.Argument(help="folder with the ACR tables")],
    directory: Annotated[Path, typer.Option("--dir", help="data folder")] = Path("var"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the whole report into this file")
    ] = None,
) -> None:
    """Replay the American Carbon Registry.

    Its issuances and retirements; each retirement is proven.
    """
    from cli.replay.vrod_feed import replay  # noqa: PLC0415 - what costs time is loaded here
    from cli.replay.vrod_plan import plan_directory  # noqa: PLC0415
    from cli.replay.vrod_report import agrees, show  # noqa: PLC0415
    from kernel.errors import Refused  # noqa: PLC0415

    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise CliError(f"{json_file}: expected a folder to write it into", NOT_TRIED)
    try:
        plan = plan_directory(source)
    except Refused as refused:
        raise CliError(f"{source}: {refused.message}", NOT_TRIED) from refused
    report = replay(directory, plan)
    show(report)
    if json_file is not None:
        text = json.dumps(report, ensure_ascii=False, indent=2)
        json_file.write_text(text + "\n", encoding="utf-8")
    raise typer.Exit(0 if agrees(report) else NO)
