"""The accounts process: config, wire, serve."""

from __future__ import annotations

import asyncio

from kernel.acts import verify_act
from kernel.auth import TokenVerifier, service_tokens
from kernel.bus import Bus
from kernel.clock import SystemClock
from kernel.config import Environment
from kernel.follower import Follower
from kernel.frames import FrameSigner
from kernel.host import BookHost, run_jobs
from kernel.identities import load_identities
from kernel.journal.database import open_engine
from kernel.journal.postgres import PostgresJournal
from kernel.keys import load_private_key
from kernel.metrics import serve_metrics
from kernel.migrate import check_current
from kernel.projection import Projector
from kernel.reactor import Reactor
from kernel.record import EventTypes
from kernel.rpc.client import OwnerSource, open_channel
from kernel.rpc.journal import journal_service
from kernel.rpc.server import RpcServer
from kernel.writer import Domain, Writer
from services.accounts.config import BOOK, SERVICE, load_config
from services.accounts.domain.decide import decide, due
from services.accounts.domain.events import EVENTS
from services.accounts.domain.evolve import evolve
from services.accounts.domain.state import State
from services.accounts.projections import READER, project_movements
from services.accounts.reactions import HaltWatch, react
from services.accounts.rpc import SERVICE as ACCOUNTS_SERVICE
from services.accounts.rpc import AccountsRpc, register

DOMAIN = Domain(EventTypes(*EVENTS), State, decide, evolve, due)


async def serve(env: Environment, stop: asyncio.Event) -> None:
    """Runs until told to stop, or until something breaks."""
    config = load_config(env)
    settings = config.settings
    clock = SystemClock(settings.clock_file)
    identities = load_identities(settings.identities, settings.operator_vkey)
    engine = open_engine(settings.database_url)
    await asyncio.to_thread(check_current, engine, SERVICE)
    serve_metrics(settings.metrics_port)

    def make_writer(journal: PostgresJournal) -> Writer[State]:
        signer = FrameSigner(load_private_key(settings.frame_key))
        origin = f"{settings.log_prefix}/{BOOK}"
        return Writer(
            journal, DOMAIN, signer, identities.frame_key, clock, origin=origin, verify=verify_act
        )

    host = BookHost(engine, settings.database_url, BOOK, make_writer)
    await host.open()
    writer = host.writer
    bus = await Bus.connect(settings.nats_url, SERVICE, wait=False)
    movements = Projector(READER, BOOK, engine, host.tail(), DOMAIN.events, project_movements)

    token_key = load_private_key(settings.token_key)
    token = service_tokens(token_key, SERVICE, ["follow:ledger"], clock)
    channel = open_channel(config.ledger, settings.root_certificate())
    reactor = Reactor("ledger", writer, react, HaltWatch(writer).observe)
    keys = Follower(
        "accounts.reactions",
        "ledger",
        bus,
        OwnerSource(channel, token),
        identities.frame_key,
        reactor,
        0,  # the whole of a small book: its halts are told apart from its keys by watermark
    )
    server = RpcServer(
        settings.listen,
        TokenVerifier(identities, clock),
        [
            (ACCOUNTS_SERVICE, register(AccountsRpc(writer, engine, movements, clock))),
            journal_service({BOOK: writer}),
        ],
    )
    await server.start()
    try:
        jobs = host.jobs(bus, [movements])
        await run_jobs([*jobs, keys.run] if jobs else [], stop)
    finally:
        await server.stop()
        await channel.close(None)
        await bus.close()
        await host.close()
        engine.dispose()
