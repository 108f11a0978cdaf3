"""Random days of companies: whatever the accounts book lets happen, the independent books accept.

Registrars, operators, agents and strangers do what comes to their mind; what is refused leaves no
event. So a rule that only one of the two knows, or knows otherwise, shows.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.errors import Refused
from kernel.values import DAY_MS, Caller
from services.accounts.domain.changes import HolderKind, Part, Right, Role, Status
from services.accounts.domain.commands import (
    ApproveProposal,
    PostEntry,
    PostHold,
    ProposeChange,
    RegisterHolder,
    ReleaseHold,
    RevokeMandate,
    SetOperator,
)
from tests.support.books import person
from tests.support.companies import (
    BOSS,
    FUND,
    LI,
    TRADER,
    WANG,
    fund,
    mandate,
    opening,
    operator,
    proposal_of,
    status,
    terms,
)
from tests.support.lanzhou import (
    BUYER,
    CASHIER,
    CITY_GROUP,
    CLAIM,
    CNY,
    EXCHANGE,
    FARMER,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    TICKET,
    VENUE,
    ZHONGCHUAN,
    advice,
    approval,
    available,
    deposit_entry,
    hold,
    issuance,
    leg,
    retired,
    settlement,
    settlement_entry,
    trading,
)
from tests.support.ledgers import Desks, Story, folded_up_to, found_the_place, keep, open_desks

WHO = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP, FUND)
CLERK = person("of all", holders=WHO)
CALLERS = (FARMER, BUYER, BOSS, TRADER, CLERK)
RIGHTS = (
    (),
    (Right.TRANSFER,),
    (Right.TRADE, Right.TRANSFER),
    (Right.HOLD, Right.RETIRE),
    tuple(right for right in Right if right != Right.ADMINISTER),
    tuple(Right),
)
DOINGS = (
    *("terms", "open", "open for trading", "operator", "set operator", "entrust", "mandate"),
    *(
        "offer",
        "revoke",
        "status",
        "give",
        "give",
        "pay",
        "give two",
        "allocate",
        "retire",
        "trade",
    ),
    *("hold", "hold", "post", "post", "let go", "issue", "wait", "mandate", "mandate", "give"),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(DOINGS), *(st.integers(0, 11) for _ in range(4))),
    min_size=8,
    max_size=40,
)
Step = tuple[str, int, int, int, int]


class Walk:
    """Carries out steps on the real writer."""

    def __init__(self, desks: Desks) -> None:
        self._desks = desks
        self._n = 0
        self._holds: list[str] = []
        self._mandates: list[tuple[str, str]] = []  # with its principal

    async def begin(self) -> None:
        units = dict.fromkeys(WHO, 200)
        ask = self._desks.accounts.ask
        await ask(RegisterHolder(FUND, HolderKind.FUND, "", "丝路碳基金"), REGISTRAR)
        await ask(issuance("B-0", units), REGISTRY, approval("B-0", units))
        for holder in WHO:
            fen = 100_000
            await ask(deposit_entry(holder, fen), CASHIER, advice(holder, fen, holder))

    async def take(self, step: Step) -> None:
        self._n += 1
        try:
            await self._do(*step)
        except Refused:
            return

    async def _ask(self, command: Any, caller: Caller, *acts: Any) -> str:
        position = await self._desks.accounts.ask(command, caller, *acts)
        by: str = json.loads(self._desks.accounts.events()[position].record)["by"]
        return by

    async def _make(self, **change: Any) -> str:
        id = await self._ask(proposal_of(**change), WANG)
        await self._ask(ApproveProposal(id), LI)
        return id

    async def _do(self, what: str, a: int, b: int, c: int, d: int) -> None:
        one, other, caller = WHO[a % 4], WHO[b % 4], CALLERS[c % 5]
        under = ""
        if d % 3 and self._mandates:  # somebody who acts for all of them tries a mandate
            under, one = self._mandates[d % len(self._mandates)]
            caller = caller if c % 4 == 0 else CLERK
        match what:
            case "terms":
                barred = [Role(one, Part.VERIFIER)] if b % 2 else []
                await self._make(
                    terms=terms(
                        effective_from_ms=self._desks.clock.now_ms() + c * 1000,
                        opening_required=bool(d % 2),
                        parts=barred,
                    )
                )
            case "open":
                await self._make(opening=opening(one))
            case "open for trading":
                await self._make(opening=opening(one, VENUE))
            case "operator":
                await self._make(operator=operator(caller, *RIGHTS[b % 6], holder=one))
            case "set operator":
                row = operator(CALLERS[b % 5], *RIGHTS[d % 6], holder=one, max_units=a * 4)
                await self._ask(SetOperator(row), caller)
            case "entrust":
                await self._make(fund=msgspec.structs.replace(fund(), manager=one))
            case "mandate" | "offer":
                asked = mandate(
                    *RIGHTS[c % 6], principal=one, agent=other, assets=[CNY] if d % 3 else []
                )
                if what == "mandate":
                    self._mandates.append((await self._make(mandate=asked), one))
                else:
                    offered = ProposeChange(proposal_of(mandate=asked).change, one)
                    id = await self._ask(offered, caller)
                    await self._ask(ApproveProposal(id), CALLERS[d % 5])
                    self._mandates.append((id, one))
            case "revoke":
                await self._ask(RevokeMandate(under, one), caller)
            case "status":
                await self._make(status=status(one, tuple(Status)[b % 5]))
            case "wait":
                self._desks.clock.at_ms += a * DAY_MS // 4 if b else 45 * DAY_MS
            case _:
                await self._move(what, one, other, caller, under, d)

    async def _move(
        self, what: str, one: str, other: str, caller: Caller, under: str, d: int
    ) -> None:
        amount = 1 + d
        mandate_of = {"mandate": under} if under else {}

        async def post(*legs: Any, claim: Any = None) -> None:
            await self._ask(PostEntry(list(legs), claim, **mandate_of), caller)

        match what:
            case "give":
                await post(leg(amount, TICKET, available(one), available(other)))
            case "pay":
                await post(leg(amount, CNY, available(one), available(other)))
            case "give two":
                third = WHO[(d + 1) % 4]
                await post(
                    leg(amount, TICKET, available(one), available(other)),
                    leg(amount, CNY, available(third), available(one)),
                )
            case "allocate":
                await post(leg(amount, TICKET, available(one), trading(one)))
                await post(leg(amount * 50, CNY, available(other), trading(other)))
            case "retire":
                await post(leg(amount, TICKET, available(one), retired(one)), claim=CLAIM)
            case "trade":
                deal = (f"n {self._n}", one, other, 1, 50)
                await self._ask(settlement_entry(deal), EXCHANGE, settlement(deal))
            case "hold":
                asked = msgspec.structs.replace(hold(one, other, amount), **mandate_of)
                self._holds.append(await self._ask(asked, caller))
            case "issue":
                name, owners = f"n {self._n}", {one: amount}
                await self._ask(issuance(name, owners), REGISTRY, approval(name, owners))
            case "post" | "let go" if self._holds:
                id = self._holds[d % len(self._holds)]
                ending: Any = PostHold(id, 1) if what == "post" else ReleaseHold(id)
                await self._ask(msgspec.structs.replace(ending, **mandate_of), caller)


async def told(steps: list[Step]) -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        walk = Walk(desks)
        await walk.begin()
        for step in steps:
            await walk.take(step)
        keep(story, desks)
        return story


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_happens_between_companies_passes_the_independent_books(
    steps: list[Step],
) -> None:
    story = asyncio.run(told(steps))
    books = folded_up_to(story, "accounts", len(story.accounts))
    assert books.accounts.balances == {
        key: holding.balance for key, holding in story.state.accounts.items()
    }
