"""Histories for the ledger's tests: both books told by their real writers, on journals in memory.

`tell_story` is one truthful day of 兰州新区's forest tickets that uses every event; `planted`
changes one event of it as somebody with the service's key could. `Kept` stands for the ledger's
tables where a test needs no database.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import json
import pickle
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import key_id, public_bytes, sign_act, verify_act
from kernel.asks import Ask, Domain
from kernel.clock import FixedClock
from kernel.frames import Frame, FrameError, FrameSigner, StoredEvent, verify_frame
from kernel.ids import derived_id
from kernel.journal.database import Engine
from kernel.journal.memory import MemoryJournal
from kernel.keyring import AdmitKey, WithdrawKey
from kernel.record import COMMITMENT_BYTES, Record, WriterStarted, commit, encode_record
from kernel.tlog.checkpoint import Checkpoint
from kernel.tlog.note import ED25519, Signer
from kernel.tlog.tiles import TileTree
from kernel.values import DAY_MS, Act, Actor, Caller
from kernel.writer import Writer
from services.accounts.domain.commands import (
    DefineAsset,
    ExpireHold,
    PlaceHold,
    PostEntry,
    PostHold,
    RegisterHolder,
    ReleaseHold,
)
from services.accounts.domain.events import HolderKind, Unit
from services.accounts.domain.state import State as AccountsState
from services.accounts.main import DOMAIN as ACCOUNTS
from services.ledger.books.accounts import AccountsBook
from services.ledger.books.followed import make_checkers
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.port import Checker
from services.ledger.domain.commands import (
    Approve,
    HaltBook,
    NoteDisagreement,
    PinFirstIdentities,
    ProposeIdentities,
    ProposeKey,
    ProposeKeyRevocation,
    ProposeOverride,
    Withdraw,
)
from services.ledger.domain.state import State as LedgerState
from services.ledger.log import BookLog, Halt, Halted
from services.ledger.logkeys import BookKeys, InForce
from services.ledger.main import DOMAIN as LEDGER
from services.ledger.projections import store_pending
from services.ledger.queries import CommitmentReader, TileStore
from services.ledger.reactions import LogReader
from services.ledger.sealing import CheckpointFile, Sealer
from tests.support.books import MORNING_MS, person
from tests.support.ending import end
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    BACKDATING_DAYS,
    BANK,
    BANK_KEY,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CLAIM,
    CNY,
    EXCHANGE,
    FARMER,
    FOREST_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    SYSTEM,
    TICKET,
    USCCS,
    VENUE,
    VENUE_KEY,
    ZHONGCHUAN,
    advice,
    approval,
    available,
    deposit_entry,
    hold,
    issuance,
    leg,
    pay,
    retired,
    seeded_key,
    settlement,
    settlement_entry,
    trading,
)

S = TypeVar("S")
Json = dict[str, Any]

ALLOWANCE = "CEA-2024"  # defined without serials: nothing of it can be issued here
WANG = person("wang", roles=["operator"])  # proposes
CHECKER = Caller(Actor("book:ledger", "checker"), frozenset({"system"}), frozenset())
LI = person("li", roles=["operator"])  # approves
HUNDRED_THOUSAND_CNY_FEN = 10_000_000
PRICE_FEN_PER_T = 4194
BOOK_ID = bytes(range(16))  # of the books made without a writer

FIRST_DEALS = (
    ("T-1", QINWANGCHUAN, CITY_GROUP, 1000, PRICE_FEN_PER_T),
    ("T-2", QINWANGCHUAN, CITY_GROUP, 200, PRICE_FEN_PER_T + 6),
)
LATER_DEAL = ("T-3", QINWANGCHUAN, CITY_GROUP, 100, PRICE_FEN_PER_T)


def origin_of(book: str) -> str:
    return f"tanzhang.test/{book}"


def frame_key(book: str) -> Ed25519PrivateKey:
    return seeded_key(f"frames of {book}")


def frame_keys(book: str, wanted: str) -> bytes | None:
    """The identities file of these tests: each book's own key, and no other."""
    public = public_bytes(frame_key(book))
    return public if key_id(public) == wanted else None


def counted_entropy(seed: str) -> Callable[[int], bytes]:
    """The same bytes in every run."""
    drawn = 0

    def draw(size: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.sha256(f"{seed} {drawn}".encode()).digest()[:size]

    return draw


class Desk(Generic[S]):
    """One book's real writer on a journal in memory."""

    def __init__(self, book: str, domain: Domain[S], clock: FixedClock) -> None:
        self.book = book
        self.clock = clock
        self.journal = MemoryJournal(book)
        self.journal.epoch = 1
        self.writer = Writer(
            self.journal,
            domain,
            FrameSigner(frame_key(book)),
            frame_keys,
            clock,
            origin=origin_of(book),
            verify=verify_act,
            entropy=counted_entropy(book),
        )
        self._asked = 0

    async def ask(
        self,
        command: msgspec.Struct,
        caller: Caller,
        *acts: Act,
        on_ms: int | None = None,
        cause: tuple[str, int] | None = None,
    ) -> int:
        """The position of the command's event; raises the refusal if there is one."""
        self._asked += 1
        id = derived_id(self.clock.now_ms(), self.book, self._asked)
        (result,) = await self.writer.submit([Ask(id, caller, command, on_ms, acts, cause)])
        if result.outcome.refusal is not None:
            raise result.outcome.refusal.to_error()
        return result.outcome.first

    def events(self) -> list[StoredEvent]:
        return [event for frame in self.journal.read_frames(0) for event in frame.events]


@dataclass
class Desks:
    ledger: Desk[LedgerState]
    accounts: Desk[AccountsState]
    clock: FixedClock


@asynccontextmanager
async def open_desks() -> AsyncIterator[Desks]:
    """Both writers at work, for as long as a story takes."""
    clock = FixedClock(MORNING_MS)
    desks = Desks(Desk("ledger", LEDGER, clock), Desk("accounts", ACCOUNTS, clock), clock)
    writers: list[Writer[Any]] = [desks.ledger.writer, desks.accounts.writer]
    for writer in writers:
        writer.start(1)
    running = [asyncio.create_task(writer.run()) for writer in writers]
    try:
        yield desks
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for writer in writers:
            writer.close()


@dataclass
class Story:
    """A truthful history: what stands in both journals, and what is where."""

    ledger: list[StoredEvent] = field(default_factory=list)
    accounts: list[StoredEvent] = field(default_factory=list)
    frames: dict[str, list[Frame]] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)  # position by name, in its own book
    state: AccountsState = field(default_factory=AccountsState)

    def of(self, book: str) -> list[StoredEvent]:
        return self.ledger if book == "ledger" else self.accounts


async def admit(desks: Desks, key: Ed25519PrivateKey, subject: str) -> tuple[int, int, int]:
    """A key into the directory and from there into the accounts book: three positions."""
    proposed = await desks.ledger.ask(ProposeKey(subject, "ed25519", public_bytes(key)), WANG)
    registered = await approve(desks, proposed)
    public = msgspec.json.decode(desks.ledger.events()[registered].record)["body"]
    command = AdmitKey(public["key_id"], public["public_key"], subject, "ed25519")
    admitted = await desks.accounts.ask(command, SYSTEM, cause=("ledger", registered))
    return proposed, registered, admitted


async def approve(desks: Desks, proposed: int, caller: Caller = LI) -> int:
    return await desks.ledger.ask(Approve(proposal_of(desks, proposed)), caller)


def proposal_of(desks: Desks, position: int) -> str:
    id: str = msgspec.json.decode(desks.ledger.events()[position].record)["by"]
    return id


async def found_the_place(desks: Desks, at: dict[str, int]) -> None:
    """Keys, holders and assets: where every story begins."""
    ask = desks.accounts.ask
    at["opened"], at["writer started"] = 0, 1
    for name, key, subject in (
        ("authority", AUTHORITY_KEY, f"authority:{PROGRAMME}"),
        ("bank", BANK_KEY, f"bank:{BANK}"),
        ("venue", VENUE_KEY, f"venue:{VENUE}"),
    ):
        at[f"{name} proposed"], at[f"{name} registered"], at[f"{name} admitted"] = await admit(
            desks, key, subject
        )
    programme = RegisterHolder(PROGRAMME, HolderKind.PROGRAMME, "", "丝路碳票")
    at["programme"] = await ask(programme, REGISTRAR)
    for name, holder, kind in (
        ("秦王川林场", QINWANGCHUAN, HolderKind.ENTERPRISE),
        ("中川林场", ZHONGCHUAN, HolderKind.ENTERPRISE),
        ("兰州新区城投", CITY_GROUP, HolderKind.ENTERPRISE),
        ("兰州银行", BANK, HolderKind.SETTLEMENT_BANK),
    ):
        at[name] = await ask(RegisterHolder(holder, kind, USCCS[holder], name), REGISTRAR)
    for asset, unit, programme_id, serialised in (
        (TICKET, Unit.T, PROGRAMME, True),
        (ALLOWANCE, Unit.T, PROGRAMME, False),
        (CNY, Unit.FEN, "", False),
    ):
        command = DefineAsset(asset, unit, programme_id, serialised, asset, BACKDATING_DAYS)
        at[asset] = await ask(command, REGISTRAR)


async def tell_the_day(desks: Desks, at: dict[str, int]) -> None:
    """Issued, paid for, traded, given, retired, held three ways; a key revoked in the evening."""
    ask = desks.accounts.ask
    at["issued"] = await ask(
        issuance("LZXQ-2021", FOREST_T), REGISTRY, approval("LZXQ-2021", FOREST_T)
    )
    later = {ZHONGCHUAN: 300}
    at["issued later"] = await ask(
        issuance("LZXQ-2022", later), REGISTRY, approval("LZXQ-2022", later)
    )
    for name, line in (("deposited", "line 1"), ("deposited later", "line 2")):
        at[name] = await ask(
            deposit_entry(CITY_GROUP, HUNDRED_THOUSAND_CNY_FEN),
            CASHIER,
            advice(CITY_GROUP, HUNDRED_THOUSAND_CNY_FEN, line),
        )
    at["tickets to the venue"] = await ask(
        PostEntry([leg(2000, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN))]), FARMER
    )
    at["money to the venue"] = await ask(
        PostEntry([leg(HUNDRED_THOUSAND_CNY_FEN, CNY, available(CITY_GROUP), trading(CITY_GROUP))]),
        BUYER,
    )
    at["settled"] = await ask(settlement_entry(*FIRST_DEALS), EXCHANGE, settlement(*FIRST_DEALS))
    at["settled later"] = await ask(settlement_entry(LATER_DEAL), EXCHANGE, settlement(LATER_DEAL))
    at["released"] = await ask(
        PostEntry([leg(800, TICKET, trading(CITY_GROUP), available(CITY_GROUP))]), EXCHANGE
    )
    at["money released"] = await ask(
        PostEntry([leg(5000, CNY, trading(CITY_GROUP), available(CITY_GROUP))]), EXCHANGE
    )
    at["given"] = await ask(pay(QINWANGCHUAN, ZHONGCHUAN, 100), FARMER)
    at["money given"] = await ask(pay(CITY_GROUP, QINWANGCHUAN, 3000, CNY), BUYER)
    at["given back dated"] = await ask(
        pay(ZHONGCHUAN, CITY_GROUP, 50), FARMER, on_ms=desks.clock.now_ms() - 2 * DAY_MS
    )
    at["given on"] = await ask(
        PostEntry(
            [
                leg(40, TICKET, available(QINWANGCHUAN), available(ZHONGCHUAN)),
                leg(30, TICKET, available(ZHONGCHUAN), available(CITY_GROUP)),
            ]
        ),
        FARMER,
    )
    at["retired"] = await ask(
        PostEntry([leg(600, TICKET, available(CITY_GROUP), retired(CITY_GROUP))], CLAIM), BUYER
    )
    await tell_the_holds(desks, at)
    proposed = await desks.ledger.ask(ProposeKeyRevocation(key_id(public_bytes(BANK_KEY))), WANG)
    at["revocation proposed"] = proposed
    at["revoked"] = await approve(desks, proposed)
    at["key withdrawn"] = await ask(
        WithdrawKey(key_id(public_bytes(BANK_KEY))), SYSTEM, cause=("ledger", at["revoked"])
    )


async def tell_the_holds(desks: Desks, at: dict[str, int]) -> None:
    """Three holds at once: one posted in part, one released, one left to expire."""
    ask, evening_ms = desks.accounts.ask, desks.clock.now_ms() + DAY_MS // 2

    async def place(name: str, command: PlaceHold) -> str:
        at[name] = await ask(command, FARMER)
        id: str = msgspec.json.decode(desks.accounts.events()[at[name]].record)["by"]
        return id

    first = await place("held", hold(ZHONGCHUAN, CITY_GROUP, 400))
    second = await place("held for release", hold(ZHONGCHUAN, CITY_GROUP, 70))
    third = await place("held till evening", hold(ZHONGCHUAN, CITY_GROUP, 90, TICKET, evening_ms))
    at["hold posted"] = await ask(PostHold(first, 300), BUYER)
    at["hold released"] = await ask(ReleaseHold(second), BUYER)
    desks.clock.at_ms = evening_ms
    at["hold expired"] = await ask(ExpireHold(third), SYSTEM)


async def tell_of_trust(desks: Desks, at: dict[str, int]) -> None:
    """The ledger's own book: what two persons changed, and what they withdrew."""
    ask = desks.ledger.ask
    at["identities pinned"] = await ask(PinFirstIdentities("ab" * 32), SYSTEM)
    at["identities proposed"] = await ask(ProposeIdentities("cd" * 32), WANG)
    at["identities changed"] = await approve(desks, at["identities proposed"])
    operator_key = public_bytes(seeded_key("a bicycle operator of Shenzhen"))
    proposal = ProposeKey("operator:shenzhen-bicycles", "ed25519", operator_key)
    at["operator proposed"] = await ask(proposal, WANG)
    at["operator proposed again"] = await ask(proposal, LI)
    at["operator registered"] = await approve(desks, at["operator proposed"])
    twice = proposal_of(desks, at["operator proposed again"])
    at["withdrawn"] = await ask(Withdraw(twice), LI)
    disagreement = NoteDisagreement(
        "accounts", "lzbank", "WITNESS_AHEAD", "a size up to 300", "999999"
    )
    at["a witness disagreed"] = await ask(disagreement, CHECKER)
    at["halted"] = await ask(HaltBook("market", 7, "SUFFICIENCY", "at least 5", "4"), SYSTEM)
    at["override proposed"] = await ask(
        ProposeOverride("market", 7, "SUFFICIENCY", "the bank booked it a day late"), WANG
    )
    at["overridden"] = await approve(desks, at["override proposed"])


async def _tell() -> Story:
    async with open_desks() as desks:
        story = Story()
        await found_the_place(desks, story.at)
        await tell_the_day(desks, story.at)
        await tell_of_trust(desks, story.at)
        keep(story, desks)
        return story


def keep(story: Story, desks: Desks) -> None:
    """What the desks have in their journals, into the story."""
    story.ledger, story.accounts = desks.ledger.events(), desks.accounts.events()
    story.frames = {
        desk.book: list(desk.journal.read_frames(0)) for desk in (desks.ledger, desks.accounts)
    }
    story.state = copy.deepcopy(desks.accounts.writer.state)


def tell_story() -> Story:
    """The whole truthful history, made anew."""
    return asyncio.run(_tell())


# ---- folding and planting -----------------------------------------------------------------------


class Books:
    """Independent books of one ledger, folded without a log: both of the core, or more."""

    def __init__(self, books: Sequence[str] = ("accounts", "ledger")) -> None:
        self.checkers = make_checkers(books)

    @property
    def ledger(self) -> LedgerBook:
        checker = self.of("ledger")
        assert isinstance(checker, LedgerBook)
        return checker

    @property
    def accounts(self) -> AccountsBook:
        checker = self.of("accounts")
        assert isinstance(checker, AccountsBook)
        return checker

    def of(self, book: str) -> Checker:
        return self.checkers[book]

    def fold(self, book: str, events: Sequence[StoredEvent | bytes]) -> None:
        """Checks and applies; kernel events are the log's to check."""
        for event in events:
            self.check(book, event, apply=True)

    def check(self, book: str, event: StoredEvent | bytes, *, apply: bool = False) -> None:
        checker = self.of(book)
        record = event.record if isinstance(event, StoredEvent) else event
        raw, body = checker.types.decode_canonical(record)
        if raw.type in ("BookOpened", "WriterStarted"):
            return
        checker.check(raw, body)
        if apply:
            checker.apply(raw, body)

    def picture(self) -> bytes:
        """Everything the books know: equal bytes, nothing changed."""
        return pickle.dumps([checker.__dict__ for checker in self.checkers.values()])


def folded_up_to(
    story: Story,
    book: str,
    position: int,
    also: Mapping[str, Callable[[Json], None]] | None = None,
) -> Books:
    """The books just before one event; the accounts book is told after the whole of the ledger.

    `also`: what was changed before it, by name.
    """
    books = Books()
    if book == "accounts":
        books.fold("ledger", story.ledger)
    changed = {story.at[name]: change for name, change in (also or {}).items()}
    for event in story.of(book)[:position]:
        change = changed.get(event.position)
        books.fold(book, [event if change is None else planted(event, change)])
    return books


def canonical(record: Json) -> bytes:
    """By the standard library's encoder, so that nothing of ours vouches for itself."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def planted(event: StoredEvent, change: Callable[[Json], None]) -> bytes:
    """The event's record after a change, in canonical bytes."""
    record = json.loads(event.record)
    change(record)
    return canonical(record)


def sign_anew(record: Json, key: Ed25519PrivateKey, **changed: object) -> None:
    """What the institution itself might have signed: its statement with these fields changed."""
    statement = json.loads(record["acts"][0]["statement"])
    statement.update(changed)
    act = sign_act(key, statement)
    record["acts"] = [
        {"key_id": act.key_id, "signature": act.signature, "statement": act.statement}
    ]


# ---- logs ---------------------------------------------------------------------------------------


class Kept:
    """StoredCommitments in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def commitment(self, position: int) -> bytes | None:
        return self.commitments(position, position + 1) or None

    def commitments(self, begin: int, end: int) -> bytes:
        return self.data[begin * COMMITMENT_BYTES : end * COMMITMENT_BYTES]


def stored(position: int, record: bytes, salt: bytes | None = None) -> StoredEvent:
    salt = salt or position.to_bytes(16, "big")
    return StoredEvent(position, record, salt, commit(salt, record))


def cut(book: str, book_id: bytes, events: Sequence[StoredEvent]) -> list[Frame]:
    """Frames as the book's service would sign them."""
    return FrameSigner(frame_key(book)).cut(book, book_id, events)


def writers_taking_over(book: str, first: int, count: int) -> list[StoredEvent]:
    """The smallest events there are: one writer after another, with rising epochs."""
    at = "2026-11-20T01:30:00.000Z"
    id = derived_id(MORNING_MS, book)
    return [
        stored(
            position,
            encode_record(
                Record(
                    actor=Actor(f"book:{book}", "writer"),
                    at=at,
                    body=WriterStarted(position),
                    book=book,
                    by=id,
                    cause=None,
                    on=at,
                    position=position,
                    type="WriterStarted",
                    v=1,
                )
            ),
        )
        for position in range(first, first + count)
    ]


class Logs:
    """Both logs with their readers, in memory; `accepted` is what two persons took as it is."""

    def __init__(self, kept: Mapping[str, bytes] | None = None) -> None:
        self.books = Books()
        self.accepted: set[tuple[str, int, str]] = set()
        self.trees = {book: TileTree() for book in ("ledger", "accounts")}
        for book, commitments in (kept or {}).items():
            self.trees[book].append(leaves_of(book, commitments))
        self.logs = {
            book: BookLog(
                book, origin_of(book), self.books.of(book), tree, Kept((kept or {}).get(book, b""))
            )
            for book, tree in self.trees.items()
        }
        self.readers = {
            book: LogReader(log, self.logs, lambda *place: place in self.accepted)
            for book, log in self.logs.items()
        }

    async def take(self, book: str, frames: Sequence[Frame]) -> None:
        """As the follower hands frames on: verified ones, bad ones, repeated ones."""
        reader, log = self.readers[book], self.logs[book]
        for frame in frames:
            try:
                verify_frame(frame, frame_keys)
            except FrameError as error:
                await reader.bad_frame(frame, error)
                continue
            if frame.last < log.next_position:
                await reader.repeated_frame(frame)
            else:
                await reader.frame(frame)

    async def halt(self, book: str, frames: Sequence[Frame]) -> Halt:
        """Why the log halts on these frames; fails when it does not."""
        try:
            await self.take(book, frames)
        except Halted as halted:
            return halted.halt
        raise AssertionError(f"expected a halt of {book}")


def leaves_of(book: str, commitments: bytes) -> list[bytes]:
    """Leaf hashes, from the format's own words: SHA-256(0x00 || entry)."""
    leaves = []
    for i in range(len(commitments) // COMMITMENT_BYTES):
        one = commitments[i * COMMITMENT_BYTES : (i + 1) * COMMITMENT_BYTES]
        entry = {"book": book, "commitment": base64.b64encode(one).decode(), "position": i, "v": 1}
        leaves.append(hashlib.sha256(b"\x00" + canonical(entry)).digest())
    return leaves


def commitments_of(events: Sequence[StoredEvent]) -> bytes:
    return b"".join(event.commitment for event in events)


class StoredLog:
    """One book's log as the ledger process holds it: real tables, sealer, checkpoint file.

    Making another one over the same tables and folder is a restart.
    """

    def __init__(self, engine: Engine, folder: Path, book: str = "accounts") -> None:
        self.engine = engine
        self.signer = log_signer(book)
        self.keys = BookKeys(origin_of(book), InForce((self.signer,), (self.signer.verifier,)))
        self.accepted: set[tuple[str, int, str]] = set()
        self.tiles = TileStore(engine, book)
        self.tree = self.tiles.load_tree()
        self.log = BookLog(
            book,
            self.signer.name,
            AccountsBook(LedgerBook()),
            self.tree,
            CommitmentReader(engine, book),
        )
        self.reader = LogReader(self.log, {book: self.log}, lambda *place: place in self.accepted)
        self.file = CheckpointFile(folder / f"{book}.checkpoint")
        clock = FixedClock(MORNING_MS)
        self.sealer = Sealer(self.log, engine, self.keys, self.file, self.tiles, clock)

    @property
    def book(self) -> str:
        return self.log.book

    async def fold(self, events: Sequence[StoredEvent], sizes: Iterable[int] = ()) -> None:
        """Frames of these sizes, and one of what is left; below 480 KiB, so unsigned will do."""
        at = 0
        for size in (*sizes, len(events)):
            if events[at : at + size]:
                await self.reader.frame(unsigned(self.book, events[at : at + size]))
            at += size

    def store(self) -> None:
        """What the sealer does first, and a crash would leave behind."""
        pending = self.log.take_pending()
        if pending is not None:
            store_pending(self.engine, pending)

    @asynccontextmanager
    async def sealing(self) -> AsyncIterator[asyncio.Task[None]]:
        """The sealer at work."""
        running = asyncio.create_task(self.sealer.run())
        try:
            yield running
        finally:
            await end(running)

    async def seal(self) -> Checkpoint:
        """Signs everything folded so far; the published checkpoint."""
        async with self.sealing() as running:
            proven = asyncio.create_task(self.sealer.proven(self.tree.size - 1))
            await asyncio.wait({running, proven}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                proven.cancel()
                running.result()
            await proven
        return self.sealer.published


def log_signer(book: str) -> Signer:
    return Signer(origin_of(book), ED25519, hashlib.sha256(f"log of {book}".encode()).digest())


def unsigned(book: str, events: Sequence[StoredEvent]) -> Frame:
    """A frame for a handler that is told frames only after they were verified."""
    return Frame(book, BOOK_ID, events[0].position, events, b"", "", b"")


def opened(book: str) -> StoredEvent:
    """Position 0."""
    truth = writers_taking_over(book, 0, 1)[0]
    body = {"book_id": BOOK_ID.hex(), "origin": origin_of(book), "version": 1}
    record = json.loads(truth.record)
    record.update(type="BookOpened", body=body)
    return stored(0, canonical(record))


def long_history(book: str, count: int) -> list[StoredEvent]:
    """A book of `count` events, as cheap as events can be."""
    return [opened(book), *writers_taking_over(book, 1, count - 1)]
