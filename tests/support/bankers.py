"""The counter of a settlement bank in a fault run: withdrawals, and a statement that reconciles.

The bank keeps books of its own (bankbooks.py), whatever becomes of its word: that gets lost, comes
late and comes twice. At the end what was lost is said again, the day ends, and the bank states what
it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.rpc.items import act_message
from kernel.values import DAY_MS, SHANGHAI_MS, Act, shanghai_day
from tests.support.bankbooks import ACCOUNTS_OF, Bank, Word
from tests.support.books import person
from tests.support.lanzhou import (
    BANK,
    CASHIER,
    CNY,
    REGISTRAR,
    available,
    deposit_entry,
)
from tests.support.lanzhou_bank import (
    MIDNIGHT,
    THE_BANK,
    agreement,
    binding,
    refusal_of_the_bank,
    statement,
)
from tests.support.patient import Asked, PatientClient, Service, Step
from tests.support.proxied import STANDBY
from tests.support.traders import HOLDERS, MUCH, place
from tests.support.world import PATIENCE_S, World, accepted

PART_LINES = 100  # of a statement; below what one part may hold
LONGEST_RUN_MS = 3 * 3_600_000
OPEN = 12  # withdrawals of one banker at once

COUNTER = Service(
    book="accounts",
    stub=accounts_pb2_grpc.AccountsServiceStub,
    batches={
        "RequestWithdrawals": (pb.RequestWithdrawalsRequest, "withdrawals"),
        "CancelWithdrawals": (pb.CancelWithdrawalsRequest, "steps"),
        "InstructWithdrawals": (pb.InstructWithdrawalsRequest, "steps"),
        "ConfirmWithdrawals": (pb.ConfirmWithdrawalsRequest, "answers"),
        "ReturnWithdrawals": (pb.ReturnWithdrawalsRequest, "answers"),
    },
    outcomes=pb.GetOutcomesRequest,
    processes=("accounts", STANDBY),
)


class Asking(msgspec.Struct):
    id: str
    holder: str
    amount_fen: int


class Banker(PatientClient):
    """The holders who ask, the cashier who instructs, and the bank that answers."""

    def __init__(self, name: str, world: World, seed: str, folder: Path, bank: Bank) -> None:
        caller = person(name, roles=["cashier", f"bank:{BANK}"], holders=HOLDERS)
        super().__init__(name, world, COUNTER, caller, seed, folder)
        self._bank = bank
        self._requested: list[Asking] = []
        self._instructed: list[Asking] = []

    def steps(self) -> tuple[Step, ...]:
        return (
            (self.requests, 4),
            (self.takes_back, 1),
            (self.instructs, 3),
            (self.pays, 3),
            (self.gives_back, 1),
        )

    def requests(self) -> None:
        if len(self._requested) + len(self._instructed) >= OPEN:
            return
        holder = self.chance.choice(HOLDERS)
        amount_fen = MUCH if self.chance.random() < 0.1 else self.chance.randint(1, 40)
        item = pb.WithdrawalRequest(
            id=self.world.new_id(),
            holder=holder,
            asset=CNY,
            amount_fen=amount_fen,
            clearing_house=BANK,
            bank=BANK,
        )
        of = place(available(holder), CNY)
        if self.ask("RequestWithdrawals", [Asked(item, "WithdrawalRequested", (), of)])[0]:
            self._requested.append(Asking(item.id, holder, amount_fen))

    def takes_back(self) -> None:
        self._step("CancelWithdrawals", "WithdrawalCancelled", self._one(self._requested))

    def instructs(self) -> None:
        one = self._one(self._requested)
        if self._step("InstructWithdrawals", "WithdrawalInstructed", one) and one is not None:
            self._instructed.append(one)

    def pays(self) -> None:
        """The bank has paid; its word may get lost, and may come twice."""
        one = self._one(self._instructed)
        if one is None:
            return
        act = self._bank.pay_out(one.id, one.holder, one.amount_fen)
        for _ in range(2 if self.chance.random() < 0.2 else 1):
            self._answer("ConfirmWithdrawals", "WithdrawalConfirmed", one, act)

    def gives_back(self) -> None:
        one = self._one(self._instructed)
        if one is not None:
            act = refusal_of_the_bank(one.id, one.amount_fen)
            self._answer("ReturnWithdrawals", "WithdrawalReturned", one, act)

    def _one(self, some: list[Asking]) -> Asking | None:
        return some.pop(self.chance.randrange(len(some))) if some else None

    def _step(self, method: str, event: str, one: Asking | None) -> bool:
        if one is None:
            return False
        item = pb.WithdrawalStep(id=self.world.new_id(), withdrawal=one.id)
        return self.ask(method, [Asked(item, event)])[0]

    def _answer(self, method: str, event: str, one: Asking, act: Act) -> None:
        item = pb.WithdrawalAnswer(
            id=self.world.new_id(), withdrawal=one.id, acts=[act_message(act)]
        )
        self.ask(method, [Asked(item, event)])


# ---- before and after ---------------------------------------------------------------------------


def open_the_bank(world: World) -> str:
    """Agreed with, before any money is there; answers the first day that will be stated.

    A day that would end in the middle of a run is not begun.
    """
    left_ms = DAY_MS - (world.clock.now_ms() + SHANGHAI_MS) % DAY_MS
    if left_ms < LONGEST_RUN_MS:
        world.advance_clock(left_ms)
    day = shanghai_day(world.clock.now_ms())
    command, act = agreement(day=day)
    agreed = command.agreement
    bank = pb.BankAgreement(
        id=world.new_id(),
        clearing_house=agreed.clearing_house,
        asset=agreed.asset,
        bank=agreed.bank,
        cutoff_minute=MIDNIGHT,
        first_day=agreed.first_day,
        opening_fen=agreed.opening_fen,
        document=agreed.document,
        acts=[act_message(act)],
    )
    _ask(world, "AgreeBanks", pb.AgreeBanksRequest(agreements=[bank]), REGISTRAR)
    for holder, account in ACCOUNTS_OF.items():
        _, act = binding(holder, account)
        bound = pb.BankAccountBinding(
            id=world.new_id(),
            holder=holder,
            clearing_house=BANK,
            bank=BANK,
            account=account,
            acts=[act_message(act)],
        )
        _ask(world, "BindBankAccounts", pb.BindBankAccountsRequest(bindings=[bound]), REGISTRAR)
    return day


def _ask(world: World, method: str, request: Any, caller: Any) -> None:
    answer = world.call(getattr(world.accounts, method), request, caller, patience_s=PATIENCE_S)
    for result in answer.results:
        accepted(result)


def close_the_day(
    world: World, bank: Bank, day: str, records_of: Callable[[], Sequence[Mapping[str, Any]]]
) -> int:
    """What was lost is said again, the day ends, the bank states it; answers how much was lost.

    Fails unless every line of the bank is booked once, and the books and the bank agree.
    """
    booked = {raw["body"].get("bank_line") for raw in records_of()}
    lost = {line: word for line, word in bank.words.items() if line not in booked}
    for word in lost.values():
        _say_again(world, word)
    world.advance_clock(DAY_MS)
    for act in parts_of(bank, day):
        part = pb.BankStatementPart(
            id=world.new_id(), clearing_house=BANK, asset=CNY, bank=BANK, acts=[act_message(act)]
        )
        request = pb.ReceiveBankStatementsRequest(parts=[part])
        _ask(world, "ReceiveBankStatements", request, THE_BANK)
    records = records_of()
    ends = [raw for raw in records if raw["type"] in ("BankStatementReconciled", "BankBreakOpened")]
    assert [raw["type"] for raw in ends] == ["BankStatementReconciled"], ends
    assert ends[0]["body"]["closing_fen"] == bank.balance_fen == -external_fen(records)
    return len(lost)


def _say_again(world: World, word: Word) -> None:
    if word.holder:
        world.post(deposit_entry(word.holder, word.amount_fen), CASHIER, acts=[word.act])
        return
    item = pb.WithdrawalAnswer(
        id=world.new_id(), withdrawal=word.withdrawal, acts=[act_message(word.act)]
    )
    _ask(world, "ConfirmWithdrawals", pb.ConfirmWithdrawalsRequest(answers=[item]), THE_BANK)


def parts_of(bank: Bank, day: str) -> Iterable[Act]:
    """The whole statement of the day, in as many parts as it takes."""
    lines = [(line, word.amount_fen) for line, word in bank.words.items()]
    parts = [lines[i : i + PART_LINES] for i in range(0, len(lines), PART_LINES)]
    for number, part in enumerate(parts, start=1):
        yield statement(day, 0, part, part=number, parts=len(parts), of=lines)


def external_fen(records: Iterable[Mapping[str, Any]]) -> int:
    """Added up leg by leg."""
    total_fen = 0
    for raw in records:
        for leg in raw["body"].get("legs", ()):
            total_fen += leg["amount"] * (leg["credit"]["purpose"] == "external")
            total_fen -= leg["amount"] * (leg["debit"]["purpose"] == "external")
    return total_fen
