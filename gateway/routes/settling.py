"""Venues that match elsewhere: their settlement files part by part, sessions, their reports."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.models import orders as m
from gateway.reports import add_reports
from gateway.resources import Write, add_writes, make_router

WRITES = (
    Write(
        "/v1/venues/{venue}/settlement-parts",
        "accounts.SettleTrades",
        m.SettlementPart,
        "Settle a part of a file, up to 250 trades; each is answered",
    ),
    Write(
        "/v1/venues/{venue}/session-closes",
        "accounts.CloseSessions",
        m.SessionClose,
        "Close a session with its sums",
    ),
)


def make_routes() -> APIRouter:
    router = make_router("settling")
    add_writes(router, WRITES)
    add_reports(router)
    return router
