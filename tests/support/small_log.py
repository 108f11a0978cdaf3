"""A log in memory with a key of its own: for tests of what reads logs and receipts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kernel.tlog.checkpoint import Checkpoint, sign_checkpoint
from kernel.tlog.merkle import ListedLeaves, leaf_hash, prove_inclusion, root
from kernel.tlog.note import ED25519, Signer
from kernel.tlog.policy import NONE, Policy
from kernel.tlog.proof import TlogProof
from kernel.tlog.receipt import commitment, leaf_data, make_receipt
from kernel.tlog.tiles import TILE_WIDTH, encode_bundle, parse_tile_path

LANZHOU = "h-lanzhouurbangrp1"
FOREST = "h-qinwangchuanfor1"


def sale_body(quantity_t: int = 7_000) -> dict[str, Any]:
    """A forest's tickets against the city group's money, as the accounts book records it."""
    forest = {"holder": FOREST, "purpose": "trading", "ref": "market-lz"}
    group = {"holder": LANZHOU, "purpose": "trading", "ref": "market-lz"}
    serials = [{"batch": "LZXQ-1", "first": 1, "last": quantity_t}]
    ticket = "TICKET-LZXQ-1"
    return {
        "legs": [
            {
                "amount": quantity_t,
                "asset": ticket,
                "credit": group,
                "debit": forest,
                "serials": serials,
            },
            {
                "amount": quantity_t * 4_194,
                "asset": "CNY",
                "credit": forest,
                "debit": group,
                "serials": [],
            },
        ],
        "trades": ["LZ-1"],
    }


class SmallLog:
    """Events of one book and their tree."""

    def __init__(self, book: str = "accounts", seed: bytes = b"") -> None:
        self.book = book
        self.signer = Signer(f"tanzhang.test/{book}", ED25519, hashlib.sha256(seed).digest())
        self.records: list[bytes] = []
        self.entries: list[bytes] = []
        self._hashes: list[bytes] = []

    @property
    def policy(self) -> Policy:
        policy = Policy()
        policy.add_log(self.signer.verifier.vkey)
        policy.set_quorum(NONE)
        return policy

    def append(self, body: dict[str, Any], type: str = "EntryPosted", **more: Any) -> int:
        position = len(self.records)
        record = {
            "actor": {"iss": "tanzhang.test/issuer", "sub": "sun.venue"},
            "at": "2026-11-20T08:30:00.000Z",
            "body": body,
            "book": self.book,
            "by": "019a9f3e-0000-7000-8000-000000000000",
            "cause": None,
            "on": "2026-11-20T08:30:00.000Z",
            "position": position,
            "type": type,
            "v": 1,
            **more,
        }
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        self.append_record(text.encode())
        return position

    def append_record(self, record: bytes) -> None:
        position = len(self.records)
        self.records.append(record)
        committed = commitment(self.salt(position), record)
        self.append_entry(leaf_data(self.book, position, committed))

    def append_entry(self, entry: bytes) -> None:
        self.entries.append(entry)
        self._hashes.append(leaf_hash(entry))

    def fill(self, count: int) -> None:
        """Short events, many of them."""
        for _ in range(count):
            self.append_record(b'{"book":"accounts","position":%d}' % len(self.records))

    def checkpoint(self, size: int | None = None) -> bytes:
        leaves = self._leaves(size)
        head = Checkpoint(self.signer.name, len(leaves), root(leaves))
        return sign_checkpoint(head, [self.signer])

    def root(self, size: int | None = None) -> bytes:
        return root(self._leaves(size))

    def receipt(self, position: int) -> bytes:
        leaves = self._leaves(None)
        path = prove_inclusion(position, len(leaves), ListedLeaves(leaves))
        proof = TlogProof(position, tuple(path), self.checkpoint()).encode()
        return make_receipt(self.records[position], self.salt(position), proof)

    def tile(self, path: str) -> bytes:
        """The bytes at a tile path; ValueError for what this log does not have."""
        level, n, width = parse_tile_path(path)
        begin = n * TILE_WIDTH
        if level is None:
            return encode_bundle(self._whole(self.entries[begin : begin + width], width))
        hashes = self._leaves(None)
        for _ in range(level):
            full = len(hashes) // TILE_WIDTH * TILE_WIDTH
            starts = range(0, full, TILE_WIDTH)
            hashes = [root(hashes[at : at + TILE_WIDTH]) for at in starts]
        return b"".join(self._whole(hashes[begin : begin + width], width))

    @staticmethod
    def _whole(found: list[bytes], width: int) -> list[bytes]:
        if len(found) != width:
            raise ValueError(f"expected {width}, got {len(found)}")
        return found

    def _leaves(self, size: int | None) -> list[bytes]:
        return self._hashes[:size]

    @staticmethod
    def salt(position: int) -> bytes:
        return hashlib.sha256(b"salt %d" % position).digest()[:16]
