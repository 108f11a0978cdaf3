"""A settlement bank as a process of its own against the real services: paid in, paid out, stated.

Its messages are lost, delayed and doubled from a seed, it is killed and comes back with its own
books; in the end its statements and our books agree to the fen. The world's check then holds the
ledger to all of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernel.errors import Refused
from tests.support.bank_sim import BankSim
from tests.support.lanzhou import BUYER, CITY_GROUP, CNY, USCCS, available
from tests.support.world import World, Worlds, until

SEED = 20261120


@pytest.fixture
def rehearsed(worlds: Worlds) -> Iterator[World]:
    """A world for one test: what its bank does takes days."""
    with worlds.open() as made:
        made.has_strangers = True  # the bank, and who founds it
        yield made


def test_a_bank_advises_pays_and_states_a_day(rehearsed: World) -> None:
    bank = BankSim(rehearsed.supervisor)
    bank.start()
    bank.bind(rehearsed, CITY_GROUP, USCCS[CITY_GROUP])
    for amount_fen in (70_000, 30_000):
        bank.pay_in(CITY_GROUP, amount_fen)
    until(lambda: has(rehearsed, 100_000), "the advices to be booked")
    bank.withdraw(rehearsed, BUYER, CITY_GROUP, 25_000)
    until(lambda: not bank.open_withdrawals(rehearsed), "the bank to pay")
    assert [line["amount_fen"] for line in bank.lines()] == [70_000, 30_000, -25_000]
    day = bank.close_day(rehearsed)
    bank.settled(rehearsed)
    standing = bank.standing(rehearsed)
    assert (standing.stated_day, standing.stated_fen) == (day, 75_000)
    assert standing.unstated_lines == 0
    types = [record.type for record in rehearsed.records("accounts")]
    assert "BankStatementReconciled" in types
    assert "BankBreakOpened" not in types


def has(world: World, amount_fen: int) -> bool:
    return world.balance(available(CITY_GROUP), CNY) == amount_fen


def test_what_is_lost_late_and_doubled_comes_right_by_the_statements(rehearsed: World) -> None:
    """And a kill in the middle of it: the bank goes on from its own books."""
    bank = BankSim(rehearsed.supervisor, seed=SEED, lose=0.4, delay=0.3, double=0.3, give_back=0.3)
    bank.start()
    bank.bind(rehearsed, CITY_GROUP, USCCS[CITY_GROUP])
    paid_in = [bank.pay_in(CITY_GROUP, 1000 + n) for n in range(40)]
    until(lambda: rehearsed.balance(available(CITY_GROUP), CNY) > 10_000, "some to arrive")
    asked = [bank.withdraw(rehearsed, BUYER, CITY_GROUP, 100 + n) for n in range(6)]
    bank.kill()
    bank.start()
    assert [line["line"] for line in bank.lines()][:40] == paid_in
    until(lambda: not bank.open_withdrawals(rehearsed), "the bank to answer what it was asked")
    bank.close_day(rehearsed)
    bank.settled(rehearsed)
    counts = bank.state()["counts"]
    assert counts["lost"] > 0
    assert counts["doubled"] > 0
    assert counts.get("paid", 0) + counts.get("returned", 0) == len(asked)
    types = [record.type for record in rehearsed.records("accounts")]
    assert types.count("BankBreakOpened") == types.count("BankBreakResolved") >= 1
    assert types.count("WithdrawalConfirmed") == counts.get("paid", 0)
    assert types.count("WithdrawalReturned") == counts.get("returned", 0)
    outside = sum(line["amount_fen"] for line in bank.lines())
    assert rehearsed.balance(available(CITY_GROUP), CNY) == outside


def test_a_break_stops_withdrawals_at_the_running_services(rehearsed: World) -> None:
    bank = BankSim(rehearsed.supervisor, seed=3, lose=0.9)
    bank.start()
    bank.bind(rehearsed, CITY_GROUP, USCCS[CITY_GROUP])
    bank.pay_in(CITY_GROUP, 5000)
    bank.close_day(rehearsed)
    until(lambda: bool(bank.standing(rehearsed).breaks or has(rehearsed, 5000)), "the statement")
    if bank.standing(rehearsed).breaks:
        with pytest.raises((AssertionError, Refused), match="BANK_BREAK_OPEN"):
            bank.withdraw(rehearsed, BUYER, CITY_GROUP, 100)
    bank.settled(rehearsed)
    bank.withdraw(rehearsed, BUYER, CITY_GROUP, 100)
    until(lambda: not bank.open_withdrawals(rehearsed), "the bank to pay")
