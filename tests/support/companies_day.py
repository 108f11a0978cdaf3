"""A truthful day of 兰州新区's companies with every event about holders, told by the writer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from kernel.values import Caller
from services.accounts.domain.changes import HolderKind, Right, Status, StatusChange
from services.accounts.domain.commands import (
    ApproveProposal,
    OrderStatus,
    PostEntry,
    PostHold,
    ProposeChange,
    RefuseProposal,
    RegisterHolder,
    ReleaseHold,
    RevokeMandate,
    SetOperator,
    WithdrawProposal,
)
from tests.support.companies import (
    BOSS,
    CITIZEN,
    EXCHANGE_HOUSE,
    FUND,
    LEFT,
    LI,
    PAPER,
    TRADER,
    VERIFIER,
    WANG,
    allocate,
    fund,
    give,
    mandate,
    opening,
    operator,
    order,
    proposal_of,
    status,
    terms,
)
from tests.support.lanzhou import (
    CASHIER,
    CITY_GROUP,
    CNY,
    EXCHANGE,
    FARMER,
    PROGRAMME,
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
    issuance,
    leg,
    settlement,
    settlement_entry,
    trading,
)
from tests.support.lanzhou import hold as hold_of
from tests.support.ledgers import Desks, Story, found_the_place, keep, open_desks

UNITS = {QINWANGCHUAN: 1000, ZHONGCHUAN: 500, CITY_GROUP: 300}
DEAL = ("T-1", QINWANGCHUAN, CITY_GROUP, 100, 4194)


class Day:
    """Asks in the accounts book, and remembers under which name an event stands."""

    def __init__(self, desks: Desks, at: dict[str, int]) -> None:
        self._desks, self.at = desks, at

    async def ask(self, name: str, command: Any, caller: Caller, *acts: Any) -> str:
        """The id of the command, which is also a proposal's, a hold's or a mandate's."""
        self.at[name] = await self._desks.accounts.ask(command, caller, *acts)
        by: str = json.loads(self._desks.accounts.events()[self.at[name]].record)["by"]
        return by

    async def make(
        self, name: str, maker: Caller = WANG, checker: Caller = LI, **change: Any
    ) -> str:
        proposal = await self.ask(f"{name} proposed", proposal_of(**change), maker)
        await self.approve(name, proposal, checker)
        return proposal

    async def approve(self, name: str, proposal: str, checker: Caller = LI) -> str:
        return await self.ask(name, ApproveProposal(proposal), checker)


async def _tell() -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        day = Day(desks, story.at)
        await tell_the_openings(day)
        await tell_the_money_and_units(day)
        await tell_of_operators(day)
        await tell_of_mandates(day)
        await tell_of_the_fund(day)
        await tell_of_statuses(day)
        keep(story, desks)
        return story


async def tell_the_openings(day: Day) -> None:
    for name, holder, kind, uscc in (
        ("丝路碳基金", FUND, HolderKind.FUND, ""),
        ("交易所", EXCHANGE_HOUSE, HolderKind.VENUE, "91310000MA1K35H92H"),
        ("核查机构", VERIFIER, HolderKind.ENTERPRISE, "911100007109250324"),
        ("", CITIZEN, HolderKind.PERSON, ""),
    ):
        await day.ask(name or "a citizen", RegisterHolder(holder, kind, uscc, name), REGISTRAR)
    await day.make("terms", terms=terms())
    refused = await day.ask("to be refused", proposal_of(opening=opening(VERIFIER)), WANG)
    await day.ask("refused", RefuseProposal(refused, "no licence"), LI)
    taken_back = await day.ask("to be withdrawn", proposal_of(opening=opening(VERIFIER)), LI)
    await day.ask("withdrawn", WithdrawProposal(taken_back), LI)
    for name, holder in (
        ("秦王川", QINWANGCHUAN),
        ("中川", ZHONGCHUAN),
        ("城投", CITY_GROUP),
        ("核查", VERIFIER),
        ("基金", FUND),
    ):
        await day.make(f"{name} opened", opening=opening(holder))
    for name, holder in (("秦王川", QINWANGCHUAN), ("城投", CITY_GROUP)):
        await day.make(f"{name} opened for trading", opening=opening(holder, VENUE))


async def tell_the_money_and_units(day: Day) -> None:
    await day.ask("issued", issuance("B-1", UNITS), REGISTRY, approval("B-1", UNITS))
    for name, holder, fen in (("城投", CITY_GROUP, 1_000_000), ("基金", FUND, 5000)):
        await day.ask(
            f"deposit of {name}", deposit_entry(holder, fen), CASHIER, advice(holder, fen, name)
        )
    await day.ask("given", give(ZHONGCHUAN, QINWANGCHUAN), FARMER)
    await day.ask("allocated", allocate(QINWANGCHUAN, 100), FARMER)


async def tell_of_operators(day: Day) -> None:
    """The first by two registrars, the others by 城投's own administrator."""
    boss = operator(
        BOSS, Right.ADMINISTER, Right.HOLD, Right.TRADE, Right.TRANSFER, Right.RETIRE, Right.VIEW
    )
    await day.make("boss", operator=boss)
    trader = operator(TRADER, Right.TRADE, Right.TRANSFER, max_units=50, max_fen=500_000)
    await day.ask("trader", SetOperator(trader), BOSS)
    await day.ask("a guest", SetOperator(operator(LEFT, Right.TRANSFER)), BOSS)
    await day.ask("a guest has left", SetOperator(operator(LEFT)), BOSS)
    await day.ask("trader gave", give(CITY_GROUP, ZHONGCHUAN, 50), TRADER)
    money = PostEntry([leg(500_000, CNY, available(CITY_GROUP), trading(CITY_GROUP))])
    await day.ask("trader brought money", money, TRADER)
    await day.ask("settled", settlement_entry(DEAL), EXCHANGE, settlement(DEAL))
    await day.ask(
        "released",
        PostEntry([leg(100, TICKET, trading(CITY_GROUP), available(CITY_GROUP))]),
        EXCHANGE,
    )


async def tell_of_mandates(day: Day) -> None:
    rights = (Right.TRANSFER, Right.HOLD, Right.TRADE)
    offered = ProposeChange(proposal_of(mandate=mandate(*rights)).change, QINWANGCHUAN)
    under = await day.ask("offered", offered, FARMER)
    await day.ask("accepted", ApproveProposal(under), BOSS)
    await day.ask("given under mandate", give(QINWANGCHUAN, ZHONGCHUAN, 20, under), BOSS)
    await day.ask("allocated under mandate", allocate(QINWANGCHUAN, 20, under), BOSS)
    hold = hold_of(QINWANGCHUAN, ZHONGCHUAN, 30)
    held = await day.ask("held under mandate", _under(hold, under), BOSS)
    await day.ask("hold posted", PostHold(held, 10), FARMER)
    promised = await day.ask("held for 秦王川", hold_of(ZHONGCHUAN, QINWANGCHUAN, 30), FARMER)
    await day.ask("taken under mandate", PostHold(promised, 10, under), BOSS)
    again = await day.ask("held again", hold_of(ZHONGCHUAN, QINWANGCHUAN, 30), FARMER)
    await day.ask("let go under mandate", ReleaseHold(again, under), BOSS)
    await day.ask("revoked", RevokeMandate(under, QINWANGCHUAN), FARMER)
    await day.make("mandate by registrars", mandate=mandate(Right.TRANSFER, assets=[TICKET]))


def _under(command: Any, mandate: str) -> Any:
    return msgspec.structs.replace(command, mandate=mandate)


async def tell_of_the_fund(day: Day) -> None:
    await day.make("entrusted", fund=fund())
    both_ways = PostEntry(
        [
            leg(1000, CNY, available(FUND), available(CITY_GROUP)),
            leg(40, TICKET, available(CITY_GROUP), available(FUND)),
        ]
    )
    await day.ask("fund and manager", both_ways, BOSS)
    await day.ask(
        "fund paid", PostEntry([leg(500, CNY, available(FUND), available(ZHONGCHUAN))]), BOSS
    )


async def tell_of_statuses(day: Day) -> None:
    await day.make("restricted", status=status(ZHONGCHUAN, Status.RESTRICTED))
    await day.ask("given to 中川", give(QINWANGCHUAN, ZHONGCHUAN, 5), FARMER)
    await day.make("active again", status=status(ZHONGCHUAN, Status.ACTIVE))
    for name, to in (("ordered", Status.FROZEN), ("lifted", Status.ACTIVE)):
        said = StatusChange(PAPER, ZHONGCHUAN, "an investigation", to)
        command = OrderStatus(f"authority:{PROGRAMME}", f"甘碳 {name}", said)
        await day.ask(name, command, WANG, order(ZHONGCHUAN, to, f"甘碳 {name}"))
    await day.make("closed", status=status(VERIFIER, Status.CLOSED))


def tell_the_companies() -> Story:
    """The whole truthful day, made anew."""
    return asyncio.run(_tell())
