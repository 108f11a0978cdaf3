"""Every named crash point, one by one: the process dies exactly there, under load, and comes back.

What was acknowledged is there once, what was not is there at most once, the logs are whole.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from kernel.crash import EXIT_CODE, POINTS
from tests.support.checkout import ROOT
from tests.support.world import World, until

Step = Callable[[World], None]

LONG_ROUNDS = 30
STEPS_AFTER = 5  # of the load, once the process is back

# Service, point, what makes it pass there. A start passes some points itself: those die later.
CRASHES: list[tuple[str, str, Step]] = [
    ("accounts", "journal.committing:3", World.pay_some),
    ("accounts", "journal.committed:2", World.pay_some),
    ("accounts", "answer.lost:2", World.pay_some),
    ("accounts", "relay.published:3", World.pay_some),
    ("accounts", "projection.applied:3", World.pay_some),
    ("accounts", "reaction.called", World.register_some),
    ("ledger", "journal.committing:3", World.register_some),
    ("ledger", "journal.committed:2", World.register_some),
    ("ledger", "answer.lost:2", World.register_some),
    ("ledger", "relay.published:3", World.register_some),
    ("ledger", "ledger.tiles:3", World.pay_some),
    ("ledger", "ledger.signed:3", World.pay_some),
]


# Reached with more than the core of a world, and tried where that more is.
ELSEWHERE = {
    "snapshot.writing": "tests/faults/test_snapshots.py",
    "errand.answered": "tests/integration/test_registry.py",
    "gateway.called": "tests/integration/test_gateway_process.py",
    "witness.kept": "tests/integration/test_witness_process.py",
}


def test_every_crash_point_is_tried() -> None:
    assert {point.partition(":")[0] for _, point, _ in CRASHES} | set(ELSEWHERE) == POINTS
    for point, path in ELSEWHERE.items():
        assert f'"{point}"' in (ROOT / path).read_text()


@pytest.mark.parametrize(
    ("service", "point", "step"), CRASHES, ids=[f"{s}-{p}" for s, p, _ in CRASHES]
)
def test_who_dies_at_a_crash_point_loses_nothing_and_repeats_nothing(
    world: World, service: str, point: str, step: Step
) -> None:
    crash_under_load(world, service, point, step)


@pytest.mark.skipif(os.environ.get("TANZHANG_LONG") != "1", reason="TANZHANG_LONG=1 runs it")
def test_who_dies_again_and_again_at_random_points_loses_nothing(world: World) -> None:
    seed = os.environ.get("TANZHANG_SEED") or str(time.time_ns() // 1_000_000)
    print(f"TANZHANG_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(LONG_ROUNDS):
        service, point, step = chance.choice(CRASHES)
        point = f"{point.partition(':')[0]}:{chance.randint(3, 40)}"
        crash_under_load(world, service, point, step)


def crash_under_load(world: World, service: str, point: str, step: Step) -> None:
    with world.load(lambda: step(world)) as done:
        world.start_armed(service, point)
        assert world.await_death(service) == EXIT_CODE
        world.bring_back(service)
        enough = done[0] + STEPS_AFTER
        until(lambda: done[0] >= enough, "the load to go on")
    world.check()
