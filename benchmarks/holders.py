"""Registers many companies through the real path, several batches at a time."""

from __future__ import annotations

import asyncio
from typing import Final

from benchmarks.world import REGISTRAR, Bench
from cli.clients import Books, Holder
from cli.directory import accept
from kernel.ids import new_holder_id, uuid7
from kernel.values import uscc_check_character

BATCH: Final = 4000  # about a megabyte
CALLERS: Final = 4
_DIGITS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # of a code, GB 32100-2015


def register_companies(bench: Bench, count: int) -> list[str]:
    """Their ids; each is an enterprise with a code of its own."""
    return asyncio.run(_register(bench, count))


async def _register(bench: Bench, count: int) -> list[str]:
    numbers = iter(range(0, count, BATCH))
    found: list[str] = []
    async with Books(bench.workspace) as books:

        async def work() -> None:
            for first in numbers:
                rows = [_company(bench, n) for n in range(first, min(first + BATCH, count))]
                for outcome in await books.register_holders(REGISTRAR, rows):
                    accept(outcome)
                found.extend(row.holder for row in rows)

        await asyncio.gather(*(work() for _ in range(CALLERS)))
    return found


def _company(bench: Bench, n: int) -> Holder:
    text = ""
    rest = n
    for _ in range(9):
        rest, digit = divmod(rest, len(_DIGITS))
        text = _DIGITS[digit] + text
    code = "91440300" + text
    return Holder(
        uuid7(bench.workspace.clock.now_ms()),
        new_holder_id(),
        "enterprise",
        f"深圳市第{n}低碳有限公司",
        code + uscc_check_character(code),
    )
