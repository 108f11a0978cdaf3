"""Random days with a bank whose messages are lost, late and doubled: the statements put it right.

The accounts book's own writer decides, a naive bank of a few lines keeps the truth, and the
independent books fold what was recorded. In the end, with every message told once more, bank and
book agree to the fen, no break is open, and all sums are zero.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.errors import Refused
from kernel.values import DAY_MS, shanghai_day
from services.accounts.domain.commands import (
    ConfirmWithdrawal,
    InstructWithdrawal,
    ReturnWithdrawal,
)
from tests.support.lanzhou import (
    BANK,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    REGISTRAR,
    advice,
    deposit_entry,
)
from tests.support.lanzhou_bank import (
    KEY,
    RECEIVE,
    THE_BANK,
    Line,
    agreement,
    binding,
    confirmation,
    refusal_of_the_bank,
    statement,
    withdrawing,
)
from tests.support.ledgers import Books, Desks, Story, found_the_place, keep, open_desks

Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("pay in", "pay in", "withdraw", "withdraw", "instruct", "answer", "answer"),
                *("tell", "tell", "tell late", "tell twice", "day", "state"),
            )
        ),
        st.integers(1, 900),
        st.integers(0, 99),
    ),
    min_size=10,
    max_size=60,
)


@dataclass
class NaiveBank:
    """Lines by day; what it has answered, and what it still has to tell, in no order."""

    lines: dict[str, list[Line]] = field(default_factory=dict)  # by day
    stated: list[str] = field(default_factory=list)
    untold: list[Line] = field(default_factory=list)
    paid: dict[str, Line] = field(default_factory=dict)  # by withdrawal
    refused: dict[str, int] = field(default_factory=dict)

    def enter(self, day: str, amount_fen: int) -> Line:
        line = (f"{day}/{sum(map(len, self.lines.values()))}", amount_fen)
        self.lines.setdefault(day, []).append(line)
        return line

    def balance(self, days: list[str]) -> int:
        return sum(fen for day in days for _, fen in self.lines.get(day, ()))


class Walk:
    def __init__(self, desks: Desks) -> None:
        self.desks = desks
        self.bank = NaiveBank()
        self.requested: list[str] = []
        self.open: dict[str, int] = {}  # instructed withdrawals and their amounts
        self.days: list[str] = []

    @property
    def today(self) -> str:
        return shanghai_day(self.desks.clock.now_ms())

    async def take(self, step: Step) -> None:
        what, amount_fen, choice = step
        bank = self.bank
        if what == "pay in":
            bank.untold.append(bank.enter(self.today, amount_fen))
        elif what == "withdraw":
            await self._ask(withdrawing(amount_fen), BUYER)
            self.requested = list(self._state.withdrawals)
        elif what == "instruct" and self.requested:
            id = self.requested[choice % len(self.requested)]
            if id in self._state.withdrawals and await self._ask(InstructWithdrawal(id), CASHIER):
                self.open[id] = self._state.withdrawals[id].amount_fen
        elif what == "answer" and self.open:
            self._answer(sorted(self.open)[choice % len(self.open)], choice)
        elif what.startswith("tell"):
            await self._tell(choice, doubled=what == "tell twice")
        elif what == "day":
            self.days.append(self.today)
            self.desks.clock.at_ms += DAY_MS
        elif what == "state":
            await self.state_next()

    def _answer(self, id: str, choice: int) -> None:
        """The bank makes up its mind, once; the clearing house need not hear of it."""
        if id in self.bank.paid or id in self.bank.refused:
            return
        if choice % 4 == 0:
            self.bank.refused[id] = self.open[id]
        else:
            self.bank.paid[id] = self.bank.enter(self.today, -self.open[id])

    async def _tell(self, choice: int, *, doubled: bool) -> None:
        bank = self.bank
        answered = sorted([*bank.paid, *bank.refused])
        for _ in range(1 + doubled):
            if answered and choice % 2:
                await self._tell_answer(answered[choice % len(answered)])
            elif bank.untold:
                await self._advise(bank.untold[choice % len(bank.untold)])

    async def _advise(self, line: Line) -> None:
        number, amount_fen = line
        act = advice(CITY_GROUP, amount_fen, number)
        await self._ask(deposit_entry(CITY_GROUP, amount_fen), CASHIER, act)

    async def _tell_answer(self, id: str) -> None:
        paid = self.bank.paid.get(id)
        if paid is None:
            act = refusal_of_the_bank(id, self.bank.refused[id])
            await self._ask(ReturnWithdrawal(id), THE_BANK, act)
        else:
            act = confirmation(id, -paid[1], paid[0])
            await self._ask(ConfirmWithdrawal(id), THE_BANK, act)

    async def state_next(self) -> bool:
        """The next day that is over and not stated yet; False when there is none."""
        left = self.days[len(self.bank.stated) :]
        if not left:
            return False
        lines = self.bank.lines.get(left[0], [])
        act = statement(left[0], self.bank.balance(self.bank.stated), lines)
        assert await self._ask(RECEIVE, THE_BANK, act)
        self.bank.stated.append(left[0])
        return True

    async def tell_everything(self) -> None:
        for line in self.bank.untold:
            await self._advise(line)
        for id in [*self.bank.paid, *self.bank.refused]:
            await self._tell_answer(id)

    @property
    def _state(self):  # type: ignore[no-untyped-def]
        return self.desks.accounts.writer.state

    async def _ask(self, command, caller, *acts) -> bool:  # type: ignore[no-untyped-def]
        try:
            await self.desks.accounts.ask(command, caller, *acts)
        except Refused:
            return False
        return True


async def live(steps: list[Step]) -> tuple[Story, NaiveBank]:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        for command, act in (agreement(), binding()):
            await desks.accounts.ask(command, REGISTRAR, act)
        walk = Walk(desks)
        for step in steps:
            await walk.take(step)
        await walk.tell_everything()
        walk.days.append(walk.today)
        desks.clock.at_ms += DAY_MS
        while await walk.state_next():
            pass
        keep(story, desks)
        return story, walk.bank


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_is_lost_late_or_doubled_is_right_after_the_statements(steps: list[Step]) -> None:
    story, bank = asyncio.run(live(steps))
    state = story.state
    account = state.bank_accounts[KEY]
    truth_fen = bank.balance(list(bank.lines))
    external = state.accounts.get((BANK, CNY, "external", BANK))
    assert account.stated_fen == truth_fen == (0 if external is None else -external.balance)
    assert (account.breaks, account.ours, account.theirs) == ({}, {}, {})
    assert sum(one.balance for key, one in state.accounts.items() if key[1] == CNY) == 0
    books = Books()
    books.fold("ledger", story.ledger)
    books.fold("accounts", story.accounts)
    assert books.accounts.balances == {key: one.balance for key, one in state.accounts.items()}
