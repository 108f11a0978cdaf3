"""Clients of the market in a fault run: orders that cross, cancellations, releases.

What they trade is settled by the market in the accounts book, whoever dies meanwhile.
"""

from __future__ import annotations

import json
from pathlib import Path

from tanzhang.market.v1 import market_pb2 as pb
from tanzhang.market.v1 import market_pb2_grpc

from cli.stack.provision import venue_key
from services.accounts.domain.commands import PostEntry
from tests.support.books import person
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    TICKET,
    available,
    leg,
    trading,
)
from tests.support.patient import Asked, PatientClient, Service, Step
from tests.support.traders import HOLDERS
from tests.support.world import PATIENCE_S, World, accepted, until

INSTRUMENT = "LZXQ-1-PT"
PRICE_FEN = 40
TERMS = pb.Terms(matching_mode=pb.MATCHING_MODE_PRICE_TIME, tick_fen=1, lot_t=1, band_bp=1000)
EACH_T, EACH_FEN = 200, 20_000  # of every holder, at the market
LIVE_ORDERS = 20  # of one broker

MARKET = Service(
    book="market",
    stub=market_pb2_grpc.MarketServiceStub,
    batches={
        "PlaceOrders": (pb.PlaceOrdersRequest, "orders"),
        "CancelOrders": (pb.CancelOrdersRequest, "cancellations"),
        "RequestReleases": (pb.RequestReleasesRequest, "releases"),
    },
    outcomes=pb.GetOutcomesRequest,
    processes=("market",),
    # Nothing is said of an order by that; it may even have been taken before.
    passing=frozenset({"MARKET_STOPPED"}),
)


class Broker(PatientClient):
    """Acts for all three holders."""

    def __init__(self, name: str, world: World, seed: str, folder: Path) -> None:
        super().__init__(name, world, MARKET, person(name, holders=HOLDERS), seed, folder)
        self._orders: list[str] = []

    def steps(self) -> tuple[Step, ...]:
        return ((self.places, 6), (self.cancels, 2), (self.takes_back, 1))

    def places(self) -> None:
        asked = [Asked(self._order(), "OrderPlaced") for _ in range(self.chance.randint(1, 3))]
        done = self.ask("PlaceOrders", asked)
        self._orders += [one.item.id for one, ok in zip(asked, done, strict=True) if ok]
        del self._orders[:-LIVE_ORDERS]

    def _order(self) -> pb.Order:
        return pb.Order(
            id=self.world.new_id(),
            instrument=INSTRUMENT,
            holder=self.chance.choice(HOLDERS),
            side=self.chance.choice((pb.SIDE_BUY, pb.SIDE_SELL)),
            price_fen_per_t=PRICE_FEN + self.chance.randint(-2, 2),
            quantity_t=self.chance.randint(1, 4),
        )

    def cancels(self) -> None:
        """Many of them have been filled by then: those are refused."""
        if self._orders:
            order = self._orders.pop(self.chance.randrange(len(self._orders)))
            item = pb.Cancellation(id=self.world.new_id(), order=order)
            self.ask("CancelOrders", [Asked(item, "OrderCancelled")])

    def takes_back(self) -> None:
        asset = self.chance.choice((TICKET, CNY))
        item = pb.Release(
            id=self.world.new_id(),
            holder=self.chance.choice(HOLDERS),
            asset=asset,
            amount=1 if asset == TICKET else 20,
        )
        self.ask("RequestReleases", [Asked(item, "ReleaseRequested")])


def open_the_market(world: World) -> None:
    """Its key is known, its instrument is defined, everybody has something there."""
    world.register_key("venue:market", venue_key(world.directory))
    until(lambda: "venue:market" in admitted(world), "accounts to admit the market's key")
    stub = market_pb2_grpc.MarketServiceStub(world.channel("market"))

    def takes_orders() -> bool:
        request = pb.GetMarketStateRequest()
        return bool(world.call(stub.GetMarketState, request, patience_s=PATIENCE_S).accepts_orders)

    until(takes_orders, "the market to take orders")
    instrument = pb.Instrument(
        id=world.new_id(),
        instrument=INSTRUMENT,
        asset=TICKET,
        name="丝路碳票",
        reference_price_fen_per_t=PRICE_FEN,
        terms=TERMS,
    )
    request = pb.DefineInstrumentsRequest(instruments=[instrument])
    clerk = person("exchange clerk", roles=["exchange"])
    answer = world.call(stub.DefineInstruments, request, clerk, patience_s=PATIENCE_S)
    accepted(answer.results[0])
    for holder in HOLDERS:
        caller = BUYER if holder == CITY_GROUP else FARMER
        for asset, amount in ((TICKET, EACH_T), (CNY, EACH_FEN)):
            moved = leg(amount, asset, available(holder), trading(holder, "market"))
            world.post(PostEntry([moved]), caller)


def admitted(world: World) -> set[str]:
    records = world.records("accounts")
    return {json.loads(bytes(r.body))["subject"] for r in records if r.type == "KeyAdmitted"}
