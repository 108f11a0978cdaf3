"""Linked commands happen together or not at all, by the real writer of the accounts book."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.kernel.v1 import items_pb2

from kernel.asks import Ask, Result
from kernel.ids import derived_id
from kernel.linked import MAX_LINKED, group_of
from kernel.rpc.batch import read_items
from kernel.values import Caller
from services.accounts.domain.commands import PostEntry, PostHold, ReleaseHold
from services.accounts.domain.events import Leg
from services.accounts.domain.state import account_key
from services.accounts.entries_rpc import post_entry
from tests.support.books import person
from tests.support.lanzhou import (
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    QINWANGCHUAN,
    ZHONGCHUAN,
    advice,
    available,
    deposit_entry,
    hold,
    leg,
    pay,
)
from tests.support.ledgers import Books, Desk, Desks, found_the_place, open_desks

ALL_OF_THEM = person("treasury", holders=[CITY_GROUP, QINWANGCHUAN, ZHONGCHUAN])
FUNDS_FEN = 1000
HOLDERS = (CITY_GROUP, QINWANGCHUAN, ZHONGCHUAN)


class Town:
    """The city group has 1,000 fen; whoever asks may act for all three."""

    def __init__(self, desks: Desks) -> None:
        self.desk: Desk[Any] = desks.accounts
        self._desks = desks
        self._asked = 0

    def ask(self, command: msgspec.Struct, caller: Caller = ALL_OF_THEM) -> Ask:
        self._asked += 1
        return Ask(derived_id(self.desk.clock.now_ms(), "town", self._asked), caller, command)

    async def together(self, *commands: msgspec.Struct) -> list[Result]:
        return await self.send(linked([self.ask(one) for one in commands]))

    async def send(self, asks: Sequence[Ask]) -> list[Result]:
        return await self.desk.writer.submit(asks)

    def has(self, holder: str) -> int:
        holding = self.desk.writer.state.accounts.get(account_key(available(holder), CNY))
        return 0 if holding is None else int(holding.balance)

    def check(self) -> None:
        """What is in memory is what the journal says, and the independent books agree."""
        books = Books()
        books.fold("ledger", self._desks.ledger.events())
        books.fold("accounts", self.desk.events())
        fresh = self.desk.writer.domain.new_state()
        for event in self.desk.events():
            raw, body = self.desk.writer.domain.events.decode_canonical(event.record)
            if raw.type not in ("BookOpened", "WriterStarted"):
                self.desk.writer.domain.evolve(fresh, body)
        assert fresh == self.desk.writer.state


def linked(asks: Sequence[Ask]) -> list[Ask]:
    group = group_of([ask.id for ask in asks])
    return [msgspec.structs.replace(ask, group=group) for ask in asks]


def in_town(story: Callable[[Town], Awaitable[None]]) -> None:
    async def tell() -> None:
        async with open_desks() as desks:
            await found_the_place(desks, {})
            await desks.accounts.ask(
                deposit_entry(CITY_GROUP, FUNDS_FEN), CASHIER, advice(CITY_GROUP, FUNDS_FEN, "1")
            )
            town = Town(desks)
            await story(town)
            town.check()

    asyncio.run(tell())


def reasons(results: Sequence[Result]) -> list[str]:
    return ["" if r.outcome.refusal is None else r.outcome.refusal.reason for r in results]


def money(holder: str, to: str, amount: int) -> PostEntry:
    return pay(holder, to, amount, CNY)


def test_a_group_that_can_be_carried_out_is_carried_out_in_its_order() -> None:
    async def story(town: Town) -> None:
        results = await town.together(
            money(CITY_GROUP, QINWANGCHUAN, 1000), money(QINWANGCHUAN, ZHONGCHUAN, 900)
        )
        assert reasons(results) == ["", ""]
        assert [town.has(one) for one in HOLDERS] == [0, 100, 900]

    in_town(story)


def test_if_one_cannot_the_others_are_refused_and_name_it() -> None:
    async def story(town: Town) -> None:
        before = town.desk.writer.progress.next_position
        results = await town.together(
            money(CITY_GROUP, QINWANGCHUAN, 400),
            money(QINWANGCHUAN, ZHONGCHUAN, 401),
            money(CITY_GROUP, ZHONGCHUAN, 1),
        )
        others = "LINKED_GROUP_REFUSED"
        assert reasons(results) == [others, "INSUFFICIENT_BALANCE", others]
        first, failing, _ = (result.outcome for result in results)
        assert first.refusal is not None
        assert first.refusal.details == {
            "item": failing.id,
            "item_reason": "INSUFFICIENT_BALANCE",
        }
        assert failing.refusal is not None
        assert failing.refusal.details["available"] == 400
        assert town.desk.writer.progress.next_position == before
        assert [town.has(one) for one in HOLDERS] == [FUNDS_FEN, 0, 0]

    in_town(story)


def test_a_group_beside_others_takes_nothing_from_them() -> None:
    async def story(town: Town) -> None:
        alone = town.ask(money(CITY_GROUP, ZHONGCHUAN, 700))
        group = linked(
            [
                town.ask(money(CITY_GROUP, QINWANGCHUAN, 300)),
                town.ask(money(CITY_GROUP, QINWANGCHUAN, 1)),
            ]
        )
        after = town.ask(money(CITY_GROUP, QINWANGCHUAN, 300))
        results = await town.send([alone, *group, after])
        assert reasons(results) == ["", "LINKED_GROUP_REFUSED", "INSUFFICIENT_BALANCE", ""]
        assert [town.has(one) for one in HOLDERS] == [0, 300, 700]

    in_town(story)


def test_a_hold_may_be_placed_and_posted_in_one_group() -> None:
    async def story(town: Town) -> None:
        placed = town.ask(hold(CITY_GROUP, QINWANGCHUAN, 500, CNY, None))
        part = town.ask(PostHold(placed.id, 200, keep_rest=True))
        late = town.desk.clock.now_ms() + 1000
        expiring = town.ask(hold(CITY_GROUP, ZHONGCHUAN, 500, CNY, late))
        assert reasons(await town.send(linked([placed, part, expiring]))) == ["", "", ""]
        again = [
            town.ask(PostHold(placed.id, 100, keep_rest=True)),
            town.ask(ReleaseHold(expiring.id)),
            town.ask(PostHold(placed.id, 201)),
        ]
        others = "LINKED_GROUP_REFUSED"
        assert reasons(await town.send(linked(again))) == [others, others, "INSUFFICIENT_HOLD"]
        assert town.desk.writer.state.holds[placed.id].amount == 300
        assert town.desk.writer.state.expiries == [(late, expiring.id)]
        assert [town.has(one) for one in HOLDERS] == [0, 200, 0]

    in_town(story)


def test_a_whole_group_again_gets_the_same_answers() -> None:
    async def story(town: Town) -> None:
        good = linked([town.ask(money(CITY_GROUP, QINWANGCHUAN, 5)) for _ in range(2)])
        bad = linked([town.ask(money(CITY_GROUP, ZHONGCHUAN, 600)) for _ in range(2)])
        first = await town.send([*good, *bad])
        again = await town.send([*good, *bad])
        assert [one.outcome for one in again] == [one.outcome for one in first]
        assert all(one.repeated for one in again)
        assert town.has(QINWANGCHUAN) == 10

    in_town(story)


def test_a_part_of_a_group_or_other_company_is_another_command() -> None:
    async def story(town: Town) -> None:
        asks = [town.ask(money(CITY_GROUP, QINWANGCHUAN, 5)) for _ in range(3)]
        await town.send(linked(asks))
        assert reasons(await town.send([asks[0]])) == ["ID_REUSED"]
        assert reasons(await town.send(linked(asks[:2])))[0] == "ID_REUSED"
        stranger = town.ask(money(CITY_GROUP, QINWANGCHUAN, 5))
        mixed = await town.send(linked([stranger, asks[0]]))
        assert reasons(mixed) == ["LINKED_GROUP_REFUSED", "ID_REUSED"]
        assert town.has(QINWANGCHUAN) == 15

    in_town(story)


def test_a_group_with_an_id_of_tomorrow_is_refused() -> None:
    async def story(town: Town) -> None:
        early = Ask(
            derived_id(town.desk.clock.now_ms() + 600_000, "early"),
            BUYER,
            money(CITY_GROUP, QINWANGCHUAN, 1),
        )
        results = await town.send(linked([town.ask(money(CITY_GROUP, ZHONGCHUAN, 1)), early]))
        assert reasons(results) == ["LINKED_GROUP_REFUSED", "ID_FROM_FUTURE"]

    in_town(story)


def test_an_entry_too_large_for_a_record_takes_its_group_with_it() -> None:
    async def story(town: Town) -> None:
        many: list[Leg] = [leg(1, CNY, available(CITY_GROUP), available(ZHONGCHUAN))] * 65
        results = await town.together(money(CITY_GROUP, QINWANGCHUAN, 1), PostEntry(many))
        assert reasons(results) == ["LINKED_GROUP_REFUSED", "LEGS_COUNT"]

    in_town(story)


payments = st.tuples(st.sampled_from(HOLDERS), st.sampled_from(HOLDERS), st.integers(1, 700))
groups = st.lists(st.lists(payments, min_size=1, max_size=4), max_size=6)


@given(groups)
@settings(max_examples=25, deadline=None)
def test_random_groups_agree_with_a_naive_model(plan: list[list[tuple[str, str, int]]]) -> None:
    async def story(town: Town) -> None:
        model = {CITY_GROUP: FUNDS_FEN, QINWANGCHUAN: 0, ZHONGCHUAN: 0}
        asks: list[Ask] = []
        expected: list[bool] = []
        for group in plan:
            trial, good = dict(model), True
            for payer, payee, amount in group:
                good = good and payer != payee and trial[payer] >= amount
                trial[payer] -= amount
                trial[payee] += amount
            model = trial if good else model
            asks += linked([town.ask(money(*one)) for one in group])
            expected += [good] * len(group)
        results = await town.send(asks)
        assert [one.outcome.refusal is None for one in results] == expected
        assert {one: town.has(one) for one in HOLDERS} == model

    in_town(story)


# ---- what is no group ---------------------------------------------------------------------------


def entries(*marks: bool, ids: Sequence[str] | None = None) -> list[pb.Entry]:
    names = ids or [derived_id(1_700_000_000_000, i) for i in range(len(marks))]
    return [pb.Entry(id=id, linked=mark) for id, mark in zip(names, marks, strict=True)]


def grouped(items: list[pb.Entry]) -> tuple[list[items_pb2.ItemResult | None], Sequence[Ask]]:
    results, _, left = read_items(items, BUYER, post_entry)
    return results, left


def test_items_are_linked_to_the_next_one() -> None:
    _, asks = grouped(entries(True, True, False, False, True, False))
    assert [ask.group is None for ask in asks] == [False, False, False, True, False, False]
    assert asks[0].group == asks[2].group != asks[4].group


def test_the_last_item_of_a_request_is_linked_to_none() -> None:
    results, asks = grouped(entries(False, True, True))
    assert len(asks) == 1
    assert [one and one.refused.reason for one in results] == [
        None,
        "LINKED_GROUP_OPEN",
        "LINKED_GROUP_OPEN",
    ]


def test_one_malformed_item_takes_its_group_with_it_before_the_writer() -> None:
    results, asks = grouped(entries(True, True, False, ids=["", *some_ids(2)]))
    assert asks == []
    assert [one and one.refused.reason for one in results] == [
        "ID_MALFORMED",
        "LINKED_GROUP_REFUSED",
        "LINKED_GROUP_REFUSED",
    ]


def test_a_group_has_ids_of_its_own_and_is_bounded() -> None:
    for items in (
        entries(True, False, ids=some_ids(1) * 2),
        entries(*[True] * MAX_LINKED, False),
    ):
        results, asks = grouped(items)
        assert asks == []
        assert {one.refused.reason for one in results if one} == {"LINKED_GROUP_MALFORMED"}


def some_ids(count: int) -> list[str]:
    return [derived_id(1_700_000_000_000, "some", i) for i in range(count)]
