"""A settlement bank in a fault run: the real `tanzhang bank-sim`, and the people who come to it.

The bank is a process with a key and books of its own, reaches the services through the proxy, and
its words get lost, come late and come twice, by the run's seed. Its first day ends in the middle of
the run: what was lost by then is a break, until it is told again. At the end another day ends.
"""

from __future__ import annotations

import random
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.values import DAY_MS, SHANGHAI_MS
from tests.support.bank_sim import MINUTE_MS, NAME, BankSim
from tests.support.bankcheck import BankBooks
from tests.support.books import person
from tests.support.history import PaidIn
from tests.support.lanzhou import CNY, USCCS, available
from tests.support.patient import Asked, PatientClient, Service, Step
from tests.support.proxied import STANDBY, ProxiedSupervisor
from tests.support.traders import HOLDERS, MUCH, place
from tests.support.world import World

LOSE, DELAY, DOUBLE = 0.2, 0.3, 0.2  # of what the bank says
GIVE_BACK = 0.2  # of what it is asked to pay
FIRST_FEN = 10_000  # brought by every holder before anybody takes money out
SETTLING_IN_MS = 3 * MINUTE_MS  # what comes before the run takes less
OPEN = 12  # withdrawals of one banker at once

COUNTER = Service(
    book="accounts",
    stub=accounts_pb2_grpc.AccountsServiceStub,
    batches={
        "RequestWithdrawals": (pb.RequestWithdrawalsRequest, "withdrawals"),
        "CancelWithdrawals": (pb.CancelWithdrawalsRequest, "steps"),
        "InstructWithdrawals": (pb.InstructWithdrawalsRequest, "steps"),
    },
    outcomes=pb.GetOutcomesRequest,
    processes=("accounts", STANDBY),
)


class TheBank(NamedTuple):
    """The process, and when its first day ends."""

    sim: BankSim
    day_ends_ms: int


class Asking(msgspec.Struct):
    id: str
    holder: str


class Banker(PatientClient):
    """Who brings money to the bank, the holders who want some back, the cashier who instructs."""

    def __init__(self, name: str, world: World, seed: str, folder: Path, bank: BankSim) -> None:
        caller = person(name, roles=["cashier"], holders=HOLDERS)
        super().__init__(name, world, COUNTER, caller, seed, folder)
        self._bank = bank
        self._requested: list[Asking] = []

    def steps(self) -> tuple[Step, ...]:
        return (
            (self.pays_in, 4),
            (self.requests, 4),
            (self.takes_back, 1),
            (self.instructs, 3),
        )

    def pays_in(self) -> None:
        """At the bank's own counter; what it does not answer may be in its books or not."""
        holder, amount_fen = self.chance.choice(HOLDERS), self.chance.randint(1, 50)
        line: str | None = None
        try:
            line = self._bank.pay_in(holder, amount_fen)
        except HTTPError:
            raise
        except (OSError, HTTPException, ValueError):  # away, or cut off in the middle of a word
            self.asked_again_for["BANK_AWAY"] += 1
        self.diary.note(PaidIn(client=self.name, holder=holder, amount_fen=amount_fen, line=line))

    def requests(self) -> None:
        if len(self._requested) >= OPEN:
            return
        holder = self.chance.choice(HOLDERS)
        amount_fen = MUCH if self.chance.random() < 0.1 else self.chance.randint(1, 40)
        item = pb.WithdrawalRequest(
            id=self.world.new_id(),
            holder=holder,
            asset=CNY,
            amount_fen=amount_fen,
            clearing_house=self._bank.clearing_house,
            bank=self._bank.bank,
        )
        asked = Asked(item, "WithdrawalRequested", (), place(available(holder), CNY))
        if self.ask("RequestWithdrawals", [asked])[0]:
            self._requested.append(Asking(item.id, holder))

    def takes_back(self) -> None:
        self._step("CancelWithdrawals", "WithdrawalCancelled")

    def instructs(self) -> None:
        """From here on the bank answers: it pays, or it does not."""
        self._step("InstructWithdrawals", "WithdrawalInstructed")

    def _step(self, method: str, event: str) -> None:
        if not self._requested:
            return
        one = self._requested.pop(self.chance.randrange(len(self._requested)))
        item = pb.WithdrawalStep(id=self.world.new_id(), withdrawal=one.id)
        self.ask(method, [Asked(item, event)])


# ---- before and after ---------------------------------------------------------------------------


def open_the_bank(world: World, seed: str) -> TheBank:
    """Founded, bound to every holder's account, with money in it."""
    supervisor = world.supervisor
    assert isinstance(supervisor, ProxiedSupervisor)
    ends_ms = (world.clock.now_ms() + SETTLING_IN_MS) // MINUTE_MS * MINUTE_MS
    cutoff_minute = (ends_ms + SHANGHAI_MS) % DAY_MS // MINUTE_MS or DAY_MS // MINUTE_MS
    chance = random.Random(f"{seed} bank").randrange(2**31)
    sim = BankSim(
        supervisor,
        directory=supervisor.view(NAME),
        cutoff_minute=cutoff_minute,
        seed=chance,
        lose=LOSE,
        delay=DELAY,
        double=DOUBLE,
        give_back=GIVE_BACK,
    )
    sim.start()
    for holder in HOLDERS:
        sim.bind(world, holder, USCCS[holder])
        sim.pay_in(holder, FIRST_FEN)
    return TheBank(sim, ends_ms)


def bring_the_days_end_near(world: World, bank: TheBank, within_s: float) -> None:
    """Moves the clock; a machine that was slow may be past it already."""
    left_ms = bank.day_ends_ms - world.clock.now_ms() - int(within_s * 1000)
    if left_ms > 0:
        world.advance_clock(left_ms)


def close_the_day(world: World, bank: BankSim) -> BankBooks:
    """Another day ends; answers the bank's own books, once it and ours agree, and ends the bank."""
    bank.start()  # it may only just be coming back
    bank.close_day(world)
    bank.settled(world)
    counts = dict(bank.state()["counts"])
    books = BankBooks(bank.bank, bank.lines(), bank.statements(), counts)
    world.supervisor.stop_service(bank.name)
    return books
