"""A writer that stands still: another takes over, and the first, woken, can do no harm."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.errors import Conflict
from tests.support.lanzhou import BUYER, CITY_GROUP
from tests.support.world import AUDITOR, PATIENCE_S, World, Worlds, accepted, payment

LONG_ROUNDS = 12
AT_MOST_S = 15.0  # measured: four seconds, three of them until the lease is stale


@pytest.fixture
def funded(worlds: Worlds) -> Iterator[World]:
    with worlds.open() as world:
        world.fund(CITY_GROUP, 100_000_000)
        yield world


def test_a_second_process_takes_over_from_one_that_stands_still_and_the_woken_one_writes_nothing(
    funded: World,
) -> None:
    world = funded
    started = epochs(world)
    last = world.pay(1)
    world.supervisor.kill("accounts", signal.SIGSTOP)
    stopped_s = time.monotonic()
    second = world.supervisor.start_service("accounts")
    assert second == "accounts-2"
    entry = world.entry(payment(2))
    (result,) = world.send("PostEntries", [entry], BUYER, to=second)
    took_over_s = time.monotonic() - stopped_s
    print(f"taken over after {took_over_s:.1f} s")
    assert took_over_s < AT_MOST_S
    assert accepted(result) == last + 2  # after WriterStarted
    world.prove("accounts", accepted(result))

    world.supervisor.kill("accounts", signal.SIGCONT)
    # What it may still answer, it must not answer as the writer.
    request = pb.GetBalancesRequest(holder=CITY_GROUP)
    with pytest.raises(Conflict):
        world.call(world.accounts.GetBalances, request, AUDITOR, deadline_s=2.0)
    with pytest.raises(Conflict):
        world.send("PostEntries", [world.entry(payment(4))], BUYER, patience_s=0.0)
    assert world.await_death("accounts") == 1

    (result,) = world.send("PostEntries", [world.entry(payment(8))], BUYER, to=second)
    assert accepted(result) == last + 3
    world.supervisor.stop_service(second)
    world.bring_back("accounts")
    assert epochs(world) == [*started, started[-1] + 1, started[-1] + 2]
    (again,) = world.send("PostEntries", [entry], BUYER)
    assert again.accepted.repeated


@pytest.mark.skipif(os.environ.get("TANZHANG_LONG") != "1", reason="TANZHANG_LONG=1 runs it")
def test_whenever_the_writer_stands_still_whoever_takes_over_stays_and_histories_go_on(
    funded: World,
) -> None:
    """In the middle of a commit, of a projection, of noting what was published."""
    world = funded
    for _ in range(LONG_ROUNDS):
        with world.load(world.pay_some):
            world.prove("accounts", world.pay(1))
            world.supervisor.kill("accounts", signal.SIGSTOP)
            second = world.supervisor.start_service("accounts")
            (result,) = world.send("PostEntries", [world.entry(payment(1))], BUYER, to=second)
            stub = accounts_pb2_grpc.AccountsServiceStub(world.channel(second))
            history = pb.ListMovementsRequest(
                holder=CITY_GROUP, min_position=accepted(result), page_size=1
            )
            world.call(stub.ListMovements, history, AUDITOR, patience_s=PATIENCE_S)
            world.prove("accounts", accepted(result))
            world.supervisor.kill("accounts", signal.SIGCONT)
            world.await_death("accounts")
            (result,) = world.send("PostEntries", [world.entry(payment(1))], BUYER, to=second)
            accepted(result)
            world.supervisor.stop_service(second)
            world.bring_back("accounts")
        world.check()


def test_a_process_that_waits_takes_over_from_one_that_was_killed(funded: World) -> None:
    world = funded
    second = world.supervisor.start_service("accounts")
    with world.load(world.pay_some):
        # The ledger asks one address for what it missed: here it misses nothing.
        world.prove("accounts", world.pay(1))
        world.supervisor.kill("accounts")
        (result,) = world.send("PostEntries", [world.entry(payment(1))], BUYER, to=second)
        world.prove("accounts", accepted(result))
        world.supervisor.stop_service(second)
        world.bring_back("accounts")


def epochs(world: World) -> list[int]:
    rows = world.sql(
        "SELECT (convert_from(record, 'UTF8')::jsonb -> 'body' ->> 'epoch')::int"
        " FROM accounts.events WHERE convert_from(record, 'UTF8')::jsonb ->> 'type'"
        " = 'WriterStarted' ORDER BY position"
    )
    return [epoch for (epoch,) in rows]
