"""What authorities, courts and two holders have signed: freezes, transfers that are no trades."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.models import accounts, parts
from gateway.models import changes as c
from gateway.models import orders as m
from gateway.resources import Read, Write, add_reads, add_writes, make_router

WRITES = (
    Write(
        "/v1/freezes",
        "accounts.FreezeUnits",
        m.SignedOrder,
        "Book the signed order that freezes an account, an amount or serials",
    ),
    Write(
        "/v1/unfreezes", "accounts.UnfreezeUnits", m.SignedOrder, "Book the signed order that lifts"
    ),
    Write(
        "/v1/non-trade-transfers",
        "accounts.PostTransfers",
        m.SignedOrder,
        "Carry a signed order out, or file an agreement that two holders have signed",
    ),
    Write(
        "/v1/filed-transfer-confirmations",
        "accounts.ConfirmTransfers",
        m.FiledTransferName,
        "Carry a filed agreement out, as another registrar",
    ),
    Write(
        "/v1/filed-transfer-withdrawals",
        "accounts.WithdrawTransfers",
        m.FiledTransferName,
        "Take a filed agreement back",
    ),
)
READS = (
    Read(
        "/v1/freezes",
        "accounts.ListFreezes",
        c.OfHolder,
        "What is frozen, of one holder or for registrars and auditors of all",
    ),
    Read(
        "/v1/holders/{holder}/freezes",
        "accounts.ListFreezes",
        parts.Page,
        "What an authority or a court has frozen of a holder's",
    ),
    Read(
        "/v1/filed-transfers",
        "accounts.ListFiledTransfers",
        parts.Page,
        "Agreements that wait for a second registrar",
    ),
    Read(
        "/v1/non-trade-transfers",
        "accounts.ListNonTradeTransfers",
        accounts.Movements,
        "What changed hands by order or agreement, oldest first",
    ),
)


def make_routes() -> APIRouter:
    router = make_router("orders")
    add_writes(router, WRITES)
    add_reads(router, READS)
    return router
