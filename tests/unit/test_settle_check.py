"""The checker of settlements can fail: it passes an honest session and names every lie in it.

Two trades settled at once, one that was too large, one that came again, a session that was closed
with its sums and reported. Each lie changes one thing in what was told or in what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.support.history import Answer, Command, Said, Seen, TradeTold
from tests.support.historycheck import Finding, check_history
from tests.support.lanzhou import CITY_GROUP, CNY, PROGRAMME, QINWANGCHUAN, TICKET
from tests.support.settlecheck import Report, check_settlements, moves_of_trade
from tests.support.settling import SESSION, WUHAN, Trade, totals, trade

Raw = dict[str, Any]
SMALL, OTHER = trade("T-1", 10, 5, fees=(2, 1)), trade("T-2", 4, 6, fees=(0, 0))
LARGE = trade("T-3", 1000, 5)
FUNDS = (("issued", QINWANGCHUAN, TICKET, 100), ("external", CITY_GROUP, CNY, 1000))


def leg(source: tuple[str, ...], target: tuple[str, ...], amount: int) -> Raw:
    debit, credit = (
        {"holder": holder, "purpose": purpose, "ref": ref}
        for holder, _, purpose, ref in (source, target)
    )
    return {"asset": source[1], "amount": amount, "debit": debit, "credit": credit}


def record(who: str, by: str, kind: str, **body: Any) -> Raw:
    return {"actor": {"iss": "wuhan", "sub": who}, "by": by, "type": kind, "body": body}


def funded() -> Raw:
    legs = [
        leg(("place", asset, purpose, ""), (holder, asset, "trading", WUHAN), amount)
        for purpose, holder, asset, amount in FUNDS
    ]
    return record("wang", "in", "EntryPosted", legs=legs)


def settled(one: Trade, by: str) -> Raw:
    legs = [leg(*move) for move in moves_of_trade(WUHAN, PROGRAMME, one)]
    return record("desk", by, "EntryPosted", legs=legs, session=SESSION, trades=[one["trade"]])


def unsettled(one: Trade, by: str, reason: str = "INSUFFICIENT_BALANCE") -> Raw:
    return record(
        "desk", by, "TradeUnsettled", reason=reason, session=SESSION, trade=one, venue=WUHAN
    )


def received(by: str) -> Raw:
    return record("desk", by, "SettlementReceived", session=SESSION, trades=3, venue=WUHAN)


def sent(id: str, at_s: float, position: int, kind: str = "SettlementReceived") -> Command:
    return Command(
        client="desk",
        id=id,
        type=kind,
        invoked_s=at_s,
        answered_s=at_s + 0.5,
        answer=Answer.OK,
        position=position,
    )


def told(part: str, one: Trade, said: Said, **fields: Any) -> TradeTold:
    return TradeTold(client="desk", part=part, session=SESSION, trade=one, said=said, **fields)


class Day:
    """What the venue was told, what was recorded, and what is reported of it."""

    def __init__(self) -> None:
        self.records = [
            funded(),
            received("p-1"),
            settled(SMALL, "p-1"),
            unsettled(LARGE, "p-1"),
            settled(OTHER, "p-1"),
            received("p-2"),
            record(
                *("desk", "close", "SessionClosed"),
                session=SESSION,
                totals=[totals(2, 14, 74, 3)],
                unsettled=1,
                venue=WUHAN,
            ),
        ]
        short = {"holder": QINWANGCHUAN, "asset": TICKET, "needed": 1000, "available": 90}
        self.seen: dict[str, Seen] = {
            "p-1": sent("p-1", 1.0, 1),
            "small": told("p-1", SMALL, Said.SETTLED, position=2),
            "large": told(
                "p-1", LARGE, Said.UNSETTLED, position=3, reason="INSUFFICIENT_BALANCE", **short
            ),
            "other": told("p-1", OTHER, Said.SETTLED, position=4),
            "p-2": sent("p-2", 2.0, 5),
            "again": told("p-2", SMALL, Said.BEFORE),
            "close": sent("close", 3.0, 6, "SessionClosed"),
        }
        self.report = Report(
            SESSION,
            {"T-1": 2, "T-2": 4},
            {"T-3": "INSUFFICIENT_BALANCE"},
            [totals(2, 14, 74, 3)],
            1,
        )

    def change(self, name: str, **fields: Any) -> None:
        self.seen[name] = msgspec.structs.replace(self.seen[name], **fields)

    def check(self) -> list[Finding]:
        for position, raw in enumerate(self.records):
            raw["position"] = position
        seen = list(self.seen.values())
        return check_settlements(WUHAN, PROGRAMME, seen, self.records, [self.report])


def test_an_honest_session_is_passed_by_both_checkers() -> None:
    day = Day()
    assert day.check() == []
    assert check_history(list(day.seen.values()), day.records) == []


def lose_a_trade(day: Day) -> None:
    day.records[4] = unsettled(LARGE, "p-1")
    day.report = day.report._replace(settled={"T-1": 2}, totals=[totals(1, 10, 50, 3)])
    day.records[6]["body"]["totals"] = [totals(1, 10, 50, 3)]


def settle_it_elsewhere(day: Day) -> None:
    day.change("small", position=4)


def settle_twice(day: Day) -> None:
    day.records[5] = settled(SMALL, "p-2")
    del day.seen["again"], day.seen["p-2"]


def settle_at_another_price(day: Day) -> None:
    day.records[2] = settled({**SMALL, "price_fen_per_t": 4}, "p-1")
    day.records[6]["body"]["totals"] = [totals(2, 14, 64, 3)]
    day.report = day.report._replace(totals=[totals(2, 14, 64, 3)])


def keep_the_fee_back(day: Day) -> None:
    del day.records[2]["body"]["legs"][3]
    day.records[6]["body"]["totals"] = [totals(2, 14, 74, 2)]
    day.report = day.report._replace(totals=[totals(2, 14, 74, 2)])


def call_settled_before_what_never_was(day: Day) -> None:
    day.change("again", trade=LARGE)


def call_settled_before_what_came_after(day: Day) -> None:
    day.change("again", part="p-1")


def call_settled_before_what_had_another_price(day: Day) -> None:
    day.change("again", trade={**SMALL, "price_fen_per_t": 4})


def give_another_reason(day: Day) -> None:
    day.change("large", reason="UNKNOWN_ASSET")


def give_no_reason_in_the_journal(day: Day) -> None:
    day.change("large", position=2)


def say_less_was_there(day: Day) -> None:
    day.change("large", available=89)


def refuse_though_there_was_enough(day: Day) -> None:
    day.change("large", needed=90)


def close_twice(day: Day) -> None:
    day.records.append(record("desk", "again", "SessionClosed", **day.records[6]["body"]))


def settle_after_the_close(day: Day) -> None:
    """Counted in the sums, and yet too late."""
    day.records[4], day.records[6] = day.records[6], day.records[4]
    day.change("other", position=6)
    day.report = day.report._replace(settled={"T-1": 2, "T-2": 6})


def close_with_other_sums(day: Day) -> None:
    day.records[6]["body"]["totals"] = [totals(2, 14, 74, 2)]


def close_and_hide_what_is_left(day: Day) -> None:
    day.records[6]["body"]["unsettled"] = 0


def report_a_trade_that_was_not(day: Day) -> None:
    day.report = day.report._replace(settled={"T-1": 2, "T-2": 4, "T-4": 5})


def report_without_one(day: Day) -> None:
    day.report = day.report._replace(settled={"T-1": 2})


def report_another_reason(day: Day) -> None:
    day.report = day.report._replace(unsettled={"T-3": "TRADE_DIFFERS"})


def report_other_sums(day: Day) -> None:
    day.report = day.report._replace(totals=[totals(2, 14, 75, 3)])


LIES: list[tuple[Callable[[Day], None], set[str]]] = [
    (lose_a_trade, {"TRADE_LOST"}),
    (settle_it_elsewhere, {"TRADE_LOST"}),
    (settle_twice, {"TRADE_TWICE", "TRADE_LOST"}),
    (settle_at_another_price, {"TRADE_CHANGED"}),
    (keep_the_fee_back, {"TRADE_CHANGED"}),
    (call_settled_before_what_never_was, {"TRADE_LOST"}),
    (call_settled_before_what_came_after, {"TRADE_LOST"}),
    (call_settled_before_what_had_another_price, {"TRADE_CHANGED"}),
    (give_another_reason, {"TRADE_LOST"}),
    (give_no_reason_in_the_journal, {"TRADE_LOST"}),
    (say_less_was_there, {"WRONG_REASON"}),
    (refuse_though_there_was_enough, {"WRONG_REASON"}),
    (close_twice, {"CLOSED_TWICE"}),
    (settle_after_the_close, {"SETTLED_AFTER_CLOSE"}),
    (close_with_other_sums, {"CLOSE_WRONG"}),
    (close_and_hide_what_is_left, {"CLOSE_WRONG"}),
    (report_a_trade_that_was_not, {"REPORT_WRONG"}),
    (report_without_one, {"REPORT_WRONG"}),
    (report_another_reason, {"REPORT_WRONG"}),
    (report_other_sums, {"REPORT_WRONG"}),
]


@pytest.mark.parametrize(("lie", "names"), [pytest.param(*row, id=row[0].__name__) for row in LIES])
def test_every_lie_is_named(lie: Callable[[Day], None], names: set[str]) -> None:
    day = Day()
    lie(day)
    assert {one.name for one in day.check()} == names
