"""Both maps of a state, made from what has changed: O(changes), a turn at a time.

The balance map's key is a secret of the ledger and of auditors: who has it can look up anybody's
account in any proof, and change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from kernel.tlog.balance_tree import BalanceTree, FrozenTree, Row
from kernel.tlog.maps import Piece
from kernel.tlog.serial_tree import FrozenSerials, SerialTree
from kernel.tlog.states import (
    Account,
    BalanceProof,
    BatchProof,
    SerialRange,
    account_key,
    account_text,
    balance_leaf,
    status_text,
)
from services.ledger.books.crossings import Place
from services.ledger.books.moved import Batch
from services.ledger.books.serials import BatchMap

PLEDGED: Final = "pledged"
ROWS_PER_TURN: Final = 256  # some 3 ms; then other parts of the process get their turn


class Cut(NamedTuple):
    """The accounts book at one size: what may differ from the cut before."""

    size: int
    root: bytes
    balances: Mapping[Place, int]  # 0 where nothing is left, or nothing but the lien's name
    pieces: Mapping[Batch, Sequence[Piece]]


class Frozen(NamedTuple):
    """Both maps as they were at a cut."""

    balances: FrozenTree
    serials: FrozenSerials


class StateMaps:
    def __init__(self, map_key: bytes) -> None:
        self.map_key = map_key
        self._balances = BalanceTree()
        self._serials = SerialTree()

    async def take(self, cut: Cut) -> Frozen:
        rows: dict[bytes, Row | None] = {}
        for place, amount in cut.balances.items():
            leaf, _ = balance_leaf(self.map_key, Account(*place), amount)
            # That a lien is over must be provable: its account stays, with nothing in it.
            kept = amount or place[2] == PLEDGED
            rows[leaf.key] = Row(leaf.value, amount) if kept else None
            if len(rows) % ROWS_PER_TURN == 0:
                await asyncio.sleep(0)
        ordered = iter(sorted(rows))  # neighbours share most of their way up
        while some := list(islice(ordered, ROWS_PER_TURN)):
            self._balances.put({key: rows[key] for key in some})
            await asyncio.sleep(0)
        for (asset, batch), pieces in cut.pieces.items():
            self._serials.move(asset, batch, pieces)
            await asyncio.sleep(0)
        return Frozen(self._balances.freeze(), self._serials.freeze())

    def balance(self, frozen: Frozen, account: Account) -> BalanceProof | None:
        """What an account holds there; None of one that the map does not have."""
        key = account_key(self.map_key, account_text(account))
        found = frozen.balances.find(key)
        if found is None:
            return None
        amount = found.row.number
        _, salt = balance_leaf(self.map_key, account, amount)
        return BalanceProof(account, amount, key, found.path, salt)


def lien_batches(
    frozen: Frozen, account: Account, pledged: Sequence[SerialRange]
) -> list[BatchProof]:
    """Every serial under the lien of this account, batch by batch, of those once pledged.

    Nothing comes under a lien later: a look at the whole of a batch would find no more.
    """
    status = status_text(account.purpose, account.ref)
    proofs = []
    for batch in sorted({one.batch for one in pledged}):
        within = [(one.first, one.last) for one in pledged if one.batch == batch]
        ranges = frozen.serials.ranges(account.asset, batch, status, within)
        if ranges:
            proofs.append(frozen.serials.prove(account.asset, batch, ranges))
    return proofs


def statuses(batch: BatchMap[Place], ranges: Sequence[tuple[int, int]]) -> list[Piece]:
    """Where the serials of these ranges lie now; ranges that touch are looked at once."""
    pieces: list[Piece] = []
    for first, last in _joined(ranges):
        for begin, end, (_, _, purpose, ref) in batch.pieces(first, last):
            status = status_text(purpose, ref)
            if pieces and pieces[-1].status == status and pieces[-1].last == begin - 1:
                pieces[-1] = Piece(pieces[-1].first, end, status)
            else:
                pieces.append(Piece(begin, end, status))
    return pieces


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
