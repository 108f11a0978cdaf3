"""A process that owns one book: what every service's main wires the same way.

Opens what the settings name (identities, database, lease and journal, bus), hands out projectors,
reactions and errands, serves until told to stop or until something breaks, and closes it all again.
"""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Generic, TypeVar

from kernel.acts import verify_act
from kernel.asks import Domain
from kernel.auth import TokenVerifier, service_tokens
from kernel.bus import Bus
from kernel.clock import SystemClock
from kernel.config import Settings
from kernel.follower import Follower
from kernel.frames import FrameSigner
from kernel.host import BookHost, Job, run_jobs
from kernel.identities import Identities, load_identities
from kernel.journal.database import open_engine
from kernel.journal.postgres import PostgresJournal
from kernel.keys import load_private_key
from kernel.metrics import serve_metrics
from kernel.migrate import check_current
from kernel.projection import Apply, Decode, Projector, recorded_by
from kernel.reactor import Observe, React, Reactor
from kernel.rpc.client import Channel, OwnerSource, open_channel
from kernel.rpc.disclosure import IsPublic, disclosure_service, nothing_public
from kernel.rpc.journal import journal_service
from kernel.rpc.server import Register, RpcServer
from kernel.rpc.standby import waiting_room
from kernel.snapshot.keeper import SnapshotKeeper
from kernel.writer import Writer

DOUBT_EVERY_S: Final = 0.25
OPENING_S: Final = 3.0  # how long we wait at start to be told of halts

S = TypeVar("S")


class BookService(Generic[S]):
    """One service with one book. Made by `open_service`."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        domain: Domain[S],
        host: BookHost,
        bus: Bus,
        clock: SystemClock,
        identities: Identities,
    ) -> None:
        self.name = name
        self.settings = settings
        self.domain = domain
        self.host = host
        self.bus = bus
        self.clock = clock
        self.engine = host.engine
        self.writer: Writer[S] = host.writer
        self.identities = identities
        self._token_key = load_private_key(settings.token_key)
        self._channels: list[Channel] = []
        self._observed: list[Follower] = []

    def tokens(self, *roles: str) -> Callable[[], str]:
        """Makes tokens for our own calls, with no more roles than they need."""
        return service_tokens(self._token_key, self.name, roles, self.clock)

    def channel(self, target: str) -> Channel:
        """To another process; closed with the service."""
        self._channels.append(open_channel(target, self.settings.root_certificate()))
        return self._channels[-1]

    def projector(self, reader: str, apply: Apply, decode: Decode | None = None) -> Projector:
        """A read model of our own book; `decode` reads its records in a narrower way than ours."""
        return Projector(
            reader,
            self.writer.book,
            self.engine,
            self.host.tail(),
            decode or recorded_by(self.domain.events),
            apply,
        )

    def reactions(
        self,
        source: str,
        channel: Channel,
        react: React,
        observe: Observe | None = None,
        marks: tuple[bytes, ...] = (b"",),
    ) -> Follower:
        """Follows another book. With `observe` from its first event on, at every start.

        Otherwise from our watermark of it: what comes before has been answered. For `marks` see
        Reactor.
        """
        begin = 0 if observe is not None else self.writer.progress.watermarks.get(source, 0)
        follower = Follower(
            f"{self.name}.reactions",
            source,
            self.bus,
            OwnerSource(channel, self.tokens(f"follow:{source}")),
            self.identities.frame_key,
            Reactor(source, self.writer, react, observe, marks),
            begin,
        )
        if observe is not None:
            self._observed.append(follower)
        return follower

    async def serve(
        self,
        services: Sequence[tuple[str, Register]],
        projectors: Sequence[Projector],
        jobs: Iterable[Job],
        stop: asyncio.Event,
        is_public: IsPublic = nothing_public,
    ) -> None:
        """Answers calls, and runs the jobs while the book is ours and in order.

        Events of the types that are public are shown to everybody.
        """
        disclosure = disclosure_service(self.writer, self.engine, self.clock, is_public)
        server = RpcServer(
            self.settings.listen,
            TokenVerifier(self.identities, self.clock),
            [*services, journal_service({self.writer.book: self.host}), disclosure],
        )
        self.writer.opening = bool(self._observed) and self.writer.damaged is None
        gc.freeze()  # what was replayed lives as long as we do: not to be walked again and again
        await server.start(serving=not self.writer.opening)
        try:
            own = self.host.jobs(self.bus, projectors)
            open_doors = functools.partial(self._open_doors, server)
            keeper = SnapshotKeeper(
                self.writer.book,
                self.host.snapshots,
                self.writer.reached,
                self.settings.snapshot_events,
            )
            doubts = functools.partial(self._show_doubts, server)
            await run_jobs([*own, open_doors, doubts, keeper.run, *jobs] if own else [], stop)
        finally:
            await server.stop()

    async def _open_doors(self, server: RpcServer) -> None:
        """Takes commands once it is known what stands in the way, or nobody is there to tell.

        A log that halted while we were away refuses them from the first one on. If the ledger is
        away as well, what we record meanwhile is not proven: it has to wait for the ledger anyway.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(OPENING_S):
                for follower in self._observed:
                    await follower.caught_up.wait()
        self.writer.opening = False
        await server.set_serving(True)
        await asyncio.Event().wait()

    async def _show_doubts(self, server: RpcServer) -> None:
        """Says that we do not serve while our lease is in doubt: callers go elsewhere, if they can.

        Whoever stood still, or has lost the database, wakes up to this before anything else. Those
        who wait for an answer go as well: a database that says nothing would hold them for as long
        as it takes us to give up.
        """
        shown = True
        while True:
            await asyncio.sleep(DOUBT_EVERY_S)
            if self.writer.opening or shown == self.host.fresh():
                continue
            shown = not shown
            if shown:
                server.calls.reopen()
            else:
                server.calls.close(f"{self.writer.book}: the lease is not fresh")
            await server.set_serving(shown)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close(None)


@asynccontextmanager
async def open_service(
    name: str, book: str, settings: Settings, domain: Domain[Any]
) -> AsyncIterator[BookService[Any]]:
    """Replays the book, waits for its lease, takes it over."""
    clock = SystemClock(settings.clock_file)
    identities = load_identities(settings.identities, settings.operator_vkey)
    engine = open_engine(settings.database_url)
    await asyncio.to_thread(check_current, engine, name)
    serve_metrics(settings.metrics_port)

    def make_writer(journal: PostgresJournal) -> Writer[Any]:
        signer = FrameSigner(load_private_key(settings.frame_key))
        origin = f"{settings.log_prefix}/{book}"
        return Writer(
            journal, domain, signer, identities.frame_key, clock, origin=origin, verify=verify_act
        )

    host = BookHost(engine, settings.database_url, book, make_writer, identities.frame_key)
    # Answers on our address from the first moment on, and is gone before the service listens there.
    async with waiting_room(settings.listen, TokenVerifier(identities, clock), host):
        await host.open()
    await host.settled()
    bus = await Bus.connect(settings.nats_url, name, wait=False)
    service = BookService(name, settings, domain, host, bus, clock, identities)
    try:
        yield service
    finally:
        await service.close()
        await bus.close()
        await host.close()
        engine.dispose()
