"""How the liens stand: one file for each bank, which says that these serials are under no other.

Unlike the receipts it is of a time: a state that the ledger has committed to. Judged like them by a
process that reaches no network, with nothing but the file and the reader's own policy.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cli.errors import NO
from cli.offline import find_isolation, judge
from cli.states_client import States
from cli.story.cast import LENDERS, PLEDGED_T, name_of
from cli.story.scene import Scene
from cli.telling import expect


async def show_liens(scene: Scene) -> None:
    """Each bank fetches its own, and no other bank's; offline each is what it says."""
    states = States(scene.books)
    isolation = await asyncio.to_thread(
        find_isolation, scene.workspace.processes("accounts")["accounts"]
    )
    for lender in LENDERS:
        pledge, clerk = scene.liens[lender], scene.operator(lender, "clerk")
        data = await states.lien(clerk, pledge.lien, pledge.entry_position)
        path = scene.workspace.receipts / f"{pledge.lien}.lien"
        path.write_bytes(data)
        judged = await asyncio.to_thread(judge, path, scene.workspace.policy_file, isolation)
        expect(f"exit code of verify, {path.name}", 0, judged.code)
        _tell(scene, lender, path.name, len(data), judged.told)
        changed = path.with_suffix(".changed.lien")
        changed.write_bytes(data.replace(b'"amount":', b'"amount":1', 1))
        no = await asyncio.to_thread(judge, changed, scene.workspace.policy_file, isolation)
        changed.unlink()
        expect("exit code of verify, one digit more", NO, no.code)
    asker, other = LENDERS
    stranger = states.lien(scene.operator(asker, "clerk"), scene.liens[other].lien, 0)
    refused = await scene.refused_whole(stranger, "NOT_A_PARTY")
    scene.say(f"{name_of(asker)} asks for the other's: {refused.reason}")


def _tell(scene: Scene, lender: str, name: str, size: int, told: dict[str, Any]) -> None:
    lien = told["lien"]
    ranges = [(one["batch"], one["first"], one["last"]) for one in lien["serials"]]
    expect("quantity under the lien", PLEDGED_T, lien["quantity"])
    expect("pledgee", scene.holders[lender], lien["pledgee"])
    expect(
        "serials under the lien",
        [(one.batch, one.first, one.last) for one in scene.liens[lender].serials],
        ranges,
    )
    blocks = ", ".join(f"{first:,} to {last:,}" for _, first, last in ranges)
    scene.say(f"{name_of(lender)}: {name}, {size:,} bytes: serials {blocks}")
    scene.say(f"   under this lien alone in state {told['state']['position']}, checked offline")
    scene.figures.standing.append(
        {"lender": lender, "lien": lien["lien"], "bytes": size, "state": told["state"]}
    )
