"""The accounts process: config, wire, serve."""

from __future__ import annotations

import asyncio

from kernel.asks import Domain
from kernel.config import Environment
from kernel.directory import HaltWatch
from kernel.record import EventTypes
from kernel.service import open_service
from services.accounts.config import BOOK, SERVICE, load_config
from services.accounts.domain.commands import SettleTrades
from services.accounts.domain.decide import decide, due
from services.accounts.domain.events import EVENTS
from services.accounts.domain.evolve import evolve
from services.accounts.domain.state import State
from services.accounts.projections import READER, MovesProjection, decode_moves
from services.accounts.reactions import react
from services.accounts.rpc import SERVICE as ACCOUNTS_SERVICE
from services.accounts.rpc import AccountsRpc, register

DOMAIN = Domain(
    EventTypes(*EVENTS), State, decide, evolve, due, acts_once=frozenset({SettleTrades})
)


async def serve(env: Environment, stop: asyncio.Event) -> None:
    """Runs until told to stop, or until something breaks."""
    config = load_config(env)
    async with open_service(SERVICE, BOOK, config.settings, DOMAIN) as service:
        writer = service.writer

        def halted(book: str, why: str | None) -> None:
            writer.halted = why

        movements = service.projector(READER, MovesProjection().project_moves, decode_moves)
        directory = service.reactions(
            "ledger",
            service.channel(config.ledger),
            react,
            HaltWatch([BOOK], halted).observe,
        )
        rpc = AccountsRpc(writer, service.engine, movements, service.clock)
        await service.serve([(ACCOUNTS_SERVICE, register(rpc))], [movements], [directory.run], stop)
