"""What is remembered of commands: never less than promised, never more than there is room for."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kernel.ids import uuid7
from kernel.journal.port import Outcome
from kernel.recent import (
    MAX_ID_AHEAD_MS,
    MIN_BATCHES,
    RECENT_IDS_MS,
    Fading,
    RecentOutcomes,
    id_at,
)

NOON_MS = 1_795_163_400_000
RIDER, OPERATOR = "shenzhen rider", "shenzhen operator"


def outcome(id: str, principal: str = RIDER) -> Outcome:
    return Outcome(id, principal, b"digest", 7, 1, None)


def carry_out(recent: RecentOutcomes, at_ms: int, *outcomes: Outcome) -> Fading:
    """A batch decided at an instant, not committed."""
    fading = Fading(at_ms)
    for one in outcomes:
        recent.add(recent.of(one.principal), fading, one)
    return fading


def test_an_id_is_known_from_the_moment_it_is_decided() -> None:
    recent = RecentOutcomes()
    one = outcome(uuid7(NOON_MS))
    carry_out(recent, NOON_MS, one)
    assert recent.of(RIDER)[one.id] == one
    assert one.id not in recent.of(OPERATOR)


def test_what_is_not_committed_is_never_forgotten() -> None:
    recent = RecentOutcomes(limit=1)
    one = outcome(uuid7(NOON_MS))
    fading = carry_out(recent, NOON_MS, one)
    recent.forget(NOON_MS + 10 * RECENT_IDS_MS)
    assert one.id in recent.of(RIDER)
    recent.committed(fading)
    recent.forget(NOON_MS + 10 * RECENT_IDS_MS)
    assert one.id not in recent.of(RIDER)
    assert recent.is_missing(RIDER, one.id)


def test_beyond_its_limit_the_oldest_batches_are_looked_up_instead() -> None:
    recent = RecentOutcomes(limit=10)
    ids = [uuid7(NOON_MS + n) for n in range(100)]
    for n, id in enumerate(ids):
        recent.committed(carry_out(recent, NOON_MS + n, outcome(id)))
        recent.forget(NOON_MS + n)
    known = recent.of(RIDER)
    assert len(known) <= max(10, MIN_BATCHES) + 1
    for id in ids:
        assert (id in known) != recent.is_missing(RIDER, id)


def test_a_principal_of_whom_all_is_forgotten_costs_nothing() -> None:
    recent = RecentOutcomes()
    recent.committed(
        carry_out(recent, NOON_MS, outcome(uuid7(NOON_MS)), outcome(uuid7(NOON_MS), OPERATOR))
    )
    recent.forget(NOON_MS + 2 * RECENT_IDS_MS)
    assert not recent._known
    assert not recent._fading


def test_the_bounds_of_an_instant_enclose_its_ids_and_no_others() -> None:
    for at_ms in (0, 1, NOON_MS):
        assert id_at(at_ms) <= uuid7(at_ms) <= id_at(at_ms, last=True) < id_at(at_ms + 1)


@given(seed=st.integers(0, 2**32), limit=st.integers(1, 60))
def test_an_id_that_was_carried_out_is_known_or_looked_up_whatever_the_clocks_do(
    seed: int, limit: int
) -> None:
    """Clients' clocks up to a minute ahead or days behind, ours leaping ahead."""
    chance = random.Random(seed)
    recent, done, now_ms = RecentOutcomes(limit), [], NOON_MS
    waiting: Fading | None = None
    for _ in range(60):
        now_ms += chance.choice([0, 1, 50, 5_000, RECENT_IDS_MS // 2])
        recent.forget(now_ms)
        ids = [
            uuid7(now_ms + chance.choice([MAX_ID_AHEAD_MS, 0, -1, -RECENT_IDS_MS, -86_400_000]))
            for _ in range(chance.randrange(8))
        ]
        done += ids
        fading = carry_out(recent, now_ms, *map(outcome, ids))
        if waiting is not None:
            recent.committed(waiting)
        waiting = fading
        for id in done:
            assert id in recent.of(RIDER) or recent.is_missing(RIDER, id)
