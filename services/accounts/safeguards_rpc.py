"""Protobuf to command and back for a holder's own safeguards, destinations and second approver."""

from __future__ import annotations

from typing import Any

from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.rpc.batch import carry_out
from kernel.rpc.items import timestamp_of
from services.accounts import queries
from services.accounts.base_rpc import AccountsPart
from services.accounts.domain import commands, destinations, events
from services.accounts.domain.safeguards import APPROVE_MS, DELAY_MS
from services.accounts.domain.state import Hold, Safeguards
from services.accounts.legs_rpc import ranges_of


class SafeguardsRpc(AccountsPart):
    """The methods about thresholds, trusted destinations and transfers that wait for approval."""

    async def ProposeSafeguards(self, request: pb.ProposeSafeguardsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ProposeSafeguards", request.proposals, propose_safeguards
        )
        return pb.ProposeSafeguardsResponse(results=results)

    async def ConfirmSafeguards(self, request: pb.ConfirmSafeguardsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ConfirmSafeguards", request.confirmations, confirm_safeguards
        )
        return pb.ConfirmSafeguardsResponse(results=results)

    async def WithdrawSafeguards(
        self, request: pb.WithdrawSafeguardsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "WithdrawSafeguards", request.withdrawals, withdraw_safeguards
        )
        return pb.WithdrawSafeguardsResponse(results=results)

    async def AddDestinations(self, request: pb.AddDestinationsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "AddDestinations", request.destinations, add_destination
        )
        return pb.AddDestinationsResponse(results=results)

    async def ConfirmDestinations(
        self, request: pb.ConfirmDestinationsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "ConfirmDestinations", request.destinations, confirm_destination
        )
        return pb.ConfirmDestinationsResponse(results=results)

    async def RemoveDestinations(
        self, request: pb.RemoveDestinationsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "RemoveDestinations", request.destinations, remove_destination
        )
        return pb.RemoveDestinationsResponse(results=results)

    async def ProposeTransfers(self, request: pb.ProposeTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ProposeTransfers", request.transfers, propose_transfer
        )
        return pb.ProposeTransfersResponse(results=results)

    async def ApproveTransfers(self, request: pb.ApproveTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ApproveTransfers", request.approvals, approve_transfer
        )
        return pb.ApproveTransfersResponse(results=results)

    async def RefuseTransfers(self, request: pb.RefuseTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "RefuseTransfers", request.refusals, refuse_transfer
        )
        return pb.RefuseTransfersResponse(results=results)

    async def GetSafeguards(self, request: pb.GetSafeguardsRequest, context: object) -> Any:
        self._check_may_view(request.holder, "")
        now_ms = self._clock.now_ms()
        message, position = await self._writer.read(
            lambda state: _safeguards_message(state.safeguards.get(request.holder), now_ms),
            request.min_position,
        )
        message.as_of_position = position
        return message

    async def ListProposedTransfers(
        self, request: pb.ListProposedTransfersRequest, context: object
    ) -> Any:
        self._check_may_view(request.holder, "")
        rows, position = await self._writer.read(
            lambda state: queries.proposed(state, request.holder), request.min_position
        )
        return pb.ListProposedTransfersResponse(
            transfers=[_proposed_message(name, hold) for name, hold in rows],
            as_of_position=position,
        )


def propose_safeguards(item: pb.SafeguardsProposal) -> commands.ProposeSafeguards:
    rules = _rules(item.rules) if item.HasField("rules") else None
    return commands.ProposeSafeguards(item.holder, rules)


def _rules(rules: pb.SafeguardRules) -> events.SafeguardRules:
    within_ms = rules.approve_within_ms if rules.HasField("approve_within_ms") else APPROVE_MS
    return events.SafeguardRules(
        within_ms,
        rules.delay_ms if rules.HasField("delay_ms") else DELAY_MS,
        [events.SafeguardLimit(limit.amount, limit.asset) for limit in rules.limits],
        rules.unlisted,
    )


def confirm_safeguards(item: pb.SafeguardsConfirmation) -> commands.ConfirmSafeguards:
    return commands.ConfirmSafeguards(item.holder, item.proposal)


def withdraw_safeguards(item: pb.SafeguardsWithdrawal) -> commands.WithdrawSafeguards:
    return commands.WithdrawSafeguards(item.holder)


def add_destination(item: pb.DestinationItem) -> commands.AddDestination:
    return commands.AddDestination(item.holder, item.destination)


def confirm_destination(item: pb.DestinationItem) -> commands.ConfirmDestination:
    return commands.ConfirmDestination(item.holder, item.destination)


def remove_destination(item: pb.DestinationItem) -> commands.RemoveDestination:
    return commands.RemoveDestination(item.holder, item.destination)


def propose_transfer(item: pb.TransferProposal) -> commands.ProposeTransfer:
    return commands.ProposeTransfer(
        item.holder, item.to, item.asset, item.amount, ranges_of(item.serials)
    )


def approve_transfer(item: pb.TransferApproval) -> commands.ApproveTransfer:
    return commands.ApproveTransfer(item.hold)


def refuse_transfer(item: pb.TransferRefusal) -> commands.RefuseTransfer:
    return commands.RefuseTransfer(item.hold, item.reason)


def _rules_message(rules: events.SafeguardRules | None) -> pb.SafeguardRules | None:
    if rules is None:
        return None
    limits = [pb.SafeguardLimit(asset=one.asset, amount=one.amount) for one in rules.limits]
    return pb.SafeguardRules(
        delay_ms=rules.delay_ms,
        approve_within_ms=rules.approve_within_ms,
        limits=limits,
        unlisted=rules.unlisted,
    )


def _safeguards_message(kept: Safeguards | None, now_ms: int) -> pb.GetSafeguardsResponse:
    if kept is None:
        return pb.GetSafeguardsResponse()
    trusted = [
        pb.Destination(destination=to, trusted_from=timestamp_of(since_ms))
        for to, since_ms in sorted(kept.destinations.items())
    ]
    added = [
        pb.Destination(destination=to, added_by=who.sub) for to, who in sorted(kept.added.items())
    ]
    message = pb.GetSafeguardsResponse(
        rules=_rules_message(destinations.in_force(kept, now_ms)),
        destinations=[*trusted, *added],
    )
    if kept.next_ms is not None and kept.next_ms > now_ms:
        message.next_from.CopyFrom(timestamp_of(kept.next_ms))
        message.next_rules.CopyFrom(_rules_message(kept.next_rules) or pb.SafeguardRules())
    if kept.asked is not None:
        message.proposal, message.proposed_by = kept.asked.proposal, kept.asked.proposer.sub
        message.proposed_rules.CopyFrom(_rules_message(kept.asked.rules) or pb.SafeguardRules())
    return message


def _proposed_message(name: str, hold: Hold) -> pb.ProposedTransfer:
    return pb.ProposedTransfer(
        hold=name,
        to=hold.to.holder,
        asset=hold.asset,
        amount=hold.amount,
        proposed_by="" if hold.proposer is None else hold.proposer.sub,
        expires_at=None if hold.expires_at_ms is None else timestamp_of(hold.expires_at_ms),
    )
