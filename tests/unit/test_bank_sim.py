"""The bank of the rehearsal on its own books: lines, answers, days, what becomes of messages."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.banksim.bank import ADVICE, ANSWER, STATEMENT, Bank, terms_with
from cli.banksim.chance import Chance
from cli.banksim.store import Store, Terms
from cli.banksim.words import MAX_PART_LINES, Words
from cli.errors import CliError
from cli.values import Instruction
from kernel.acts import public_bytes, verify_act
from kernel.errors import Refused
from kernel.values import DAY_MS, shanghai_day
from services.accounts.domain.acts import BankAdvice, BankStatement
from services.accounts.domain.banks import MAX_PART_LINES as TAKEN_PART_LINES
from tests.support.books import MORNING_MS
from tests.support.lanzhou import BANK, CITY_GROUP, CNY

TERMS = Terms(BANK, BANK, CNY, 1440, "sha256 of the agreement")
TODAY = shanghai_day(MORNING_MS)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def open_bank(folder: Path, chance: Chance | None = None) -> Bank:
    store = Store(folder / "books.sqlite3")
    terms = terms_with(store.terms(), TERMS)
    store.set_terms(terms)
    return Bank(store, terms, chance or Chance(1))


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    made = open_bank(tmp_path)
    made.agreed(TODAY, 0)
    return made


def messages(bank: Bank) -> list[tuple[str, str]]:
    return [(one.kind, one.subject) for one in bank.store.due_messages(MORNING_MS + DAY_MS, 100)]


def asked(amount_fen: int, id: str = "w-1") -> Instruction:
    return Instruction(id, CITY_GROUP, "acct-" + "a" * 26, amount_fen)


def test_money_paid_in_is_a_line_and_owes_an_advice(bank: Bank) -> None:
    line = bank.pay_in(CITY_GROUP, 500, MORNING_MS)
    assert (line.day, line.amount_fen) == (TODAY, 500)
    assert messages(bank) == [(ADVICE, line.line)]
    assert bank.store.balance_fen() == 500


def test_the_same_instruction_gets_the_same_answer_and_is_paid_once(bank: Bank) -> None:
    bank.pay_in(CITY_GROUP, 500, MORNING_MS)
    assert bank.answer(asked(200), MORNING_MS) == bank.answer(asked(200), MORNING_MS + 1)
    assert bank.store.balance_fen() == 300
    assert messages(bank).count((ANSWER, "w-1")) == 1


def test_a_bank_does_not_pay_what_it_does_not_have(bank: Bank) -> None:
    assert bank.answer(asked(200), MORNING_MS).reason is not None
    assert bank.store.balance_fen() == 0


def test_days_are_closed_once_and_each_opens_with_what_the_last_closed_with(bank: Bank) -> None:
    bank.pay_in(CITY_GROUP, 500, MORNING_MS)
    assert bank.close_days(MORNING_MS) == []
    assert bank.close_days(MORNING_MS + DAY_MS) == [TODAY]
    assert bank.close_days(MORNING_MS + DAY_MS) == []
    bank.pay_in(CITY_GROUP, 70, MORNING_MS + DAY_MS)
    (tomorrow,) = bank.close_days(MORNING_MS + 2 * DAY_MS)
    assert bank.store.statement(TODAY) == (0, 500)
    assert bank.store.statement(tomorrow) == (500, 570)
    assert (STATEMENT, TODAY) in messages(bank)


def test_a_clock_that_went_back_puts_nothing_into_a_day_that_is_stated(bank: Bank) -> None:
    bank.close_days(MORNING_MS + DAY_MS)
    assert bank.pay_in(CITY_GROUP, 500, MORNING_MS).day > TODAY


def test_its_books_are_there_after_it_died(tmp_path: Path) -> None:
    before = open_bank(tmp_path)
    before.agreed(TODAY, 0)
    line = before.pay_in(CITY_GROUP, 500, MORNING_MS)
    after = open_bank(tmp_path)  # the first one was never closed
    assert after.terms == before.terms
    assert after.store.lines() == [line]
    assert messages(after) == [(ADVICE, line.line)]


def test_what_fails_in_the_middle_leaves_nothing(bank: Bank) -> None:
    def twice() -> None:
        with bank.store.change():
            bank.store.add_message(ADVICE, "one", MORNING_MS)
            bank.store.add_message(ADVICE, "one", MORNING_MS)

    with pytest.raises(sqlite3.IntegrityError):
        twice()
    assert messages(bank) == []


def test_the_books_of_one_bank_are_not_anothers() -> None:
    other = msgspec.structs.replace(TERMS, bank=CITY_GROUP)
    with pytest.raises(CliError, match="expected the books of"):
        terms_with(TERMS, other)


def test_what_is_not_money_is_not_paid_in(bank: Bank) -> None:
    for holder, amount_fen in ((CITY_GROUP, 0), (CITY_GROUP, -5), ("", 5)):
        with pytest.raises(Refused):
            bank.pay_in(holder, amount_fen, MORNING_MS)
    assert bank.store.lines() == []


def test_a_holders_account_is_one_random_word(bank: Bank) -> None:
    account = bank.open_account(CITY_GROUP, "91330100799655058B")
    assert bank.open_account(CITY_GROUP, "91330100799655058B") == account
    assert len(account) == len("acct-") + 26


def test_what_becomes_of_a_message_is_the_same_for_a_seed_and_another_for_every_sending() -> None:
    chance = Chance(7, lose=0.5, delay=0.5, double=0.5)
    fates = [chance.fate("advice 1", sending) for sending in range(40)]
    assert fates == [Chance(7, 0.5, 0.5, 0.5).fate("advice 1", n) for n in range(40)]
    assert {one.lost for one in fates} == {one.doubled for one in fates} == {True, False}
    assert Chance(7).fate("advice 1", 0).lost is False


def test_the_words_are_those_the_accounts_service_reads() -> None:
    words = Words(KEY, TERMS)
    act = words.advice(CITY_GROUP, 500, "line 1")
    assert verify_act(public_bytes(KEY), act)
    assert msgspec.json.decode(act.statement, type=BankAdvice).amount_fen == 500
    (act,) = words.statement(TODAY, 0, [])
    assert msgspec.json.decode(act.statement, type=BankStatement).total_lines == 0


def test_a_long_statement_is_said_in_parts(bank: Bank) -> None:
    assert MAX_PART_LINES == TAKEN_PART_LINES
    for _ in range(MAX_PART_LINES + 1):
        bank.pay_in(CITY_GROUP, 1, MORNING_MS)
    acts = Words(KEY, TERMS).statement(TODAY, 0, bank.store.of_day(TODAY))
    parts = [msgspec.json.decode(act.statement, type=BankStatement) for act in acts]
    assert [len(one.lines) for one in parts] == [MAX_PART_LINES, 1]
    assert {one.closing_fen for one in parts} == {MAX_PART_LINES + 1}
