"""The demo as a whole: a stack, the story on it, and the receipts once everything has stopped.

Starts everything on the data folder if it does not run, tells the story (cli/story), stops what it
started and has the receipts judged once more by a process without network (cli/offline.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any, Final

from cli.clients import Books
from cli.offline import find_isolation
from cli.own_stack import own_stack
from cli.story import Figures, Story
from cli.story.proving import judge_receipts
from cli.telling import Teller, our_command, shown_path
from cli.workspace import Workspace

HEADING: Final = (
    "Silk-Road carbon tickets (丝路碳票) of 兰州新区, 2021,\n"
    "and a commuter in Shenzhen (深圳): from forest and ride to ticket,\n"
    "sale, lien, retirement and points, each step proven"
)
WITNESSES: Final = 2  # a bank's and a regulator's
PATIENCE_S: Final = 60.0  # with a service that has just died and is being started again


def perform(directory: Path, teller: Teller, report: dict[str, Any]) -> None:
    """The whole demo; what is found out goes into `report` as it comes.

    Raises Unexpected at the first step that does not come out as told.
    """
    teller.console.print(HEADING, markup=False, soft_wrap=True)
    with own_stack(directory, WITNESSES) as supervisor:
        workspace = Workspace(directory)
        report["started_here"] = supervisor is not None
        figures = asyncio.run(_tell_story(workspace, teller))
        report |= dataclasses.asdict(figures)
        isolation = find_isolation(workspace.processes("accounts")["accounts"])
        with teller.step("the same receipts, when everything has stopped"):
            if supervisor is not None:
                supervisor.stop()
                teller.say("all services, NATS and PostgreSQL are stopped")
            else:
                teller.say("nothing was stopped: the services ran before the demo and go on")
            judge_receipts(workspace, figures, teller, isolation)
    teller.console.print("\nevery step came out as told", markup=False)
    for receipt in figures.receipts[:1]:
        policy = shown_path(workspace.policy_file)
        again = f"{our_command()} verify {shown_path(receipt['path'])} --policy {policy}"
        teller.console.print(f"check it yourself:\n  {again}", markup=False, soft_wrap=True)


async def _tell_story(workspace: Workspace, teller: Teller) -> Figures:
    async with Books(workspace, PATIENCE_S) as books:
        return await Story(workspace, books, teller).tell()
