"""Who holds what: registration, entries by what they mean, balances, movements, live views."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.clients import answer_model
from gateway.entrance import VisitorDependency
from gateway.models import accounts as m
from gateway.models import parts
from gateway.models import safeguards as s
from gateway.resources import (
    Read,
    Write,
    add_reads,
    add_writes,
    json_response,
    make_router,
    services_of,
)
from gateway.sse import MEDIA_TYPE, HolderView, LongResponse, Streams, check_place
from gateway.statements import add_statements

ENTRY = "accounts.PostEntries"

WRITES = (
    Write("/v1/holders", "accounts.RegisterHolders", m.Holder, "Register a holder"),
    Write("/v1/assets", "accounts.DefineAssets", m.Asset, "Define an asset"),
    Write("/v1/deposits", ENTRY, m.Deposit, "Book money in on a bank's advice"),
    Write("/v1/transfers", ENTRY, m.Transfer, "Move units or money to somebody else"),
    Write("/v1/allocations", ENTRY, m.Allocation, "Allocate to trading at a market"),
    Write("/v1/retirements", ENTRY, m.Retirement, "Retire units for a claim"),
    Write("/v1/holds", "accounts.PlaceHolds", m.Hold, "Reserve for somebody"),
    Write("/v1/hold-posts", "accounts.PostHolds", m.HoldPost, "Pay a hold out"),
    Write("/v1/hold-releases", "accounts.ReleaseHolds", m.HoldRelease, "Let a hold go"),
    Write(
        "/v1/safeguard-proposals",
        "accounts.ProposeSafeguards",
        s.SafeguardsProposal,
        "Propose a holder's safeguards",
    ),
    Write(
        "/v1/safeguard-confirmations",
        "accounts.ConfirmSafeguards",
        s.SafeguardsConfirmation,
        "Confirm what another operator proposed",
    ),
    Write(
        "/v1/safeguard-withdrawals",
        "accounts.WithdrawSafeguards",
        s.SafeguardsWithdrawal,
        "Give a change of safeguards up",
    ),
    Write("/v1/destinations", "accounts.AddDestinations", s.Destination, "Add a destination"),
    Write(
        "/v1/destination-confirmations",
        "accounts.ConfirmDestinations",
        s.Destination,
        "Confirm a destination that another operator added",
    ),
    Write(
        "/v1/destination-removals",
        "accounts.RemoveDestinations",
        s.Destination,
        "Remove a destination, at once",
    ),
    Write(
        "/v1/transfer-proposals",
        "accounts.ProposeTransfers",
        s.TransferProposal,
        "Propose a transfer that another operator has to approve",
    ),
    Write(
        "/v1/transfer-approvals",
        "accounts.ApproveTransfers",
        s.TransferApproval,
        "Approve what another operator proposed",
    ),
    Write(
        "/v1/transfer-refusals",
        "accounts.RefuseTransfers",
        s.TransferRefusal,
        "Refuse a proposed transfer",
    ),
)
READS = (
    Read(
        "/v1/holders/{holder}/balances",
        "accounts.GetBalances",
        m.Balances,
        "What a holder has, or had at a moment, by account and asset",
    ),
    Read(
        "/v1/holders/{holder}/movements",
        "accounts.ListMovements",
        m.Movements,
        "What moved, oldest first",
    ),
    Read(
        "/v1/serials/{asset}/{batch}/{serial}/movements",
        "accounts.GetSerialHistory",
        parts.Query,
        "Where a serial number has been",
    ),
    Read(
        "/v1/holders/{holder}/safeguards",
        "accounts.GetSafeguards",
        parts.Query,
        "A holder's own safeguards and trusted destinations",
    ),
    Read(
        "/v1/holders/{holder}/proposed-transfers",
        "accounts.ListProposedTransfers",
        parts.Query,
        "Transfers that wait for a second operator",
    ),
    Read("/v1/totals", "accounts.GetTotals", m.OfAsset, "Sums of every asset, for auditors"),
)


def make_routes() -> APIRouter:
    router = make_router("accounts")
    add_writes(router, WRITES)
    add_reads(router, READS)
    add_statements(router)
    _add_events(router)
    _add_outcomes(router)
    return router


def _add_events(router: APIRouter) -> None:
    @router.get(
        "/v1/holders/{holder}/events",
        summary="Movements of a holder as they are recorded",
        operation_id="get_holders_holder_events",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Server-sent events `ready`, `movement`, `problem`; the id of a"
                " movement is `<position>.<leg>`.",
                "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
            }
        },
    )
    async def holder_events(
        request: Request,
        visitor: VisitorDependency,
        holder: Annotated[str, Path(max_length=80)],
        last_event_id: Annotated[
            str,
            Query(max_length=40, description="As the header, for who cannot set it."),
        ] = "",
        last_event_id_header: Annotated[str, Header(alias="Last-Event-ID", max_length=40)] = "",
    ) -> Response:
        streams: Streams = request.app.state.streams
        place = check_place(last_event_id_header or last_event_id)
        view = HolderView(services_of(request), streams, visitor, holder)
        principal = visitor.caller.principal
        streams.enter(principal)
        try:
            await view.begin(place)
        except BaseException:
            streams.leave(principal)
            raise
        return LongResponse(
            view.events(),
            streams,
            principal,
            media_type=MEDIA_TYPE,
            headers={"X-Accel-Buffering": "no"},
        )


def _add_outcomes(router: APIRouter) -> None:
    """A question with a body: hundreds of ids do not fit an address."""
    for service in ("accounts", "registry", "market", "inclusive"):
        router.add_api_route(
            f"/v1/{service}-outcomes",
            _outcomes_of(f"{service}.GetOutcomes"),
            methods=["POST"],
            summary=f"What became of ids whose answers were lost, in {service}",
            operation_id=f"post_{service}_outcomes",
            response_model=None,
            responses={200: {"model": answer_model(f"{service}.GetOutcomes")}},
        )


def _outcomes_of(method: str) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def outcomes(request: Request, visitor: VisitorDependency, body: m.Outcomes) -> Response:
        values = body.model_dump()
        return json_response(await services_of(request).ask(method, values, visitor.token))

    return outcomes
