"""The maps of a state: what stays in them, and a making that was ended in the middle."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kernel.clock import FixedClock
from kernel.tlog.maps import Leaf, Piece, present_root
from kernel.tlog.states import Account, SerialRange, balance_leaf, status_text
from kernel.tlog.tiles import TileTree
from services.ledger.books.accounts import AccountsBook
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.serials import BatchMap
from services.ledger.states.keeper import StateKeeper
from services.ledger.states.log import StateLog
from services.ledger.states.maps import Cut, Frozen, StateMaps, lien_batches, statuses
from tests.support.books import MORNING_MS
from tests.support.small_states import BATCH, FOREST, LIEN, MAP_KEY, TICKET

OWN = (FOREST, TICKET, "available", "")
UNDER = (FOREST, TICKET, "pledged", LIEN)


def frozen_after(*cuts: Cut) -> tuple[StateMaps, Frozen]:
    maps = StateMaps(MAP_KEY)

    async def take() -> Frozen:
        for cut in cuts:
            frozen = await maps.take(cut)
        return frozen

    return maps, asyncio.run(take())


def test_the_account_of_a_lien_stays_with_nothing_in_it_and_others_go() -> None:
    begun = Cut(1, b"", {OWN: 4, UNDER: 6}, {})
    maps, frozen = frozen_after(begun, Cut(2, b"", {OWN: 0, UNDER: 0}, {}))
    assert maps.balance(frozen, Account(*OWN)) is None
    proof = maps.balance(frozen, Account(*UNDER))
    assert proof is not None
    assert proof.amount == 0
    leaf, salt = balance_leaf(MAP_KEY, Account(*UNDER), 0)
    assert (proof.salt, proof.key) == (salt, leaf.key)
    assert present_root(Leaf(proof.key, leaf.value), proof.path) == frozen.balances.root


def test_many_accounts_are_the_same_map_in_one_cut_or_in_several() -> None:
    everybody = {(f"h-{n:016d}", TICKET, "available", ""): n + 1 for n in range(1_000)}
    some = dict(list(everybody.items())[::3])
    _, at_once = frozen_after(Cut(1, b"", everybody, {}))
    _, in_two = frozen_after(Cut(1, b"", dict.fromkeys(some, 7), {}), Cut(2, b"", everybody, {}))
    assert at_once.balances.root == in_two.balances.root


def test_serials_under_a_lien_are_found_among_those_once_pledged() -> None:
    batch = BatchMap.of(1, 100, OWN)
    batch.move(11, 40, UNDER)
    batch.move(21, 30, OWN)  # released in the middle
    pieces = statuses(batch, [(90, 100), (1, 50), (40, 60)])
    assert pieces == [
        Piece(1, 10, status_text("available", "")),
        Piece(11, 20, status_text("pledged", LIEN)),
        Piece(21, 30, status_text("available", "")),
        Piece(31, 40, status_text("pledged", LIEN)),
        Piece(41, 60, status_text("available", "")),
        Piece(90, 100, status_text("available", "")),
    ]
    _, frozen = frozen_after(Cut(1, b"", {}, {(TICKET, BATCH): pieces}))
    pledged = [SerialRange(BATCH, 11, 40)]
    (proof,) = lien_batches(frozen, Account(*UNDER), pledged)
    assert proof.serials == [(11, 20), (31, 40)]
    assert lien_batches(frozen, Account(FOREST, TICKET, "pledged", "l-other"), pledged) == []


async def test_a_making_that_was_ended_in_the_middle_is_begun_again_with_everything() -> None:
    """Two persons may take a halt that ends it; the same keeper goes on."""
    checker = AccountsBook(LedgerBook())
    everybody = {(f"h-{n:016d}", TICKET, "available", ""): n + 1 for n in range(2_000)}
    checker.balances.update(everybody)
    keeper = made_keeper(checker)
    making = asyncio.create_task(keeper.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    again = asyncio.create_task(keeper.run())
    committed = await keeper.reach(1)
    again.cancel()
    whole = await StateMaps(MAP_KEY).take(Cut(1, b"", everybody, {}))
    assert committed.entry.balances == whole.balances.root


class ProvenAtOnce:
    """A sealed log whose checkpoints cover everything."""

    behind = False

    async def proven(self, position: int) -> None:
        await asyncio.sleep(0)


def made_keeper(checker: AccountsBook) -> StateKeeper:
    log: Any = SimpleNamespace(book="accounts", halt=None, known=0, next_position=1, root=bytes)
    log.root = lambda: bytes(32)
    sealer: Any = ProvenAtOnce()
    own, clock = StateLog(TileTree()), FixedClock(MORNING_MS)
    return StateKeeper(log, checker, sealer, own, sealer, StateMaps(MAP_KEY), clock, 10)
