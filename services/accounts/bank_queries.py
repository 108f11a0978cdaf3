"""Reads about settlement banks, all from the state: what is open, and how the books stand."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.accounts.domain.bank_proposals import RESERVE_REF
from services.accounts.domain.bank_state import BankAccount, BankKey
from services.accounts.domain.banks import external_fen
from services.accounts.domain.events import Account, Purpose, StatedLine
from services.accounts.domain.state import State, Withdrawal, account_key

MAX_BREAK_LINES: Final = 1000  # of each side, in one answer


class BankRow(NamedTuple):
    """One bank account with what a person or the bank wants to know of it."""

    key: BankKey
    account: BankAccount
    balance_fen: int
    reserve_fen: int


class BreakRow(NamedTuple):
    day: str
    theirs: list[StatedLine]
    theirs_count: int
    ours: list[StatedLine]
    ours_count: int


def open_withdrawals(
    state: State, holder: str, bank: str, instructed: bool, after: str, limit: int
) -> list[tuple[str, Withdrawal]]:
    """By id from just after one; of a holder, or through a bank."""
    found = [
        (id, one)
        for id, one in state.withdrawals.items()
        if (one.holder == holder or not holder)
        and (one.bank == bank or not bank)
        and (one.instructed_at_ms is not None or not instructed)
        and id > after
    ]
    return sorted(found, key=lambda row: row[0])[:limit]


def bank_accounts(state: State, bank: str) -> list[BankRow]:
    rows = []
    for key, account in sorted(state.bank_accounts.items(), key=lambda one: one[0]):
        if bank and key[2] != bank:
            continue
        reserve = Account(key[0], Purpose.CLEARING, RESERVE_REF)
        holding = state.accounts.get(account_key(reserve, key[1]))
        reserve_fen = 0 if holding is None else holding.balance
        rows.append(BankRow(key, account, external_fen(state, *key), reserve_fen))
    return rows


def breaks(account: BankAccount) -> list[BreakRow]:
    """Open ones by day, with the lines that nothing explains yet."""
    return [
        BreakRow(
            day,
            [
                StatedLine(account.theirs[line], line)
                for line in sorted(one.theirs)[:MAX_BREAK_LINES]
            ],
            len(one.theirs),
            [
                StatedLine(account.ours[line].amount_fen, line)
                for line in sorted(one.ours)[:MAX_BREAK_LINES]
            ],
            len(one.ours),
        )
        for day, one in sorted(account.breaks.items())
    ]
