"""Two small logs: a book of accounts, and the states it led to; for tests of state proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from kernel.tlog.balance_tree import BalanceTree, FrozenTree, Row
from kernel.tlog.checkpoint import cosign_line
from kernel.tlog.maps import Leaf, Piece
from kernel.tlog.merkle import ListedLeaves, leaf_hash, prove_inclusion
from kernel.tlog.note import COSIGNATURE, Signer, add_lines
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.proof import TlogProof
from kernel.tlog.receipt import make_receipt
from kernel.tlog.serial_tree import FrozenSerials, SerialTree
from kernel.tlog.states import (
    Account,
    BalanceProof,
    StateEntry,
    StateProof,
    account_key,
    account_text,
    balance_leaf,
    make_holding,
    make_lien,
    status_text,
)
from kernel.values import Act
from tests.support.small_log import SmallLog

MAP_KEY: Final = hashlib.sha256(b"map key").digest()
FOREST: Final = "h-qinwangchuanfor1"
BANK: Final = "h-lanzhoubank00001"
LIEN: Final = "l-qinwangchuan0001"
TICKET: Final = "TICKET-LZXQ-1"
BATCH: Final = "LZXQ-2021"
WITNESSED_AT_S: Final = 1_795_000_000
COMMITTED_AT: Final = "2026-11-20T08:30:10.000Z"


def pledge_body(first: int = 1, last: int = 6_000, lien: str = LIEN) -> dict[str, Any]:
    """A forest's tickets go under a lien of its bank."""
    own = {"holder": FOREST, "purpose": "available", "ref": ""}
    leg = {
        "amount": last - first + 1,
        "asset": TICKET,
        "credit": {"holder": FOREST, "purpose": "pledged", "ref": lien},
        "debit": own,
        "serials": [{"batch": BATCH, "first": first, "last": last}],
    }
    return {"legs": [leg], "pledge": {"lien": lien, "pledgee": BANK}}


class SmallStates:
    """10,000 tickets of a forest, 6,000 of them pledged to a bank by the event at position 3."""

    def __init__(self, pledged: int = 6_000, acts: Sequence[Act] = ()) -> None:
        self.accounts = SmallLog("accounts")
        self.states = SmallLog("state", b"state")
        self.witnesses = [
            Signer(f"witness.example/{name}", COSIGNATURE, hashlib.sha256(name.encode()).digest())
            for name in ("bank", "regulator")
        ]
        self.accounts.fill(3)
        more: dict[str, Any] = {"acts": [msgspec.to_builtins(one) for one in acts]} if acts else {}
        self.accounts.append(pledge_body(), **more)
        self.witnessed_at_s: dict[str, int] = {}  # of those who signed at another time
        self.balances = {
            Account(FOREST, TICKET, "pledged", LIEN): pledged,
            Account(FOREST, TICKET, "available", ""): 10_000 - pledged,
            Account("h-programmelzxq001", TICKET, "issued", ""): -10_000,
        }
        self.pieces = [
            Piece(1, pledged, status_text("pledged", LIEN)),
            Piece(pledged + 1, 10_000, status_text("available", "")),
        ]

    def collude(self, at_s: int) -> Policy:
        """A third witness signs again what two have long signed; the policy asks for any two."""
        seed = hashlib.sha256(b"colluder").digest()
        self.witnesses.append(Signer("witness.example/colluder", COSIGNATURE, seed))
        self.witnessed_at_s["witness.example/colluder"] = at_s
        all_of_two = b"both all bank regulator"
        return parse_policy(
            self.policy.encode().replace(all_of_two, b"both 2 bank regulator colluder")
        )

    @property
    def policy(self) -> Policy:
        policy = Policy()
        policy.add_log(self.accounts.signer.verifier.vkey)
        policy.add_log(self.states.signer.verifier.vkey)
        for witness in self.witnesses:
            name = witness.name.rpartition("/")[2]
            policy.add_witness(name, witness.verifier.vkey)
        policy.add_group("both", "all", ["bank", "regulator"])
        policy.set_quorum("both")
        return policy

    @property
    def balance_map(self) -> FrozenTree:
        tree = BalanceTree(4)
        for account, amount in self.balances.items():
            if amount or account.purpose == "pledged":
                leaf, _ = balance_leaf(MAP_KEY, account, amount)
                tree.put({leaf.key: Row(leaf.value, amount)})
        return tree.freeze()

    @property
    def serial_map(self) -> FrozenSerials:
        tree = SerialTree()
        tree.move(TICKET, BATCH, [one for one in self.pieces if one.first <= one.last])
        tree.move(TICKET, "LZXQ-2022", [Piece(10_001, 12_000, status_text("retired", ""))])
        return tree.freeze()

    def commit(self, size: int | None = None, at: str = COMMITTED_AT) -> int:
        """A state entry of everything so far; its position."""
        position = len(self.states.entries)
        size = len(self.accounts.entries) if size is None else size
        entry = StateEntry(
            position,
            at,
            "accounts",
            size,
            self.accounts.root(size),
            self.balance_map.root,
            self.serial_map.root,
        )
        self.append(entry.encode())
        return position

    def append(self, entry: bytes) -> None:
        self.states.append_entry(entry)

    def cosigned(self, log: SmallLog, at_s: int = WITNESSED_AT_S) -> bytes:
        note, times = log.checkpoint(), self.witnessed_at_s
        return add_lines(
            note, [cosign_line(note, one, times.get(one.name, at_s)) for one in self.witnesses]
        )

    def proof(self, log: SmallLog, position: int) -> bytes:
        leaves = [leaf_hash(one) for one in log.entries]
        path = prove_inclusion(position, len(leaves), ListedLeaves(leaves))
        return TlogProof(position, tuple(path), self.cosigned(log)).encode()

    def state(self, position: int) -> StateProof:
        return StateProof(self.states.entries[position], self.proof(self.states, position))

    def balance(self, account: Account) -> BalanceProof:
        key = account_key(MAP_KEY, account_text(account))
        found = self.balance_map.find(key)
        assert found is not None, account
        _, salt = balance_leaf(MAP_KEY, account, found.row.number)
        return BalanceProof(account, found.row.number, key, found.path, salt)

    def pledge(self, position: int = 3) -> bytes:
        proof = self.proof(self.accounts, position)
        return make_receipt(self.accounts.records[position], self.accounts.salt(position), proof)

    def holding(self, account: Account, position: int) -> bytes:
        return make_holding(self.state(position), self.balance(account))

    def lien(self, position: int, lien: str = LIEN, pledge: bytes | None = None) -> bytes:
        serials = self.serial_map
        ranges = serials.ranges(TICKET, BATCH, status_text("pledged", lien), [(1, 10_000)])
        batches = [serials.prove(TICKET, BATCH, ranges)] if ranges else []
        balance = self.balance(Account(FOREST, TICKET, "pledged", lien))
        receipt = self.pledge() if pledge is None else pledge
        return make_lien(lien, self.state(position), balance, batches, receipt)


def pledge_statement(**other: Any) -> dict[str, Any]:
    """What both parties sign; with `other` fields something else than the pledge above."""
    own = {"kind": "pledge", "lien": LIEN, "pledgor": FOREST, "pledgee": BANK, "asset": TICKET}
    return {**own, "quantity_t": 6_000, "loan_fen": 24_750_000, **other}


def leaf_of(account: Account, amount: int) -> Leaf:
    return balance_leaf(MAP_KEY, account, amount)[0]
