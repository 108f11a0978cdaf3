"""Random orders, picks, settlements and releases against a deliberately naive model.

The model keeps a plain list of orders and sorts it whenever somebody takes; it knows nothing of
levels, ranks or reservations. After every step positions must agree, nothing may be below zero, and
per asset free + reserved + on the way must be what was allocated less what was released.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernel.errors import Refused
from kernel.ids import derived_id
from kernel.values import DAY_MS, Caller, shanghai_day
from services.market.domain.commands import (
    CompleteRelease,
    ReceiveAllocations,
    RefuseRelease,
)
from services.market.domain.decide import BEST_LEVELS, decide, due
from services.market.domain.events import (
    Allocation,
    MatchingMode,
    ReleaseRequested,
    Side,
    TradesMade,
)
from services.market.domain.evolve import evolve
from services.market.domain.state import MONEY, State
from tests.support.books import Book, person
from tests.support.lanzhou import CITY_GROUP, QINWANGCHUAN, TICKET, ZHONGCHUAN
from tests.support.lanzhou_market import (
    BUY,
    MARKET_SYSTEM,
    SELL,
    cancel,
    check_market,
    instrument,
    order,
    pick,
    release,
    settled,
    terms,
    unwound,
)

HOLDERS = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP)
EVERYBODY = person("a trustee of all three", holders=HOLDERS)

holders = st.sampled_from(HOLDERS)
sides = st.sampled_from(Side)
quantities = st.integers(1, 20)
prices = st.integers(96, 104)


@dataclass
class Listed:
    """An order as the model knows it."""

    name: str
    holder: str
    side: Side
    price: int
    open_t: int
    day: str


class Market(RuleBasedStateMachine):
    """The market book and the model beside it."""

    @initialize(mode=st.sampled_from(MatchingMode), day_turn=st.booleans())
    def begin(self, mode: MatchingMode, day_turn: bool) -> None:
        rules = terms(mode, sessions=[], band_bp=0, day_turn=day_turn)
        self.book: Book[State] = Book(State, decide, evolve).given(instrument(rules))
        self.mode, self.day_turn = mode, day_turn
        self.listed: list[Listed] = []
        self.free: dict[tuple[str, str], int] = defaultdict(int)
        self.inside: Counter[str] = Counter()  # by asset: allocated less released
        self.bought: dict[tuple[str, str], int] = defaultdict(int)  # by holder, day
        self.settling: list[TradesMade] = []
        self.leaving: list[ReleaseRequested] = []
        self.numbered = 0
        for holder in HOLDERS:
            self.allocate(holder, 40, 4000)

    @property
    def day(self) -> str:
        return shanghai_day(self.book.clock.now_ms())

    def carry_out(
        self, command: msgspec.Struct, caller: Caller, expected: str | None
    ) -> tuple[str, list[msgspec.Struct]]:
        """Accepted, or refused for the reason the model foresaw; the id, and the events."""
        self.numbered += 1
        id = derived_id(self.book.clock.now_ms(), "model", self.numbered)
        events: list[msgspec.Struct] = []
        reason = None
        try:
            events = self.book.when(command, caller, id=id)
        except Refused as refused:
            reason = refused.reason
        assert reason == expected, (command, reason, expected)
        return id, events

    def lacks(self, holder: str, side: Side, quantity_t: int, money_fen: int) -> str | None:
        asset, needed = (MONEY, money_fen) if side == BUY else (TICKET, quantity_t)
        free = self.free[holder, asset]
        if free < needed:
            return "INSUFFICIENT_BALANCE"
        bought = self.bought[holder, self.day]
        if side == SELL and self.day_turn and max(free - bought, 0) < needed:
            return "BOUGHT_TODAY"
        return None

    def counterparties(self, side: Side, limit: int) -> list[Listed]:
        """Live orders of the other side within the limit, best first, earliest first."""
        sign = 1 if side == BUY else -1
        fitting = [
            one for one in self.listed if one.side != side and one.day == self.day and one.open_t
        ]
        return sorted(
            (one for one in fitting if one.price * sign <= limit * sign),
            key=lambda one: one.price * sign,
        )

    def taken(self, side: Side, limit: int, quantity_t: int) -> list[tuple[Listed, int]]:
        found = []
        for one in self.counterparties(side, limit):
            if quantity_t:
                found.append((one, min(one.open_t, quantity_t)))
                quantity_t -= found[-1][1]
        return found

    def best_five(self, side: Side, limit: int) -> list[Listed]:
        reach = self.counterparties(side, limit)
        levels = list(dict.fromkeys(one.price for one in reach))[:BEST_LEVELS]
        return [one for one in reach if one.price in levels]

    def trade(
        self, holder: str, side: Side, found: list[tuple[Listed, int]], events: list[msgspec.Struct]
    ) -> None:
        """The events say what the model found, and the makers are that much shorter."""
        made = [event for event in events if isinstance(event, TradesMade)]
        actual = [(t.maker, t.quantity_t, t.price_fen_per_t) for m in made for t in m.trades]
        assert actual == [(one.name, quantity_t, one.price) for one, quantity_t in found]
        for one, quantity_t in found:
            one.open_t -= quantity_t
        for event in made:
            for trade in event.trades:
                assert (trade.buyer if side == BUY else trade.seller) == holder
                assert trade.buyer != trade.seller
        self.settling += made

    def allocate(self, holder: str, units: int, fen: int) -> None:
        rows = [Allocation(units, TICKET, holder), Allocation(fen, MONEY, holder)]
        self.carry_out(ReceiveAllocations(rows), MARKET_SYSTEM, None)
        for row in rows:
            self.free[holder, row.asset] += row.amount
            self.inside[row.asset] += row.amount

    @rule(holder=holders, units=quantities)
    def bring_more(self, holder: str, units: int) -> None:
        self.allocate(holder, units, units * 100)

    @rule(holder=holders, side=sides, quantity_t=quantities, price=prices)
    def place(self, holder: str, side: Side, quantity_t: int, price: int) -> None:
        expected = self.lacks(holder, side, quantity_t, quantity_t * price)
        crosses = self.mode == MatchingMode.PRICE_TIME
        found = self.taken(side, price, quantity_t) if crosses else []
        if expected is None and any(one.holder == holder for one, _ in found):
            expected = "SELF_TRADE"
        name, events = self.carry_out(order(holder, side, quantity_t, price), EVERYBODY, expected)
        if expected is not None:
            return
        self.trade(holder, side, found, events)
        left_t = quantity_t - sum(taken_t for _, taken_t in found)
        self.listed.append(Listed(name, holder, side, price, left_t, self.day))
        if side == SELL:
            self.free[holder, TICKET] -= quantity_t
        else:
            paid_fen = sum(one.price * taken_t for one, taken_t in found)
            self.free[holder, MONEY] -= paid_fen + left_t * price

    @rule(holder=holders, side=sides, quantity_t=quantities, limit=prices)
    def pick(self, holder: str, side: Side, quantity_t: int, limit: int) -> None:
        reach = self.best_five(side, limit)
        found = [pair for pair in self.taken(side, limit, quantity_t) if pair[0] in reach]
        money_fen = sum(one.price * taken_t for one, taken_t in found)
        expected = None
        if self.mode != MatchingMode.PICK:
            expected = "MATCHING_MODE"
        elif sum(one.open_t for one in reach) < quantity_t:
            expected = "INSUFFICIENT_LIQUIDITY"
        elif any(one.holder == holder for one, _ in found):
            expected = "SELF_TRADE"
        else:
            expected = self.lacks(holder, side, quantity_t, money_fen)
        asked = pick(holder, side, quantity_t, limit)
        _, events = self.carry_out(asked, EVERYBODY, expected)
        if expected is None:
            self.trade(holder, side, found, events)
            asset, needed = (MONEY, money_fen) if side == BUY else (TICKET, quantity_t)
            self.free[holder, asset] -= needed

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        live = [one for one in self.listed if one.open_t]
        if not live:
            return
        chosen = data.draw(st.sampled_from(live))
        self.carry_out(cancel(chosen.name), EVERYBODY, None)
        self.unlist(chosen)

    def unlist(self, one: Listed) -> None:
        asset, amount = (MONEY, one.open_t * one.price) if one.side == BUY else (TICKET, one.open_t)
        self.free[one.holder, asset] += amount
        one.open_t = 0

    @rule(data=st.data(), whole=st.booleans())
    def settle(self, data: st.DataObject, whole: bool) -> None:
        """One open settlement ends, not always the oldest; any of its trades may be refused."""
        if not self.settling:
            return
        made = self.settling.pop(data.draw(st.integers(0, len(self.settling) - 1)))
        names = [trade.trade for trade in made.trades]
        refused = set(names) if whole else data.draw(st.sets(st.sampled_from(names)))
        self.carry_out(unwound(made) if whole else settled(made, but=refused), MARKET_SYSTEM, None)
        for trade in made.trades:
            accepted = trade.trade not in refused
            value_fen = trade.quantity_t * trade.price_fen_per_t
            self.free[trade.seller if accepted else trade.buyer, MONEY] += value_fen
            self.free[trade.buyer if accepted else trade.seller, TICKET] += trade.quantity_t
            if accepted:
                self.bought[trade.buyer, made.day] += trade.quantity_t

    @rule(holder=holders, asset=st.sampled_from((TICKET, MONEY)), amount=st.integers(1, 2000))
    def ask_back(self, holder: str, asset: str, amount: int) -> None:
        expected = None if self.free[holder, asset] >= amount else "INSUFFICIENT_BALANCE"
        _, events = self.carry_out(release(holder, asset, amount), EVERYBODY, expected)
        if expected is None:
            self.free[holder, asset] -= amount
            (asked,) = events
            assert isinstance(asked, ReleaseRequested)
            self.leaving.append(asked)

    @rule(accepted=st.booleans())
    def answer_release(self, accepted: bool) -> None:
        if not self.leaving:
            return
        asked = self.leaving.pop(0)
        if accepted:
            self.carry_out(CompleteRelease(asked.release), MARKET_SYSTEM, None)
            self.inside[asked.asset] -= asked.amount
        else:
            refused = RefuseRelease(asked.release, "TOO_MANY_RANGES", "less", {})
            self.carry_out(refused, MARKET_SYSTEM, None)
            self.free[asked.holder, asked.asset] += asked.amount

    @rule(expired=st.booleans())
    def rest(self, expired: bool) -> None:
        """A third of a day goes by; the timer may be late."""
        self.book.clock.at_ms += DAY_MS // 3
        if not expired:
            return
        over = list(due(self.book.state, self.book.clock.now_ms()))
        names = {command.order for _, _, command in over}
        stale = [one for one in self.listed if one.open_t and one.day != self.day]
        assert names == {one.name for one in stale}
        for _, _, command in over:
            self.carry_out(command, MARKET_SYSTEM, None)
        for one in stale:
            self.unlist(one)

    @invariant()
    def the_book_agrees_with_the_model(self) -> None:
        if not hasattr(self, "book"):
            return
        check_market(self.book)
        sums: Counter[str] = Counter()
        for holder, assets in self.book.state.positions.items():
            for asset, one in assets.items():
                assert one.free == self.free[holder, asset], (holder, asset)
                sums[asset] += one.free + one.reserved + one.on_the_way
        assert sums == self.inside
        live = {one.name: one.open_t for one in self.listed if one.open_t}
        assert live == {name: one.open_t for name, one in self.book.state.orders.items()}


Market.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestMarket = Market.TestCase
