"""Protobuf to command and back for what is proposed and kept about holders; part of rpc.py."""

from __future__ import annotations

from typing import Any

from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.ids import check_uuid7
from kernel.rpc.batch import carry_out
from kernel.rpc.interceptors import current_caller
from kernel.rpc.pages import page_limit
from services.accounts import holders
from services.accounts.base_rpc import AccountsPart
from services.accounts.changes_rpc import (
    ACCOUNT_NUMBERS,
    KIND_NUMBERS,
    STATUS_NUMBERS,
    change_message,
    change_of,
    dated_message,
    mandate_message,
    operator_message,
    operator_of,
    status_of,
)
from services.accounts.domain import changes, commands
from services.accounts.domain.state import State


class HoldersRpc(AccountsPart):
    """The methods about holders."""

    async def ProposeChanges(self, request: pb.ProposeChangesRequest, context: object) -> Any:
        results = await carry_out(self._writer, "ProposeChanges", request.proposals, propose_change)
        return pb.ProposeChangesResponse(results=results)

    async def ApproveProposals(self, request: pb.ApproveProposalsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ApproveProposals", request.approvals, approve_proposal
        )
        return pb.ApproveProposalsResponse(results=results)

    async def RefuseProposals(self, request: pb.RefuseProposalsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "RefuseProposals", request.refusals, refuse_proposal
        )
        return pb.RefuseProposalsResponse(results=results)

    async def WithdrawProposals(self, request: pb.WithdrawProposalsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "WithdrawProposals", request.withdrawals, withdraw_proposal
        )
        return pb.WithdrawProposalsResponse(results=results)

    async def SetOperators(self, request: pb.SetOperatorsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "SetOperators", request.changes, set_operator)
        return pb.SetOperatorsResponse(results=results)

    async def RevokeMandates(self, request: pb.RevokeMandatesRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "RevokeMandates", request.revocations, revoke_mandate
        )
        return pb.RevokeMandatesResponse(results=results)

    async def OrderStatuses(self, request: pb.OrderStatusesRequest, context: object) -> Any:
        results = await carry_out(self._writer, "OrderStatuses", request.orders, order_status)
        return pb.OrderStatusesResponse(results=results)

    # ---- reads ----------------------------------------------------------------------------------

    async def ListProposals(self, request: pb.ListProposalsRequest, context: object) -> Any:
        caller, now_ms = current_caller(), self._clock.now_ms()
        after = check_uuid7(request.page_token, "page_token") if request.page_token else ""
        limit = page_limit(request.page_size)
        found, position = await self._writer.read(
            lambda state: holders.proposals(state, caller, request.holder, after, limit, now_ms),
            request.min_position,
        )
        return pb.ListProposalsResponse(
            proposals=[_proposal_message(one) for one in found],
            next_page_token=found[-1].proposal if len(found) == limit else "",
            as_of_position=position,
        )

    async def GetHolder(self, request: pb.GetHolderRequest, context: object) -> Any:
        answer, position = await self._read_of(request, _holder_message)
        answer.as_of_position = position
        return answer

    async def ListOpenings(self, request: pb.ListOpeningsRequest, context: object) -> Any:
        found, position = await self._read_of(request, holders.openings_of)
        rows = [
            pb.OpenAccount(programme=programme, account=ACCOUNT_NUMBERS[kind], venue=venue)
            for programme, kind, venue in found
        ]
        return pb.ListOpeningsResponse(accounts=rows, as_of_position=position)

    async def ListOperators(self, request: pb.ListOperatorsRequest, context: object) -> Any:
        found, position = await self._read_of(request, holders.operators_of)
        rows = [operator_message(one) for one in found]
        return pb.ListOperatorsResponse(operators=rows, as_of_position=position)

    async def ListMandates(self, request: pb.ListMandatesRequest, context: object) -> Any:
        found, position = await self._read_of(request, holders.mandates_of)
        rows = [pb.LiveMandate(id=id, mandate=mandate_message(one)) for id, one in found]
        return pb.ListMandatesResponse(mandates=rows, as_of_position=position)

    async def ListAccountTerms(self, request: pb.ListAccountTermsRequest, context: object) -> Any:
        found, position = await self._writer.read(
            lambda state: holders.terms_of(state, request.programme), request.min_position
        )
        rows = [dated_message(request.programme, one) for one in found]
        return pb.ListAccountTermsResponse(terms=rows, as_of_position=position)

    async def _read_of(self, request: Any, read: Any) -> tuple[Any, int]:
        """What `read` answers of a holder, to who may ask about it."""
        caller, now_ms = current_caller(), self._clock.now_ms()

        def answer(state: State) -> Any:
            holders.check_may_ask(state, caller, request.holder, now_ms)
            return read(state, request.holder)

        return await self._writer.read(answer, request.min_position)


# ---- protobuf to command ----------------------------------------------------------------------


def propose_change(item: pb.ChangeProposal) -> commands.ProposeChange:
    return commands.ProposeChange(change_of(item.change), item.for_holder)


def approve_proposal(item: pb.ProposalApproval) -> commands.ApproveProposal:
    return commands.ApproveProposal(item.proposal)


def refuse_proposal(item: pb.ProposalRefusal) -> commands.RefuseProposal:
    return commands.RefuseProposal(item.proposal, item.reason)


def withdraw_proposal(item: pb.ProposalWithdrawal) -> commands.WithdrawProposal:
    return commands.WithdrawProposal(item.proposal)


def set_operator(item: pb.OperatorChange) -> commands.SetOperator:
    return commands.SetOperator(operator_of(item.operator))


def revoke_mandate(item: pb.MandateRevocation) -> commands.RevokeMandate:
    return commands.RevokeMandate(item.mandate, item.for_holder)


def order_status(item: pb.StatusOrder) -> commands.OrderStatus:
    return commands.OrderStatus(item.authority, item.number, status_of(item.status))


# ---- and back -----------------------------------------------------------------------------------


def _proposal_message(one: changes.ChangeProposed) -> pb.OpenProposal:
    return pb.OpenProposal(
        proposal=one.proposal,
        change=change_message(one.change),
        for_holder=one.for_holder or "",
        proposed_by_iss=one.proposed_by.iss,
        proposed_by_sub=one.proposed_by.sub,
    )


def _holder_message(state: State, holder: str) -> pb.GetHolderResponse:
    standing, control = holders.standing_of(state, holder), holders.control_of(state, holder)
    return pb.GetHolderResponse(
        holder=holder,
        kind=KIND_NUMBERS[state.holders[holder]],
        status=STATUS_NUMBERS[standing.status("")],
        set_by_registrars=STATUS_NUMBERS[standing.own],
        orders=[
            pb.OrderedStatus(authority=authority, status=STATUS_NUMBERS[status])
            for authority, status in sorted(standing.orders.items())
        ],
        manager=control.manager or "",
        has_operators=control.operators is not None,
    )
