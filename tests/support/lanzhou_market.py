"""The market of 兰州新区: both forest farms, their buyer, and a trader from Shenzhen.

Prices around the published 41.94 CNY/t; who lists how much is chosen here. A session like the
national market's: weekdays 9:30 to 11:30 and 13:00 to 15:00.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kernel.ids import derived_holder_id
from kernel.values import Caller
from services.market.domain.commands import (
    CancelOrder,
    EndSettlements,
    PickOrders,
    PlaceOrder,
    RequestRelease,
)
from services.market.domain.decide import decide
from services.market.domain.events import (
    Allocation,
    AllocationsReceived,
    EndedSettlement,
    InstrumentDefined,
    MatchingMode,
    RefusedTrade,
    Session,
    Side,
    Terms,
    TradesMade,
)
from services.market.domain.evolve import evolve
from services.market.domain.state import MONEY, State
from tests.support.books import Book, person
from tests.support.lanzhou import CITY_GROUP, QINWANGCHUAN, TICKET, ZHONGCHUAN

MarketBook = Book[State]

TRADER = derived_holder_id("shenzhen", "a carbon trader")
TICKETS = "LZXQ-1"
REFERENCE_FEN = 4194
BUY, SELL = Side.BUY, Side.SELL

MARKET_SYSTEM = person("market's own book", roles=["system"])
EXCHANGE_STAFF = person("exchange clerk", roles=["exchange"])
OPERATORS = {
    QINWANGCHUAN: person("秦王川 clerk", holders=[QINWANGCHUAN]),
    ZHONGCHUAN: person("中川 clerk", holders=[ZHONGCHUAN]),
    CITY_GROUP: person("city group's trader", holders=[CITY_GROUP]),
    TRADER: person("Shenzhen trader", holders=[TRADER]),
}

WORKING_DAYS = [1, 2, 3, 4, 5]
SESSIONS = [Session(570, 690, WORKING_DAYS), Session(780, 900, WORKING_DAYS)]


def terms(
    mode: MatchingMode = MatchingMode.PICK,
    *,
    tick_fen: int = 1,
    lot_t: int = 1,
    band_bp: int = 1000,
    max_quantity_t: int = 100_000,
    sessions: list[Session] | None = None,
    day_turn: bool = False,
) -> Terms:
    open_when = SESSIONS if sessions is None else sessions
    return Terms(band_bp, day_turn, lot_t, mode, max_quantity_t, open_when, tick_fen)


def instrument(rules: Terms) -> InstrumentDefined:
    return InstrumentDefined(TICKET, TICKETS, "丝路碳票 1", REFERENCE_FEN, rules)


def allocated(holder: str, asset: str, amount: int) -> AllocationsReceived:
    return AllocationsReceived([Allocation(amount, asset, holder)])


def the_market(rules: Terms | None = None) -> MarketBook:
    """The farms' 12,000 t and the buyer's 503,280.00 CNY are here; nothing is listed yet."""
    return Book(State, decide, evolve).given(
        instrument(rules or terms()),
        allocated(QINWANGCHUAN, TICKET, 7000),
        allocated(ZHONGCHUAN, TICKET, 5000),
        allocated(CITY_GROUP, MONEY, 50_328_000),
        allocated(TRADER, MONEY, 1_000_000_00),
    )


def order(holder: str, side: Side, quantity_t: int, price: int = REFERENCE_FEN) -> PlaceOrder:
    return PlaceOrder(TICKETS, holder, side, price, quantity_t)


def pick(
    holder: str, side: Side, quantity_t: int, limit: int = REFERENCE_FEN, orders: Sequence[str] = ()
) -> PickOrders:
    return PickOrders(TICKETS, holder, side, quantity_t, limit, list(orders))


def place(
    book: MarketBook, holder: str, side: Side, quantity_t: int, price: int = REFERENCE_FEN
) -> str:
    """The name of the order; whatever it crossed is in the history."""
    events = book.when(order(holder, side, quantity_t, price), OPERATORS[holder])
    return str(events[0].order)


def cancel(id: str) -> CancelOrder:
    return CancelOrder(id)


def release(holder: str, asset: str, amount: int) -> RequestRelease:
    return RequestRelease(holder, asset, amount)


def settled(*made: TradesMade, but: Collection[str] = ()) -> EndSettlements:
    """All their trades but these, by entries from 7 on."""
    entries = iter(range(7, 10_000))
    ended = [EndedSettlement([next(entries) for _ in one.trades], one.settlement) for one in made]
    return EndSettlements(ended, [RefusedTrade({}, "frozen", "FROZEN", name) for name in but])


def unwound(made: TradesMade, reason: str = "TOO_MANY_RANGES") -> EndSettlements:
    """The part they stood in was refused as a whole."""
    refused = [RefusedTrade({"limit": "256"}, "too many", reason, one.trade) for one in made.trades]
    return EndSettlements([EndedSettlement([], made.settlement)], refused)


def operator(holder: str) -> Caller:
    return OPERATORS[holder]


def position(book: MarketBook, holder: str, asset: str) -> tuple[int, int, int]:
    """Free, reserved, on the way."""
    known = book.state.positions.get(holder, {}).get(asset)
    return (0, 0, 0) if known is None else (known.free, known.reserved, known.on_the_way)


def trades_of(events: list[TradesMade]) -> list[tuple[str, str, int, int]]:
    """Seller, buyer, t, fen per t of every trade, in order."""
    return [
        (one.seller, one.buyer, one.quantity_t, one.price_fen_per_t)
        for event in events
        if isinstance(event, TradesMade)
        for one in event.trades
    ]


def check_market(book: MarketBook) -> None:
    """What must always hold: nothing below zero, orders covered, and a replay gives the same."""
    state = book.state
    reserved: dict[tuple[str, str], int] = {}
    for live in state.orders.values():
        assert 0 < live.open_t <= live.quantity_t
        buys = live.side == BUY
        asset = MONEY if buys else state.instruments[live.instrument].defined.asset
        amount = live.open_t * (live.price_fen_per_t if buys else 1)
        reserved[live.holder, asset] = reserved.get((live.holder, asset), 0) + amount
    for holder, assets in state.positions.items():
        for asset, one in assets.items():
            assert min(one.free, one.reserved, one.on_the_way) >= 0, (holder, asset, one)
            assert one.reserved == reserved.get((holder, asset), 0), (holder, asset, one)
    for known in state.instruments.values():
        for half in (known.book.bids, known.book.asks):
            assert half.ranks == sorted(half.sign * price for price in half.levels)
            assert all(half.levels.values()), "an empty level stands in the book"
    listed = {
        live.order
        for known in state.instruments.values()
        for half in (known.book.bids, known.book.asks)
        for level in half.levels.values()
        for live in level.values()
    }
    of_days = {name for names in state.orders_by_day.values() for name in names}
    assert listed == set(state.orders) == of_days
    assert book.replayed() == state
