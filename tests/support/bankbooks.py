"""The settlement bank's own books in a fault run: what came in and went out, by its own lines."""

from __future__ import annotations

import threading

import msgspec

from kernel.values import Act
from tests.support.lanzhou import CITY_GROUP, QINWANGCHUAN, ZHONGCHUAN, advice
from tests.support.lanzhou_bank import confirmation

ACCOUNTS_OF = {  # the bank's word for each holder's account
    QINWANGCHUAN: "acct-" + "q" * 26,
    ZHONGCHUAN: "acct-" + "z" * 26,
    CITY_GROUP: "acct-" + "c" * 26,
}


class Word(msgspec.Struct):
    """What the bank has said of one line: so much, and its signature."""

    amount_fen: int  # in above zero, out below
    act: Act
    holder: str = ""  # of what came in
    withdrawal: str = ""  # of what went out


class Bank:
    """The bank's own books. Safe for concurrent use: every client's money goes through it."""

    def __init__(self) -> None:
        self.words: dict[str, Word] = {}
        self._guard = threading.Lock()

    def take_in(self, holder: str, amount_fen: int, line: str) -> Act:
        """The money is there from now on, whether anybody hears the advice or not."""
        act = advice(holder, amount_fen, line)
        with self._guard:
            self.words[line] = Word(amount_fen, act, holder=holder)
        return act

    def pay_out(self, withdrawal: str, holder: str, amount_fen: int) -> Act:
        line = f"out {withdrawal}"
        act = confirmation(withdrawal, amount_fen, line, ACCOUNTS_OF[holder])
        with self._guard:
            self.words[line] = Word(-amount_fen, act, withdrawal=withdrawal)
        return act

    @property
    def balance_fen(self) -> int:
        return sum(word.amount_fen for word in self.words.values())
