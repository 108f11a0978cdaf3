"""How a plan is cut into calls."""

from __future__ import annotations

import datetime as dt

from cli.clients import MAX_ENTRIES
from cli.replay.vrod_feed import MAX_TOKEN_HOLDERS, cut
from cli.replay.vrod_plan import Retire


def retirement(number: int, holder: str) -> Retire:
    return Retire(
        key=f"vrod-2021/retire/{number}",
        row=number,
        on=dt.date(2020, 8, 1),
        asset="ACR-901-2019",
        batch="ACR-CN-901-2019-11",
        first=number,
        last=number,
        quantity_t=1,
        holder=holder,
        account_holder="兰州公交集团",
        reason="Environmental Benefit",
        details="",
    )


def test_calls_keep_the_order_and_leave_nothing_out() -> None:
    dated = [retirement(number, "vrod-2021/holder/ACR901") for number in range(2 * MAX_ENTRIES + 7)]
    parts = list(cut(dated))
    assert [len(part) for part in parts] == [MAX_ENTRIES, MAX_ENTRIES, 7]
    assert [one for part in parts for one in part] == dated


def test_a_call_is_cut_where_its_token_would_name_too_many_holders() -> None:
    dated = [retirement(number, f"vrod-2021/holder/ACR{number}") for number in range(450)]
    parts = list(cut(dated))
    assert [len(part) for part in parts] == [MAX_TOKEN_HOLDERS, MAX_TOKEN_HOLDERS, 50]
    assert [one for part in parts for one in part] == dated


def test_nothing_makes_no_call() -> None:
    assert list(cut([])) == []
