"""The story of the Silk-Road tickets (丝路碳票) and of a commuter, told through the services' RPCs.

From two forests of 兰州新区 to tickets, a sale, two liens, a release and a retirement (the
published case of 2021), and three rides in Shenzhen. Every number that is told comes out of an
answer, and each step holds itself to what it announced. Every telling has new holders, projects,
tickets, liens and rides, so it can be told again on the same books. The chapters are the modules
beside this one; what they share is scene.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from cli.clients import Books
from cli.story import (
    checking,
    founding,
    issuing,
    pledging,
    proving,
    retiring,
    riding,
    standing,
    trading,
    witnessing,
)
from cli.story.scene import Figures, Scene
from cli.telling import Teller
from cli.workspace import Workspace

__all__ = ["CHAPTERS", "Figures", "Story"]

Step = Callable[[Scene], Awaitable[None]]

CHAPTERS: Final[tuple[tuple[str, Step], ...]] = (
    ("who takes part", founding.register_holders),
    ("keys of the institutions, each by two persons", founding.admit_keys),
    ("two forest projects on their way to verified tonnes", issuing.open_programme),
    ("tickets are issued: one proposes, another approves", issuing.issue),
    ("the group's money comes in, on its bank's advice", founding.bring_money),
    ("allocation to trading (划转)", trading.allocate),
    ("the sale: each trade delivered and paid at once", trading.trade),
    ("the tickets come back from the market", trading.bring_home),
    ("pledged to two banks, one lien each", pledging.pledge),
    ("sold or pledged a second time: refused", pledging.sell_and_pledge_again),
    ("witnesses agree on what the logs are", witnessing.hear_witnesses),
    ("two receipts for each bank, and none of the other's", proving.hand_out),
    ("a stranger without network judges the receipts", proving.judge_offline),
    ("how each lien stands: these serials, under no other", standing.show_liens),
    ("Shenzhen: what a ride saves, and what it earns", riding.set_rules),
    ("three rides of one commuter, under one signature", riding.ride),
    ("one bank releases its lien", retiring.release),
    ("tickets are retired for a claim", retiring.retire),
    ("the check of everything", checking.check_all),
    ("how fast recorded becomes proven", checking.measure),
)


class Story:
    """One telling on services that run. Give `books` patience where services may die meanwhile."""

    def __init__(self, workspace: Workspace, books: Books, teller: Teller) -> None:
        self._scene = Scene(workspace, books, teller)

    async def tell(self) -> Figures:
        """All chapters in order. Raises Unexpected at the first that does not come out as told."""
        for title, step in CHAPTERS:
            async with self._scene.in_step(title):
                await step(self._scene)
        return self._scene.figures
