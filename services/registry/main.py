"""The registry process: config, wire, serve."""

from __future__ import annotations

import asyncio

from kernel.asks import Domain
from kernel.config import Environment
from kernel.directory import HaltWatch, react_to_directory
from kernel.errands import Errands
from kernel.record import EventTypes
from kernel.service import open_service
from services.registry.clients import (
    AccountsClient,
    open_issuances,
    open_pledges,
    open_releases,
)
from services.registry.config import BOOK, SERVICE, load_config
from services.registry.domain.decide import decide, due
from services.registry.domain.events import EVENTS
from services.registry.domain.evolve import evolve, told
from services.registry.domain.state import State
from services.registry.projections import READER, project_retirements
from services.registry.reactions import MARKS, react_to_accounts
from services.registry.rpc import SERVICE as REGISTRY_SERVICE
from services.registry.rpc import RegistryRpc, is_public, register

DOMAIN = Domain(EventTypes(*EVENTS), State, decide, evolve, due, told)


async def serve(env: Environment, stop: asyncio.Event) -> None:
    """Runs until told to stop, or until something breaks."""
    config = load_config(env)
    async with open_service(SERVICE, BOOK, config.settings, DOMAIN) as service:
        writer = service.writer

        def halted(book: str, why: str | None) -> None:
            writer.halted = why

        accounts = service.channel(config.accounts)
        retirements = service.projector(READER, project_retirements)
        directory = service.reactions(
            "ledger",
            service.channel(config.ledger),
            react_to_directory,
            HaltWatch([BOOK], halted).observe,
        )
        entries = service.reactions("accounts", accounts, react_to_accounts, marks=MARKS)
        client = AccountsClient(writer, accounts, service.tokens("registry", f"book:{BOOK}"))
        errands = [
            Errands("issue", writer, open_issuances, client.issue).run,
            Errands("pledge", writer, open_pledges, client.pledge).run,
            Errands("release", writer, open_releases, client.release).run,
        ]
        rpc = RegistryRpc(writer, service.engine, retirements, entries, service.clock)
        await service.serve(
            [(REGISTRY_SERVICE, register(rpc))],
            [retirements],
            [directory.run, entries.run, *errands],
            stop,
            is_public,
        )
