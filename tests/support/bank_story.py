"""A truthful history of 兰州银行 and its clearing house, told by the accounts book's real writer.

Four days that use every event about settlement banks; `at` says what stands where.
"""

from __future__ import annotations

import asyncio

from kernel.acts import sign_act
from kernel.values import DAY_MS, Act, Caller, shanghai_day
from services.accounts.domain.changes import Document, Status, StatusChange
from services.accounts.domain.commands import (
    ApproveBankProposal,
    CancelWithdrawal,
    ConfirmWithdrawal,
    FreezeUnits,
    InstructWithdrawal,
    OrderStatus,
    ProposeBreakResolution,
    ProposeReserveMove,
    ReturnWithdrawal,
    UnfreezeUnits,
    WithdrawBankProposal,
)
from tests.support.books import MORNING_MS
from tests.support.lanzhou import (
    BANK,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    QINWANGCHUAN,
    REGISTRAR,
    advice,
    deposit_entry,
)
from tests.support.lanzhou_bank import (
    CONTROLLER,
    DEPOSITED_FEN,
    RECEIVE,
    THE_BANK,
    TREASURER,
    Line,
    agreement,
    binding,
    confirmation,
    refusal_of_the_bank,
    statement,
    withdrawing,
)
from tests.support.ledgers import Desks, Story, admit, found_the_place, keep, open_desks
from tests.support.orders import COURT, COURT_KEY, freeze, unfreeze

PAID_FEN = 2_500_000
FEE_FEN = 30
LOST_FEN = 700
DAYS = [shanghai_day(MORNING_MS + n * DAY_MS) for n in range(4)]
FIRST_LINES: list[Line] = [("line 1", DEPOSITED_FEN), ("line 2", -PAID_FEN)]
WITHDRAWALS = {
    "paid": PAID_FEN,
    "returned": PAID_FEN,
    "taken back": 1000,
    "waiting": 1000,
    "open": 1000,
}
FEE: Line = ("fee", -FEE_FEN)


async def _tell_payments(desks: Desks, at: dict[str, int]) -> None:
    ask = desks.accounts.ask
    command, act = agreement()
    at["agreed"] = await ask(command, REGISTRAR, act)
    bind, act = binding()
    at["bound"] = await ask(bind, REGISTRAR, act)
    at["deposited"] = await ask(
        deposit_entry(CITY_GROUP, DEPOSITED_FEN),
        CASHIER,
        advice(CITY_GROUP, DEPOSITED_FEN, "line 1"),
    )
    for name, amount_fen in WITHDRAWALS.items():
        at[f"{name}: requested"] = await ask(withdrawing(amount_fen), BUYER)
    for name in ("paid", "returned", "open"):
        id = withdrawal_of(desks, at, name)
        at[f"{name}: instructed"] = await ask(InstructWithdrawal(id), CASHIER)
    id = withdrawal_of(desks, at, "paid")
    at["confirmed"] = await ask(
        ConfirmWithdrawal(id), THE_BANK, confirmation(id, PAID_FEN, "line 2")
    )
    id = withdrawal_of(desks, at, "returned")
    at["returned"] = await ask(ReturnWithdrawal(id), THE_BANK, refusal_of_the_bank(id, PAID_FEN))
    at["cancelled"] = await ask(CancelWithdrawal(withdrawal_of(desks, at, "taken back")), BUYER)


def withdrawal_of(desks: Desks, at: dict[str, int], name: str) -> str:
    return id_at(desks, at[f"{name}: requested"])


def id_at(desks: Desks, position: int) -> str:
    """The id of the command, which is also that of what it began."""
    record = desks.accounts.events()[position].record
    return record.split(b'"by":"')[-1].split(b'"')[0].decode()


async def _tell_reserve(desks: Desks, at: dict[str, int]) -> None:
    ask = desks.accounts.ask
    pay_in = ProposeReserveMove(BANK, CNY, CITY_GROUP, 900, False, "sha256 of the rules")
    at["reserve proposed"] = await ask(pay_in, BUYER)
    at["reserve paid in"] = await ask(
        ApproveBankProposal(id_at(desks, at["reserve proposed"])), CONTROLLER
    )
    draw = ProposeReserveMove(BANK, CNY, QINWANGCHUAN, 300, True, "sha256 of the decision")
    at["draw proposed"] = await ask(draw, TREASURER)
    at["reserve drawn"] = await ask(
        ApproveBankProposal(id_at(desks, at["draw proposed"])), CONTROLLER
    )
    again = await ask(draw, TREASURER)
    at["draw withdrawn"] = await ask(WithdrawBankProposal(id_at(desks, again)), TREASURER)


async def _tell_statements(desks: Desks, at: dict[str, int]) -> None:
    ask = desks.accounts.ask
    all_lines = [*FIRST_LINES, FEE]
    desks.clock.at_ms += DAY_MS
    at["first part"] = await ask(
        RECEIVE, THE_BANK, statement(DAYS[0], 0, all_lines[:1], parts=2, of=all_lines)
    )
    at["last part"] = await ask(
        RECEIVE, THE_BANK, statement(DAYS[0], 0, all_lines[1:], part=2, parts=2, of=all_lines)
    )
    at["broken"] = at["last part"] + 1
    take = ProposeBreakResolution(BANK, CNY, BANK, DAYS[0], "the bank's own fee, see its letter")
    at["resolution proposed"] = await ask(take, TREASURER)
    at["taken as it is"] = await ask(
        ApproveBankProposal(id_at(desks, at["resolution proposed"])), CONTROLLER
    )
    left_fen = DEPOSITED_FEN - PAID_FEN - FEE_FEN
    desks.clock.at_ms += DAY_MS
    at["second day"] = await ask(
        RECEIVE, THE_BANK, statement(DAYS[1], left_fen, [("line 3", LOST_FEN)])
    )
    at["lost"] = at["second day"] + 1
    at["found"] = await ask(
        deposit_entry(CITY_GROUP, LOST_FEN), CASHIER, advice(CITY_GROUP, LOST_FEN, "line 3")
    )
    at["explained"] = at["found"] + 1
    at["requested after"] = await ask(withdrawing(1000), BUYER)
    desks.clock.at_ms += DAY_MS
    at["third day"] = await ask(RECEIVE, THE_BANK, statement(DAYS[2], left_fen + LOST_FEN, []))
    at["reconciled"] = at["third day"] + 1


async def _tell_of_what_lies_still(desks: Desks, at: dict[str, int]) -> None:
    """A withdrawal waits to be instructed while its money is frozen, then its holder suspended."""
    ask = desks.accounts.ask
    await admit(desks, COURT_KEY, COURT)
    await ask(FreezeUnits(), REGISTRAR, freeze("writ", holder=CITY_GROUP, until=""))
    at["lifted"] = await ask(UnfreezeUnits(), REGISTRAR, unfreeze("writ"))
    await ask(*ordered("suspended", "no. 1"))
    at["free again"] = await ask(*ordered("active", "no. 2"))


def ordered(status: str, number: str) -> tuple[OrderStatus, Caller, Act]:
    """By the court, for the group."""
    said = StatusChange(Document("ab" * 32, "the writ"), CITY_GROUP, "a claim", Status(status))
    statement = {
        "authority": COURT,
        "document": said.document.digest,
        "holder": said.holder,
        "kind": "holder-status",
        "number": number,
        "reason": said.reason,
        "status": status,
    }
    return OrderStatus(COURT, number, said), REGISTRAR, sign_act(COURT_KEY, statement)


async def _tell() -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        await _tell_payments(desks, story.at)
        await _tell_reserve(desks, story.at)
        await _tell_statements(desks, story.at)
        await _tell_of_what_lies_still(desks, story.at)
        keep(story, desks)
        return story


def tell_bank_story() -> Story:
    return asyncio.run(_tell())
