"""The checker of the bank's books can fail: it passes an honest day and names every lie in it.

Two deposits, a withdrawal that was paid, one that was returned, a day that broke because an advice
was late, and a second day. Each lie changes one thing at the counter, in the bank or in our book.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.support.bankcheck import BankBooks, check_bank
from tests.support.history import PaidIn
from tests.support.historycheck import Finding
from tests.support.lanzhou import BANK, CITY_GROUP, CNY, QINWANGCHUAN

FIRST, SECOND = "2026-11-20", "2026-11-21"
Raw = dict[str, Any]


def line(number: str, amount_fen: int, holder: str, day: str, withdrawal: str | None = None) -> Raw:
    return {
        "line": number,
        "day": day,
        "amount_fen": amount_fen,
        "holder": holder,
        "withdrawal": withdrawal,
    }


def account(holder: str, purpose: str, ref: str = "") -> Raw:
    return {"holder": holder, "purpose": purpose, "ref": ref}


def moved(amount_fen: int, debit: Raw, credit: Raw) -> list[Raw]:
    return [{"asset": CNY, "amount": amount_fen, "debit": debit, "credit": credit}]


def deposit(number: str, amount_fen: int, holder: str) -> Raw:
    legs = moved(amount_fen, account(BANK, "external", BANK), account(holder, "available"))
    return {"type": "EntryPosted", "body": {"bank_line": number, "legs": legs}}


def paid(number: str, amount_fen: int, holder: str, withdrawal: str) -> Raw:
    legs = moved(amount_fen, account(holder, "held", withdrawal), account(BANK, "external", BANK))
    body = {"bank_line": number, "legs": legs, "withdrawal": withdrawal}
    return {"type": "WithdrawalConfirmed", "body": body}


def returned(withdrawal: str) -> Raw:
    return {"type": "WithdrawalReturned", "body": {"legs": [], "withdrawal": withdrawal}}


def ended(kind: str, day: str, closing_fen: int | None = None) -> Raw:
    body = {"bank": BANK, "day": day}
    return {
        "type": kind,
        "body": body if closing_fen is None else {**body, "closing_fen": closing_fen},
    }


class Days:
    """What the counter told, what the bank has, what we have booked; a lie changes one of them."""

    def __init__(self) -> None:
        self.told = [
            PaidIn(client="chen", holder=CITY_GROUP, amount_fen=100, line="1"),
            PaidIn(client="chen", holder=QINWANGCHUAN, amount_fen=50, line=None),
        ]
        self.lines = [
            line("1", 100, CITY_GROUP, FIRST),
            line("2", 50, QINWANGCHUAN, FIRST),
            line("3", -30, CITY_GROUP, SECOND, "w-1"),
        ]
        self.statements = [
            {"day": FIRST, "opening_fen": 0, "closing_fen": 150, "lines": 2},
            {"day": SECOND, "opening_fen": 150, "closing_fen": 120, "lines": 1},
        ]
        self.records = [
            deposit("1", 100, CITY_GROUP),
            ended("BankBreakOpened", FIRST, 150),
            deposit("2", 50, QINWANGCHUAN),
            ended("BankBreakResolved", FIRST),
            paid("3", 30, CITY_GROUP, "w-1"),
            returned("w-2"),
            ended("BankStatementReconciled", SECOND, 120),
        ]

    def check(self) -> list[Finding]:
        for position, raw in enumerate(self.records):
            raw["position"] = position
        books = BankBooks(BANK, self.lines, self.statements, {})
        return check_bank(books, self.told, self.records)


def test_honest_days_are_passed() -> None:
    assert Days().check() == []


def lose_what_was_paid_in(days: Days) -> None:
    days.told.append(PaidIn(client="chen", holder=CITY_GROUP, amount_fen=5, line="4"))


def pay_in_for_another(days: Days) -> None:
    days.told[0] = msgspec.structs.replace(days.told[0], holder=QINWANGCHUAN)


def forget_an_advice(days: Days) -> None:
    del days.records[2]


def book_a_line_twice(days: Days) -> None:
    days.records.append(deposit("1", 100, CITY_GROUP))


def book_for_another(days: Days) -> None:
    days.records[0] = deposit("1", 100, QINWANGCHUAN)


def book_another_amount(days: Days) -> None:
    days.records[0] = deposit("1", 101, CITY_GROUP)


def pay_another_withdrawal(days: Days) -> None:
    days.records[4] = paid("3", 30, CITY_GROUP, "w-3")


def invent_money(days: Days) -> None:
    days.records.append(deposit("9", 1, CITY_GROUP))


def pay_twice(days: Days) -> None:
    days.lines.append(line("4", -30, CITY_GROUP, "2026-11-22", "w-1"))
    days.records.append(paid("4", 30, CITY_GROUP, "w-1"))


def pay_what_was_returned(days: Days) -> None:
    days.records[5] = returned("w-1")


def miss_a_statement(days: Days) -> None:
    del days.records[-1]


def hear_a_statement_twice(days: Days) -> None:
    days.records.append(ended("BankStatementReconciled", SECOND, 120))


def hear_another_balance(days: Days) -> None:
    days.records[-1] = ended("BankStatementReconciled", SECOND, 121)


def state_what_the_lines_are_not(days: Days) -> None:
    days.statements[1]["closing_fen"] = 119
    days.records[-1] = ended("BankStatementReconciled", SECOND, 119)


def leave_a_break(days: Days) -> None:
    del days.records[3]


def invent_a_day(days: Days) -> None:
    days.records.append(ended("BankStatementReconciled", "2026-11-22", 120))


LIES: list[tuple[Callable[[Days], None], set[str]]] = [
    (lose_what_was_paid_in, {"PAY_IN_LOST"}),
    (pay_in_for_another, {"PAY_IN_LOST"}),
    (forget_an_advice, {"LINE_UNBOOKED"}),
    (book_a_line_twice, {"LINE_DOUBLED"}),
    (book_for_another, {"LINE_CHANGED"}),
    (book_another_amount, {"LINE_CHANGED"}),
    (pay_another_withdrawal, {"LINE_CHANGED"}),
    (invent_money, {"LINE_INVENTED"}),
    (pay_twice, {"PAID_TWICE"}),
    (pay_what_was_returned, {"PAID_ALL_THE_SAME"}),
    (miss_a_statement, {"DAY_NOT_STATED"}),
    (hear_a_statement_twice, {"DAY_NOT_STATED"}),
    (hear_another_balance, {"DAY_NOT_STATED"}),
    (state_what_the_lines_are_not, {"DAY_WRONG"}),
    (leave_a_break, {"BREAK_LEFT"}),
    (invent_a_day, {"DAY_INVENTED"}),
]


@pytest.mark.parametrize(("lie", "names"), [pytest.param(*row, id=row[0].__name__) for row in LIES])
def test_every_lie_is_named(lie: Callable[[Days], None], names: set[str]) -> None:
    days = Days()
    lie(days)
    assert {one.name for one in days.check()} == names
