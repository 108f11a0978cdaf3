"""A stream of requests is answered in its order, with a bounded number of them at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kernel.errors import Conflict
from kernel.rpc.streams import IN_FLIGHT, in_order


class Desk:
    """Takes numbered batches and answers those it is told to."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.doors: dict[int, asyncio.Event] = {}
        self.read = 0

    async def batches(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            self.read += 1
            yield number

    async def carry_out(self, number: int) -> int:
        if number == 13:
            raise Conflict("QUEUE_FULL", "no room")
        self.taken.append(number)
        await self.doors.setdefault(number, asyncio.Event()).wait()
        return number * 10

    def open(self, *numbers: int) -> None:
        for number in numbers:
            self.doors.setdefault(number, asyncio.Event()).set()


async def into(answers: list[int], stream: AsyncIterator[int]) -> None:
    async for one in stream:
        answers.append(one)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_answers_come_in_the_order_of_the_requests_whichever_is_done_first() -> None:
    desk = Desk()
    desk.open(2, 1, 0)
    assert [one async for one in in_order(desk.batches(3), desk.carry_out)] == [0, 10, 20]
    assert desk.taken == [0, 1, 2]


async def test_no_more_is_read_than_can_be_at_work() -> None:
    desk = Desk()
    answers = in_order(desk.batches(100), desk.carry_out)
    first = asyncio.ensure_future(anext(answers))
    await settled()
    assert desk.taken == list(range(IN_FLIGHT))
    assert desk.read == IN_FLIGHT
    desk.open(0)
    assert await first == 0
    await settled()
    assert desk.read == IN_FLIGHT + 1
    await answers.aclose()


async def test_what_cannot_be_taken_ends_the_stream_after_what_was_taken_before_it() -> None:
    desk = Desk()
    desk.open(*range(100))
    answers: list[int] = []
    with pytest.raises(Conflict, match="no room"):
        await into(answers, in_order(desk.batches(100), desk.carry_out))
    assert answers == [number * 10 for number in range(13)]
    assert desk.taken == list(range(13))  # none after it


async def test_a_stream_that_its_client_leaves_leaves_nothing_running() -> None:
    desk = Desk()
    answers = in_order(desk.batches(100), desk.carry_out)
    waiting = asyncio.ensure_future(anext(answers))
    await settled()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await answers.aclose()
    assert len(asyncio.all_tasks()) == 1


async def test_what_breaks_the_reading_is_raised_after_the_answers() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 0
        raise Conflict("STREAM_IDLE", "nothing came")

    desk = Desk()
    desk.open(0)
    answers: list[int] = []
    with pytest.raises(Conflict, match="nothing came"):
        await into(answers, in_order(broken(), desk.carry_out))
    assert answers == [0]
