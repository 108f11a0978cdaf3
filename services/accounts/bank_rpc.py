"""The part of the accounts service's RPCs that settlement banks are about: see rpc.py."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.errors import Kind, Refused
from kernel.ids import check_uuid7
from kernel.rpc.batch import carry_out
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import timestamp_of
from kernel.rpc.pages import page_limit
from kernel.values import Caller
from services.accounts import bank_queries
from services.accounts.base_rpc import AccountsPart
from services.accounts.domain import commands, events
from services.accounts.domain.state import Withdrawal

# Who may look at every bank; a bank itself sees its own, a clearing house what it has at banks.
STAFF: Final = frozenset({"auditor", "cashier", "registrar"})


class BankRpc(AccountsPart):
    """The methods about settlement banks."""

    async def AgreeBanks(self, request: pb.AgreeBanksRequest, context: object) -> Any:
        results = await carry_out(self._writer, "AgreeBanks", request.agreements, agree_bank)
        return pb.AgreeBanksResponse(results=results)

    async def BindBankAccounts(self, request: pb.BindBankAccountsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "BindBankAccounts", request.bindings, bind_bank_account
        )
        return pb.BindBankAccountsResponse(results=results)

    async def RequestWithdrawals(
        self, request: pb.RequestWithdrawalsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "RequestWithdrawals", request.withdrawals, request_withdrawal
        )
        return pb.RequestWithdrawalsResponse(results=results)

    async def CancelWithdrawals(self, request: pb.CancelWithdrawalsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "CancelWithdrawals", request.steps, cancel_withdrawal
        )
        return pb.CancelWithdrawalsResponse(results=results)

    async def InstructWithdrawals(
        self, request: pb.InstructWithdrawalsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "InstructWithdrawals", request.steps, instruct_withdrawal
        )
        return pb.InstructWithdrawalsResponse(results=results)

    async def ConfirmWithdrawals(
        self, request: pb.ConfirmWithdrawalsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "ConfirmWithdrawals", request.answers, confirm_withdrawal
        )
        return pb.ConfirmWithdrawalsResponse(results=results)

    async def ReturnWithdrawals(self, request: pb.ReturnWithdrawalsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ReturnWithdrawals", request.answers, return_withdrawal
        )
        return pb.ReturnWithdrawalsResponse(results=results)

    async def ReceiveBankStatements(
        self, request: pb.ReceiveBankStatementsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "ReceiveBankStatements", request.parts, receive_bank_statement
        )
        return pb.ReceiveBankStatementsResponse(results=results)

    async def ProposeBankMatters(
        self, request: pb.ProposeBankMattersRequest, context: object
    ) -> Any:
        results = await carry_out(self._writer, "ProposeBankMatters", request.matters, bank_matter)
        return pb.ProposeBankMattersResponse(results=results)

    async def ApproveBankMatters(
        self, request: pb.ApproveBankMattersRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "ApproveBankMatters", request.proposals, approve_bank_proposal
        )
        return pb.ApproveBankMattersResponse(results=results)

    async def WithdrawBankMatters(
        self, request: pb.WithdrawBankMattersRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "WithdrawBankMatters", request.proposals, withdraw_bank_proposal
        )
        return pb.WithdrawBankMattersResponse(results=results)

    async def ListWithdrawals(self, request: pb.ListWithdrawalsRequest, context: object) -> Any:
        if not _sees_bank(current_caller(), request.bank):
            self._check_may_view(request.holder, "")
        if request.page_token:
            check_uuid7(request.page_token, "page_token")
        limit = page_limit(request.page_size)
        rows, position = await self._writer.read(
            lambda state: bank_queries.open_withdrawals(
                state,
                request.holder,
                request.bank,
                request.instructed,
                request.page_token,
                limit,
            ),
            request.min_position,
        )
        return pb.ListWithdrawalsResponse(
            withdrawals=[_withdrawal_message(id, one) for id, one in rows],
            next_page_token=rows[-1][0] if len(rows) == limit else "",
            as_of_position=position,
        )

    async def ListBankAccounts(self, request: pb.ListBankAccountsRequest, context: object) -> Any:
        caller = current_caller()
        all_of_it = _sees_bank(caller, request.bank)
        if not all_of_it and not any(role.startswith("clearing:") for role in caller.roles):
            raise _not_staff()
        found, position = await self._writer.read(
            lambda state: [
                _bank_account_message(row)
                for row in bank_queries.bank_accounts(state, request.bank)
                if all_of_it or f"clearing:{row.key[0]}" in caller.roles
            ],
            request.min_position,
        )
        return pb.ListBankAccountsResponse(accounts=found, as_of_position=position)


def _sees_bank(caller: Caller, bank: str) -> bool:
    """A bank its own, and those who work with all of them."""
    return bool(caller.roles & STAFF or (bank and f"bank:{bank}" in caller.roles))


def _not_staff() -> Refused:
    return Refused(
        "ROLE_MISSING",
        f"expected one of the roles {sorted(STAFF)}, of the bank itself or of a clearing house",
        Kind.FORBIDDEN,
        needed=" ".join(sorted(STAFF)),
    )


def _withdrawal_message(id: str, one: Withdrawal) -> pb.Withdrawal:
    message = pb.Withdrawal(
        withdrawal=id,
        holder=one.holder,
        asset=one.asset,
        amount_fen=one.amount_fen,
        clearing_house=one.clearing_house,
        bank=one.bank,
        account=one.account,
    )
    if one.instructed_at_ms is not None:
        message.instructed_at.CopyFrom(timestamp_of(one.instructed_at_ms))
    return message


def _bank_account_message(row: bank_queries.BankRow) -> pb.BankAccount:
    account = row.account
    clearing_house, asset, bank = row.key
    return pb.BankAccount(
        clearing_house=clearing_house,
        asset=asset,
        bank=bank,
        cutoff_minute=account.cutoff_minute,
        first_day=account.first_day,
        balance_fen=row.balance_fen,
        stated_day=account.stated_day,
        stated_fen=account.stated_fen,
        unstated_lines=len(account.ours),
        breaks=[_break_message(one) for one in bank_queries.breaks(account)],
        default_reserve_fen=row.reserve_fen,
    )


def _break_message(one: bank_queries.BreakRow) -> pb.BankBreak:
    def lines(found: list[events.StatedLine]) -> list[pb.StatedLine]:
        return [pb.StatedLine(line=line.line, amount_fen=line.amount_fen) for line in found]

    return pb.BankBreak(
        day=one.day,
        theirs=lines(one.theirs),
        theirs_count=one.theirs_count,
        ours=lines(one.ours),
        ours_count=one.ours_count,
    )


def agree_bank(item: pb.BankAgreement) -> commands.AgreeBank:
    return commands.AgreeBank(
        events.SettlementBankAgreed(
            item.asset,
            item.bank,
            item.clearing_house,
            item.cutoff_minute,
            item.document,
            item.first_day,
            item.opening_fen,
        )
    )


def bind_bank_account(item: pb.BankAccountBinding) -> commands.BindBankAccount:
    return commands.BindBankAccount(
        events.BankAccountBound(item.account, item.bank, item.clearing_house, item.holder)
    )


def request_withdrawal(item: pb.WithdrawalRequest) -> commands.RequestWithdrawal:
    return commands.RequestWithdrawal(
        item.holder, item.asset, item.amount_fen, item.clearing_house, item.bank
    )


def cancel_withdrawal(item: pb.WithdrawalStep) -> commands.CancelWithdrawal:
    return commands.CancelWithdrawal(item.withdrawal)


def instruct_withdrawal(item: pb.WithdrawalStep) -> commands.InstructWithdrawal:
    return commands.InstructWithdrawal(item.withdrawal)


def confirm_withdrawal(item: pb.WithdrawalAnswer) -> commands.ConfirmWithdrawal:
    return commands.ConfirmWithdrawal(item.withdrawal)


def return_withdrawal(item: pb.WithdrawalAnswer) -> commands.ReturnWithdrawal:
    return commands.ReturnWithdrawal(item.withdrawal)


def receive_bank_statement(item: pb.BankStatementPart) -> commands.ReceiveBankStatement:
    return commands.ReceiveBankStatement(item.clearing_house, item.asset, item.bank)


def bank_matter(item: pb.BankMatter) -> msgspec.Struct:
    if item.HasField("resolve_break"):
        one = item.resolve_break
        return commands.ProposeBreakResolution(
            one.clearing_house, one.asset, one.bank, one.day, one.reason
        )
    if item.HasField("move_reserve"):
        move = item.move_reserve
        return commands.ProposeReserveMove(
            move.clearing_house, move.asset, move.holder, move.amount_fen, move.draw, move.document
        )
    raise Refused("MISSING_VALUE", "matter is missing", Kind.INVALID, field="matter")


def approve_bank_proposal(item: pb.BankProposal) -> commands.ApproveBankProposal:
    return commands.ApproveBankProposal(item.proposal)


def withdraw_bank_proposal(item: pb.BankProposal) -> commands.WithdrawBankProposal:
    return commands.WithdrawBankProposal(item.proposal)
