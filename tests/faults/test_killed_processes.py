"""kill -9 of every process, one at a time, under load, as `tanzhang up` runs them: all come back.

And what NATS keeps is thrown away: same roots, nothing lost, because nothing rests on it.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import time

import pytest

from tests.support.world import World, until
from tests.support.worldcheck import at_rest, check_journal, leaf, root

PROCESSES = ("accounts", "ledger", "nats", "postgres")
LONG_ROUNDS = 30
STEPS_AFTER = 5  # of the load, once the process is back


@pytest.mark.parametrize("name", PROCESSES)
def test_whoever_is_killed_under_load_comes_back_and_nothing_is_lost_or_done_twice(
    own_world: World, name: str
) -> None:
    kill_under_load(own_world, name)


@pytest.mark.skipif(os.environ.get("TANZHANG_LONG") != "1", reason="TANZHANG_LONG=1 runs it")
def test_any_of_them_is_killed_at_any_time_and_nothing_is_lost_or_done_twice(
    own_world: World,
) -> None:
    seed = os.environ.get("TANZHANG_SEED") or str(time.time_ns() // 1_000_000)
    print(f"TANZHANG_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(LONG_ROUNDS):
        time.sleep(chance.random())
        kill_under_load(own_world, chance.choice(PROCESSES))


def kill_under_load(world: World, name: str) -> None:
    before = world.supervisor.restarts(name)
    with world.load(world.pay_some) as done:
        until(lambda: done[0] > STEPS_AFTER, "the load to begin")
        killed = world.supervisor.kill(name)
        until(lambda: world.supervisor.restarts(name) > before, f"{name} to be started again")
        for service in ("accounts", "ledger"):
            until(functools.partial(world.serves, service), f"{service} to serve")
        assert world.supervisor.process(name).pid != killed
        enough = done[0] + STEPS_AFTER
        until(lambda: done[0] >= enough, "the load to go on")
    world.check()


def test_streams_thrown_away_while_all_was_stopped_are_not_missed(own_world: World) -> None:
    world = own_world
    world.check()
    events = {book: check_journal(world, book) for book in world.supervisor.books}
    signed = {book: at_rest(world, book)[1] for book in world.supervisor.books}
    world.stop()
    store = world.directory / "nats" / "jetstream"
    assert any(store.rglob("*.blk"))
    shutil.rmtree(store)
    world.start()

    for book in world.supervisor.books:
        after = check_journal(world, book)  # with the root over all of it
        assert after[: signed[book].size] == events[book]
        first = [leaf(book, event) for event in after[: signed[book].size]]
        assert root(first) == signed[book].root
    world.prove("accounts", world.pay(1))
    assert world.messages_on_bus()["accounts"] > 0
    world.check()


def test_streams_removed_while_all_runs_are_made_again_and_new_frames_flow(
    own_world: World,
) -> None:
    world = own_world
    with world.load(world.pay_some):
        world.remove_streams()
        until(lambda: world.messages_on_bus().get("accounts", 0) > 0, "frames in a new stream")
    until(lambda: set(world.messages_on_bus()) == set(world.supervisor.books), "both streams")
    world.check()
