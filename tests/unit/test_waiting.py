"""Waiting for a position: woken in time, forgotten when gone, told when nothing more will come."""

from __future__ import annotations

import asyncio

import pytest

from kernel.errors import Conflict
from kernel.waiting import MIN_CLEANED, PositionWaiters
from tests.support.ending import end


async def started(waiters: PositionWaiters, *positions: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(waiters.wait(position)) for position in positions]
    await asyncio.sleep(0)
    return tasks


async def test_who_waits_is_woken_by_its_position_and_no_earlier() -> None:
    waiters = PositionWaiters()
    tasks = await started(waiters, 7, 3, 5)
    waiters.wake(5)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [False, True, True]
    waiters.wake(7)
    async with asyncio.timeout(5):
        await tasks[0]


async def test_who_went_away_is_not_kept_for_a_position_that_never_comes() -> None:
    waiters = PositionWaiters()
    (patient,) = await started(waiters, 9)
    for task in await started(waiters, *[10**9] * (3 * MIN_CLEANED)):
        await end(task)
    assert len(waiters._heap) <= MIN_CLEANED
    waiters.wake(9)
    async with asyncio.timeout(5):
        await patient


async def test_when_nothing_more_will_come_everybody_hears_why() -> None:
    waiters = PositionWaiters()
    tasks = await started(waiters, 1, 2)
    await end(tasks[0])
    waiters.fail(Conflict("WRITER_STOPPED", "accounts: the writer stopped"))
    with pytest.raises(Conflict, match="the writer stopped"):
        await tasks[1]
