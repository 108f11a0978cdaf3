"""Protobuf to command and back for what is proposed and kept about holders; part of rpc.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.clock import Clock
from kernel.errors import Kind, Refused
from kernel.ids import check_uuid7
from kernel.rpc.batch import carry_out
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import enum_of, instant_of, timestamp_of
from kernel.rpc.pages import page_limit
from kernel.values import Actor
from kernel.writer import Writer
from services.accounts import holders
from services.accounts.domain import changes, commands
from services.accounts.domain.state import DatedTerms, State

KINDS: Final = {
    pb.HolderKind.Value(f"HOLDER_KIND_{kind.name}"): kind for kind in changes.HolderKind
}
_ACCOUNTS: Final = {
    pb.AccountKind.Value(f"ACCOUNT_KIND_{kind.name}"): kind for kind in changes.AccountKind
}
_PARTS: Final = {pb.Part.Value(f"PART_{part.name}"): part for part in changes.Part}
_RIGHTS: Final = {pb.Right.Value(f"RIGHT_{right.name}"): right for right in changes.Right}
_STATUSES: Final = {pb.Status.Value(f"STATUS_{one.name}"): one for one in changes.Status}

_KIND_NUMBERS: Final = {kind: number for number, kind in KINDS.items()}
_ACCOUNT_NUMBERS: Final = {kind: number for number, kind in _ACCOUNTS.items()}
_PART_NUMBERS: Final = {part: number for number, part in _PARTS.items()}
_RIGHT_NUMBERS: Final = {right: number for number, right in _RIGHTS.items()}
_STATUS_NUMBERS: Final = {one: number for number, one in _STATUSES.items()}


class HoldersRpc:
    """The methods of AccountsService about holders."""

    _writer: Writer[State]
    _clock: Clock

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
            pb.OpenAccount(programme=programme, account=_ACCOUNT_NUMBERS[kind], venue=venue)
            for programme, kind, venue in found
        ]
        return pb.ListOpeningsResponse(accounts=rows, as_of_position=position)

    async def ListOperators(self, request: pb.ListOperatorsRequest, context: object) -> Any:
        found, position = await self._read_of(request, holders.operators_of)
        rows = [_operator_message(one) for one in found]
        return pb.ListOperatorsResponse(operators=rows, as_of_position=position)

    async def ListMandates(self, request: pb.ListMandatesRequest, context: object) -> Any:
        found, position = await self._read_of(request, holders.mandates_of)
        rows = [pb.LiveMandate(id=id, mandate=_mandate_message(one)) for id, one in found]
        return pb.ListMandatesResponse(mandates=rows, as_of_position=position)

    async def ListAccountTerms(self, request: pb.ListAccountTermsRequest, context: object) -> Any:
        found, position = await self._writer.read(
            lambda state: holders.terms_of(state, request.programme), request.min_position
        )
        rows = [_dated_message(request.programme, one) for one in found]
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
    return commands.ProposeChange(_change(item.change), item.for_holder)


def approve_proposal(item: pb.ProposalApproval) -> commands.ApproveProposal:
    return commands.ApproveProposal(item.proposal)


def refuse_proposal(item: pb.ProposalRefusal) -> commands.RefuseProposal:
    return commands.RefuseProposal(item.proposal, item.reason)


def withdraw_proposal(item: pb.ProposalWithdrawal) -> commands.WithdrawProposal:
    return commands.WithdrawProposal(item.proposal)


def set_operator(item: pb.OperatorChange) -> commands.SetOperator:
    return commands.SetOperator(_operator(item.operator))


def revoke_mandate(item: pb.MandateRevocation) -> commands.RevokeMandate:
    return commands.RevokeMandate(item.mandate, item.for_holder)


def order_status(item: pb.StatusOrder) -> commands.OrderStatus:
    return commands.OrderStatus(item.authority, item.number, _status(item.status))


def _change(change: pb.Change) -> changes.Change:
    match change.WhichOneof("change"):
        case "terms":
            return changes.Change(terms=_terms_change(change.terms))
        case "opening":
            return changes.Change(opening=_opening(change.opening))
        case "operator":
            return changes.Change(operator=_operator(change.operator))
        case "fund":
            fund = change.fund
            return changes.Change(
                fund=changes.Fund(_document(fund.document), fund.fund, fund.manager)
            )
        case "mandate":
            return changes.Change(mandate=_mandate(change.mandate))
        case "status":
            return changes.Change(status=_status(change.status))
        case _:
            raise Refused("CHANGE_NOT_ONE", "expected exactly one change, got 0", Kind.INVALID)


def _document(document: pb.Document) -> changes.Document:
    return changes.Document(document.digest, document.name)


def _terms_change(message: pb.AccountTermsChange) -> changes.TermsChange:
    terms = message.terms
    return changes.TermsChange(
        instant_of(message.effective_from, "effective_from"),
        message.programme,
        changes.AccountTerms(
            barred_kinds=[enum_of(KINDS, one, "barred_kinds") for one in terms.barred_kinds],
            barred_parts=[enum_of(_PARTS, one, "barred_parts") for one in terms.barred_parts],
            foreign=terms.foreign,
            money_too=terms.money_too,
            opening_required=terms.opening_required,
            parts=[
                changes.Role(one.holder, enum_of(_PARTS, one.part, "parts")) for one in terms.parts
            ],
            persons=terms.persons,
        ),
    )


def _opening(opening: pb.Opening) -> changes.Opening:
    return changes.Opening(
        account=enum_of(_ACCOUNTS, opening.account, "account"),
        documents=[_document(one) for one in opening.documents],
        holder=opening.holder,
        programme=opening.programme,
        representatives=list(opening.representatives),
        venue=opening.venue,
    )


def _operator(operator: pb.Operator) -> changes.Operator:
    return changes.Operator(
        holder=operator.holder,
        max_fen=operator.max_fen if operator.HasField("max_fen") else None,
        max_units=operator.max_units if operator.HasField("max_units") else None,
        person=Actor(operator.iss, operator.sub),
        rights=_rights(operator.rights),
    )


def _rights(numbers: Sequence[int]) -> list[changes.Right]:
    return [enum_of(_RIGHTS, number, "rights") for number in numbers]


def _mandate(mandate: pb.Mandate) -> changes.Mandate:
    return changes.Mandate(
        agent=mandate.agent,
        assets=list(mandate.assets),
        document=_document(mandate.document),
        first_day=mandate.first_day,
        last_day=mandate.last_day,
        principal=mandate.principal,
        programmes=list(mandate.programmes),
        rights=_rights(mandate.rights),
    )


def _status(status: pb.StatusChange) -> changes.StatusChange:
    return changes.StatusChange(
        _document(status.document),
        status.holder,
        status.reason,
        enum_of(_STATUSES, status.status, "status"),
    )


# ---- and back -----------------------------------------------------------------------------------


def _proposal_message(one: changes.ChangeProposed) -> pb.OpenProposal:
    return pb.OpenProposal(
        proposal=one.proposal,
        change=_change_message(one.change),
        for_holder=one.for_holder or "",
        proposed_by_iss=one.proposed_by.iss,
        proposed_by_sub=one.proposed_by.sub,
    )


def _change_message(change: changes.Change) -> pb.Change:
    parts: dict[str, Message] = {}
    if change.terms is not None:
        parts["terms"] = _terms_message(change.terms)
    if change.opening is not None:
        parts["opening"] = _opening_message(change.opening)
    if change.operator is not None:
        parts["operator"] = _operator_message(change.operator)
    if change.fund is not None:
        fund = change.fund
        document = _document_message(fund.document)
        parts["fund"] = pb.Fund(fund=fund.fund, manager=fund.manager, document=document)
    if change.mandate is not None:
        parts["mandate"] = _mandate_message(change.mandate)
    if change.status is not None:
        status = change.status
        parts["status"] = pb.StatusChange(
            holder=status.holder,
            status=_STATUS_NUMBERS[status.status],
            reason=status.reason,
            document=_document_message(status.document),
        )
    return pb.Change(**parts)  # type: ignore[arg-type]  # one message of the oneof, by its name


def _document_message(document: changes.Document) -> pb.Document:
    return pb.Document(digest=document.digest, name=document.name)


def _dated_message(programme: str, dated: DatedTerms) -> pb.AccountTermsChange:
    return _terms_message(changes.TermsChange(dated.from_ms, programme, dated.terms))


def _terms_message(change: changes.TermsChange) -> pb.AccountTermsChange:
    terms = change.terms
    return pb.AccountTermsChange(
        programme=change.programme,
        effective_from=timestamp_of(change.effective_from_ms),
        terms=pb.AccountTerms(
            opening_required=terms.opening_required,
            money_too=terms.money_too,
            persons=terms.persons,
            foreign=terms.foreign,
            parts=[pb.Role(holder=one.holder, part=_PART_NUMBERS[one.part]) for one in terms.parts],
            barred_kinds=[_KIND_NUMBERS[kind] for kind in terms.barred_kinds],
            barred_parts=[_PART_NUMBERS[part] for part in terms.barred_parts],
        ),
    )


def _opening_message(opening: changes.Opening) -> pb.Opening:
    return pb.Opening(
        holder=opening.holder,
        programme=opening.programme,
        account=_ACCOUNT_NUMBERS[opening.account],
        venue=opening.venue,
        documents=[_document_message(one) for one in opening.documents],
        representatives=opening.representatives,
    )


def _operator_message(operator: changes.Operator) -> pb.Operator:
    return pb.Operator(
        holder=operator.holder,
        iss=operator.person.iss,
        sub=operator.person.sub,
        rights=[_RIGHT_NUMBERS[right] for right in operator.rights],
        max_units=operator.max_units,
        max_fen=operator.max_fen,
    )


def _mandate_message(mandate: changes.Mandate) -> pb.Mandate:
    return pb.Mandate(
        principal=mandate.principal,
        agent=mandate.agent,
        assets=mandate.assets,
        programmes=mandate.programmes,
        rights=[_RIGHT_NUMBERS[right] for right in mandate.rights],
        first_day=mandate.first_day,
        last_day=mandate.last_day,
        document=_document_message(mandate.document),
    )


def _holder_message(state: State, holder: str) -> pb.GetHolderResponse:
    standing, control = holders.standing_of(state, holder), holders.control_of(state, holder)
    return pb.GetHolderResponse(
        holder=holder,
        kind=_KIND_NUMBERS[state.holders[holder]],
        status=_STATUS_NUMBERS[standing.status("")],
        set_by_registrars=_STATUS_NUMBERS[standing.own],
        orders=[
            pb.OrderedStatus(authority=authority, status=_STATUS_NUMBERS[status])
            for authority, status in sorted(standing.orders.items())
        ],
        manager=control.manager or "",
        has_operators=control.operators is not None,
    )
