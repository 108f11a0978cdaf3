"""The writer's queue: everybody has a turn, and nobody can fill it for the others."""

from __future__ import annotations

import pytest

from kernel.errors import Conflict
from kernel.fairness import (
    FEW_ASKS,
    MAX_OWN_ASKS,
    MAX_QUEUED_ASKS,
    MAX_RETRY_MS,
    MIN_RETRY_MS,
    RESERVED_ASKS,
    FairQueue,
)

EXCHANGE, OPERATOR, FORESTER = "exchange", "bus operator", "forester"


def queue(*things: tuple[str, int]) -> FairQueue[str]:
    """Things named after their owner and place in its line."""
    made: FairQueue[str] = FairQueue("accounts")
    lines: dict[str, int] = {}
    for owner, count in things:
        lines[owner] = lines.get(owner, 0) + 1
        made.put(owner, count, f"{owner} {lines[owner]}")
    return made


def test_a_batch_takes_one_of_each_in_turn() -> None:
    waiting = queue((EXCHANGE, 5), (EXCHANGE, 5), (EXCHANGE, 5), (FORESTER, 1), (OPERATOR, 5))
    assert waiting.take(12, 100) == [
        f"{EXCHANGE} 1",
        f"{FORESTER} 1",
        f"{OPERATOR} 1",
        f"{EXCHANGE} 2",
    ]
    assert waiting.take(12, 100) == [f"{EXCHANGE} 3"]
    assert not waiting
    assert waiting.asks == 0


def test_who_had_a_turn_waits_for_the_others_in_the_next_batch_too() -> None:
    waiting = queue((EXCHANGE, 5), (EXCHANGE, 5), (OPERATOR, 5))
    assert waiting.take(1, 100) == [f"{EXCHANGE} 1"]
    assert waiting.take(1, 100) == [f"{OPERATOR} 1"]
    assert waiting.take(1, 100) == [f"{EXCHANGE} 2"]


def test_a_batch_never_grows_beyond_its_limit_but_takes_at_least_one() -> None:
    waiting = queue((EXCHANGE, 8), (OPERATOR, 8), (FORESTER, 1))
    assert waiting.take(10, 10) == [f"{EXCHANGE} 1"]
    assert waiting.take(10, 7) == [f"{OPERATOR} 1"]


def test_of_one_owner_what_came_first_is_taken_first() -> None:
    waiting = queue(*[(EXCHANGE, 1)] * 9)
    assert waiting.take(100, 100) == [f"{EXCHANGE} {n}" for n in range(1, 10)]


def test_nobody_may_hold_more_than_half_of_the_queue() -> None:
    waiting = queue((EXCHANGE, MAX_OWN_ASKS))
    with pytest.raises(Conflict, match=f"{MAX_OWN_ASKS} of one caller") as caught:
        waiting.check_room(EXCHANGE, 1)
    assert caught.value.reason == "QUEUE_FULL"
    waiting.check_room(OPERATOR, 1000)


def test_the_last_part_of_the_queue_is_for_who_asks_for_little() -> None:
    bulk = (MAX_QUEUED_ASKS - RESERVED_ASKS) // 2
    waiting = queue((EXCHANGE, bulk), (OPERATOR, bulk))
    with pytest.raises(Conflict):
        waiting.check_room(FORESTER, FEW_ASKS + 1)
    waiting.check_room(FORESTER, FEW_ASKS)
    waiting.put(FORESTER, FEW_ASKS, "leaves")
    with pytest.raises(Conflict):
        waiting.check_room(FORESTER, 1)


def test_the_whole_queue_has_an_end() -> None:
    few = [(f"citizen {n}", FEW_ASKS) for n in range(MAX_QUEUED_ASKS // FEW_ASKS)]
    waiting = queue(*few)
    with pytest.raises(Conflict):
        waiting.check_room(FORESTER, 1)


@pytest.mark.parametrize(("seconds", "retry_ms"), [(0.001, MIN_RETRY_MS), (100, MAX_RETRY_MS)])
def test_who_is_sent_away_is_told_when_to_come_back(seconds: float, retry_ms: int) -> None:
    now_ms = 0.0
    waiting: FairQueue[str] = FairQueue("accounts", lambda: round(now_ms))
    for _ in range(100):  # takes 30,000 in so many seconds, again and again
        waiting.put(EXCHANGE, 30_000, "trades")
        waiting.put(EXCHANGE, 1, "one more")
        now_ms += max(seconds * 1000, 1)
        waiting.take(1, 30_000)
        waiting.take(1, 1)
    waiting.put(EXCHANGE, MAX_OWN_ASKS, "trades")
    with pytest.raises(Conflict) as caught:
        waiting.check_room(EXCHANGE, 1)
    assert caught.value.retry_after_ms == retry_ms
