"""Those who wait while the lease is in doubt are sent away, and nobody else ever is."""

from __future__ import annotations

import asyncio

import pytest

from kernel.errors import Conflict
from kernel.rpc.open_calls import OpenCalls

DOUBT = "accounts: the lease is not fresh"


async def serve(calls: OpenCalls, answer: asyncio.Future[str]) -> str:
    with calls.one():
        return await answer


async def begun(calls: OpenCalls) -> tuple[asyncio.Task[str], asyncio.Future[str]]:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(calls, answer))
    await asyncio.sleep(0)
    return task, answer


async def test_who_waits_is_told_a_conflict_and_may_ask_again() -> None:
    calls = OpenCalls()
    task, _ = await begun(calls)
    calls.close(DOUBT)
    with pytest.raises(Conflict, match=DOUBT) as told:
        await task
    assert told.value.reason == "LEASE_IN_DOUBT"
    assert task.cancelling() == 0


async def test_nobody_is_let_in_until_the_doubt_is_over() -> None:
    calls = OpenCalls()
    calls.close(DOUBT)
    task, _ = await begun(calls)
    with pytest.raises(Conflict, match=DOUBT):
        await task
    calls.reopen()
    task, answer = await begun(calls)
    answer.set_result("recorded")
    assert await task == "recorded"


async def test_a_caller_who_goes_away_is_nobodys_conflict() -> None:
    calls = OpenCalls()
    task, _ = await begun(calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_was_answered_is_not_sent_away_afterwards() -> None:
    calls = OpenCalls()

    async def goes_on() -> str:
        with calls.one():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "recorded"

    task = asyncio.create_task(goes_on())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls.close(DOUBT)
    assert await task == "recorded"


async def test_an_answer_that_came_in_the_same_moment_is_asked_for_again() -> None:
    calls = OpenCalls()
    task, answer = await begun(calls)
    answer.set_result("recorded")
    calls.close(DOUBT)
    with pytest.raises(Conflict, match=DOUBT):
        await task
