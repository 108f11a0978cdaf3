"""The services as a client meets them: up, described, counted, and answering what happened."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.errors import Conflict, Fault
from kernel.rpc.interceptors import auth_rules
from kernel.values import Caller
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import SerialRange
from tests.support.books import person
from tests.support.checkout import ROOT
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CLAIM,
    CNY,
    FARMER,
    PRICE_FEN_PER_T,
    QINWANGCHUAN,
    TICKET,
    VENUE,
    ZHONGCHUAN,
    available,
    hold,
    leg,
    pay,
    retired,
    trading,
)
from tests.support.world import AUDITOR, FUNDS_FEN, World, accepted, payment, refusal, until

NAMES = {
    "accounts": "tanzhang.accounts.v1.AccountsService",
    "ledger": "tanzhang.ledger.v1.LedgerService",
}
JOURNAL = "tanzhang.kernel.v1.JournalService"
HOUR_MS = 3_600_000
COMMUTER = person("a Shenzhen commuter")


# ---- how they are --------------------------------------------------------------------------------


@pytest.mark.parametrize("service", NAMES)
def test_a_service_says_that_it_serves_as_a_whole_and_by_name(world: World, service: str) -> None:
    stub: Any = health_pb2_grpc.HealthStub(world.channel(service))
    for name in ("", NAMES[service], JOURNAL):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("service", NAMES)
def test_a_service_describes_itself_by_reflection(world: World, service: str) -> None:
    listed = ProtoReflectionDescriptorDatabase(world.channel(service)).get_services()
    assert {NAMES[service], JOURNAL, "grpc.health.v1.Health"} <= set(listed)


@pytest.mark.parametrize("service", NAMES)
def test_a_service_shows_how_far_its_book_has_come(world: World, service: str) -> None:
    head = world.head(service)
    line = f'tanzhang_committed_position{{book="{service}"}} {float(head)}'
    until(lambda: line in world.metrics(service), f"{line} on /metrics")


def test_the_metrics_of_the_ledger_show_what_is_proven(world: World) -> None:
    position = world.pay(1)
    world.prove("accounts", position)
    line = f'tanzhang_ledger_proven_position{{book="accounts"}} {float(position + 1)}'
    assert line in world.metrics("ledger")


def test_a_method_that_does_not_say_who_may_call_it_keeps_the_service_from_starting() -> None:
    with pytest.raises(Fault, match=r"Health/\w+ does not say who may call it"):
        auth_rules(["grpc.health.v1.Health"])


# ---- how they start ------------------------------------------------------------------------------


def run_service(*arguments: str, **environment: str) -> tuple[int, list[str]]:
    """Exit code and lines of `python -m services`, with nothing in the environment but this."""
    done = subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        cwd=ROOT,
        env={"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


@pytest.mark.parametrize("arguments", [(), ("vault",), ("accounts", "serve"), ("--help",)])
def test_other_words_than_a_service_and_a_verb_get_one_line_of_usage(
    arguments: tuple[str, ...],
) -> None:
    code, lines = run_service(*arguments)
    names, verbs = "accounts|registry|market|inclusive|ledger", "migrate|snapshot|verify"
    usage = f"usage: python -m services {{{names}}} [{verbs}]"
    assert (code, lines) == (2, [usage])


@pytest.mark.parametrize("arguments", [("accounts",), ("ledger",), ("ledger", "migrate")])
def test_a_process_that_is_not_told_enough_says_what_is_missing_in_one_line(
    arguments: tuple[str, ...],
) -> None:
    code, lines = run_service(*arguments)
    assert (code, lines) == (2, [f"{arguments[0]}: TANZHANG_DATABASE_URL is not set"])


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"TANZHANG_MODE": "production"},
            "accounts: TANZHANG_CLOCK_FILE and TANZHANG_CRASH are refused in production",
        ),
        (
            {"TANZHANG_LISTEN": "0.0.0.0:7000"},
            "accounts: TANZHANG_LISTEN: 0.0.0.0 is not loopback:"
            " a TLS certificate and key are needed",
        ),
        (
            {"TANZHANG_METRICS_PORT": "metrics"},
            "accounts: TANZHANG_METRICS_PORT: expected a whole number, got 'metrics'",
        ),
        (
            {"TANZHANG_CRASH": "somewhere"},
            None,
        ),
    ],
    ids=["a development clock in production", "the world without TLS", "a port", "a crash point"],
)
def test_a_process_that_is_told_something_wrong_does_not_start(
    world: World, changed: dict[str, str], line: str | None
) -> None:
    code, lines = run_service("accounts", **{**world.service("accounts").environment, **changed})
    assert code in (1, 2)
    assert len(lines) == 1
    assert line is None or (code, lines) == (2, [line])


# ---- what became of a command --------------------------------------------------------------------


def test_who_lost_the_answer_asks_by_id_and_is_told(world: World) -> None:
    entry = world.entry(payment(12))
    refused = world.entry(payment(2 * FUNDS_FEN))
    world.start_armed("accounts", "answer.lost")
    world.supervisor.await_serving("accounts")
    with pytest.raises(Conflict):
        world.send("PostEntries", [entry, refused], BUYER, patience_s=0.0)
    world.await_death("accounts")
    world.bring_back("accounts")

    never_sent = world.new_id()
    request = pb.GetOutcomesRequest(ids=[never_sent, entry.id, refused.id])
    results = world.call(world.accounts.GetOutcomes, request, BUYER).results
    by_id = {result.id: result for result in results}
    assert set(by_id) == {entry.id, refused.id}
    assert refusal(by_id[refused.id]) == "INSUFFICIENT_BALANCE"
    # Outcomes are the sender's own.
    assert not world.call(world.accounts.GetOutcomes, request, FARMER).results

    again, _ = world.send("PostEntries", [entry, refused], BUYER)
    assert again.accepted.repeated
    assert accepted(again) == accepted(by_id[entry.id])


def test_the_answer_to_a_bulk_tells_of_what_was_refused_or_repeated_alone(world: World) -> None:
    entries = [world.entry(payment(amount)) for amount in (1, 2 * FUNDS_FEN, 2)]
    malformed = pb.Entry(id="not an id")
    request = pb.PostEntriesInBulkRequest(entries=[*entries, malformed])
    first = world.call(world.accounts.PostEntriesInBulk, request, BUYER)
    assert [refusal(one) for one in first.results] == ["INSUFFICIENT_BALANCE", "ID_MALFORMED"]
    begin = first.positions[0]
    assert list(first.positions) == [begin, -1, begin + 1, -1]

    again = world.call(world.accounts.PostEntriesInBulk, request, BUYER)
    assert list(again.positions) == list(first.positions)
    assert [one.id for one in again.results] == [*(one.id for one in entries), malformed.id]
    assert again.results[0].accepted.repeated
    whole = world.send("PostEntries", entries, BUYER)
    assert whole == list(again.results)[:3]


def test_a_hold_goes_back_by_itself_when_its_time_is_over(world: World) -> None:
    before = world.balance(available(CITY_GROUP), CNY)
    expires_at_ms = world.clock.now_ms() + HOUR_MS
    id = world.place_hold(hold(CITY_GROUP, QINWANGCHUAN, 500, CNY, expires_at_ms), BUYER)
    assert world.balance(available(CITY_GROUP), CNY) == before - 500
    lasting = world.place_hold(hold(CITY_GROUP, QINWANGCHUAN, 300, CNY), BUYER)

    world.advance_clock(2 * HOUR_MS)
    # By the clock, before the timer has recorded it and after.
    assert refusal(world.post_hold(id, 500, FARMER)) in ("HOLD_EXPIRED", "UNKNOWN_HOLD")
    until(lambda: world.balance(available(CITY_GROUP), CNY) == before - 300, "the hold to expire")
    assert refusal(world.release_hold(id, FARMER)) == "UNKNOWN_HOLD"
    expired = [raw for raw in world.records("accounts") if raw.type == "HoldExpired"]
    assert len(expired) == 1

    accepted(world.post_hold(lasting, 100, FARMER))
    assert world.balance(available(CITY_GROUP), CNY) == before - 100
    world.check()


# ---- histories -----------------------------------------------------------------------------------


def test_a_history_comes_in_pages_complete_and_in_order_and_shows_ones_own_last_write(
    world: World,
) -> None:
    positions = [world.pay(amount_fen) for amount_fen in range(1, 11)]
    first = pb.ListMovementsRequest(
        holder=CITY_GROUP, asset=CNY, min_position=positions[-1], page_size=1000
    )
    whole = world.call(world.accounts.ListMovements, first, BUYER)
    assert not whole.next_page_token
    assert whole.as_of_position >= positions[-1]
    assert [one.position for one in whole.movements][-10:] == positions
    assert [one.amount for one in whole.movements][-10:] == list(range(1, 11))

    paged: list[pb.Movement] = []
    request = pb.ListMovementsRequest(holder=CITY_GROUP, asset=CNY, page_size=3)
    while True:
        page = world.call(world.accounts.ListMovements, request, BUYER)
        paged.extend(page.movements)
        if not page.next_page_token:
            break
        assert len(page.movements) == 3
        request.page_token = page.next_page_token
    assert paged == list(whole.movements)


def test_the_history_of_a_serial_follows_it_through_every_split(world: World) -> None:
    batch = "LZXQ-2023"
    issued = world.issue(batch, {QINWANGCHUAN: 100})
    first_forty = world.post(pay(QINWANGCHUAN, ZHONGCHUAN, 40, TICKET), FARMER)
    middle = SerialRange(batch, 51, 60)
    moved = world.post(
        PostEntry([leg(10, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN), middle)]), FARMER
    )
    world.allocate(CITY_GROUP, 10 * PRICE_FEN_PER_T, CNY)
    traded = world.settle(("deal 7", QINWANGCHUAN, CITY_GROUP, 4, PRICE_FEN_PER_T))
    home = world.post(
        PostEntry([leg(4, TICKET, trading(CITY_GROUP), available(CITY_GROUP))]),
        person("exchange", roles=[f"venue:{VENUE}"]),
    )
    last = world.post(
        PostEntry(
            [
                leg(
                    2,
                    TICKET,
                    available(CITY_GROUP),
                    retired(CITY_GROUP),
                    SerialRange(batch, 52, 53),
                )
            ],
            CLAIM,
        ),
        BUYER,
    )

    assert path(world, batch, 40, last) == [issued, first_forty]
    assert path(world, batch, 41, last) == [issued]
    assert path(world, batch, 52, last) == [issued, moved, traded, home, last]
    assert path(world, batch, 54, last) == [issued, moved, traded, home]
    assert path(world, batch, 55, last) == [issued, moved]
    assert path(world, batch, 101, last) == []
    # Issuance and retirement are for everybody, what lies between for its parties.
    assert path(world, batch, 52, last, COMMUTER) == [issued, last]
    assert path(world, batch, 40, last, BUYER) == [issued]


def path(
    world: World, batch: str, serial: int, min_position: int, caller: Caller = AUDITOR
) -> list[int]:
    """Positions of the movements of one serial."""
    request = pb.GetSerialHistoryRequest(
        asset=TICKET, batch=batch, serial=serial, min_position=min_position
    )
    answer = world.call(world.accounts.GetSerialHistory, request, caller)
    for one in answer.movements:
        assert any(block.first <= serial <= block.last for block in one.serials)
    return [one.position for one in answer.movements]
