"""The inclusive process: config, wire, serve."""

from __future__ import annotations

import asyncio

from kernel.asks import Domain
from kernel.config import Environment
from kernel.directory import HaltWatch
from kernel.record import EventTypes
from kernel.service import open_service
from services.inclusive.citizens import Citizens
from services.inclusive.config import BOOK, SERVICE, load_config
from services.inclusive.domain.decide import decide, due
from services.inclusive.domain.events import EVENTS
from services.inclusive.domain.evolve import evolve
from services.inclusive.domain.state import State
from services.inclusive.projections import READER, project_trips
from services.inclusive.reactions import react
from services.inclusive.reports import Reports
from services.inclusive.rides import RideIndex
from services.inclusive.rpc import SERVICE as INCLUSIVE_SERVICE
from services.inclusive.rpc import InclusiveRpc, register
from services.inclusive.vault import Vault

DOMAIN = Domain(EventTypes(*EVENTS), State, decide, evolve, due)


async def serve(env: Environment, stop: asyncio.Event) -> None:
    """Runs until told to stop, or until something breaks."""
    config = load_config(env)
    async with open_service(SERVICE, BOOK, config.settings, DOMAIN) as service:
        writer, clock = service.writer, service.clock

        def halted(book: str, why: str | None) -> None:
            writer.halted = why

        vault = Vault(service.engine)
        trips = service.projector(READER, project_trips)
        rides = RideIndex(writer, service.engine, trips)
        citizens = Citizens(writer, vault, rides)
        await citizens.finish_forgetting()
        reports = Reports(writer, vault, rides, clock)
        directory = service.reactions(
            "ledger", service.channel(config.ledger), react, HaltWatch([BOOK], halted).observe
        )
        rpc = InclusiveRpc(writer, service.engine, trips, clock, citizens, vault, reports)
        await service.serve([(INCLUSIVE_SERVICE, register(rpc))], [trips], [directory.run], stop)
