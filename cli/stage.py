"""The demo as a whole: a stack, the story on it, and a stranger who judges the receipt.

Starts everything on the data folder if it does not run, tells the story (cli/story.py), lets a
process without network judge the receipt and its forgeries (cli/offline.py), stops what it started
and has the receipt judged once more.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Final

from cli.clients import Books
from cli.errors import NO
from cli.offline import Isolation, bring_own_policy, change_byte, find_isolation, forge, judge
from cli.own_stack import own_stack
from cli.story import Figures, Story
from cli.telling import Teller, expect
from cli.workspace import Workspace

HEADING: Final = (
    "Silk-Road carbon tickets (丝路碳票) of 兰州新区, 2021: sold, delivered and paid at once"
)


def perform(directory: Path, teller: Teller, report: dict[str, Any]) -> None:
    """The whole demo; what is found out goes into `report` as it comes.

    Raises Unexpected at the first step that does not come out as told.
    """
    teller.console.print(HEADING, markup=False, soft_wrap=True)
    with own_stack(directory) as supervisor:
        workspace = Workspace(directory)
        report["started_here"] = supervisor is not None
        figures = asyncio.run(_tell_story(workspace, teller))
        report |= dataclasses.asdict(figures)
        isolation = find_isolation(workspace.target("accounts"))
        report["isolation"] = isolation.how
        with teller.step(f"a stranger checks the receipt, {isolation.how}"):
            report["judged"] = _judge_all(workspace, figures, teller, isolation)
        with teller.step("the same receipt, when everything has stopped"):
            if supervisor is not None:
                supervisor.stop()
                teller.say("accounts, ledger, NATS and PostgreSQL are stopped")
            else:
                teller.say(
                    "nothing was stopped: the services ran before the demo and go on. Instead the"
                    f" receipt is judged once more {isolation.how}"
                )
            _judge_receipt(workspace, figures, teller, isolation)
    teller.console.print("\nevery step came out as told", markup=False)
    again = f"tanzhang verify {figures.receipt} --policy {workspace.policy_file}"
    teller.console.print(f"check it yourself: {again}", markup=False, soft_wrap=True)


async def _tell_story(workspace: Workspace, teller: Teller) -> Figures:
    async with Books(workspace) as books:
        return await Story(workspace, books, teller).tell()


def _judge_receipt(
    workspace: Workspace, figures: Figures, teller: Teller, isolation: Isolation
) -> dict[str, Any]:
    """The receipt is valid, and says what was settled."""
    judged = judge(figures.receipt, workspace.policy_file, isolation)
    expect("exit code of verify", 0, judged.code)
    told = judged.told
    expect("position", figures.settlement["position"], told["position"])
    expect("trades", figures.settlement["trades"], told["record"]["body"]["trades"])
    teller.say(
        f"valid: position {told['position']} of {told['origin']},"
        f" under the signed root {told['root']} of {told['tree_size']} entries"
    )
    return {"receipt": "settlement", "exit_code": judged.code, "root": told["root"]}


def _judge_all(
    workspace: Workspace, figures: Figures, teller: Teller, isolation: Isolation
) -> list[dict[str, Any]]:
    """The receipt and what a forger would make of it; his own policy convinces nobody else."""
    judged_all = [_judge_receipt(workspace, figures, teller, isolation)]
    good = figures.receipt.read_bytes()
    forged, forgers_policy = forge(good)
    forgeries = (
        ("one byte changed", change_byte(good), "event.bin or salt"),
        ("signed by another log key", forged, "checkpoint"),
        (
            "that one, with its own policy inside",
            bring_own_policy(forged, forgers_policy),
            "container",
        ),
    )
    with tempfile.TemporaryDirectory(prefix="tanzhang-forged-") as name:
        for what, data, part in forgeries:
            path = Path(name) / figures.receipt.name
            path.write_bytes(data)
            judged = judge(path, workspace.policy_file, isolation)
            expect(f"exit code of verify, {what}", NO, judged.code)
            expect(f"part that differs, {what}", part, judged.told["part"])
            teller.say(f"{what}: refused, {judged.told['error']}")
            judged_all.append({"receipt": what, "exit_code": judged.code, **judged.told})
    return judged_all
