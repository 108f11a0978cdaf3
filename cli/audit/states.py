"""The state log, held to the books: its roots are computed again from the opened events.

docs/reference/state-proofs.md has the two maps. Made here from the places of serials and the
balances alone, without the trees that the ledger keeps. Of every new entry the root of the book's
own log is compared (logs.py); of which the maps are made again is drawn (sample.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from cli.audit.accounts import AccountsBook
from cli.audit.findings import Findings
from cli.audit.places import Places
from kernel.tlog.encoding import encode_base64
from kernel.tlog.maps import (
    EMPTY,
    Leaf,
    batch_value,
    key_bit,
    leaf_hash,
    node_hash,
    status_hash,
)
from kernel.tlog.states import STATE_BOOK, Account, StateEntry, balance_leaf, batch_key, status_text


class StateChecks:
    """States still to come, in the order of their sizes, while the accounts book is folded."""

    def __init__(
        self, waiting: Sequence[StateEntry], map_key: bytes | None, findings: Findings
    ) -> None:
        self._waiting = sorted(waiting, key=lambda one: one.size, reverse=True)
        self._map_key = map_key
        self._findings = findings
        self.serials = 0
        self.balances = 0

    def reach(self, size: int, accounts: AccountsBook) -> None:
        """All events before `size` are folded, and none after it."""
        while self._waiting and self._waiting[-1].size <= size:
            self._check(self._waiting.pop(), accounts)

    def _check(self, entry: StateEntry, accounts: AccountsBook) -> None:
        self.serials += 1
        self._compare(entry, "STATE_SERIALS", entry.serials, serials_root(accounts))
        if self._map_key is not None:
            self.balances += 1
            root = balances_root(accounts, self._map_key)
            self._compare(entry, "STATE_BALANCES", entry.balances, root)

    def _compare(self, entry: StateEntry, rule: str, said: bytes, found: bytes) -> None:
        if said != found:
            what = f"{encode_base64(found)} of {entry.size} events of {entry.book}"
            self._findings.add(rule, STATE_BOOK, entry.position, what, encode_base64(said))


def serials_root(accounts: AccountsBook) -> bytes:
    leaves = []
    for (asset, batch), places in accounts.places.items():
        if places.firsts:
            bits = max(1, places.lasts[-1].bit_length())
            value = batch_value(bits, _batch_root(places, bits))
            leaves.append(Leaf(batch_key(asset, batch), value))
    return map_root(leaves)


def balances_root(accounts: AccountsBook, map_key: bytes) -> bytes:
    return map_root(
        [
            balance_leaf(map_key, Account(holder, asset, purpose, ref), amount)[0]
            for (holder, purpose, ref, asset), amount in accounts.balances.items()
            if amount or purpose == "pledged"  # the account of a lien stays when it is over
        ]
    )


def map_root(leaves: Sequence[Leaf]) -> bytes:
    """A subtree with one leaf is that leaf, one without any is nothing."""
    return _subtree(sorted(leaves), 0)


def _subtree(leaves: Sequence[Leaf], depth: int) -> bytes:
    if len(leaves) <= 1:
        return leaf_hash(leaves[0]) if leaves else EMPTY
    middle = sum(not key_bit(one.key, depth) for one in leaves)
    return node_hash(_subtree(leaves[:middle], depth + 1), _subtree(leaves[middle:], depth + 1))


Run = tuple[int, int, bytes]  # first, last, hash of the status; EMPTY for nothing


def _batch_root(places: Places, bits: int) -> bytes:
    return _serials(_runs(places, bits), 0, bits)


def _runs(places: Places, bits: int) -> list[Run]:
    """All of 0..2^bits-1 in order; neighbours of one status are one run."""
    runs: list[Run] = []
    at = 0
    for first, last, (_, purpose, ref) in places.all():
        if at < first:
            _extend(runs, (at, first - 1, EMPTY))
        _extend(runs, (first, last, status_hash(status_text(purpose, ref))))
        at = last + 1
    if at < 1 << bits:
        _extend(runs, (at, (1 << bits) - 1, EMPTY))
    return runs


def _extend(runs: list[Run], run: Run) -> None:
    if runs and runs[-1][2] == run[2]:
        runs[-1] = (runs[-1][0], run[1], run[2])
    else:
        runs.append(run)


def _serials(runs: Sequence[Run], first: int, bits: int) -> bytes:
    """Of the aligned range of 2^bits serials from `first` on, which the runs cover."""
    if len(runs) == 1:
        return runs[0][2]
    middle = first + (1 << (bits - 1))
    left = [run for run in runs if run[0] < middle]
    right = [run for run in runs if run[1] >= middle]
    halves = (_serials(left, first, bits - 1), _serials(right, middle, bits - 1))
    return node_hash(*halves)
