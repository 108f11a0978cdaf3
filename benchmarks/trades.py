"""Claim: trades matched by the market, settled delivery versus payment in accounts, journaled in
both books, published, checked by the ledger and signed.

Trades are settled as parts of a file, many takers under one signature, each by an entry of its own
(docs/decisions/0020-many-takers-under-one-signature.md). Sellers' orders rest in the book; then
buyers' orders come through gRPC, each crossing one of them.
Rate = trades / time from the first buyer's order until a checkpoint covers the last settlement. The
orders of the sellers are placed before the clock starts and their cost is not counted.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from benchmarks.cpu import CpuMeter, us_per_entry
from benchmarks.tables import say
from benchmarks.world import REGISTRAR, Bench, bench_world
from cli.clients import Account, Asset, Books, Entry, Holder, Leg, Persona, SerialRange
from cli.directory import accept, await_admitted, register_keys
from cli.market_client import Instrument, Market, Order, Position
from kernel.acts import key_id, public_bytes, sign_act
from kernel.ids import new_holder_id, uuid7

MEMBERS: Final = 20
TICKETS: Final = "TICKET-BENCH-1"
PRICE_FEN: Final = 4194
ISSUED_T: Final = 1_000_000  # to each seller
FUNDS_FEN: Final = 10**11  # of each buyer, at the market
EXCHANGE: Final = Persona("bench-exchange", ("exchange",))
REGISTRY: Final = Persona("bench-registry", ("registry",))
AUDITOR: Final = Persona("bench-auditor", ("auditor",))
SETTLED_WITHIN_S: Final = 300.0
POLL_S: Final = 0.05


@dataclass(frozen=True)
class Options:
    trades: int = 12_000
    batch: int = 500
    callers: int = 4


def run(options: Options) -> dict[str, Any]:
    with bench_world(MEMBERS) as bench:
        return asyncio.run(_measure(bench, options))


async def _measure(bench: Bench, options: Options) -> dict[str, Any]:
    async with Books(bench.workspace, patience_s=60.0) as books:
        scene = _Scene(bench, books, options)
        await scene.open_market()
        await scene.place("sell", scene.sellers)
        commits = _commits(bench)
        meter, began_s = CpuMeter(bench.pids()), time.perf_counter()
        await scene.place("buy", scene.buyers)
        matched_s = time.perf_counter() - began_s
        await scene.await_settled()
        settled_s = time.perf_counter() - began_s
        for book in ("accounts", "market"):
            await books.proofs(book, [await books.next_position(AUDITOR, book) - 1])
        proven_s = time.perf_counter() - began_s
    figures = {
        "trades": options.trades,
        "matched_per_s": round(options.trades / matched_s),
        "settled_per_s": round(options.trades / settled_s),
        "proven_per_s": round(options.trades / proven_s),
        "trades_per_accounts_commit": round(options.trades / (_commits(bench) - commits), 1),
        "cpu_us_per_trade": us_per_entry(meter.read(), options.trades),
    }
    say(str(figures))
    return figures


class _Scene:
    """Half of the members sell tickets, the other half have money; all of it lies at the market."""

    def __init__(self, bench: Bench, books: Books, options: Options) -> None:
        self._bench, self._books, self._options = bench, books, options
        self._market = Market(books)
        (self._who,) = (person.persona() for person in bench.people)
        half = MEMBERS // 2
        self.sellers, self.buyers = bench.holders[:half], bench.holders[half:]

    def _new_id(self) -> str:
        return uuid7(self._bench.workspace.clock.now_ms())

    async def open_market(self) -> None:
        programme = new_holder_id()
        row = Holder(self._new_id(), programme, "programme", "碳票")
        accept((await self._books.register_holders(REGISTRAR, [row]))[0])
        asset = Asset(self._new_id(), TICKETS, "t", "碳票", programme, serialised=True)
        accept((await self._books.define_assets(REGISTRAR, [asset]))[0])
        await self._issue(programme)
        await self._allocate()
        item = Instrument(
            self._new_id(),
            "BENCH",
            TICKETS,
            "碳票",
            PRICE_FEN,
            "price_time",
            self._bench.workspace.clock.now_ms(),
        )
        accept((await self._market.define_instruments(EXCHANGE, [item]))[0])

    async def _issue(self, programme: str) -> None:
        key = self._bench.workspace.institution_key("bench-authority")
        since = {"accounts": await self._books.next_position(AUDITOR, "accounts")}
        workspace = self._bench.workspace
        venue = workspace.venue_key()
        keys = {f"authority:{programme}": key, "venue:market": venue}
        await register_keys(self._books, workspace.clock, keys)
        known = key_id(public_bytes(venue))
        await await_admitted(self._books, AUDITOR, known, since, within_s=30.0)
        legs, first = [], 1
        for holder in self.sellers:
            block = SerialRange("B-1", first, first + ISSUED_T - 1)
            source = Account(programme, "issued")
            legs.append(Leg(source, Account(holder), TICKETS, ISSUED_T, (block,)))
            first += ISSUED_T
        approval = {
            "asset": TICKETS,
            "batch": "B-1",
            "checker": "somebody else",
            "document": "a notice",
            "first": 1,
            "kind": "issuance-approval",
            "last": first - 1,
            "owners": [{"holder": one, "quantity_t": ISSUED_T} for one in self.sellers],
            "programme": programme,
        }
        entry = Entry(self._new_id(), tuple(legs), acts=(sign_act(key, approval),))
        accept((await self._books.post_entries(REGISTRY, [entry]))[0])

    async def _allocate(self) -> None:
        brought = [
            *((holder, TICKETS, ISSUED_T) for holder in self.sellers),
            *((holder, "CNY", FUNDS_FEN) for holder in self.buyers),
        ]
        for holder, asset, amount in brought:
            leg = Leg(Account(holder), Account(holder, "trading", "market"), asset, amount)
            entry = Entry(self._new_id(), (leg,))
            accept((await self._books.post_entries(self._who, [entry]))[0])
        for holder, asset, amount in brought:
            there = functools.partial(_has_free, asset, amount)
            await self._until(holder, there)

    async def _until(self, holder: str, holds: Callable[[dict[str, Position]], bool]) -> None:
        """Returns once it holds of what a member has at the market."""
        async with asyncio.timeout(SETTLED_WITHIN_S):
            found = await self._market.positions(self._who, holder)
            while not holds(found):
                await asyncio.sleep(POLL_S)
                found = await self._market.positions(self._who, holder)

    async def place(self, side: str, holders: Sequence[str]) -> None:
        """As many orders of one tonne as there are to be trades, several calls at a time."""
        options = self._options
        begins = iter(range(0, options.trades, options.batch))

        async def work() -> None:
            for begin in begins:
                count = min(options.batch, options.trades - begin)
                orders = [
                    Order(self._new_id(), "BENCH", holders[i % len(holders)], side, PRICE_FEN, 1)
                    for i in range(count)
                ]
                for outcome in await self._market.place_orders(self._who, orders):
                    accept(outcome)

        await asyncio.gather(*(work() for _ in range(options.callers)))

    async def await_settled(self) -> None:
        """Returns once nothing that was traded is on its way any more."""
        for holder in (*self.sellers, *self.buyers):
            await self._until(
                holder, lambda found: not any(one.on_the_way for one in found.values())
            )


def _has_free(asset: str, amount: int, found: dict[str, Position]) -> bool:
    return asset in found and found[asset].free == amount


def _commits(bench: Bench) -> int:
    """Frames of the accounts book: about one a commit."""
    engine = sa.create_engine(bench.supervisor.database_url("accounts"))
    try:
        with engine.connect() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM frames")).scalar() or 0)
    finally:
        engine.dispose()
