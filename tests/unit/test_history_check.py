"""The checker of the fault runs can fail: it passes an honest history and names every lie in it.

A morning of 兰州新区: money in, two payments, one that was refused, one whose answer was lost,
reads between them. Each lie changes one thing in what was seen or in what was recorded.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.support.history import Answer, Command, Diary, Place, Read, Seen, resolved
from tests.support.historycheck import Finding, check_history
from tests.support.lanzhou import BANK, CITY_GROUP, CNY, QINWANGCHUAN

BANK_OUT: Place = (BANK, CNY, "external", BANK)
GROUP: Place = (CITY_GROUP, CNY, "available", "")
FARM: Place = (QINWANGCHUAN, CNY, "available", "")
Raw = dict[str, Any]


def record(position: int, who: str, id: str, *moves: tuple[Place, Place, int]) -> Raw:
    legs = [
        {"asset": source[1], "amount": amount, "debit": side(source), "credit": side(target)}
        for source, target, amount in moves
    ]
    return {
        "position": position,
        "actor": {"iss": "lanzhou", "sub": who},
        "by": id,
        "type": "EntryPosted" if legs else "WriterStarted",
        "body": {"legs": legs} if legs else {},
    }


def side(place: Place) -> Raw:
    return {"holder": place[0], "purpose": place[2], "ref": place[3]}


def asked(client: str, id: str, invoked_s: float, answered_s: float | None, **said: Any) -> Command:
    fields: dict[str, Any] = {"type": "EntryPosted", **said}
    return Command(client=client, id=id, invoked_s=invoked_s, answered_s=answered_s, **fields)


def read(client: str, invoked_s: float, answered_s: float, as_of: int, group: int) -> Read:
    return Read(
        client=client,
        holder=CITY_GROUP,
        invoked_s=invoked_s,
        answered_s=answered_s,
        as_of=as_of,
        balances=((GROUP, group),),
    )


class Morning:
    """What was seen and what was recorded; `tell` changes one of them and has it checked."""

    def __init__(self) -> None:
        pay = ((GROUP, FARM, 30),)
        self.seen: dict[str, Seen] = {
            "in": asked("wang", "in", 0.0, 1.0, answer=Answer.OK, position=2,
                        moves=((BANK_OUT, GROUP, 100),)),
            "first": asked("wang", "first", 2.0, 3.0, answer=Answer.OK, position=3, moves=pay),
            "read": read("li", 3.5, 3.6, 3, 70),
            "second": asked("li", "second", 4.0, 6.0, answer=Answer.OK, position=4, moves=pay,
                            again=4, attempts=3),
            "refused": asked("wang", "refused", 6.5, 6.9, answer=Answer.REFUSED, of=GROUP,
                             reason="INSUFFICIENT_BALANCE", needed=50, available=40),
            "lost": asked("li", "lost", 7.0, None, answer=Answer.UNKNOWN, moves=pay, found=5),
            "never": asked("li", "never", 7.5, None, answer=Answer.UNKNOWN, moves=pay),
            "late": read("wang", 9.0, 9.1, 5, 10),
        }  # fmt: skip
        self.records: list[Raw] = [
            record(0, "writer", "opened"),
            record(1, "writer", "started"),
            record(2, "wang", "in", (BANK_OUT, GROUP, 100)),
            record(3, "wang", "first", *pay),
            record(4, "li", "second", *pay),
            record(5, "li", "lost", *pay),
        ]

    def change(self, name: str, **fields: Any) -> None:
        self.seen[name] = msgspec.structs.replace(self.seen[name], **fields)

    def renumber(self) -> None:
        for position, raw in enumerate(self.records):
            raw["position"] = position

    def check(self) -> list[Finding]:
        return check_history(list(self.seen.values()), self.records)


def test_an_honest_morning_is_passed() -> None:
    assert Morning().check() == []


def lose_an_acknowledged_one(day: Morning) -> None:
    day.seen["third"] = asked("li", "third", 9.5, 9.6, answer=Answer.OK, position=6)


def double_one(day: Morning) -> None:
    day.records.append(record(6, "wang", "refilled", (BANK_OUT, GROUP, 100)))
    day.seen["refilled"] = asked("wang", "refilled", 9.2, 9.3, answer=Answer.OK, position=6)
    day.records.append(record(7, "wang", "first", (GROUP, FARM, 30)))


def record_what_was_refused(day: Morning) -> None:
    day.records.append(record(6, "wang", "refused", (GROUP, FARM, 10)))


def resolve_wrongly(day: Morning) -> None:
    day.change("lost", found=None)


def find_what_is_not_there(day: Morning) -> None:
    day.change("never", found=9)


def add_what_nobody_asked(day: Morning) -> None:
    day.records.append(record(6, "li", "invented", (GROUP, FARM, 10)))


def record_another_amount(day: Morning) -> None:
    day.records[3] = record(3, "wang", "first", (GROUP, FARM, 29))
    day.seen = {"first": day.seen["first"]}
    day.records = [day.records[0], day.records[1], day.records[2], day.records[3]]
    day.seen["in"] = Morning().seen["in"]


def record_another_type(day: Morning) -> None:
    day.records[3]["type"] = "HoldPlaced"


def answer_a_repeat_otherwise(day: Morning) -> None:
    day.change("second", again=5)


def turn_time_round(day: Morning) -> None:
    """The second payment is recorded before the first, which was answered before it was asked."""
    day.records[3], day.records[4] = day.records[4], day.records[3]
    day.renumber()
    day.change("first", position=4)
    day.change("second", position=3, again=3)
    del day.seen["read"]


def turn_time_round_for_a_lost_answer(day: Morning) -> None:
    """What nobody was answered about still cannot come before what ended before it was asked."""
    day.records[4], day.records[5] = day.records[5], day.records[4]
    day.renumber()
    day.change("second", position=5, again=5)
    day.change("lost", found=4)
    del day.seen["refused"]


def read_what_was_before(day: Morning) -> None:
    """Right for its position, and yet too old: the second payment had been acknowledged."""
    day.change("late", as_of=3, balances=((GROUP, 70),))


def read_what_others_had_seen_gone(day: Morning) -> None:
    day.change("late", as_of=5)
    day.seen["later"] = read("li", 9.5, 9.6, 4, 40)


def read_what_was_not_asked_yet(day: Morning) -> None:
    day.change("read", as_of=5, balances=((GROUP, 10),))
    del day.seen["refused"]


def read_beyond_the_journal(day: Morning) -> None:
    day.change("late", as_of=6)


def read_another_balance(day: Morning) -> None:
    day.change("late", balances=((GROUP, 11),))


def refuse_by_an_old_balance(day: Morning) -> None:
    day.change("refused", available=70, needed=80)


def refuse_though_there_was_enough(day: Morning) -> None:
    day.change("refused", needed=40)


def overdraw(day: Morning) -> None:
    day.records.append(record(6, "wang", "too much", (GROUP, FARM, 11)))
    day.seen["too much"] = asked("wang", "too much", 9.5, 9.6, answer=Answer.OK, position=6)


def settle_twice(day: Morning) -> None:
    for position in (3, 4):
        day.records[position]["body"]["trades"] = ["T-1"]


def book_twice(day: Morning) -> None:
    for position in (6, 7):
        id, at_s = f"in {position}", 4.0 + position
        day.records.append(record(position, "wang", id, (BANK_OUT, GROUP, 5)))
        day.records[position]["body"]["bank_line"] = "line 1"
        day.seen[id] = asked("wang", id, at_s, at_s + 0.1, answer=Answer.OK, position=position)


def break_a_link(day: Morning) -> None:
    """The second was recorded without the one that was never there."""
    day.change("second", group="both", client="li")
    day.change("never", group="both")


def part_what_is_linked(day: Morning) -> None:
    for name in ("in", "first"):
        day.change(name, group="both")
    day.records.insert(3, record(3, "writer", "again"))
    day.renumber()
    for name in ("first", "second", "read", "late"):
        one = day.seen[name]
        if isinstance(one, Command) and one.position is not None:
            again = None if one.again is None else one.position + 1
            day.seen[name] = msgspec.structs.replace(one, position=one.position + 1, again=again)
        elif isinstance(one, Read):
            day.seen[name] = msgspec.structs.replace(one, as_of=one.as_of + 1)
    day.change("lost", found=6)


def show_half_of_a_group(day: Morning) -> None:
    """A read between two linked payments: right for its position, and nobody may see that."""
    day.change("first", group="both")
    day.change("second", group="both", client="wang")
    day.records[4] = record(4, "wang", "second", (GROUP, FARM, 30))


def turn_a_call_round(day: Morning) -> None:
    """Two of one call, side by side in time, and recorded the other way round."""
    day.change("first", call="one", place=1)
    day.change("second", call="one", place=0, client="wang", invoked_s=2.5)
    day.records[4] = record(4, "wang", "second", (GROUP, FARM, 30))


LIES: list[tuple[Callable[[Morning], None], set[str]]] = [
    (lose_an_acknowledged_one, {"LOST"}),
    (double_one, {"DOUBLED"}),
    (record_what_was_refused, {"GHOST"}),
    (resolve_wrongly, {"UNRESOLVED"}),
    (find_what_is_not_there, {"UNRESOLVED"}),
    (add_what_nobody_asked, {"NEVER_ASKED"}),
    (record_another_amount, {"CHANGED"}),
    (record_another_type, {"CHANGED"}),
    (answer_a_repeat_otherwise, {"ANSWER_CHANGED"}),
    (turn_time_round, {"TIME_INVERSION"}),
    (turn_time_round_for_a_lost_answer, {"TIME_INVERSION"}),
    (read_what_was_before, {"STALE_READ"}),
    (read_what_others_had_seen_gone, {"STALE_READ"}),
    (read_what_was_not_asked_yet, {"READ_FROM_FUTURE"}),
    (read_beyond_the_journal, {"READ_FROM_FUTURE"}),
    (read_another_balance, {"WRONG_BALANCE"}),
    (refuse_by_an_old_balance, {"WRONG_REFUSAL"}),
    (refuse_though_there_was_enough, {"WRONG_REFUSAL"}),
    (overdraw, {"OVERDRAWN"}),
    (break_a_link, {"LINK_BROKEN"}),
    (part_what_is_linked, {"LINK_BROKEN"}),
    (show_half_of_a_group, {"LINK_SEEN_PARTED"}),
    (turn_a_call_round, {"DISORDERED"}),
    (settle_twice, {"SETTLED_TWICE"}),
    (book_twice, {"BOOKED_TWICE"}),
]


@pytest.mark.parametrize(("lie", "names"), [pytest.param(*row, id=row[0].__name__) for row in LIES])
def test_every_lie_is_named(lie: Callable[[Morning], None], names: set[str]) -> None:
    day = Morning()
    lie(day)
    assert {one.name for one in day.check()} == names


def test_commands_side_by_side_may_stand_in_either_order() -> None:
    day = Morning()
    day.change("second", invoked_s=2.5)
    assert day.check() == []
    turn_time_round(day)
    assert day.check() == []


def test_a_refusal_may_be_of_any_moment_between_its_asking_and_its_answer() -> None:
    day = Morning()
    day.change("refused", invoked_s=3.9, answered_s=8.0)
    for available in (70, 40, 10):
        day.change("refused", available=available, needed=available + 1)
        assert day.check() == [], available
    day.change("refused", available=100, needed=101)
    assert [one.name for one in day.check()] == ["WRONG_REFUSAL"]


def test_an_unknown_one_takes_what_its_id_answers() -> None:
    lost, never = (Morning().seen[name] for name in ("lost", "never"))
    assert isinstance(lost, Command)
    assert isinstance(never, Command)
    assert resolved(lost, {"lost": 5}).found == 5
    assert resolved(lost, {"lost": None}).found_refused
    assert resolved(never, {}) == never


def test_a_diary_is_on_file_as_it_is_in_memory(tmp_path: Any) -> None:
    path = tmp_path / "wang.jsonl"
    with Diary(path) as diary:
        for one in Morning().seen.values():
            diary.note(one)
    lines = path.read_bytes().splitlines()
    again = [
        msgspec.json.decode(line, type=type(one))
        for line, one in zip(lines, diary.seen, strict=True)
    ]
    assert again == diary.seen == list(Morning().seen.values())


def test_long_histories_of_many_clients_pass_and_one_swapped_pair_is_found() -> None:
    """As a run makes them: answered late, out of order, side by side."""
    chance = random.Random(41)
    seen: list[Seen] = []
    records = [record(0, "writer", "opened")]
    for position in range(1, 2000):
        begun_s = float(position)
        made = asked(
            "wang",
            f"n{position}",
            begun_s - chance.random() * 5,
            begun_s + chance.random() * 5,
            answer=Answer.OK,
            position=position,
            moves=((BANK_OUT, GROUP, 1),),
        )
        seen.append(made)
        records.append(record(position, "wang", f"n{position}", (BANK_OUT, GROUP, 1)))
    chance.shuffle(seen)
    assert check_history(seen, records) == []
    first, other = 500, 520  # more than the longest waiting apart
    for one in list(seen):
        if isinstance(one, Command) and one.position in (first, other):
            seen.remove(one)
            position = first + other - (one.position or 0)
            seen.append(msgspec.structs.replace(one, position=position))
            records[position]["by"] = one.id
    assert {one.name for one in check_history(seen, records)} == {"TIME_INVERSION"}
