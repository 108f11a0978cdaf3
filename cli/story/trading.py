"""The tickets are listed and taken; delivery and payment of each trade settle as one entry.

The market keeps its own book: what it may sell it has heard of from the accounts book, and what it
trades it asks the accounts book to settle, under its own signature.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from cli.clients import Account, Leg
from cli.market_client import Instrument, Order, Pick, Quotes, Release, Trade
from cli.reading import amount as shown
from cli.story.cast import (
    EXCHANGE,
    FORESTS,
    INSTRUMENT,
    MARKET,
    MONEY,
    MONEY_IN_FEN,
    PRICE_FEN,
    PRICE_FEN_PER_T,
    QUANTITY_T,
    name_of,
)
from cli.story.scene import Scene
from cli.telling import expect
from kernel.values import DAY_MS, day_start_ms, shanghai_day

BOOK: Final = MARKET
BAND_BP: Final = 1_000
LEAST_LEFT_MS: Final = 120_000  # of the trading day: listings and the day's bar end with it


async def allocate(scene: Scene) -> None:
    """划转: tickets and money go from available to trading; the market hears of it."""
    wanted = [(one.owner, scene.ticket, one.quantity_t) for one in FORESTS]
    for who, asset, quantity in [*wanted, ("group", MONEY, PRICE_FEN)]:
        holder = scene.holders[who]
        trader = scene.operator(who)
        leg = Leg(Account(holder), Account(holder, "trading", MARKET), asset, quantity)
        outcome = await scene.post(trader, (leg,))
        heard = await scene.market.positions(
            trader, holder, min_accounts_position=outcome.position or 0
        )
        expect(f"free of {who} at the market", quantity, heard[asset].free)
        left = await scene.amount(who, asset)
        scene.say(
            f"{name_of(who)}: {_told(asset, heard[asset].free)} free to trade,"
            f" {_told(asset, left)} left outside"
        )


async def trade(scene: Scene) -> None:
    """Two listings, one taker, two trades; then the price and the day's bar."""
    await _define_instrument(scene)
    await _wait_for_time(scene)
    await _list(scene)
    taken = await _take(scene)
    trades = await scene.until(
        "settlement",
        lambda: scene.market.trades(scene.operator("group"), scene.holders["group"], taken),
        lambda found: bool(found) and all(one.state != "requested" for one in found),
    )
    scene.traded_ms = trades[0].at_ms
    await _tell_settlement(scene, trades)
    await _tell_quotes(scene, taken)


async def _define_instrument(scene: Scene) -> None:
    instrument = Instrument(
        scene.new_id(),
        _instrument(scene),
        scene.ticket,
        "丝路碳票",
        PRICE_FEN_PER_T,
        "pick",
        scene.clock.now_ms(),
        band_bp=BAND_BP,
    )
    scene.take_all(await scene.market.define_instruments(EXCHANGE, [instrument]), BOOK)
    scene.say(f"{instrument.instrument}: open all day, tick 0.01 CNY, ±10 %, listed and picked")


async def _wait_for_time(scene: Scene) -> None:
    """Listings end with the trading day: shortly before midnight in Shanghai, the next one."""
    now_ms = scene.clock.now_ms()
    left_ms = day_start_ms(shanghai_day(now_ms)) + DAY_MS - now_ms
    if left_ms < LEAST_LEFT_MS:
        scene.say(f"the trading day ends in {left_ms // 1000} s: waiting for the next one")
        await asyncio.sleep(left_ms / 1000 + 1)


async def _list(scene: Scene) -> None:
    for forest in FORESTS:
        order = Order(
            scene.new_id(),
            _instrument(scene),
            scene.holders[forest.owner],
            "sell",
            PRICE_FEN_PER_T,
            forest.quantity_t,
        )
        place = functools.partial(scene.market.place_orders, scene.operator(forest.owner), [order])
        scene.take_all(await scene.while_stopped(place), BOOK)
        scene.say(f"{name_of(forest.owner)} lists {forest.quantity_t:,} t at {_price()} CNY/t")
    asks = await scene.market.asks(_instrument(scene), scene.last[BOOK])
    offered = [(one.price_fen_per_t, one.open_t) for one in asks]
    expect("price and tonnes offered", [(PRICE_FEN_PER_T, QUANTITY_T)], offered)


async def _take(scene: Scene) -> int:
    """The position of the trades. A client that lost its answer asks again with the same id."""
    pick = Pick(
        scene.new_id(),
        _instrument(scene),
        scene.holders["group"],
        "buy",
        QUANTITY_T,
        PRICE_FEN_PER_T,
    )
    ask = functools.partial(scene.market.pick_orders, scene.operator("group"), [pick])
    (position,) = scene.take_all(await scene.while_stopped(ask), BOOK)
    scene.say(f"{name_of('group')} takes {QUANTITY_T:,} t: traded, on its way to accounts")
    (again,) = await scene.while_stopped(ask)
    expect("asked again", (position, True), (again.position, again.repeated))
    scene.say("asked again with the same id: the same position, nothing traded twice")
    return position


async def _tell_settlement(scene: Scene, trades: list[Trade]) -> None:
    expect("states", {"completed"}, {one.state for one in trades})
    entries = [one.entry_position for one in trades]
    buyer = scene.operator("group")
    bodies = [(await scene.record("accounts", entry, buyer))["body"] for entry in entries]
    legs = [leg for body in bodies for leg in body["legs"]]
    paid = {leg["credit"]["holder"]: leg["amount"] for leg in legs if leg["asset"] == MONEY}
    sold = {leg["debit"]["holder"]: leg["amount"] for leg in legs if leg["asset"] != MONEY}
    for forest in FORESTS:
        owner = scene.holders[forest.owner]
        expect("tonnes delivered", forest.quantity_t, sold[owner])
        expect("fen paid", forest.quantity_t * PRICE_FEN_PER_T, paid[owner])
        scene.say(f"{name_of(forest.owner)}: {sold[owner]:,} t for {shown(MONEY, paid[owner])}")
    total_t, total_fen = sum(sold.values()), sum(paid.values())
    expect("legs, tonnes, fen", (4, QUANTITY_T, PRICE_FEN), (len(legs), total_t, total_fen))
    scene.say(
        f"an entry of two legs for each, positions {entries[0]} to {entries[-1]} of accounts:"
        f" {total_t:,} t against {shown(MONEY, total_fen)}"
    )
    scene.figures.settlement = {
        "positions": entries,
        "trades": [trade for body in bodies for trade in body["trades"]],
        "legs": len(legs),
        "quantity_t": total_t,
        "amount_fen": total_fen,
        "paid_fen": {one.owner: paid[scene.holders[one.owner]] for one in FORESTS},
    }
    await _check_balances(scene, entries[-1])


async def _check_balances(scene: Scene, entry: int) -> None:
    found = {
        "group_tickets_t": await scene.amount("group", scene.ticket, "trading", entry),
        "group_trading_fen": await scene.amount("group", MONEY, "trading", entry),
        "group_available_fen": await scene.amount("group", MONEY, min_position=entry),
    }
    for forest in FORESTS:
        owner = forest.owner
        found[f"{owner}_tickets_t"] = await scene.amount(owner, scene.ticket, "trading", entry)
        found[f"{owner}_trading_fen"] = await scene.amount(owner, MONEY, "trading", entry)
        expect(f"{owner}'s tickets", 0, found[f"{owner}_tickets_t"])
        paid_fen = forest.quantity_t * PRICE_FEN_PER_T
        expect(f"{owner}'s money", paid_fen, found[f"{owner}_trading_fen"])
    expect("the group's tickets", QUANTITY_T, found["group_tickets_t"])
    expect("the group's money in trading", 0, found["group_trading_fen"])
    expect("the group's money left", MONEY_IN_FEN - PRICE_FEN, found["group_available_fen"])
    scene.figures.balances = found


async def _tell_quotes(scene: Scene, position: int) -> None:
    quotes: Quotes = await scene.market.quotes(_instrument(scene), position)
    bar = (quotes.open_fen_per_t, quotes.high_fen_per_t, quotes.low_fen_per_t)
    expect("last price and close", (PRICE_FEN_PER_T,) * 2, _closing(quotes))
    expect("open, high, low", (PRICE_FEN_PER_T,) * 3, bar)
    expect("volume and turnover", (QUANTITY_T, PRICE_FEN), (quotes.volume_t, quotes.turnover_fen))
    scene.say(
        f"{quotes.day}: last {_price(quotes.last_fen_per_t)}, open {_price(bar[0])},"
        f" high {_price(bar[1])}, low {_price(bar[2])}, close {_price(quotes.close_fen_per_t)}"
    )
    scene.say(
        f"volume {quotes.volume_t:,} t, turnover {shown(MONEY, quotes.turnover_fen)},"
        f" {quotes.trades} trades"
    )
    scene.figures.quotes = {
        "day": quotes.day,
        "last_fen_per_t": quotes.last_fen_per_t,
        "close_fen_per_t": quotes.close_fen_per_t,
        "volume_t": quotes.volume_t,
        "turnover_fen": quotes.turnover_fen,
    }


def _closing(quotes: Quotes) -> tuple[int, int]:
    return quotes.last_fen_per_t, quotes.close_fen_per_t


async def bring_home(scene: Scene) -> None:
    """The group asks the market to give back what no order needs."""
    trader = scene.operator("group")
    release = Release(scene.new_id(), scene.holders["group"], scene.ticket, QUANTITY_T)
    outcomes = await scene.market.request_releases(trader, [release])
    (position,) = scene.take_all(outcomes, BOOK)
    (done,) = await scene.until(
        "release from the market",
        lambda: scene.market.releases(trader, [release.id], position),
        lambda found: all(one.state != "requested" for one in found),
    )
    expect("state", ("completed", ""), (done.state, done.refusal.message))
    held = await scene.amount("group", scene.ticket, min_position=done.entry_position)
    expect("the group's tickets", QUANTITY_T, held)
    scene.say(
        f"{name_of('group')}: {held:,} t available again, position"
        f" {done.entry_position} of accounts"
    )


def _told(asset: str, quantity: int) -> str:
    return shown(asset, quantity) if asset == MONEY else f"{quantity:,} t"


def _instrument(scene: Scene) -> str:
    return f"{INSTRUMENT}-{scene.number}"


def _price(price_fen_per_t: int = PRICE_FEN_PER_T) -> str:
    return f"{price_fen_per_t // 100}.{price_fen_per_t % 100:02d}"
