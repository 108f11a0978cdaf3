"""Settlement banks as the tools call them: agreements, withdrawals, statements, and how it stands.

Plain values in and out, as cli/clients.py, through the same door and with its patience. Every item
is one command with an id of the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from cli.clients import Books, Outcome, Persona, answered_in_order
from cli.values import BankBreak, BankStanding, Instruction
from kernel.rpc.items import act_message, timestamp_of
from kernel.values import Act

PAGE = 500


class BankDesk:
    """One clearing house's money at one bank."""

    def __init__(self, books: Books, clearing_house: str, asset: str, bank: str) -> None:
        self._books = books
        self._places: dict[str, Any] = {
            "clearing_house": clearing_house,
            "asset": asset,
            "bank": bank,
        }

    @property
    def _stub(self) -> Any:
        return accounts_pb2_grpc.AccountsServiceStub(self._books.channel("accounts"))

    async def _one(self, who: Persona, method: str, request: Any, item: Any) -> Outcome:
        response = await self._books.call(getattr(self._stub, method), request, who)
        (outcome,) = answered_in_order(response, [item])
        return outcome

    # ---- founding -------------------------------------------------------------------------------

    async def agree(
        self,
        who: Persona,
        id: str,
        *,
        cutoff_minute: int,
        first_day: str,
        opening_fen: int,
        document: str,
        act: Act,
    ) -> Outcome:
        item = pb.BankAgreement(
            id=id,
            cutoff_minute=cutoff_minute,
            first_day=first_day,
            opening_fen=opening_fen,
            document=document,
            acts=[act_message(act)],
            **self._places,
        )
        return await self._one(who, "AgreeBanks", pb.AgreeBanksRequest(agreements=[item]), item)

    async def bind(self, who: Persona, id: str, holder: str, account: str, act: Act) -> Outcome:
        item = pb.BankAccountBinding(
            id=id,
            holder=holder,
            clearing_house=self._places["clearing_house"],
            bank=self._places["bank"],
            account=account,
            acts=[act_message(act)],
        )
        request = pb.BindBankAccountsRequest(bindings=[item])
        return await self._one(who, "BindBankAccounts", request, item)

    # ---- withdrawals ----------------------------------------------------------------------------

    async def request(self, who: Persona, id: str, holder: str, amount_fen: int) -> Outcome:
        item = pb.WithdrawalRequest(id=id, holder=holder, amount_fen=amount_fen, **self._places)
        request = pb.RequestWithdrawalsRequest(withdrawals=[item])
        return await self._one(who, "RequestWithdrawals", request, item)

    async def instruct(self, who: Persona, id: str, withdrawal: str) -> Outcome:
        item = pb.WithdrawalStep(id=id, withdrawal=withdrawal)
        request = pb.InstructWithdrawalsRequest(steps=[item])
        return await self._one(who, "InstructWithdrawals", request, item)

    async def confirm(
        self, who: Persona, id: str, withdrawal: str, act: Act, on_ms: int | None
    ) -> Outcome:
        item = _answer(id, withdrawal, act, on_ms)
        request = pb.ConfirmWithdrawalsRequest(answers=[item])
        return await self._one(who, "ConfirmWithdrawals", request, item)

    async def give_back(self, who: Persona, id: str, withdrawal: str, act: Act) -> Outcome:
        item = _answer(id, withdrawal, act, None)
        request = pb.ReturnWithdrawalsRequest(answers=[item])
        return await self._one(who, "ReturnWithdrawals", request, item)

    async def open_withdrawals(self, who: Persona, *, instructed: bool) -> list[Instruction]:
        """All of them, the oldest first."""
        found: list[Instruction] = []
        token = ""
        while True:
            request = pb.ListWithdrawalsRequest(
                bank=self._places["bank"],
                instructed=instructed,
                page_size=PAGE,
                page_token=token,
            )
            response = await self._books.call(self._stub.ListWithdrawals, request, who)
            found += [
                Instruction(one.withdrawal, one.holder, one.account, one.amount_fen)
                for one in response.withdrawals
                if self._is_ours(one) and one.HasField("instructed_at") == instructed
            ]
            token = response.next_page_token
            if not token:
                return found

    # ---- statements -----------------------------------------------------------------------------

    async def state(self, who: Persona, id: str, act: Act) -> Outcome:
        """One part of a day's statement."""
        item = pb.BankStatementPart(id=id, acts=[act_message(act)], **self._places)
        request = pb.ReceiveBankStatementsRequest(parts=[item])
        return await self._one(who, "ReceiveBankStatements", request, item)

    async def standing(self, who: Persona) -> BankStanding | None:
        """None: not agreed yet."""
        for one in await bank_standings(self._books, who, self._places["bank"]):
            if (one.clearing_house, one.asset) == (
                self._places["clearing_house"],
                self._places["asset"],
            ):
                return one
        return None

    async def propose_resolution(self, who: Persona, id: str, day: str, reason: str) -> Outcome:
        resolution = pb.BreakResolution(day=day, reason=reason, **self._places)
        item = pb.BankMatter(id=id, resolve_break=resolution)
        request = pb.ProposeBankMattersRequest(matters=[item])
        return await self._one(who, "ProposeBankMatters", request, item)

    async def approve(self, who: Persona, id: str, proposal: str) -> Outcome:
        item = pb.BankProposal(id=id, proposal=proposal)
        request = pb.ApproveBankMattersRequest(proposals=[item])
        return await self._one(who, "ApproveBankMatters", request, item)

    def _is_ours(self, one: pb.Withdrawal) -> bool:
        return (one.clearing_house, one.asset) == (
            self._places["clearing_house"],
            self._places["asset"],
        )


async def bank_standings(books: Books, who: Persona, bank: str = "") -> list[BankStanding]:
    """How the books stand with one bank, or with all of them."""
    stub: Any = accounts_pb2_grpc.AccountsServiceStub(books.channel("accounts"))
    response = await books.call(stub.ListBankAccounts, pb.ListBankAccountsRequest(bank=bank), who)
    return [
        BankStanding(
            one.clearing_house,
            one.asset,
            one.bank,
            one.cutoff_minute,
            one.first_day,
            one.balance_fen,
            one.stated_day,
            one.stated_fen,
            one.unstated_lines,
            tuple(_break(found) for found in one.breaks),
            one.default_reserve_fen,
        )
        for one in response.accounts
    ]


def _break(found: pb.BankBreak) -> BankBreak:
    return BankBreak(
        found.day,
        _lines(found.theirs),
        found.theirs_count,
        _lines(found.ours),
        found.ours_count,
    )


def _lines(found: Iterable[pb.StatedLine]) -> tuple[tuple[str, int], ...]:
    return tuple((one.line, one.amount_fen) for one in found)


def _answer(id: str, withdrawal: str, act: Act, on_ms: int | None) -> pb.WithdrawalAnswer:
    return pb.WithdrawalAnswer(
        id=id,
        on=None if on_ms is None else timestamp_of(on_ms),
        withdrawal=withdrawal,
        acts=[act_message(act)],
    )
