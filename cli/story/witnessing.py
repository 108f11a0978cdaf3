"""The witnesses: which of them have cosigned what the logs are, and when.

Read from the checkpoints that anybody is shown, against the reader's own policy: the ledger is not
asked who its witnesses are.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cli.clients import OWNERS
from cli.story.scene import Scene
from cli.telling import expect
from cli.trust import read_policy
from kernel.tlog.policy import Policy
from kernel.tlog.states import STATE_BOOK


async def hear_witnesses(scene: Scene) -> None:
    """Every log under the cosignatures of the quorum, and who they are."""
    policy = read_policy(scene.workspace.policy_file)
    if not policy.witnesses:
        scene.say("the policy names no witness: nobody but the ledger says what the logs are")
        return
    for book in (*OWNERS, STATE_BOOK):
        await _hear(scene, book, policy)
    alarms = [
        f"{one.book}: {witness.alarm}"
        for one in await scene.books.status()
        for witness in one.witnesses
        if witness.alarm
    ]
    expect("alarms of witnesses", [], alarms)


async def _hear(scene: Scene, book: str, policy: Policy) -> None:
    opened = policy.open_checkpoint(await scene.books.checkpoint(book))  # refuses without quorum
    by_key = {witness.key.name: name for name, witness in policy.witnesses.items()}
    named = sorted(by_key[one.name] for one in opened.cosignatures)
    dated = policy.dated_by(opened.cosignatures)
    at_s = 0 if dated is None else dated.timestamp_s or 0
    at = datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
    size = opened.checkpoint.size
    scene.say(f"{book:<9} {size:>7,} entries, cosigned by {', '.join(named)}, at {at}")
    scene.figures.witnesses[book] = {"tree_size": size, "cosigned_by": named, "at": at}
