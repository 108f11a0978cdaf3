"""Ends a task that runs for ever, as kernel.host.run_jobs does: a cancellation can get lost on its
way (asyncio.wait_for before Python 3.12, inside libraries too), so it is sent until it arrives.
"""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_S = 0.5


async def end(task: asyncio.Task[Any]) -> None:
    """Returns once the task has ended, however it ended."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_S)
    await asyncio.gather(task, return_exceptions=True)
