"""A bank-sim beside a world: started under its supervisor, paid in at, killed, asked what it has.

    bank = BankSim(world.supervisor, seed=7, lose=0.2, double=0.1)
    bank.start()
    bank.bind(world, CITY_GROUP, USCCS[CITY_GROUP])   # its account, bound by the registrar
    bank.pay_in(CITY_GROUP, 10_000)            # soon a deposit, unless the advice is lost
    bank.withdraw(world, BUYER, CITY_GROUP, 300)
    bank.kill(); bank.start()                  # its books are still there
    bank.close_day(world)                      # the clock goes past its cut-off: statements come
    bank.settled(world)                        # everything reconciled, nothing waits

Safe to use from several threads, as World is.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.request import Request, urlopen

from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from cli.stack.supervisor import Supervisor
from kernel.errors import Conflict
from kernel.ids import derived_holder_id
from kernel.rpc.items import act_message
from kernel.values import DAY_MS, Act, Caller, day_start_ms, shanghai_day
from tests.support.books import person
from tests.support.lanzhou import CASHIER, CNY, REGISTRAR
from tests.support.world import AUDITOR, PATIENCE_S, POLL_S, World, accepted, until

NAME = "bank-sim"
DEADLINE_S = 10.0
MINUTE_MS = 60_000


class BankSim:
    """`options` are those of the command: seed, lose, delay, double, give_back, cutoff_minute.

    `directory` is another view of the supervisor's folder, if it is to see one.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        name: str = NAME,
        directory: Path | None = None,
        **options: float,
    ) -> None:
        self._supervisor = supervisor
        self._directory = directory or supervisor.directory
        self.name = name
        self.bank = derived_holder_id("bank-sim", name)
        self.clearing_house = derived_holder_id("bank-sim", name, "clearing house")
        said = [f"--{what.replace('_', '-')}={value}" for what, value in options.items()]
        self._arguments = [
            *("bank-sim", "--dir", str(self._directory), "--name", name, "--found"),
            *said,
        ]
        self.teller = person("teller", roles=[f"bank:{self.bank}"])
        self._closed = ""  # the last day that was closed here

    # ---- the process ----------------------------------------------------------------------------

    def start(self) -> None:
        """Returns once its counter is open and, at the first time, the bank is agreed with.

        One that runs, or is being started again, is waited for alone.
        """
        self._supervisor.start_companion(self.name, self._arguments)
        until(self._is_open, f"{self.name} to open its counter and agree")

    def kill(self) -> None:
        """kill -9; with a supervisor that restarts it is back by itself."""
        killed = self._supervisor.kill(self.name)
        process = self._supervisor.process(self.name)
        until(lambda: process.pid != killed, f"{self.name} to die")

    def stop(self) -> None:
        self._supervisor.stop_service(self.name)

    def _is_open(self) -> bool:
        try:
            return bool(self.state()["terms"]["first_day"])
        except (OSError, URLError, ValueError):
            return False

    # ---- its counter ----------------------------------------------------------------------------

    def ask(self, path: str, body: object | None = None) -> Any:
        """One request; raises URLError while it is away."""
        home = self._directory / "bank-sim" / self.name
        port = json.loads((home / "counter.json").read_text())["port"]
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", data), timeout=DEADLINE_S) as said:
            return json.loads(said.read())

    def pay_in(self, holder: str, amount_fen: int) -> str:
        """Money at the counter; answers the bank's number of the line."""
        return str(self.ask("/pay-in", {"holder": holder, "amount_fen": amount_fen})["line"])

    def lines(self) -> list[dict[str, Any]]:
        return list(self.ask("/lines")["lines"])

    def statements(self) -> list[dict[str, Any]]:
        return list(self.ask("/statements")["statements"])

    def state(self) -> dict[str, Any]:
        return dict(self.ask("/state"))

    # ---- its clearing house, in a world ---------------------------------------------------------

    def bind(self, world: World, holder: str, uscc: str) -> None:
        """The bank opens an account in the holder's name, and the registrar binds it."""
        said = self.ask("/accounts", {"holder": holder, "uscc": uscc})
        binding = pb.BankAccountBinding(
            id=world.new_id(),
            holder=holder,
            clearing_house=self.clearing_house,
            bank=self.bank,
            account=said["account"],
            acts=[act_message(Act(**said["act"]))],
        )
        request = pb.BindBankAccountsRequest(bindings=[binding])
        (result,) = self._call(world, "BindBankAccounts", request, REGISTRAR).results
        accepted(result)

    def withdraw(self, world: World, caller: Caller, holder: str, amount_fen: int) -> str:
        """Requested and instructed; the bank answers when it hears of it."""
        asked = pb.WithdrawalRequest(
            id=world.new_id(),
            holder=holder,
            asset=CNY,
            amount_fen=amount_fen,
            clearing_house=self.clearing_house,
            bank=self.bank,
        )
        request = pb.RequestWithdrawalsRequest(withdrawals=[asked])
        (result,) = self._call(world, "RequestWithdrawals", request, caller).results
        accepted(result)
        step = pb.WithdrawalStep(id=world.new_id(), withdrawal=asked.id)
        instruct = pb.InstructWithdrawalsRequest(steps=[step])
        (result,) = self._call(world, "InstructWithdrawals", instruct, CASHIER).results
        accepted(result)
        return str(asked.id)

    def open_withdrawals(self, world: World, *, instructed: bool = False) -> list[pb.Withdrawal]:
        """Those the bank was asked to pay alone, or all."""
        request = pb.ListWithdrawalsRequest(bank=self.bank, instructed=instructed, page_size=1000)
        answer = self._call(world, "ListWithdrawals", request, AUDITOR)
        return list(answer.withdrawals)

    def standing(self, world: World) -> pb.BankAccount:
        """How the books of accounts stand with this bank."""
        request = pb.ListBankAccountsRequest(bank=self.bank)
        (found,) = self._call(world, "ListBankAccounts", request, AUDITOR).accounts
        return cast(pb.BankAccount, found)

    def _call(self, world: World, method: str, request: Any, caller: Caller) -> Any:
        """Of whichever process of the book writes it."""
        standby = self._supervisor.standbys.get("accounts")
        names = ["accounts"] if standby is None else ["accounts", standby]
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            stub = accounts_pb2_grpc.AccountsServiceStub(world.channel(names[0]))
            try:
                return world.call(getattr(stub, method), request, caller)
            except Conflict:
                if time.monotonic() > give_up_s:
                    raise
            names.append(names.pop(0))
            time.sleep(POLL_S)

    def close_day(self, world: World) -> str:
        """Moves the world's clock past the end of the bank's day; answers that day."""
        now_ms = world.clock.now_ms()
        shift_ms = DAY_MS - int(self.state()["terms"]["cutoff_minute"]) * MINUTE_MS
        day = shanghai_day(now_ms + shift_ms)
        world.advance_clock(day_start_ms(day) + DAY_MS - shift_ms + 1000 - now_ms)
        self._closed = day
        return day

    def settled(self, world: World, patience_s: float = 4 * PATIENCE_S) -> None:
        """Returns once bank and books agree on everything; fails with both when they never do."""
        give_up_s = time.monotonic() + patience_s
        while True:
            why = self.differs(world)
            if not why:
                return
            if time.monotonic() > give_up_s:
                raise AssertionError(f"bank and books do not come together: {why}")
            time.sleep(0.2)

    def differs(self, world: World) -> str:
        """What bank and books do not agree on, in words; "" when they do."""
        try:
            state, statements = self.state(), self.statements()
            standing = self.standing(world)
        except (OSError, URLError, Conflict) as error:
            return f"not there: {error}"
        last = statements[-1]["day"] if statements else ""
        if standing.breaks:
            return f"breaks {standing.breaks}"
        if state["counts"]["waiting"]:
            return f"messages waiting: {state['counts']}"
        if last < self._closed:
            return f"the bank has stated {last or 'nothing'} and not {self._closed}"
        if standing.stated_day != last:
            return f"the bank has stated {last}, the books know {standing.stated_day}"
        if waiting := self.open_withdrawals(world, instructed=True):
            return f"withdrawals {waiting}"
        if state["balance_fen"] != standing.balance_fen:
            return f"the bank has {state['balance_fen']} fen, the books say {standing.balance_fen}"
        return ""
