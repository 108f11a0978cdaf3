"""A warm standby of accounts: it knows what it is, what the other knows, and when its turn is.

Callers have one channel to both and repeat by id; how long they waited is printed, and what was
acknowledged is in the journal once: `world.check` at the end of every world.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.kernel.v1 import journal_pb2

from kernel.errors import Conflict, Refused
from kernel.rpc.health import SERVING, health
from kernel.rpc.probe import main as probe
from tests.support.callers import paying
from tests.support.lanzhou import BUYER, CITY_GROUP
from tests.support.tcp_proxy import Link, TcpProxy
from tests.support.world import AUDITOR, World, Worlds, payment, until

FIRST, SECOND = "accounts", "accounts-2"
AFTER = 20  # payments, once somebody else writes


@pytest.fixture
def pair(worlds: Worlds) -> Iterator[World]:
    with worlds.open(standbys=[FIRST]) as world:
        world.fund(CITY_GROUP, 100_000_000)
        until(lambda: "NOT_SERVING" in said(world, SECOND), "the standby to stand by")
        yield world


def said(world: World, name: str) -> str:
    return health(world.supervisor.target(name))


def both(world: World) -> str:
    return ",".join(world.supervisor.target(name) for name in (FIRST, SECOND))


def state(world: World, name: str, min_position: int = 0) -> Any:
    request = journal_pb2.GetStateHashRequest(book="accounts", min_position=min_position)
    return world.call(world.journal(name).GetStateHash, request, AUDITOR)


def gauge(world: World, name: str) -> float | None:
    """None while it has not come so far as to know."""
    start = 'tanzhang_standby{book="accounts"} '
    try:
        told = world.metrics(name)
    except OSError:
        return None
    lines = [one for one in told.splitlines() if one.startswith(start)]
    return float(lines[0].removeprefix(start)) if lines else None


def test_a_standby_says_what_it_is_and_takes_nothing(pair: World) -> None:
    world = pair
    until(lambda: gauge(world, SECOND) == 1.0, "the standby to say so")
    assert gauge(world, FIRST) == 0.0
    assert '"book.standby"' in world.service(SECOND).log.read_text(encoding="utf-8")
    with pytest.raises(Conflict) as refused:
        world.send("PostEntries", [world.entry(payment(1))], BUYER, to=SECOND, patience_s=0.0)
    assert refused.value.reason == "STANDBY"
    stub = accounts_pb2_grpc.AccountsServiceStub(world.channel(SECOND))
    with pytest.raises(Conflict) as refused:
        world.call(stub.GetBalances, pb.GetBalancesRequest(holder=CITY_GROUP), AUDITOR)
    assert refused.value.reason == "STANDBY"
    head = journal_pb2.GetHeadRequest(book="accounts")
    with pytest.raises(Conflict) as refused:
        world.call(world.journal(SECOND).GetHead, head, AUDITOR)
    assert refused.value.reason == "STANDBY"


def test_standby_active_and_a_replay_from_zero_hold_the_same_state(pair: World) -> None:
    world = pair
    last = world.pay(1)
    active, standby = state(world, FIRST), state(world, SECOND, last)
    assert (active.standby, standby.standby) == (False, True)
    assert active.as_of_position == standby.as_of_position == last
    assert active.sha256 == standby.sha256
    replayed = world.service(FIRST).beside("verify").stdout
    assert f"{last + 1} events replayed, state {active.sha256.hex()}" in replayed

    world.pay(2)
    assert state(world, FIRST).sha256 != active.sha256


def test_the_hash_of_a_state_is_for_auditors(pair: World) -> None:
    request = journal_pb2.GetStateHashRequest(book="accounts")
    for name in (FIRST, SECOND):
        with pytest.raises(Refused) as refused:
            pair.call(pair.journal(name).GetStateHash, request, BUYER)
        assert refused.value.reason == "ROLE_MISSING"


def test_a_standby_is_alive_and_does_not_serve(
    pair: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANZHANG_LISTEN", pair.supervisor.target(SECOND))
    assert probe(["accounts"]) == 1
    assert probe(["accounts", "--alive"]) == 0
    monkeypatch.setenv("TANZHANG_LISTEN", pair.supervisor.target(FIRST))
    assert probe(["accounts"]) == 0


def kill(world: World) -> None:
    world.supervisor.kill(FIRST)


def stand_still(world: World) -> None:
    world.supervisor.kill(FIRST, signal.SIGSTOP)


def cut_off(world: World) -> None:
    world.sql(
        "SELECT pg_terminate_backend(backend_pid) FROM accounts.leases WHERE book = 'accounts'"
    )


def stop_in_order(world: World) -> None:
    world.supervisor.stop_service(FIRST)


ENDS: dict[str, tuple[Callable[[World], None], int]] = {
    "killed": (kill, -signal.SIGKILL),
    "standing still": (stand_still, 1),
    "cut off from its database": (cut_off, 1),
    "stopped in order": (stop_in_order, 0),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_standby_takes_over_and_callers_go_on_by_themselves(pair: World, how: str) -> None:
    world = pair
    end, status = ENDS[how]
    with paying(world, both(world)) as caller:
        ended_s = time.monotonic()
        end(world)
        until(lambda: said(world, SECOND) == SERVING, "the standby to serve")
        caller.await_more(AFTER)
        print(f"{how}: callers waited {caller.gap_s(ended_s):.1f} s")
        if how == "standing still":
            world.supervisor.kill(FIRST, signal.SIGCONT)
        assert await_end(world) == status
        assert gauge(world, SECOND) == 0.0
        # The first one comes back as the standby of the second.
        world.supervisor.start_service(FIRST)
        until(lambda: said(world, FIRST) == "NOT_SERVING", "the first to stand by")
        caller.await_more(AFTER)
    last = world.head_of(SECOND) - 1
    assert state(world, FIRST, last).sha256 == state(world, SECOND, last).sha256
    hand_back(world)


def await_end(world: World, name: str = FIRST) -> int | None:
    process = world.service(name)
    until(lambda: not process.running, f"{name} to end")
    return process.status


def hand_back(world: World) -> None:
    """The world's check asks the first one."""
    world.supervisor.stop_service(SECOND)
    world.supervisor.await_serving(FIRST)


def test_a_writer_whose_database_says_nothing_any_more_lets_go(worlds: Worlds) -> None:
    with TcpProxy() as proxy, worlds.open(standbys=[FIRST]) as world:
        world.fund(CITY_GROUP, 100_000_000)
        world.supervisor.stop_service(FIRST)
        until(lambda: said(world, SECOND) == SERVING, "the second to serve")
        link = through(world, proxy)
        until(lambda: said(world, FIRST) == "NOT_SERVING", "the first to stand by")
        world.supervisor.stop_service(SECOND)
        world.supervisor.await_serving(FIRST)
        world.supervisor.start_service(SECOND)
        until(lambda: said(world, SECOND) == "NOT_SERVING", "the second to stand by")

        with paying(world, both(world)) as caller:
            hung_s = time.monotonic()
            proxy.do(Link.hang, link.name)
            until(lambda: said(world, SECOND) == SERVING, "the standby to serve")
            caller.await_more(AFTER)
            print(f"a database that hangs: callers waited {caller.gap_s(hung_s):.1f} s")
            assert await_end(world) == 1
        proxy.do(Link.heal, link.name)
        world.supervisor.start_service(FIRST)
        until(lambda: said(world, FIRST) == "NOT_SERVING", "the first to stand by")
        hand_back(world)


def through(world: World, proxy: TcpProxy, name: str = FIRST) -> Link:
    """Starts one of them again, its way to the database being the proxy's."""
    url = world.service(name).environment["TANZHANG_DATABASE_URL"]
    address = url.rpartition("@")[2].partition("/")[0]
    link = proxy.link(f"{name}→postgres", int(address.rpartition(":")[2]))
    proxied = url.replace(address, f"127.0.0.1:{link.port}")
    world.supervisor.start_service(name, {"TANZHANG_DATABASE_URL": proxied})
    return link


def test_a_standby_whose_database_says_nothing_ends_and_is_of_use_again(pair: World) -> None:
    world = pair
    with TcpProxy() as proxy:
        world.supervisor.stop_service(SECOND)
        link = through(world, proxy, SECOND)
        until(lambda: gauge(world, SECOND) == 1.0, "the second to stand by")
        proxy.do(Link.hang, link.name)
        world.pay(1)  # the book goes on without it
        assert await_end(world, SECOND) == 1
        proxy.do(Link.heal, link.name)
        world.supervisor.start_service(SECOND)
        until(lambda: said(world, SECOND) == "NOT_SERVING", "the second to stand by again")
        kill(world)
        until(lambda: said(world, SECOND) == SERVING, "the standby to serve")
        world.supervisor.start_service(FIRST)
        until(lambda: said(world, FIRST) == "NOT_SERVING", "the first to stand by")
        hand_back(world)


def test_a_start_whose_database_says_nothing_ends_instead_of_waiting_for_ever(pair: World) -> None:
    world = pair
    with TcpProxy() as proxy:
        world.supervisor.stop_service(SECOND)
        link = through(world, proxy, SECOND)
        proxy.do(Link.hang, link.name)  # whichever of its first questions it is at by now
        assert await_end(world, SECOND) == 1
        proxy.do(Link.heal, link.name)
        world.supervisor.start_service(SECOND)
        until(lambda: gauge(world, SECOND) == 1.0, "the second to stand by")
        hand_back(world)


def test_a_way_to_the_writer_that_hangs_is_left_and_taken_again(pair: World) -> None:
    world = pair
    with TcpProxy() as proxy:
        link = proxy.link("caller→accounts", int(world.supervisor.target(FIRST).rpartition(":")[2]))
        target = f"127.0.0.1:{link.port},{world.supervisor.target(SECOND)}"
        with paying(world, target) as caller:
            hung_s = time.monotonic()
            proxy.do(Link.hang, link.name)
            time.sleep(4.0)
            assert caller.acknowledged_s[-1] < hung_s + 1.0  # nobody else may take it
            proxy.do(Link.heal, link.name)
            caller.await_more(AFTER)
            print(f"a way that hangs for 4 s: callers waited {caller.gap_s(hung_s):.1f} s")
