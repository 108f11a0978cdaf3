"""Whatever the services themselves decide passes the ledger's books, and both agree on the rest.

Random days of 兰州新区's market and its liens: the services' own writers decide, refuse, ask one
another and answer, in any order; the independent books fold what was recorded and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.errors import Refused
from kernel.values import DAY_MS
from services.accounts.domain.commands import PostEntry
from services.ledger.books.market import MarketBook
from services.ledger.books.registry import RegistryBook
from services.market.domain import commands as market
from services.market.domain.events import Side
from services.registry.domain import commands as registry
from tests.support import crossings
from tests.support.crossings import (
    BOOKS,
    CROSSED,
    DOMAINS,
    FIRST_LENDER,
    PICKED,
    VENUE,
    Teller,
    Whole,
    running_desks,
)
from tests.support.lanzhou import (
    BUYER,
    CASHIER,
    CITY_GROUP,
    CLAIM,
    CNY,
    FARMER,
    QINWANGCHUAN,
    SYSTEM,
    TICKET,
    ZHONGCHUAN,
    advice,
    available,
    deposit_entry,
    leg,
    retired,
    trading,
)
from tests.support.ledgers import Books

HOLDERS = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP)
CALLERS = {QINWANGCHUAN: FARMER, ZHONGCHUAN: FARMER, CITY_GROUP: BUYER}
Step = tuple[str, int, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("bring units", "bring money", "list", "list", "cross", "cross", "pick", "pick"),
                *("cancel", "settle", "settle", "unwind", "take back", "answer", "tell"),
                *("pledge", "register", "release", "free", "retire", "next day"),
            )
        ),
        st.integers(0, 2),
        st.integers(1, 60),
        st.integers(0, 99),
    ),
    min_size=10,
    max_size=45,
)


class Walk:
    """Carries out steps; what a service refuses leaves no event of its own, as always."""

    def __init__(self, tell: Teller) -> None:
        self.tell = tell
        self.numbered = 0
        self.untold: list[tuple[str, str]] = []  # (book that has to hear of it, name of an entry)
        self.liens: list[tuple[str, str]] = []  # asked for and without an end; with who lends
        self.live: list[str] = []
        self.releases: list[tuple[str, str, int]] = []

    async def take(self, step: Step) -> None:
        what, who, amount, choice = step
        self.numbered += 1
        try:
            await self._carry_out(what, f"n {self.numbered}", HOLDERS[who], amount, choice)
        except Refused:
            return

    def state(self, book: str) -> Any:
        return self.tell.desks[book].writer.state

    async def _carry_out(self, what: str, name: str, holder: str, amount: int, choice: int) -> None:
        ask, caller = self.tell.ask, CALLERS[holder]
        # The group mostly buys and the farms mostly sell, or nobody would ever trade.
        side = Side.BUY if (holder == CITY_GROUP) != (choice % 5 == 0) else Side.SELL
        if what in ("bring units", "bring money"):
            asset, much = (TICKET, amount) if what == "bring units" else (CNY, amount * 5000)
            legs = [leg(much, asset, available(holder), trading(holder, "market"))]
            await ask(name, "accounts", PostEntry(legs), caller)
            self.untold.append(("market", name))
        elif what == "retire":
            legs = [
                leg(amount, TICKET, available(one), retired(one))
                for one in {holder: 0, QINWANGCHUAN: 0}
            ]
            await ask(name, "accounts", PostEntry(legs, CLAIM), caller)
            self.untold.append(("registry", name))
        elif what == "tell":
            await self.tell_all()
        elif what in ("list", "cross"):
            instrument = PICKED if what == "list" else CROSSED
            order = market.PlaceOrder(instrument, holder, side, 4190 + choice % 3, amount)
            await ask(name, "market", order, caller)
        elif what == "pick":
            pick = market.PickOrders(PICKED, holder, side, amount, 4195, [])
            await ask(name, "market", pick, caller)
        elif what == "cancel":
            orders = list(self.state("market").orders.values())
            if orders:
                live = orders[choice % len(orders)]
                await ask(name, "market", market.CancelOrder(live.order), CALLERS[live.holder])
        elif what in ("settle", "unwind"):
            await self.end_settlement(unwound=what == "unwind")
        elif what == "take back":
            asked = market.RequestRelease(holder, (TICKET, CNY)[choice % 2], amount)
            await ask(name, "market", asked, caller)
        elif what == "answer":
            await self.end_release(refused=choice % 3 == 0)
        elif what in ("pledge", "register", "release", "free"):
            await self.of_liens(what, amount, choice)
        elif choice % 4 == 0:  # the next day
            self.tell.clock.at_ms += DAY_MS
            await self.expire_all()

    async def tell_all(self) -> None:
        """What the reactions would have done: each book hears of entries in their order."""
        for book, name in self.untold:
            await self.tell.react(name, book)
        self.untold.clear()

    async def expire_all(self) -> None:
        now_ms = self.tell.clock.now_ms()
        for _, why, due in list(DOMAINS["market"].due(self.state("market"), now_ms)):
            await self.tell.ask(f"{why} {self.numbered}", "market", due, SYSTEM)

    async def end_settlement(self, *, unwound: bool) -> None:
        for name, one in list(self.state("market").settlements.items())[:1]:
            self.tell.whole.at[name] = ("market", one.position)
            if unwound:
                refuse = crossings.unwind(self.tell.whole.record(name)["body"])
                await self.tell.ask(f"{name} unwound", "market", refuse, SYSTEM)
            else:
                await crossings.settle(self.tell, name)

    async def end_release(self, *, refused: bool) -> None:
        for name, one in list(self.state("market").releases.items())[:1]:
            self.tell.whole.at[name] = ("market", one.position)
            if refused:
                refuse = market.RefuseRelease(name, "BOOK", "not now", {})
                await self.tell.ask(f"{name} kept", "market", refuse, SYSTEM)
                return
            holder, asset, amount = one.event.holder, one.event.asset, one.event.amount
            legs = [leg(amount, asset, trading(holder, "market"), available(holder))]
            ended = market.CompleteRelease(name)
            await self.tell.carry_out(name, PostEntry(legs), VENUE, ended=ended)

    async def of_liens(self, what: str, amount: int, choice: int) -> None:
        if what == "pledge":
            letters = "abcdefghijklmnopqrstuvwxyz"
            lien = "l-" + (letters[self.numbered // 26] + letters[self.numbered % 26]) * 8
            await crossings.tell_of_pledge(self.tell, lien, amount, answered=False)
            self.liens.append((lien, FIRST_LENDER))
        elif what == "register" and self.liens:
            lien, _ = self.liens.pop(choice % len(self.liens))
            try:
                await crossings.register(self.tell, lien)
            except Refused as refused:  # the accounts book knows that there is too little
                refuse = registry.RefusePledge(lien, refused.reason, "too little", {})
                await self.tell.ask(f"{lien} refused", "registry", refuse, SYSTEM)
                return
            self.live.append(lien)
        elif what == "release" and self.live:
            lien = self.live[choice % len(self.live)]
            release = f"release {self.numbered}"
            await crossings.ask_release(self.tell, lien, release, amount)
            self.releases.append((lien, release, amount))
        elif what == "free" and self.releases:
            lien, release, quantity_t = self.releases.pop(choice % len(self.releases))
            if choice % 4 == 0:
                refuse_one = registry.RefuseRelease(lien, release, "BOOK", "not now", {})
                await self.tell.ask(f"{release} refused", "registry", refuse_one, SYSTEM)
                return
            await crossings.free(self.tell, lien, release, quantity_t)


async def random_days(steps: Sequence[Step]) -> tuple[Whole, Any, Any]:
    """The history, and the states of market and registry at its end."""
    async with running_desks() as tell:
        await crossings.tell_of_keys(tell)
        await crossings.tell_of_holders(tell)
        await crossings.tell_of_forests(tell)
        lots = [("LZXQ-QIN", 1000), ("LZXQ-ZHONG", 800)]
        await crossings.tell_of_issuance(tell, "I-1", lots)
        deposit, act = deposit_entry(CITY_GROUP, 10_000_000), advice(CITY_GROUP, 10_000_000, "1")
        await tell.ask("deposited", "accounts", deposit, CASHIER, act)
        gift = [leg(400, TICKET, available(QINWANGCHUAN), available(CITY_GROUP))]
        await tell.ask("given", "accounts", PostEntry(gift), FARMER)
        await crossings.tell_of_instruments(tell)
        walk = Walk(tell)
        for what in ("bring units", "bring money"):
            for who in range(3):
                await walk.take((what, who, 60, 0))
        await walk.tell_all()
        for step in steps:
            await walk.take(step)
        await walk.tell_all()
        return tell.whole, walk.state("market"), walk.state("registry")


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_market_and_registry_tell_passes_and_the_books_agree(steps: list[Step]) -> None:
    whole, market_state, registry_state = asyncio.run(random_days(steps))
    books = Books(BOOKS)
    for book, position in whole.order:
        books.fold(book, [whole.events[book][position]])
    check_means(books, market_state)
    check_liens(books, registry_state)


def check_means(books: Books, state: Any) -> None:
    """Free and bound as the market has them; and all of it is there in the accounts book."""
    book = books.of("market")
    assert isinstance(book, MarketBook)
    free, bound, whole = {}, {}, {}
    for holder, positions in state.positions.items():
        for asset, one in positions.items():
            free[holder, asset] = one.free
            bound[holder, asset] = one.reserved + one.on_the_way
            whole[holder, asset] = one.free + one.reserved + one.on_the_way
    assert book.means.free == {key: amount for key, amount in free.items() if amount}
    assert book.means.bound == {key: amount for key, amount in bound.items() if amount}
    there = {
        (holder, asset): balance
        for (holder, asset, purpose, ref), balance in books.accounts.balances.items()
        if (purpose, ref) == ("trading", "market")
    }
    assert there == {key: amount for key, amount in whole.items() if amount}


def check_liens(books: Books, state: Any) -> None:
    """What lies under each lien, as the registry and as the accounts book have it."""
    assert isinstance(books.of("registry"), RegistryBook)
    pledged = {
        ref: balance
        for (_, _, purpose, ref), balance in books.accounts.balances.items()
        if purpose == "pledged"
    }
    assert pledged == {name: one.pledged_t for name, one in state.liens.items() if one.pledged_t}
