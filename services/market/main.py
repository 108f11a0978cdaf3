"""The market process: config, wire, serve."""

from __future__ import annotations

import asyncio

from kernel.asks import Domain
from kernel.config import Environment
from kernel.directory import HaltWatch
from kernel.errands import Errands
from kernel.keys import load_private_key
from kernel.record import EventTypes, RawRecord
from kernel.service import open_service
from services.market.clients import (
    AccountsClient,
    LedgerClient,
    open_releases,
    open_settlements,
)
from services.market.config import BOOK, SERVICE, load_config
from services.market.domain.decide import decide, due
from services.market.domain.events import EVENTS
from services.market.domain.evolve import evolve
from services.market.domain.state import State, told
from services.market.projections import READER, project_orders
from services.market.reactions import MARKS, react_to_accounts
from services.market.rpc import SERVICE as MARKET_SERVICE
from services.market.rpc import MarketRpc, register
from services.market.stops import SOURCE, TradingStops

DOMAIN = Domain(EventTypes(*EVENTS), State, decide, evolve, due, told)


def _no_keys(raw: RawRecord) -> None:
    """The market believes nobody's signature: of the ledger's book it only watches halts."""


async def serve(env: Environment, stop: asyncio.Event) -> None:
    """Runs until told to stop, or until something breaks."""
    config = load_config(env)
    venue_key = load_private_key(config.venue_key)
    async with open_service(SERVICE, BOOK, config.settings, DOMAIN) as service:
        writer = service.writer
        to_accounts, to_ledger = service.channel(config.accounts), service.channel(config.ledger)

        def halted(book: str, why: str | None) -> None:
            if book == BOOK:
                writer.halted = why
            else:
                stops.halted(why)

        orders = service.projector(READER, project_orders)
        watch = HaltWatch([BOOK, SOURCE], halted)
        ledger = service.reactions("ledger", to_ledger, _no_keys, watch.observe)
        accounts = service.reactions(SOURCE, to_accounts, react_to_accounts, marks=MARKS)
        stops = TradingStops(
            LedgerClient(to_ledger).progress,
            lambda: accounts.next_position,
            lambda: ledger.next_position,
            lambda: writer.halted,
        )
        venue_token = service.tokens(f"venue:{BOOK}", f"book:{BOOK}")
        client = AccountsClient(writer, to_accounts, venue_token, venue_key)
        settlements = Errands("settle", writer, open_settlements, client.settle)
        releases = Errands("release", writer, open_releases, client.release)
        rpc = MarketRpc(writer, service.engine, orders, service.clock, stops, accounts)
        await service.serve(
            [(MARKET_SERVICE, register(rpc))],
            [orders],
            [ledger.run, accounts.run, stops.run, settlements.run, releases.run],
            stop,
        )
