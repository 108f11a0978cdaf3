"""One rule switched off in one service at a time, and the whole story told past it.

The ledger halts that book's log at exactly the event that broke the rule; what the market settles
in, or its own log, stops it; every other log goes on. The story notices too, in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tanzhang.market.v1 import market_pb2, market_pb2_grpc

from cli.stack.provision import PROGRAMS
from kernel.errors import Refused
from kernel.record import RawRecord
from tests.support.lanzhou import CITY_GROUP, seeded_key
from tests.support.tales import Tale
from tests.support.world import MAKER, World, Worlds, accepted, until


@contextmanager
def world_with_faulty(worlds: Worlds, service: str) -> Iterator[World]:
    with worlds.open(PROGRAMS, checked=False) as world:
        world.stop_services(service)
        world.supervisor.start_service(service, module="tests.support.faulty")
        world.supervisor.await_serving(service)
        yield world


def first_of(world: World, book: str, type: str) -> RawRecord:
    return next(raw for raw in world.records(book) if raw.type == type)


def broken_story(world: World) -> str:
    """What the story itself says when it does not come out as told."""
    with pytest.raises(AssertionError) as caught:
        Tale(world).begin().end()
    return str(caught.value.__cause__)


def market_state(world: World) -> market_pb2.GetMarketStateResponse:
    stub = market_pb2_grpc.MarketServiceStub(world.channel("market"))
    answer: market_pb2.GetMarketStateResponse = world.call(
        stub.GetMarketState, market_pb2.GetMarketStateRequest()
    )
    return answer


def others_go_on(world: World, halted: str) -> None:
    for book in world.supervisor.books:
        assert world.status(book).HasField("halt") == (book == halted), book


def test_a_release_without_the_pledgees_word_halts_the_registrys_log(worlds: Worlds) -> None:
    """Past the registry accounts still refuses it: nothing leaves the lien, and yet it is found."""
    with world_with_faulty(worlds, "registry") as world:
        assert "ACT_MISSING" in broken_story(world)
        halt = world.await_halt("registry")
        wrong = first_of(world, "registry", "ReleaseRequested")
        assert (halt.position, halt.rule) == (wrong.position, "ACT_MISSING")
        assert "pledge-release" in halt.expected
        until(
            lambda: any(raw.type == "ReleaseRefused" for raw in world.records("registry")),
            "accounts to refuse it as well",
        )
        refused = json.loads(bytes(first_of(world, "registry", "ReleaseRefused").body))
        assert refused["reason"] == "ACT_MISSING"
        others_go_on(world, "registry")


def test_a_trade_dearer_than_its_order_halts_the_markets_log_and_stops_it(worlds: Worlds) -> None:
    with world_with_faulty(worlds, "market") as world:
        broken_story(world)
        halt = world.await_halt("market")
        wrong = first_of(world, "market", "TradesMade")
        assert halt.position == wrong.position
        assert (halt.rule, halt.expected, halt.actual) == ("MAKER_PRICE", "4194", "4195")
        until(lambda: not market_state(world).accepts_orders, "the market to stop")
        assert any("market log is halted" in why for why in market_state(world).reasons)


def test_a_report_sold_as_a_methodology_halts_the_citizens_log(worlds: Worlds) -> None:
    with world_with_faulty(worlds, "inclusive") as world:
        broken_story(world)
        halt = world.await_halt("inclusive")
        wrong = next(
            raw
            for raw in world.records("inclusive")
            if raw.type == "TripCredited" and json.loads(bytes(raw.body))["mode"] == "bike"
        )
        assert halt.position == wrong.position
        assert halt.rule == "SALEABLE_STATUS"
        others_go_on(world, "inclusive")


def test_an_overdrawn_account_halts_the_accounts_log_and_stops_the_market(worlds: Worlds) -> None:
    with world_with_faulty(worlds, "accounts") as world:
        until(lambda: market_state(world).accepts_orders, "the market to open")
        world.fund(CITY_GROUP, 100)
        wrong = world.pay(101)
        halt = world.await_halt("accounts")
        assert (halt.position, halt.rule) == (wrong, "SUFFICIENCY")
        until(lambda: not market_state(world).accepts_orders, "the market to stop")
        assert any("accounts log is halted" in why for why in market_state(world).reasons)
        stub = market_pb2_grpc.MarketServiceStub(world.channel("market"))
        order = market_pb2.Order(id=world.new_id(), instrument="ANY", holder="h-any")
        with pytest.raises(Refused) as caught:
            world.call(stub.PlaceOrders, market_pb2.PlaceOrdersRequest(orders=[order]), MAKER)
        assert caught.value.reason == "MARKET_STOPPED"


def test_a_key_that_one_person_proposed_and_approved_halts_the_ledgers_own_log(
    worlds: Worlds,
) -> None:
    with world_with_faulty(worlds, "ledger") as world:
        proposal = world.propose_key("holder:h-somebody", seeded_key("somebody"))
        position = accepted(world.approve(proposal, MAKER))
        halt = world.await_halt("ledger")
        assert (halt.position, halt.rule) == (position, "TWO_PERSONS")
        others_go_on(world, "ledger")
