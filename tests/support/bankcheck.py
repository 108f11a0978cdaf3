"""Does a journal contradict a settlement bank's own books? Names every contradiction.

Whatever became of the bank's words on their way: each line of the bank is booked once, with its
amount, for its holder or its withdrawal; nothing is booked that the bank does not have; each day it
has stated was received, and reconciled at once or after a break; and what the books say the bank
has is what it has. Adds up for itself, from the journal's bytes and the bank's answers alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tests.support.history import PaidIn, Seen, paid_in_of
from tests.support.historycheck import Finding, Raw

DAY_ENDS = ("BankStatementReconciled", "BankBreakOpened")


class BankBooks(NamedTuple):
    """What the bank says it has: lines, the oldest first, and the days it has stated."""

    bank: str
    lines: Sequence[Mapping[str, Any]]
    statements: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]


class Booked(NamedTuple):
    """A line of the bank in the journal: in above zero, out below, and whom or what it is of."""

    position: int
    amount_fen: int
    of: str


def check_bank(bank: BankBooks, seen: Sequence[Seen], records: Sequence[Raw]) -> list[Finding]:
    """All contradictions between the counter, the bank's books and the whole journal."""
    booked = booked_lines(bank.bank, records)
    return [
        *check_counter(bank, paid_in_of(seen)),
        *check_lines(bank, booked),
        *check_withdrawals(bank, records),
        *check_days(bank, records),
    ]


def booked_lines(bank: str, records: Sequence[Raw]) -> dict[str, list[Booked]]:
    found: dict[str, list[Booked]] = defaultdict(list)
    for raw in records:
        line = raw["body"].get("bank_line")
        for leg in raw["body"].get("legs", ()) if line else ():
            if is_of(leg["debit"], bank):
                deposit = Booked(raw["position"], leg["amount"], leg["credit"]["holder"])
                found[line].append(deposit)
            if is_of(leg["credit"], bank):
                paid = Booked(raw["position"], -leg["amount"], raw["body"]["withdrawal"])
                found[line].append(paid)
    return found


def is_of(account: Raw, bank: str) -> bool:
    return bool(account["purpose"] == "external" and account["ref"] == bank)


def check_counter(bank: BankBooks, told: Sequence[PaidIn]) -> Iterator[Finding]:
    """What the counter has answered stands in the bank's books."""
    known = {one["line"]: (one["holder"], one["amount_fen"]) for one in bank.lines}
    for one in told:
        if one.line is not None and known.get(one.line) != (one.holder, one.amount_fen):
            words = f"paid in {one.amount_fen} for {one.holder}, the bank has {known.get(one.line)}"
            yield Finding("PAY_IN_LOST", one.line, words)


def check_lines(bank: BankBooks, booked: Mapping[str, list[Booked]]) -> Iterator[Finding]:
    """Every line once, as it is; and no other."""
    for one in bank.lines:
        there = booked.get(one["line"], [])
        wanted = (one["amount_fen"], one["withdrawal"] or one["holder"])
        if not there:
            yield Finding("LINE_UNBOOKED", one["line"], f"{wanted} is in no entry")
        elif len(there) > 1:
            positions = [found.position for found in there]
            yield Finding("LINE_DOUBLED", one["line"], f"booked at {positions}")
        elif there[0][1:] != wanted:
            yield Finding("LINE_CHANGED", one["line"], f"the bank has {wanted}, booked {there[0]}")
    for line in booked.keys() - {one["line"] for one in bank.lines}:
        yield Finding("LINE_INVENTED", line, f"booked {booked[line]}, the bank has no such line")


def check_withdrawals(bank: BankBooks, records: Sequence[Raw]) -> Iterator[Finding]:
    """The bank has paid each at most once, and none that was returned or taken back."""
    paid: dict[str, list[str]] = defaultdict(list)
    for one in bank.lines:
        if one["withdrawal"]:
            paid[one["withdrawal"]].append(one["line"])
    for withdrawal, lines in paid.items():
        if len(lines) > 1:
            yield Finding("PAID_TWICE", withdrawal, f"by {lines}")
    for raw in records:
        withdrawal = raw["body"].get("withdrawal", "")
        if raw["type"] in ("WithdrawalReturned", "WithdrawalCancelled") and withdrawal in paid:
            words = f"{raw['type']} at {raw['position']}, paid by {paid[withdrawal]}"
            yield Finding("PAID_ALL_THE_SAME", withdrawal, words)


def check_days(bank: BankBooks, records: Sequence[Raw]) -> Iterator[Finding]:
    """Each stated day adds up, was received once with its balance, and no break is left."""
    of_bank = [raw for raw in records if raw["body"].get("bank") == bank.bank]
    ends = [raw for raw in of_bank if raw["type"] in DAY_ENDS]
    resolved = [raw["body"]["day"] for raw in of_bank if raw["type"] == "BankBreakResolved"]
    for stated in bank.statements:
        day = stated["day"]
        has_fen = sum(one["amount_fen"] for one in bank.lines if one["day"] <= day)
        there = [raw for raw in ends if raw["body"]["day"] == day]
        if [raw["body"]["closing_fen"] for raw in there] != [stated["closing_fen"]]:
            words = f"closed with {stated['closing_fen']}, in the journal {there}"
            yield Finding("DAY_NOT_STATED", day, words)
        if stated["closing_fen"] != has_fen:
            yield Finding("DAY_WRONG", day, f"stated {stated['closing_fen']}, has {has_fen}")
        opened = sum(raw["type"] == "BankBreakOpened" for raw in there)
        if resolved.count(day) != opened:
            words = f"{opened} breaks opened, {resolved.count(day)} resolved"
            yield Finding("BREAK_LEFT", day, words)
    for day in {raw["body"]["day"] for raw in ends} - {one["day"] for one in bank.statements}:
        yield Finding("DAY_INVENTED", day, "the bank has not stated it")
