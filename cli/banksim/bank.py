"""What the bank does, on its own books alone: takes in, pays, refuses to pay, closes its days.

No network here. Whatever has to be told is a message in the books, in the transaction of its cause.
"""

from __future__ import annotations

import base64
import os
from typing import Final

import msgspec

from cli.banksim.chance import Chance
from cli.banksim.store import Answer, Line, Store, Terms
from cli.errors import CliError
from cli.values import Instruction
from kernel.errors import Kind, Refused
from kernel.values import DAY_MS, MAX_INTEGER, day_start_ms, shanghai_day

ADVICE: Final = "advice"
ANSWER: Final = "answer"
STATEMENT: Final = "statement"
MINUTE_MS: Final = 60_000
DAY_MINUTES: Final = 1440
RETURN_REASON: Final = "the account is closed"


class Bank:
    def __init__(self, store: Store, terms: Terms, chance: Chance) -> None:
        self.store = store
        self.terms = terms
        self.chance = chance

    @property
    def _shift_ms(self) -> int:
        return (DAY_MINUTES - self.terms.cutoff_minute) * MINUTE_MS

    def day_of(self, at_ms: int) -> str:
        return shanghai_day(at_ms + self._shift_ms)

    def end_ms(self, day: str) -> int:
        """The first instant after a day of this bank."""
        return day_start_ms(day) + DAY_MS - self._shift_ms

    def agreed(self, first_day: str, opening_fen: int) -> None:
        self.terms = msgspec.structs.replace(
            self.terms, first_day=first_day, opening_fen=opening_fen
        )
        self.store.set_terms(self.terms)

    def open_account(self, holder: str, uscc: str) -> str:
        """The holder's account, by the random word the clearing house may know it under."""
        known = self.store.account_of(holder)
        if known is not None:
            return known
        account = "acct-" + base64.b32encode(os.urandom(16)).decode().lower().rstrip("=")
        self.store.open_account(account, holder, uscc)
        return account

    def pay_in(self, holder: str, amount_fen: int, at_ms: int) -> Line:
        """Somebody brings money for this holder."""
        if not 1 <= amount_fen <= MAX_INTEGER or not holder:
            raise Refused("AMOUNT_OUT_OF_RANGE", f"cannot pay in {amount_fen}", Kind.INVALID)
        with self.store.change():
            line = self._add_line(holder, amount_fen, at_ms, None)
            self.store.add_message(ADVICE, line.line, at_ms)
        return line

    def answer(self, asked: Instruction, at_ms: int) -> Answer:
        """Pays what it is asked to pay, once, or will not; the same answer for ever."""
        known = self.store.answer(asked.withdrawal)
        if known is not None:
            return known
        returned = self.chance.returns(asked.withdrawal)
        if asked.amount_fen > self.store.balance_fen():  # no bank pays what it does not have
            returned = True
        reason = RETURN_REASON if returned else None
        answer = Answer(asked.withdrawal, asked.account, asked.amount_fen, reason)
        with self.store.change():
            self.store.add_answer(answer)
            if reason is None:
                self._add_line(asked.holder, -asked.amount_fen, at_ms, asked.withdrawal)
            self.store.add_message(ANSWER, asked.withdrawal, at_ms)
            self.store.count("paid" if reason is None else "returned")
        return answer

    def _add_line(self, holder: str, amount_fen: int, at_ms: int, withdrawal: str | None) -> Line:
        day = self.day_of(at_ms)
        last = self.store.last_statement()
        if last is not None and day <= last[0]:  # a clock that went back: never into a closed day
            day = self.day_of(self.end_ms(last[0]))
            at_ms = self.end_ms(last[0])
        line = Line(
            f"{day}/{self.store.next_number():07d}", day, at_ms, amount_fen, holder, withdrawal
        )
        self.store.add_line(line)
        return line

    def close_days(self, at_ms: int) -> list[str]:
        """States every day that is over and has lines, and the last one in any case."""
        if not self.terms.first_day:
            return []
        over = self.day_of(at_ms - DAY_MS)
        last = self.store.last_statement()
        after, balance_fen = ("", self.terms.opening_fen) if last is None else last
        days = self.store.days(after, over)
        if over >= self.terms.first_day and over > after and over not in days:
            days.append(over)
        for day in days:
            closing_fen = balance_fen + sum(one.amount_fen for one in self.store.of_day(day))
            with self.store.change():
                self.store.add_statement(day, balance_fen, closing_fen)
                self.store.add_message(STATEMENT, day, at_ms)
            balance_fen = closing_fen
        return days


def terms_with(known: Terms | None, asked: Terms) -> Terms:
    """What the books say of it already, if they are this bank's."""
    if known is None:
        return asked
    same = replace_agreed(asked, known)
    if same != known:
        raise CliError(f"expected the books of {asked}, these are of {known}")
    return known


def replace_agreed(asked: Terms, known: Terms) -> Terms:
    return msgspec.structs.replace(asked, first_day=known.first_day, opening_fen=known.opening_fen)
