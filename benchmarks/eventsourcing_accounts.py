"""Accounts in the words of the library `eventsourcing`: one aggregate each, balance and two events.

A module of its own because the library is a development package: only who has it imports this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from benchmarks.machine import PROMISES


class Account(Aggregate):
    @event("Opened")
    def __init__(self, balance_fen: int) -> None:
        self.balance_fen = balance_fen

    @event("Withdrawn")
    def withdraw(self, amount_fen: int) -> None:
        if self.balance_fen < amount_fen:
            raise ValueError(f"needed {amount_fen}, available {self.balance_fen}")
        self.balance_fen -= amount_fen

    @event("Deposited")
    def deposit(self, amount_fen: int) -> None:
        self.balance_fen += amount_fen


class Accounts(Application[UUID]):
    def transfer_all(self, pairs: Sequence[Sequence[Account]]) -> None:
        """One fen each from the first to the second, all in one transaction."""
        touched: dict[UUID, Account] = {}
        for payer, payee in pairs:
            payer.withdraw(1)
            payee.deposit(1)
            touched[payer.id], touched[payee.id] = payer, payee
        self.save(*touched.values())


def open_accounts(application: Accounts, count: int, balance_fen: int) -> list[Account]:
    opened = [Account(balance_fen) for _ in range(count)]
    application.save(*opened)
    return opened


def promises(application: Accounts) -> dict[str, str]:
    """What the library's own connections are promised by the server."""
    recorder: Any = application.recorder
    found = {}
    with recorder.datastore.transaction() as cursor:
        for name in PROMISES:
            cursor.execute(f"SHOW {name}")
            row = cursor.fetchone()
            found[name] = str(next(iter(row.values())) if isinstance(row, dict) else row[0])
    return found
