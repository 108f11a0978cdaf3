"""`tanzhang demo`: the main job end to end, visibly, on the real services.

The command alone; what it does stands in cli/stage.py. Exit codes: 0 every step came out as told,
1 one did not, 2 could not try.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import NO, NOT_TRIED, CliError, of_file

AS_TOLD = 0


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="data folder")] = Path("var"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write all figures into this file")
    ] = None,
) -> None:
    """Run the main job end to end, visibly.

    Issue, sell, pledge, ride, retire, prove: all of it on the real services.
    """
    from cli.stage import perform  # noqa: PLC0415 - what costs time is loaded here
    from cli.telling import Teller, Unexpected  # noqa: PLC0415
    from kernel.errors import TanzhangError  # noqa: PLC0415

    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise CliError(f"{json_file}: expected a folder to write it into", NOT_TRIED)
    teller = Teller()
    report: dict[str, Any] = {"ok": False, "steps": teller.steps}
    code = AS_TOLD
    try:
        perform(directory, teller, report)
        report["ok"] = True
    except Unexpected as error:
        report["error"] = {"what": error.what, "expected": error.expected, "actual": error.actual}
        typer.echo(f"\nnot as told: {error}", err=True)
        code = NO
    except (TanzhangError, OSError) as error:
        what = of_file(error) if isinstance(error, OSError) else str(error)
        report["error"] = {"what": what}
        typer.echo(f"\nstopped: {what}", err=True)
        code = NO if teller.steps else NOT_TRIED
    if json_file is not None:
        text = json.dumps(report, ensure_ascii=False, indent=2, default=str)
        json_file.write_text(text + "\n", encoding="utf-8")
    raise typer.Exit(code)
