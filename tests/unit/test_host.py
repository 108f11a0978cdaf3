"""A process never lives on with half of its parts."""

from __future__ import annotations

import asyncio

import pytest

from kernel.host import run_jobs


async def for_ever() -> None:
    await asyncio.Event().wait()


async def breaks() -> None:
    await asyncio.sleep(0)
    raise ValueError("the lease is gone")


async def test_one_part_that_breaks_ends_them_all_and_is_told() -> None:
    with pytest.raises(ValueError, match="the lease is gone"):
        await run_jobs([for_ever, breaks], asyncio.Event())


async def test_told_to_stop_they_all_end_quietly() -> None:
    stop = asyncio.Event()
    stop.set()
    await run_jobs([for_ever], stop)


async def test_a_part_that_misses_its_cancellation_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kernel.host.CANCEL_AGAIN_S", 0.01)
    missed = 0

    async def hard_of_hearing() -> None:
        nonlocal missed
        while missed < 3:
            try:
                await for_ever()
            except asyncio.CancelledError:
                missed += 1
        await for_ever()

    with pytest.raises(ValueError, match="the lease is gone"):
        await run_jobs([hard_of_hearing, breaks], asyncio.Event())
    assert missed == 3
