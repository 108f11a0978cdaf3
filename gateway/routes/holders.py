"""What is kept about holders: openings, operators, mandates, funds, statuses; who decides."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.models import changes as m
from gateway.models import parts
from gateway.resources import Read, Write, add_reads, add_writes, make_router

WRITES = (
    Write(
        "/v1/change-proposals",
        "accounts.ProposeChanges",
        m.ChangeProposal,
        "Propose one change: an opening, an operator, a mandate, a status and others",
    ),
    Write(
        "/v1/change-approvals",
        "accounts.ApproveProposals",
        m.ProposalName,
        "Approve what another person proposed: it takes effect",
    ),
    Write(
        "/v1/change-refusals", "accounts.RefuseProposals", m.ProposalRefusal, "Refuse a proposal"
    ),
    Write(
        "/v1/change-withdrawals",
        "accounts.WithdrawProposals",
        m.ProposalName,
        "Take a proposal back",
    ),
    Write(
        "/v1/operator-changes",
        "accounts.SetOperators",
        m.OperatorChange,
        "Set what a person may do for a holder; no rights removes it",
    ),
    Write(
        "/v1/mandate-revocations", "accounts.RevokeMandates", m.MandateRevocation, "End a mandate"
    ),
    Write(
        "/v1/status-orders",
        "accounts.OrderStatuses",
        m.StatusOrder,
        "Book an authority's signed order about a holder's status",
    ),
)
READS = (
    Read(
        "/v1/change-proposals",
        "accounts.ListProposals",
        m.OfHolder,
        "Open proposals the caller may see",
    ),
    Read("/v1/holders/{holder}", "accounts.GetHolder", parts.Query, "What a holder is, its status"),
    Read(
        "/v1/holders/{holder}/openings",
        "accounts.ListOpenings",
        parts.Query,
        "Which accounts a holder has opened",
    ),
    Read(
        "/v1/holders/{holder}/operators",
        "accounts.ListOperators",
        parts.Query,
        "Who may act for a holder",
    ),
    Read(
        "/v1/holders/{holder}/mandates",
        "accounts.ListMandates",
        parts.Query,
        "Live mandates, given and received",
    ),
    Read(
        "/v1/programmes/{programme}/account-terms",
        "accounts.ListAccountTerms",
        parts.Query,
        "Who may have accounts in a programme, from when on",
    ),
)


def make_routes() -> APIRouter:
    router = make_router("holders")
    add_writes(router, WRITES)
    add_reads(router, READS)
    return router
