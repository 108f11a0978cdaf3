"""Claim: committing to a state costs what has changed, and not what there is.

The balance map of so many accounts is made once; then so many of them move between two states, in
rounds, and each round's time is divided by the changes. The same for the serials of one batch. The
smaller and the larger map are measured turn by turn in one run, so that a noisy machine troubles
both. One core: the maps of a ledger are made by its own thread, between events.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import statistics
import time
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.tables import say
from kernel.tlog.maps import Piece
from kernel.tlog.states import Account, SerialRange, status_text
from services.ledger.books.crossings import Place
from services.ledger.states.maps import Cut, Frozen, StateMaps, lien_batches

ASSET: Final = "TICKET-LZXQ-1"
BATCH: Final = "LZXQ-2021"
RANGE: Final = 100  # serials that move together
PROOFS: Final = 200


@dataclass(frozen=True)
class Options:
    accounts: int = 200_000
    changes: int = 2_000
    rounds: int = 5


class Sized:
    """The maps of so many accounts, each of which holds a range of one batch."""

    def __init__(self, accounts: int) -> None:
        self.accounts = accounts
        self.maps = StateMaps(hashlib.sha256(b"map key").digest())
        self.chance = random.Random(accounts)  # noqa: S311 - a seed, nothing secret
        self.size = 0
        self.frozen: Frozen | None = None

    def place(self, number: int, purpose: str = "available") -> Place:
        ref = f"l-{number:016d}" if purpose == "pledged" else ""
        return (f"h-{number:016d}", ASSET, purpose, ref)

    async def begin(self) -> float:
        """Everything for the first time; seconds."""
        balances = {self.place(number): RANGE for number in range(self.accounts)}
        last = self.accounts * RANGE
        return await self._take(balances, [Piece(1, last, status_text("available", ""))])

    async def change(self, count: int) -> float:
        """So many holders pledge all they have, each under a lien of its own; seconds."""
        balances: dict[Place, int] = {}
        pieces = []
        for number in sorted(self.chance.sample(range(self.accounts), count)):
            balances[self.place(number)] = 0
            balances[self.place(number, "pledged")] = RANGE
            first = number * RANGE + 1
            lien = status_text("pledged", f"l-{number:016d}")
            pieces.append(Piece(first, first + RANGE - 1, lien))
        return await self._take(balances, pieces)

    async def _take(self, balances: Mapping[Place, int], pieces: list[Piece]) -> float:
        self.size += 1
        cut = Cut(self.size, bytes(32), balances, {(ASSET, BATCH): pieces})
        begun_s = time.perf_counter()
        self.frozen = await self.maps.take(cut)
        return time.perf_counter() - begun_s

    def prove(self, count: int) -> float:
        """Proofs of balances; seconds."""
        if self.frozen is None:
            raise ValueError("expected maps that were made")
        asked = [self.chance.randrange(self.accounts) for _ in range(count)]
        begun_s = time.perf_counter()
        for number in asked:
            self.maps.balance(self.frozen, Account(*self.place(number)))
        return time.perf_counter() - begun_s

    def prove_lien(self) -> float:
        """The serials under a lien, among all of its batch; seconds."""
        if self.frozen is None:
            raise ValueError("expected maps that were made")
        begun_s = time.perf_counter()
        lien_batches(
            self.frozen, Account(*self.place(0, "pledged")), [SerialRange(BATCH, 1, RANGE)]
        )
        return time.perf_counter() - begun_s


def run(options: Options) -> dict[str, Any]:
    return asyncio.run(_run(options))


async def _run(options: Options) -> dict[str, Any]:
    small, large = Sized(max(options.accounts // 10, options.changes)), Sized(options.accounts)
    figures: dict[str, Any] = {"changes": options.changes, "rounds": options.rounds}
    for sized in (small, large):
        tracemalloc.start()
        begun_s = await sized.begin()
        held_mb = tracemalloc.get_traced_memory()[0] / 1e6
        tracemalloc.stop()
        say(f"{sized.accounts:,} accounts: first state {begun_s:.2f} s (traced), {held_mb:.0f} MB")
        figures[f"{sized.accounts}"] = {"first_s": round(begun_s, 2), "mb": round(held_mb)}
    took_s: dict[int, list[float]] = {small.accounts: [], large.accounts: []}
    for _ in range(options.rounds):
        for sized in (small, large):
            took_s[sized.accounts].append(await sized.change(options.changes))
    for sized in (small, large):
        each_us = statistics.median(took_s[sized.accounts]) / options.changes * 1e6
        proof_us = sized.prove(PROOFS) / PROOFS * 1e6
        lien_ms = sized.prove_lien() * 1e3
        say(
            f"{sized.accounts:,} accounts: {each_us:.0f} us a pledge (two balances, one range),"
            f" {proof_us:.0f} us a balance proof, {lien_ms:.1f} ms to find a lien's serials"
        )
        own = figures[f"{sized.accounts}"]
        own |= {"change_us": round(each_us, 1), "balance_proof_us": round(proof_us, 1)}
        own["lien_ms"] = round(lien_ms, 2)
    small_s, large_s = (statistics.median(one) for one in took_s.values())
    ratio = large_s / small_s
    more = large.accounts / small.accounts
    say(f"{more:.0f} times the accounts cost {ratio:.2f} times as much for the same changes")
    return {**figures, "ratio": round(ratio, 2)}
