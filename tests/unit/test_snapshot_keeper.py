"""When a snapshot is made: once it is due, in a calm moment, and in any case when it is late."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import pytest

from kernel.journal.snapshots import MemorySnapshots
from kernel.snapshot.keeper import CALM_PER_S, LATEST, SnapshotKeeper

EVERY = 100_000
LOOK_S = 0.01
BUSY = round(CALM_PER_S * LOOK_S) + 1  # events between two looks


async def asked(positions: Sequence[int]) -> list[int]:
    """What a keeper waits for, one position after the other, while the book goes so far."""
    found, waited_for = iter(positions), list[int]()
    told = asyncio.Event()

    async def reached(position: int) -> int:
        waited_for.append(position)
        at = next(found, None)
        if at is None:
            told.set()
            await asyncio.Event().wait()
        assert at is not None
        return at

    command = [sys.executable, "-c", ""]
    store = MemorySnapshots("accounts")
    keeper = SnapshotKeeper("accounts", store, reached, EVERY, command, look_every_s=LOOK_S)
    task = asyncio.create_task(keeper.run())
    async with asyncio.timeout(60):
        await told.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return waited_for


@pytest.mark.parametrize("more", [0, BUSY - 1])
async def test_one_that_is_due_is_made_when_the_book_is_calm(more: int) -> None:
    at = EVERY + more
    # Made where the second look finds the book: the next is due as many events later.
    assert await asked([EVERY, at]) == [EVERY, EVERY, at + EVERY]


async def test_a_busy_book_is_waited_for() -> None:
    looks = [EVERY + n * BUSY for n in range(4)]
    calm = looks[-1] + BUSY - 1
    assert await asked([*looks, calm]) == [EVERY, *looks, calm + EVERY]


async def test_one_that_is_late_is_made_however_busy_the_book_is() -> None:
    late = EVERY * LATEST
    assert await asked([EVERY, late]) == [EVERY, EVERY, late + EVERY]
    assert await asked([late]) == [EVERY, late + EVERY]
