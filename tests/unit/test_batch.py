"""Items of a call on their way to the writer: what they weigh is asked before they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.clock import FixedClock
from kernel.errors import Conflict
from kernel.fairness import MAX_OWN_ASKS
from kernel.ids import derived_id
from kernel.rpc import interceptors
from kernel.rpc.batch import carry_out
from kernel.rpc.items import act_message
from kernel.values import Caller
from services.accounts.domain.settling import MAX_PART_TRADES
from services.accounts.main import DOMAIN as ACCOUNTS
from services.accounts.settling_rpc import MAX_PARTS, part_weight
from tests.support.books import MORNING_MS
from tests.support.ledgers import Desk
from tests.support.settling import SETTLE, WUHAN_DESK, part, trade

FILE = act_message(part(*[trade(f"T-{n}", 1) for n in range(MAX_PART_TRADES)]))
CALL = [
    pb.SettlementPart(id=derived_id(MORNING_MS, "part", n), acts=[FILE]) for n in range(MAX_PARTS)
]


@pytest.fixture(autouse=True)
def caller() -> Iterator[Caller]:
    """As the guard says it for every call."""
    token = interceptors._caller.set(WUHAN_DESK)
    yield WUHAN_DESK
    interceptors._caller.reset(token)


async def test_a_caller_s_files_wait_only_as_far_as_their_trades_have_room() -> None:
    desk: Desk[Any] = Desk(
        "accounts", ACCOUNTS, FixedClock(MORNING_MS)
    )  # nobody takes anything out
    writer, seen = desk.writer, 0

    def read(item: Any) -> Any:
        nonlocal seen
        seen += 1
        return SETTLE

    def settle() -> Any:
        return carry_out(writer, "SettleTrades", CALL, read, limit=MAX_PARTS, weigh=part_weight)

    fit = MAX_OWN_ASKS // (MAX_PARTS * (1 + MAX_PART_TRADES))
    waiting = [asyncio.create_task(settle()) for _ in range(fit)]
    await asyncio.sleep(0)
    with pytest.raises(Conflict) as caught:
        await settle()
    assert caught.value.reason == "QUEUE_FULL"
    assert seen == fit * MAX_PARTS  # of the one that was sent away nothing was read
    for task in waiting:
        task.cancel()
