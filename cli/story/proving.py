"""Each lender's two receipts: the lien as both signed it, and the entry that set the tickets aside.

Judged by a process that reaches no network (cli/offline.py), with nothing but the receipt and the
reader's own policy; what a forger makes of them is refused. One lender cannot get the other's.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from cli.errors import NO
from cli.offline import Isolation, bring_own_policy, change_byte, find_isolation, forge, judge
from cli.receipts import fetch_receipts, write_receipt
from cli.story.cast import LENDERS, name_of
from cli.story.scene import Figures, Scene
from cli.telling import Teller, expect
from cli.workspace import Workspace

WHAT: Final = {"registry": "the lien, as both signed it", "accounts": "the tickets set aside"}


async def hand_out(scene: Scene) -> None:
    """Two receipts for each lender, and none of the other's."""
    for lender in LENDERS:
        for book, position in _places(scene, lender):
            await _fetch(scene, lender, book, position)
    asker, other = LENDERS
    for book, position in _places(scene, other):
        clerk = scene.operator(asker, "clerk")
        no = await scene.refused_whole(scene.books.disclose(clerk, book, [position]), "NOT_A_PARTY")
        scene.say(f"{name_of(asker)} asks for the other's: {no.reason}, {book} {position}")


def _places(scene: Scene, lender: str) -> list[tuple[str, int]]:
    lien = scene.liens[lender]
    return [("registry", lien.requested_position), ("accounts", lien.entry_position)]


async def _fetch(scene: Scene, lender: str, book: str, position: int) -> None:
    clerk = scene.operator(lender, "clerk")
    async for place, data in fetch_receipts(scene.books, clerk, book, [position]):
        path = write_receipt(scene.workspace.receipts, book, place, data)
        scene.say(f"{name_of(lender)}: {path.name}, {len(data):,} bytes: {WHAT[book]}")
        scene.figures.receipts.append(
            {
                "lender": lender,
                "lien": scene.liens[lender].lien,
                "book": book,
                "position": place,
                "path": str(path),
            }
        )


def shortened(text: str, columns: int = 56) -> str:
    """For people; the report has all of it."""
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


async def judge_offline(scene: Scene) -> None:
    """A stranger without network judges all of them, and the forgeries."""
    reachable = scene.workspace.processes("accounts")["accounts"]
    isolation = await asyncio.to_thread(find_isolation, reachable)
    scene.figures.isolation = isolation.how
    scene.say(isolation.how)
    scene.figures.judged = await asyncio.to_thread(
        _judge_all, scene.workspace, scene.figures, scene.teller, isolation
    )


def judge_receipts(
    workspace: Workspace, figures: Figures, teller: Teller, isolation: Isolation
) -> list[dict[str, Any]]:
    """Every receipt is valid, and says whose lien it is."""
    return [_judge_one(workspace, receipt, teller, isolation) for receipt in figures.receipts]


def _judge_one(
    workspace: Workspace, receipt: dict[str, Any], teller: Teller, isolation: Isolation
) -> dict[str, Any]:
    path = Path(receipt["path"])
    judged = judge(path, workspace.policy_file, isolation)
    expect(f"exit code of verify, {path.name}", 0, judged.code)
    told = judged.told
    place = (receipt["book"], receipt["position"])
    expect("book and position", place, (told["book"], told["position"]))
    body, acts = told["record"]["body"], told["record"].get("acts", [])
    expect("lien", receipt["lien"], body.get("pledge", body)["lien"])
    expect("signatures in it", 2, len(acts))
    teller.say(
        f"{path.name}: valid, position {told['position']} of {told['tree_size']}"
        f" in {told['origin']}"
    )
    return {"receipt": path.name, "exit_code": judged.code, "root": told["root"]}


def _judge_all(
    workspace: Workspace, figures: Figures, teller: Teller, isolation: Isolation
) -> list[dict[str, Any]]:
    """The receipts and what a forger would make of one; his own policy convinces nobody else."""
    judged_all = judge_receipts(workspace, figures, teller, isolation)
    path = next(Path(one["path"]) for one in figures.receipts if one["book"] == "accounts")
    good = path.read_bytes()
    forged, forgers_policy = forge(good)
    own_policy = bring_own_policy(forged, forgers_policy)
    forgeries = (
        ("one byte changed", change_byte(good), "event.bin or salt"),
        ("signed by another log key", forged, "checkpoint"),
        ("that one, with its own policy inside", own_policy, "container"),
    )
    with tempfile.TemporaryDirectory(prefix="tanzhang-forged-") as name:
        for what, data, part in forgeries:
            forgery = Path(name) / path.name
            forgery.write_bytes(data)
            judged = judge(forgery, workspace.policy_file, isolation)
            expect(f"exit code of verify, {what}", NO, judged.code)
            expect(f"part that differs, {what}", part, judged.told["part"])
            teller.say(f"{what}: refused, {shortened(judged.told['error'])}")
            judged_all.append({"receipt": what, "exit_code": judged.code, **judged.told})
    return judged_all
