"""One rule switched off in one service at a time, and the whole story told past it.

The ledger halts that book's log at exactly the event that broke the rule; what the market settles
in, or its own log, stops it; every other log goes on. The story notices too, in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest
from tanzhang.market.v1 import market_pb2, market_pb2_grpc
from typer.testing import CliRunner

from cli import status
from cli.app import app
from cli.stack.provision import PROGRAMS
from kernel.acts import sign_act
from kernel.errors import Refused
from kernel.ids import uuid7
from kernel.record import RawRecord
from tests.support.lanzhou import CITY_GROUP, seeded_key
from tests.support.tales import Tale
from tests.support.thief import Thief
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


def test_a_release_without_the_pledgees_word_halts_the_registrys_log(
    worlds: Worlds, capsys: pytest.CaptureFixture[str]
) -> None:
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
        a_thief_of_every_services_key_gets_no_further(world, capsys)


def a_thief_of_every_services_key_gets_no_further(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """He frees what is pledged, bids without money, invents a trip, and accepts it all himself."""
    thief = Thief(world)
    services = ("accounts", "inclusive", "market", "ledger")
    world.stop_services(*services)
    found = write_lies(thief)
    world.bring_back(*services)
    for book, (position, rule) in found.items():
        halt = world.await_halt(book)
        assert (book, halt.position, halt.rule) == (book, position, rule)
    every_halt_shows(world, [*found, "registry"], capsys)
    the_override_is_proven_too(world, found["accounts"][0], found["ledger"][0])


def write_lies(thief: Thief) -> dict[str, tuple[int, str]]:
    """By book: where the first of them stands, and the rule that it breaks."""
    theft = thief.last_of("accounts", "EntryPosted", "pledge")
    body = theft["body"]
    (leg,) = body["legs"]
    leg["debit"], leg["credit"] = leg["credit"], leg["debit"]
    body["pledge"]["release"] = "all of it"
    said = {
        "kind": "pledge-release",
        "lien": body["pledge"]["lien"],
        "pledgee": body["pledge"]["pledgee"],
        "quantity_t": leg["amount"],
        "release": "all of it",
    }
    act = sign_act(seeded_key("a thief"), said)
    by_its_pledgee = {
        "key_id": thief.key_id_of(f"holder:{body['pledge']['pledgee']}"),
        "signature": act.signature,
        "statement": act.statement,
    }
    stolen = thief.write("accounts", theft, acts=[by_its_pledgee])

    bid = thief.last_of("market", "OrderPlaced")
    bid["body"].update(order="a bid", side="buy", quantity_t=10**6)
    trip = thief.last_of("inclusive", "TripCredited")
    trip["body"]["nullifier"] = "ab" * 32
    return {
        "accounts": (stolen, "ACT_SIGNATURE"),
        "market": (thief.write("market", bid), "FREE"),
        "inclusive": (thief.write("inclusive", trip), "TRIP_BATCH_COUNT"),
        "ledger": (accept_ahead(thief, stolen), "OVERRIDE_HALT"),
    }


def accept_ahead(thief: Thief, position: int) -> int:
    """Two persons whom nobody knows accept the theft before anybody has found it."""
    one, other = ({"iss": "lanzhou", "sub": name} for name in ("wang", "li"))
    proposal = uuid7(0)
    body = {
        "book": "accounts",
        "justification": "all is well",
        "position": position,
        "proposal": proposal,
        "proposed_by": one,
        "rule": "ACT_SIGNATURE",
    }
    lie = thief.last_of("ledger", "KeyProposed")
    begun = thief.write("ledger", lie, type="OverrideProposed", actor=one, body=body, by=proposal)
    thief.write("ledger", lie, type="OverrideAccepted", actor=other, body=body)
    return begun


def every_halt_shows(
    world: World, books: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a metric, an event, a problem of the status, at the gateway; and nothing goes on there."""
    until(lambda: {one["book"] for one in halts_told(world)} >= set(books), "every halt to be told")
    metrics, events = world.metrics("ledger"), halts_told(world)
    capsys.readouterr()
    assert status.show(world.directory, as_json=False) == 1
    told = capsys.readouterr().out
    with urlopen(f"http://{world.supervisor.target('gateway')}/v1/logs/status") as answer:
        shown = {one["book"]: one["halt"] for one in json.loads(answer.read())["books"]}
    for book in books:
        halt = world.status(book).halt
        assert f'tanzhang_ledger_halted{{book="{book}"}} 1.0' in metrics
        assert [e for e in events if (e["book"], e["position"]) == (book, halt.position)] == [
            {
                "actual": halt.actual,
                "book": book,
                "expected": halt.expected,
                "position": halt.position,
                "rule": halt.rule,
            }
        ]
        why = f"{halt.rule} at {halt.position}: expected {halt.expected}, got {halt.actual}"
        assert f"{book} is halted: {why}" in told
        assert (shown[book]["rule"], shown[book]["position"]) == (halt.rule, halt.position)
    until(lambda: not market_state(world).accepts_orders, "the market to stop")
    until(lambda: not world.takes_commands(), "accounts to hear of the halt")


def halts_told(world: World) -> list[dict[str, Any]]:
    return [json.loads(bytes(r.body)) for r in world.records("ledger") if r.type == "BookHalted"]


def two_persons_resume(world: World, book: str, position: int) -> list[str]:
    """Each rule that the event breaks takes two persons of its own; answers which these were."""
    rules: list[str] = []

    def passed() -> bool:
        log = world.status(book)
        if log.HasField("halt") and log.halt.rule not in rules:
            assert log.halt.position == position
            rules.append(log.halt.rule)
            accepted(world.approve(world.propose_override(book, log.halt)))
        return bool(log.folded > position)

    until(passed, f"{book} to go on beyond {position}")
    return rules


def the_override_is_proven_too(world: World, stolen: int, ahead: int) -> None:
    """Also while the ledger's own log is halted; then its leaf is there, and their override."""
    assert two_persons_resume(world, "accounts", stolen) == ["ACT_SIGNATURE", "CAUSE_OPEN"]
    world.prove("accounts", stolen)
    for position in (ahead, ahead + 1):  # what was proposed, and accepted, ahead of any halt
        assert two_persons_resume(world, "ledger", position) == ["OVERRIDE_HALT"]
    overrides = [raw for raw in world.records("ledger") if raw.type == "OverrideAccepted"]
    true_ones = [raw for raw in overrides if raw.position > ahead + 1]
    assert len(true_ones) == 4
    world.prove("ledger", true_ones[-1].position)
    asked = ["receipts", "accounts", str(stolen), "--dir", str(world.directory)]
    told = CliRunner().invoke(app, [*asked, "--out", str(world.directory / "kept")])
    accepted_at = ", ".join(str(one.position) for one in true_ones[:2])
    assert f"two persons accepted it: receipts of ledger {accepted_at}" in told.output


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
