"""The market: instruments, orders and picks, quotes and bars, trades and their settlement."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.models import market as m
from gateway.models import parts
from gateway.resources import Read, Write, add_reads, add_writes, make_router

WRITES = (
    Write("/v1/instruments", "market.DefineInstruments", m.Instrument, "Define an instrument"),
    Write("/v1/instrument-terms", "market.SetTerms", m.TermsChange, "Set terms from a day on"),
    Write("/v1/orders", "market.PlaceOrders", m.Order, "Place a limit order"),
    Write("/v1/picks", "market.PickOrders", m.Pick, "Take listed orders (摘牌)", begins=True),
    Write("/v1/cancellations", "market.CancelOrders", m.Cancellation, "Cancel an order"),
    Write(
        "/v1/market-releases",
        "market.RequestReleases",
        m.Release,
        "Ask units or money back from trading",
        begins=True,
    ),
)
READS = (
    Read("/v1/instruments", "market.GetInstruments", parts.Query, "Instruments, terms in force"),
    Read(
        "/v1/instruments/{instrument}/book", "market.GetBook", m.Book, "Its book, best price first"
    ),
    Read(
        "/v1/instruments/{instrument}/quotes",
        "market.GetQuotes",
        parts.Query,
        "Last price, previous close, today's bar and band",
    ),
    Read("/v1/instruments/{instrument}/bars", "market.ListBars", parts.Page, "Bars by day"),
    Read(
        "/v1/holders/{holder}/positions",
        "market.GetPositions",
        m.Positions,
        "What a holder has at the market: free, reserved, on the way",
    ),
    Read("/v1/holders/{holder}/orders", "market.ListOrders", parts.Page, "A holder's orders"),
    Read("/v1/holders/{holder}/trades", "market.ListTrades", m.Trades, "A holder's trades"),
    Read("/v1/market-releases", "market.GetReleases", m.Releases, "Named releases"),
    Read(
        "/v1/market-releases/{release}",
        "market.GetReleases",
        parts.Settled,
        "A release",
        one="releases",
        fields={"release": "releases"},
    ),
    Read(
        "/v1/market-state",
        "market.GetMarketState",
        parts.Nothing,
        "Does the market take orders, and if not, why",
    ),
)


def make_routes() -> APIRouter:
    router = make_router("market")
    add_writes(router, WRITES)
    add_reads(router, READS)
    return router
