"""The ledger process: config, wire, serve."""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from kernel.asks import Ask, Domain
from kernel.clock import Clock
from kernel.config import Environment
from kernel.follower import Follower
from kernel.frames import FrameError, KeyLookup
from kernel.host import Job, run_jobs
from kernel.identities import identities_digest, open_identities
from kernel.ids import derived_id
from kernel.journal.database import Engine
from kernel.journal.snapshots import PostgresSnapshots
from kernel.record import EventTypes
from kernel.rpc.client import OwnerSource
from kernel.rpc.journal import JournalSource
from kernel.service import BookService, open_service
from kernel.snapshot.keeper import SnapshotKeeper
from kernel.tlog.states import STATE_BOOK
from kernel.values import Actor, Caller
from kernel.writer import Writer
from services.ledger.beside import beside
from services.ledger.books.accounts import AccountsBook
from services.ledger.books.followed import make_checkers, owner_of
from services.ledger.books.memory import Memory
from services.ledger.books.port import Checker
from services.ledger.clients import ACCOUNTS, Owners
from services.ledger.config import BOOK, SERVICE, Config, load_config
from services.ledger.domain.commands import HaltBook, PinFirstIdentities
from services.ledger.domain.decide import decide, due
from services.ledger.domain.events import EVENTS
from services.ledger.domain.evolve import evolve
from services.ledger.domain.state import State, overridden_at, told
from services.ledger.feeding import Feeding
from services.ledger.log import BookLog, Halt, Halted
from services.ledger.logkeys import BookKeys, KeyFolder, follow_changes, open_keys, policy_of
from services.ledger.logkeys_rpc import LogKeyRequests
from services.ledger.proving import ServedLog
from services.ledger.queries import CommitmentReader, TileStore
from services.ledger.reactions import halt_and_wait, heed, reader_of
from services.ledger.receipts_rpc import SERVICE as RECEIPT_SERVICE
from services.ledger.receipts_rpc import ReceiptRpc
from services.ledger.receipts_rpc import register as register_receipts
from services.ledger.rpc import SERVICE as LEDGER_SERVICE
from services.ledger.rpc import LedgerRpc, register
from services.ledger.sealing import CheckpointFile, Sealer
from services.ledger.snapshots import CHECKERS, CheckerSnapshots, ProvenTree, proven_tree
from services.ledger.state_rpc import SERVICE as STATE_SERVICE
from services.ledger.state_rpc import StateRpc
from services.ledger.state_rpc import register as register_states
from services.ledger.states.serving import States, open_states
from services.ledger.witnessed import WitnessedLog
from services.ledger.witnessing import RULES, Doubt

__all__ = ["BOOK", "DOMAIN", "SERVICE", "beside", "serve"]

DOMAIN = Domain(EventTypes(*EVENTS), State, decide, evolve, due, told)
LOOK_EVERY_S: Final = 1.0
SYSTEM = Caller(Actor(f"book:{BOOK}", "checker"), frozenset({"system"}), frozenset())


class Runs(Protocol):
    """What a log is fed by: a follower of its book, or who makes its entries."""

    async def run(self) -> None: ...


async def serve(env: Environment, stop: asyncio.Event) -> None:
    """Runs until told to stop, or until something breaks."""
    config = load_config(env)
    settings = config.settings
    # One reading for both: frames are believed by the very bytes whose digest is pinned.
    identities_file = settings.identities.read_bytes()
    identities = open_identities(identities_file, settings.operator_vkey)
    digest = identities_digest(identities_file)
    async with open_service(SERVICE, BOOK, settings, DOMAIN) as service:
        writer = service.writer
        policy = config.policy
        checkers = make_checkers(config.books)
        folder = KeyFolder(config.log_keys, settings.log_prefix)
        keys = await asyncio.to_thread(open_keys, folder, config.logs, writer.state)
        policy_of(policy, keys)  # now, not when somebody asks, is when it is found impossible
        logs, snapshots = await asyncio.to_thread(
            _open_logs,
            config,
            checkers,
            service.engine,
            writer,
            service.clock,
            keys,
            identities.frame_key,
        )
        begun = asyncio.Event()
        channels = {owner: service.channel(target) for owner, target in config.peers.items()}
        token = service.tokens(*(f"follow:{book}" for book in config.books))

        def follow(book: str) -> Callable[[], Awaitable[None]]:
            source = (
                JournalSource(writer)
                if book == BOOK
                else OwnerSource(channels[owner_of(book)], token)
            )

            def follower() -> Follower:
                served = logs[book]
                return Follower(
                    "ledger.log",
                    book,
                    service.bus,
                    source,
                    identities.frame_key,
                    served.handler,
                    served.log.next_position,
                )

            return functools.partial(
                _keep_log, logs[book], writer, digest, begun, follower, feeding.doubts[book]
            )

        owners = Owners(channels)
        states = await asyncio.to_thread(
            _open_states, config, service, keys, logs, checkers, owners
        )
        everything: dict[str, ServedLog[Any]] = dict(logs)
        if states is not None:
            everything[STATE_BOOK] = states.served
        feeding = Feeding(policy, settings.tls_authority, writer, SYSTEM, service.clock)
        for book, one in everything.items():
            feeders = feeding.feeders(one.sealer, one.shown, one.tiles)
            everything[book] = one._replace(witnesses=feeders)
        log_keys = LogKeyRequests(folder, policy, keys, writer, service.clock)
        rpc = LedgerRpc(writer, everything, service.engine, log_keys, digest)
        sealers = {book: one.sealer for book, one in logs.items()}
        receipts = ReceiptRpc(
            rpc, BOOK, owners, sealers, functools.partial(overridden_at, writer.state)
        )
        pin = functools.partial(_pin_first_identities, writer, digest)
        keeper = SnapshotKeeper(
            CHECKERS,
            PostgresSnapshots(service.engine, CHECKERS),
            functools.partial(_proven_beyond, logs),
            settings.snapshot_events,
        )
        begin = functools.partial(_begin, logs, snapshots, begun)
        change = functools.partial(follow_changes, folder, keys, writer)
        jobs: list[Job] = [pin, begin, change, *map(follow, config.books), keeper.run]
        jobs += feeding.jobs
        served = [
            (LEDGER_SERVICE, register(rpc)),
            (RECEIPT_SERVICE, register_receipts(receipts)),
        ]
        if states is not None:
            doubt = feeding.doubts[STATE_BOOK]
            jobs.append(functools.partial(_keep_states, states, writer, digest, begun, doubt))
            served.append((STATE_SERVICE, register_states(StateRpc(states.proofs))))
        try:
            await service.serve(served, [], jobs, stop)
        finally:
            await feeding.close()


def _open_states(
    config: Config,
    service: BookService[State],
    keys: Mapping[str, BookKeys],
    logs: Mapping[str, ServedLog[BookLog]],
    checkers: Mapping[str, Checker],
    owners: Owners,
) -> States | None:
    """A ledger that does not check the accounts book has nothing to say of how things stand."""
    checker = checkers.get(ACCOUNTS)
    if not isinstance(checker, AccountsBook):
        return None
    own = keys[STATE_BOOK]
    return open_states(config, service.engine, service.clock, own, logs, checker, owners)


async def _keep_states(
    states: States, writer: Writer[State], digest: str, begun: asyncio.Event, doubt: Doubt
) -> None:
    await _keep_log(states.served, writer, digest, begun, lambda: states.keeper, doubt)


def _open_logs(
    config: Config,
    checkers: Mapping[str, Checker],
    engine: Engine,
    writer: Writer[State],
    clock: Clock,
    log_keys: Mapping[str, BookKeys],
    frame_keys: KeyLookup,
) -> tuple[dict[str, ServedLog[BookLog]], CheckerSnapshots]:
    """Every followed book's checker, tree and sealer."""
    trees: dict[str, ProvenTree] = {}
    logs: dict[str, BookLog] = {}
    served: dict[str, ServedLog[BookLog]] = {}

    for book in config.books:
        keys = log_keys[book]
        tiles = TileStore(engine, book)
        tree = tiles.load_tree()
        logs[book] = BookLog(
            book, keys.origin, checkers[book], tree, CommitmentReader(engine, book)
        )
        file = CheckpointFile(config.checkpoints / f"{book}.checkpoint")
        trees[book] = proven_tree(file, keys, tiles, tree.size)
        sealer = Sealer(logs[book], engine, keys, file, tiles, clock)
        reader = reader_of(book, logs, writer.state)
        shown = WitnessedLog(book, sealer, config.policy)
        served[book] = ServedLog(logs[book], sealer, tiles, shown, reader)
    snapshots = CheckerSnapshots(
        PostgresSnapshots(engine, CHECKERS), frame_keys, trees, Memory(checkers), writer.state
    )
    return served, snapshots


async def _begin(
    logs: Mapping[str, ServedLog[BookLog]], snapshots: CheckerSnapshots, begun: asyncio.Event
) -> None:
    """The checkers begin at their newest snapshot, if it is believed, else at zero.

    While the lease is renewed already: a million accounts take some seconds.
    """
    standings = await asyncio.to_thread(snapshots.restore)
    for book, standing in standings.items():
        logs[book].log.begin_at(standing)
    gc.freeze()  # it lives as long as we do: not to be walked again and again
    begun.set()
    await asyncio.Event().wait()


async def _proven_beyond(logs: Mapping[str, ServedLog[BookLog]], events: int) -> int:
    """How many events of all books are proven, once they are at least so many."""
    while True:
        proven = sum(one.sealer.published.size for one in logs.values())
        if proven >= events:
            return proven
        await asyncio.sleep(LOOK_EVERY_S)


async def _keep_log(
    served: ServedLog[Any],
    writer: Writer[State],
    digest: str,
    begun: asyncio.Event,
    make_work: Callable[[], Runs],
    doubt: Doubt,
) -> None:
    """Follows, checks, seals; halts and waits for two persons when something is wrong."""
    book_log, sealer = served.log, served.sealer

    def times_accepted(halt: Halt) -> int:
        return len(writer.state.overrides.get((halt.book, halt.position, halt.rule), ()))

    async def announce(halt: Halt) -> None:
        if (halt.book, halt.position, halt.rule) in writer.state.halts:
            return  # found again after a restart: it stands recorded
        # The same halt after an override, or after another halt, is another event.
        id = derived_id(0, writer.progress.book_id.hex(), *halt, writer.state.halts_recorded)
        command = HaltBook(halt.book, halt.position, halt.rule, halt.expected, halt.actual)
        await writer.submit([Ask(id, SYSTEM, command)])

    async def halt_for(error: Halted | FrameError) -> None:
        halt = (
            error.halt
            if isinstance(error, Halted)
            else Halt(book_log.book, error.position, error.rule, error.expected, error.actual)
        )
        await halt_and_wait(book_log, halt, announce, times_accepted, writer.next_commit)

    async def open_tree() -> None:
        while True:
            try:
                return await asyncio.to_thread(sealer.open, book_log.known)
            except Halted as halted:
                await halt_for(halted)
                if halted.halt.rule == "RESTORED_BACKWARDS":
                    return  # folds on, and signs nothing before it is where it was

    async def heed_witnesses() -> None:
        """A halt for what a witness showed ends by two persons, and not by a restart."""
        while True:
            try:
                return heed(book_log.book, writer.state.halts, RULES)
            except Halted as halted:
                sealer.paused = True
                await halt_for(halted)
                sealer.paused = False

    async def follow() -> None:
        while True:
            try:
                await run_jobs([make_work().run, doubt.told], asyncio.Event())
            except (Halted, FrameError) as error:
                await halt_for(error)
                if isinstance(error, Halted) and error.halt.rule in RULES:
                    sealer.paused = False

    await begun.wait()
    while writer.state.identities != digest:  # frames are believed only with pinned keys
        await writer.next_commit()
    await open_tree()
    await heed_witnesses()
    await run_jobs([follow, sealer.run], asyncio.Event())


async def _pin_first_identities(writer: Writer[State], digest: str) -> None:
    """The first identities are taken as found; every later change takes two persons."""
    if writer.state.identities is None:
        id = derived_id(0, writer.progress.book_id.hex(), "identities")
        await writer.submit([Ask(id, SYSTEM, PinFirstIdentities(digest))])
    await asyncio.Event().wait()
