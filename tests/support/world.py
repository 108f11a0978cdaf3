"""A world: the real services as processes, Lanzhou's people in them, and all that was sent.

Synchronous on purpose: tests read as a story, and load runs in threads. Every command is noted with
its id before it is sent and with its answer when there is one, so that `check` can hold the journal
to what was acknowledged: see tests/support/worldcheck.py.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.request import urlopen

import grpc
import nats
import psycopg
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.kernel.v1 import items_pb2, journal_pb2, journal_pb2_grpc
from tanzhang.ledger.v1 import ledger_pb2 as lb
from tanzhang.ledger.v1 import ledger_pb2_grpc, receipts_pb2, receipts_pb2_grpc

from cli.stack.nats import OPERATOR, EmbeddedNats, stream_name
from cli.stack.postgres import EmbeddedPostgres, write_secret
from cli.stack.process import ServiceProcess
from cli.stack.provision import DATABASE, SERVICES, clock_file, issuer_key, keys_folder
from cli.stack.supervisor import Supervisor
from kernel.acts import public_bytes
from kernel.auth import mint_token
from kernel.clock import OFFSET_CHECK_MS, SystemClock, advance_offset
from kernel.config import DEFAULT_LOG_PREFIX
from kernel.errors import Conflict, Refused, TanzhangError
from kernel.frames import Frame, frame_from_message
from kernel.ids import uuid7
from kernel.record import RawRecord, decode_record
from kernel.rpc.client import metadata
from kernel.rpc.health import SERVING, health
from kernel.rpc.items import act_message, timestamp_of
from kernel.rpc.problems import from_rpc_error
from kernel.values import Act, Caller, uscc_check_character
from services.accounts.domain.commands import PlaceHold, PostEntry
from services.accounts.domain.events import Account, Leg, Purpose, SerialRange
from tests.support.books import person
from tests.support.database import Database, DatabaseServer
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
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    REGISTRY,
    TICKET,
    USCCS,
    VENUE,
    VENUE_KEY,
    ZHONGCHUAN,
    Deal,
    advice,
    approval,
    available,
    deposit_entry,
    issuance,
    leg,
    retired,
    settlement,
    settlement_entry,
    trading,
)
from tests.support.shared_nats import SharedNats
from tests.support.worldcheck import check_world

PATIENCE_S = 60.0  # a shared machine; a process that died is back within five seconds
POLL_S = 0.02
DEADLINE_S = 10.0
LOAD_PAUSE_S = 0.03  # between steps: a journal that grows by hundreds a second, not thousands
TOKEN_TTL_S = 600
FUNDS_FEN = 100_000_000  # a million yuan, for payments of a few fen
KEYS = {
    f"authority:{PROGRAMME}": AUTHORITY_KEY,
    f"bank:{BANK}": BANK_KEY,
    f"venue:{VENUE}": VENUE_KEY,
}
KINDS = {BANK: pb.HOLDER_KIND_SETTLEMENT_BANK, PROGRAMME: pb.HOLDER_KIND_PROGRAMME}

AUDITOR = person("auditor from the province", roles=["auditor"])
MAKER = person("ledger-maker", roles=["ledger-operator"])
CHECKER = person("ledger-checker", roles=["ledger-operator"])

CORE = ("accounts", "ledger")  # the smallest world that proves anything

BATCHES: dict[str, tuple[Any, str]] = {
    "RegisterHolders": (pb.RegisterHoldersRequest, "holders"),
    "DefineAssets": (pb.DefineAssetsRequest, "assets"),
    "PostEntries": (pb.PostEntriesRequest, "entries"),
    "PlaceHolds": (pb.PlaceHoldsRequest, "holds"),
    "PostHolds": (pb.PostHoldsRequest, "posts"),
    "ReleaseHolds": (pb.ReleaseHoldsRequest, "releases"),
    "ProposeChanges": (pb.ProposeChangesRequest, "proposals"),
    "ApproveProposals": (pb.ApproveProposalsRequest, "approvals"),
    "RefuseProposals": (pb.RefuseProposalsRequest, "refusals"),
    "WithdrawProposals": (pb.WithdrawProposalsRequest, "withdrawals"),
    "SetOperators": (pb.SetOperatorsRequest, "changes"),
    "RevokeMandates": (pb.RevokeMandatesRequest, "revocations"),
    "OrderStatuses": (pb.OrderStatusesRequest, "orders"),
    "FreezeUnits": (pb.FreezeUnitsRequest, "orders"),
    "UnfreezeUnits": (pb.UnfreezeUnitsRequest, "orders"),
    "PostTransfers": (pb.PostTransfersRequest, "orders"),
    "ConfirmTransfers": (pb.ConfirmTransfersRequest, "transfers"),
    "WithdrawTransfers": (pb.WithdrawTransfersRequest, "transfers"),
    "ProposeSafeguards": (pb.ProposeSafeguardsRequest, "proposals"),
    "ConfirmSafeguards": (pb.ConfirmSafeguardsRequest, "confirmations"),
    "WithdrawSafeguards": (pb.WithdrawSafeguardsRequest, "withdrawals"),
    "AddDestinations": (pb.AddDestinationsRequest, "destinations"),
    "ConfirmDestinations": (pb.ConfirmDestinationsRequest, "destinations"),
    "RemoveDestinations": (pb.RemoveDestinationsRequest, "destinations"),
    "ProposeTransfers": (pb.ProposeTransfersRequest, "transfers"),
    "ApproveTransfers": (pb.ApproveTransfersRequest, "approvals"),
    "RefuseTransfers": (pb.RefuseTransfersRequest, "refusals"),
}


class Command(NamedTuple):
    """A command that was sent: to which book, by whom, under which id."""

    book: str
    sub: str
    id: str


class World:
    """Both services, their folder, and what was asked of them. `start`, story, `check`, `stop`."""

    def __init__(
        self,
        supervisor: Supervisor,
        admin_url: str | None = None,
        operator_url: str | None = None,
    ) -> None:
        self.supervisor = supervisor
        self.directory = supervisor.directory
        self.clock = SystemClock(clock_file(self.directory))
        # Commands sent, with the first position of those acknowledged as accepted, None otherwise.
        self.sent: dict[Command, int | None] = {}
        # Others than this world send commands too: tools, and services to one another.
        self.has_strangers = set(supervisor.services) != set(CORE)
        self._given_admin_url = admin_url
        self._given_operator_url = operator_url
        self._channels: dict[str, grpc.Channel] = {}
        self._noting = threading.Lock()
        self._lines = 0

    def start(self) -> None:
        self.supervisor.start()

    def stop(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        self.supervisor.stop()

    def check(self) -> None:
        """Everything that must hold at rest; waits until all that is recorded is proven."""
        check_world(self)

    # ---- processes ------------------------------------------------------------------------------

    def start_armed(self, name: str, point: str) -> None:
        """Stops a service in order and starts it with a crash point armed.

        Under load it may well be dead again before anybody has seen it serve.
        """
        self.supervisor.stop_service(name)
        self.supervisor.start_service(name, {"TANZHANG_CRASH": point})

    def await_death(self, name: str) -> int:
        """Exit code of a service that is about to die."""
        process = self.service(name)
        until(lambda: not process.running, f"{name} to die")
        assert process.status is not None
        return process.status

    def bring_back(self, *names: str) -> None:
        """Starts services that are down, all at once, and waits until they serve."""
        for name in names:
            self.supervisor.start_service(name)
        for name in names:
            self.supervisor.await_serving(name)

    def stop_services(self, *names: str) -> None:
        for name in names:
            self.supervisor.stop_service(name)

    def serves(self, name: str) -> bool:
        return health(self.supervisor.target(name)) == SERVING

    def service(self, name: str) -> ServiceProcess:
        process = self.supervisor.process(name)
        assert isinstance(process, ServiceProcess)
        return process

    def metrics(self, name: str) -> str:
        """What a service shows on /metrics."""
        port = self.service(name).environment["TANZHANG_METRICS_PORT"]
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_S) as answer:
            return str(answer.read().decode())

    # ---- speaking -------------------------------------------------------------------------------

    def channel(self, name: str) -> grpc.Channel:
        target = self.supervisor.target(name)
        if target not in self._channels:
            self._channels[target] = grpc.insecure_channel(
                target,
                options=[
                    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
                    ("grpc.initial_reconnect_backoff_ms", 50),
                    ("grpc.max_reconnect_backoff_ms", 200),
                    ("grpc.use_local_subchannel_pool", 1),
                ],
            )
        return self._channels[target]

    @property
    def accounts(self) -> Any:
        return accounts_pb2_grpc.AccountsServiceStub(self.channel("accounts"))

    @property
    def ledger(self) -> Any:
        return ledger_pb2_grpc.LedgerServiceStub(self.channel("ledger"))

    def journal(self, service: str) -> Any:
        return journal_pb2_grpc.JournalServiceStub(self.channel(service))

    def token(self, caller: Caller, **changed: Any) -> str:
        """A token of the development issuer; `changed` claims as given to mint_token."""
        claims: dict[str, Any] = {
            "iss": f"{DEFAULT_LOG_PREFIX}/issuer",
            "sub": caller.actor.sub,
            "roles": caller.roles,
            "holders": caller.holders,
            "now_ms": self.clock.now_ms(),
            "ttl_s": TOKEN_TTL_S,
            **changed,
        }
        return mint_token(issuer_key(self.directory), **claims)

    def call(
        self,
        method: Any,
        request: Any,
        caller: Caller | None = None,
        *,
        patience_s: float = 0.0,
        deadline_s: float = DEADLINE_S,
        token: str | None = None,
    ) -> Any:
        """One unary call, repeated on Conflict while there is patience; raises in families."""
        give_up_s = time.monotonic() + patience_s
        while True:
            bearer = token or (None if caller is None else self.token(caller))
            try:
                return method(request, timeout=deadline_s, metadata=metadata(bearer))
            except grpc.RpcError as error:
                known = from_rpc_error(cast(Any, error))
                if not isinstance(known, Conflict) or time.monotonic() > give_up_s:
                    raise known from error
                time.sleep(POLL_S)

    def send(
        self,
        method: str,
        items: Sequence[Any],
        caller: Caller,
        *,
        patience_s: float = PATIENCE_S,
        to: str = "accounts",
    ) -> list[items_pb2.ItemResult]:
        """A batch to the accounts service: noted, sent until it is answered, noted again."""
        request_type, field = BATCHES[method]
        commands = [Command("accounts", caller.actor.sub, item.id) for item in items]
        self._note_sent(commands)
        stub: Any = accounts_pb2_grpc.AccountsServiceStub(self.channel(to))
        request = request_type(**{field: items})
        answer = self.call(getattr(stub, method), request, caller, patience_s=patience_s)
        assert [result.id for result in answer.results] == [item.id for item in items]
        self._note_answers(commands, answer.results)
        return list(answer.results)

    def _note_sent(self, commands: Sequence[Command]) -> None:
        with self._noting:
            for command in commands:
                self.sent.setdefault(command, None)

    def _note_answers(
        self, commands: Sequence[Command], results: Sequence[items_pb2.ItemResult]
    ) -> None:
        with self._noting:
            for command, result in zip(commands, results, strict=True):
                if result.HasField("accepted"):
                    first = result.accepted.first_position
                    before = self.sent[command]
                    assert before in (None, first), f"{command}: at {before}, then at {first}"
                    self.sent[command] = first

    def advance_clock(self, by_ms: int) -> None:
        """Moves the clock of this world, and returns once every process has seen it."""
        advance_offset(clock_file(self.directory), by_ms)
        time.sleep(2 * OFFSET_CHECK_MS / 1000)

    def new_id(self) -> str:
        return uuid7(self.clock.now_ms())

    # ---- Lanzhou --------------------------------------------------------------------------------

    def settle_in(self) -> None:
        """Holders, assets and institutions' keys of the forest-ticket story."""
        names = {
            PROGRAMME: "丝路碳票",
            QINWANGCHUAN: "秦王川林场",
            ZHONGCHUAN: "中川林场",
            CITY_GROUP: "兰州新区城投",
            BANK: "兰州银行",
        }
        holders = [
            pb.Holder(
                id=self.new_id(),
                holder=holder,
                kind=KINDS.get(holder, pb.HOLDER_KIND_ENTERPRISE),
                uscc=USCCS.get(holder, ""),
                name=name,
            )
            for holder, name in names.items()
        ]
        for result in self.send("RegisterHolders", holders, REGISTRAR):
            accepted(result)
        assets = [
            self.asset(TICKET, programme=PROGRAMME, serialised=True),
            self.asset(CNY, unit=pb.UNIT_FEN),
        ]
        for result in self.send("DefineAssets", assets, REGISTRAR):
            accepted(result)
        for subject, key in KEYS.items():
            self.register_key(subject, key)
        until(
            lambda: sum(r.type == "KeyAdmitted" for r in self.records("accounts")) == len(KEYS),
            "accounts to admit the keys",
        )

    def asset(self, name: str, **fields: Any) -> pb.Asset:
        asset = pb.Asset(
            id=self.new_id(),
            asset=name,
            unit=pb.UNIT_T,
            name=name,
            backdating_days=BACKDATING_DAYS,
        )
        asset.MergeFrom(pb.Asset(**fields))
        return asset

    def fund(self, holder: str, amount_fen: int) -> int:
        """Money from the bank, on its signed advice; answers the position."""
        with self._noting:
            self._lines += 1
            line = f"line {self._lines}"
        entry = deposit_entry(holder, amount_fen)
        return self.post(entry, CASHIER, acts=[advice(holder, amount_fen, line)])

    def issue(self, batch: str, owners: dict[str, int], first: int = 1) -> int:
        entry = issuance(batch, owners, first)
        return self.post(entry, REGISTRY, acts=[approval(batch, owners, first)])

    def pay(self, amount_fen: int, id: str | None = None) -> int:
        """From the city group to the forest farm at 秦王川."""
        return self.post(payment(amount_fen), BUYER, id=id)

    def allocate(self, holder: str, amount: int, asset: str) -> int:
        """Into the venue, under whose rule it then is."""
        caller = BUYER if holder == CITY_GROUP else FARMER
        return self.post(
            PostEntry([leg(amount, asset, available(holder), trading(holder))]), caller
        )

    def settle(self, *deals: Deal) -> int:
        return self.post(settlement_entry(*deals), EXCHANGE, acts=[settlement(*deals)])

    def retire(self, holder: str, amount: int, caller: Caller) -> int:
        legs = [leg(amount, TICKET, available(holder), retired(holder))]
        return self.post(PostEntry(legs, CLAIM), caller)

    def post(
        self, entry: PostEntry, caller: Caller, *, acts: Sequence[Act] = (), id: str | None = None
    ) -> int:
        """One entry that must be accepted; answers its position."""
        (result,) = self.send("PostEntries", [self.entry(entry, acts=acts, id=id)], caller)
        return accepted(result)

    def entry(
        self,
        entry: PostEntry,
        *,
        acts: Sequence[Act] = (),
        id: str | None = None,
        on_ms: int | None = None,
    ) -> pb.Entry:
        return pb.Entry(
            id=id or self.new_id(),
            on=None if on_ms is None else timestamp_of(on_ms),
            legs=[leg_message(one) for one in entry.legs],
            claim=None
            if entry.claim is None
            else pb.Claim(
                beneficiary=entry.claim.beneficiary,
                purpose=entry.claim.purpose,
                details=entry.claim.details,
            ),
            acts=[act_message(act) for act in acts],
        )

    def place_hold(self, command: PlaceHold, caller: Caller) -> str:
        """A hold that must be accepted; answers its id."""
        message = pb.Hold(
            id=self.new_id(),
            holder=command.holder,
            asset=command.asset,
            amount=command.amount,
            serials=range_messages(command.serials),
            to=account_message(command.to),
            expires_at=None
            if command.expires_at_ms is None
            else timestamp_of(command.expires_at_ms),
        )
        (result,) = self.send("PlaceHolds", [message], caller)
        accepted(result)
        return message.id

    def post_hold(self, hold: str, amount: int, caller: Caller) -> items_pb2.ItemResult:
        (result,) = self.send(
            "PostHolds", [pb.HoldPost(id=self.new_id(), hold=hold, amount=amount)], caller
        )
        return result

    def release_hold(self, hold: str, caller: Caller) -> items_pb2.ItemResult:
        (result,) = self.send("ReleaseHolds", [pb.HoldRelease(id=self.new_id(), hold=hold)], caller)
        return result

    # ---- the ledger's book ----------------------------------------------------------------------

    def register_key(self, subject: str, key: Ed25519PrivateKey) -> str:
        """By two persons; answers the proposal."""
        proposal = self.propose_key(subject, key)
        accepted(self.approve(proposal))
        return proposal

    def propose_key(self, subject: str, key: Ed25519PrivateKey) -> str:
        """A first person would have this key in the directory; answers the proposal."""
        registration = lb.KeyRegistration(
            subject=subject, suite="ed25519", public_key=public_bytes(key)
        )
        request = lb.ProposeRequest(id=self.new_id(), register_key=registration)
        accepted(self.propose(request))
        return str(request.id)

    def propose(self, request: lb.ProposeRequest, caller: Caller = MAKER) -> items_pb2.ItemResult:
        return self._ask_ledger("Propose", request, caller)

    def approve(self, proposal: str, caller: Caller = CHECKER) -> items_pb2.ItemResult:
        request = lb.ApproveRequest(id=self.new_id(), proposal_id=proposal)
        return self._ask_ledger("Approve", request, caller)

    def _ask_ledger(self, method: str, request: Any, caller: Caller) -> items_pb2.ItemResult:
        command = Command("ledger", caller.actor.sub, request.id)
        self._note_sent([command])
        answer = self.call(getattr(self.ledger, method), request, caller, patience_s=PATIENCE_S)
        self._note_answers([command], [answer.result])
        return cast(items_pb2.ItemResult, answer.result)

    def propose_override(self, book: str, halt: lb.Halt) -> str:
        """A first person would take the halted event as it is; answers the proposal."""
        override = lb.Override(
            book=book, position=halt.position, rule=halt.rule, justification="found and understood"
        )
        request = lb.ProposeRequest(id=self.new_id(), accept_override=override)
        accepted(self.propose(request))
        return str(request.id)

    def accept_halt(self, book: str, halt: lb.Halt) -> None:
        """Two persons take the halted event as it is, or have the ledger look again."""
        accepted(self.approve(self.propose_override(book, halt)))
        until(lambda: not self.status(book).HasField("halt"), f"{book} to go on")
        # After a start accounts meets every halt of the past again, and its end.
        until(lambda: self.followed() >= self.head("ledger"), "accounts to read the ledger's book")
        until(self.takes_commands, "accounts to take commands")

    def followed(self) -> float:
        """How far accounts has read the ledger's book."""
        name = 'tanzhang_followed_position{book="ledger",reader="accounts.reactions"} '
        lines = [one for one in self.metrics("accounts").splitlines() if one.startswith(name)]
        return float(lines[0].removeprefix(name)) if lines else 0.0

    def takes_commands(self) -> bool:
        """Is the accounts book open? Asked with an entry that is refused for itself otherwise."""
        try:
            self.send("PostEntries", [pb.Entry(id=self.new_id())], BUYER)
        except Refused:
            return False
        return True

    def await_halt(self, book: str) -> lb.Halt:
        """The halt of a log, once it has one."""
        until(lambda: self.status(book).HasField("halt"), f"{book} to halt")
        return self.status(book).halt

    def status(self, book: str) -> lb.BookStatus:
        answer = self.call(self.ledger.GetStatus, lb.GetStatusRequest(), patience_s=PATIENCE_S)
        (found,) = [one for one in answer.books if one.book == book]
        return cast(lb.BookStatus, found)

    def receipts(
        self, book: str, positions: Sequence[int], who: Caller, *, cose: bool = False
    ) -> Sequence[receipts_pb2.Receipt]:
        """What the ledger answers of each position."""
        request = receipts_pb2.GetReceiptsRequest(book=book, positions=positions, cose=cose)
        stub = receipts_pb2_grpc.ReceiptServiceStub(self.channel("ledger"))
        answer = self.call(stub.GetReceipts, request, who, deadline_s=PATIENCE_S)
        return cast(Sequence[receipts_pb2.Receipt], answer.receipts)

    def prove(self, book: str, position: int) -> bytes:
        """The tlog-proof of one position, once the log covers it."""
        request = lb.GetProofsRequest(book=book, positions=[position])
        answer = self.call(
            self.ledger.GetProofs, request, patience_s=PATIENCE_S, deadline_s=PATIENCE_S
        )
        return bytes(answer.proofs[0].tlog_proof)

    # ---- reading --------------------------------------------------------------------------------

    def balance(self, account: Account, asset: str) -> int:
        request = pb.GetBalancesRequest(holder=account.holder, asset=asset)
        answer = self.call(self.accounts.GetBalances, request, AUDITOR, patience_s=PATIENCE_S)
        wanted = account_message(account)
        return sum(one.amount for one in answer.balances if one.account == wanted)

    def head(self, book: str) -> int:
        """Position of the next event."""
        request = journal_pb2.GetHeadRequest(book=book)
        answer = self.call(self.journal(book).GetHead, request, AUDITOR, patience_s=PATIENCE_S)
        return int(answer.head.next_position)

    def head_of(self, name: str, book: str = "accounts") -> int:
        """The same, asked of one process of a book."""
        request = journal_pb2.GetHeadRequest(book=book)
        answer = self.call(self.journal(name).GetHead, request, AUDITOR, patience_s=PATIENCE_S)
        return int(answer.head.next_position)

    def frames(self, book: str) -> list[Frame]:
        """All stored frames, as the book's owner answers them."""
        request = journal_pb2.ReadEventsRequest(book=book)
        stream = self.journal(book).ReadEvents(
            request, timeout=DEADLINE_S, metadata=metadata(self.token(AUDITOR))
        )
        return [frame_from_message(response.frame) for response in stream]

    def records(self, book: str) -> list[RawRecord]:
        """All events, envelopes decoded."""
        return [decode_record(e.record) for frame in self.frames(book) for e in frame.events]

    @property
    def admin_url(self) -> str:
        """SQLAlchemy URL of the superuser in this world's database."""
        if self._given_admin_url is not None:
            return self._given_admin_url
        server = self.supervisor.process("postgres")
        assert isinstance(server, EmbeddedPostgres)
        return server.admin_url(DATABASE)

    def sql(self, query: str, *parameters: object) -> list[Any]:
        """One statement as the superuser, who may do what no service may; its rows, if any."""
        url = self.admin_url.replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(url, autocommit=True) as session:
            done = session.execute(cast(Any, query), parameters)
            return done.fetchall() if done.description else []

    # ---- the bus, as the operator ---------------------------------------------------------------

    @property
    def operator_url(self) -> str:
        """NATS url of the one user who may do everything."""
        if self._given_operator_url is not None:
            return self._given_operator_url
        server = self.supervisor.process("nats")
        assert isinstance(server, EmbeddedNats)
        return server.url(OPERATOR)

    def publish(self, subject: str, *messages: bytes) -> None:
        """Messages in order, as whoever has the operator's password could send them."""

        async def speak(client: Client) -> None:
            for message in messages:
                await client.publish(subject, message)

        self._as_operator(speak)

    def remove_streams(self) -> None:
        async def remove(client: Client) -> None:
            for book in self.supervisor.books:
                await client.jetstream().delete_stream(stream_name(book))

        self._as_operator(remove)

    def messages_on_bus(self) -> dict[str, int]:
        """How many frames each stream holds; a stream that is not there is left out."""
        found: dict[str, int] = {}

        async def look(client: Client) -> None:
            for book in self.supervisor.books:
                with suppress(NotFoundError):
                    info = await client.jetstream().stream_info(stream_name(book))
                    found[book] = info.state.messages

        self._as_operator(look)
        return found

    def _as_operator(self, act: Callable[[Client], Awaitable[None]]) -> None:
        async def run() -> None:
            client = await nats.connect(self.operator_url, inbox_prefix=f"_INBOX.{OPERATOR}")
            try:
                await act(client)
                await client.flush()
            finally:
                await client.close()

        asyncio.run(run())

    # ---- load -----------------------------------------------------------------------------------

    @contextmanager
    def load(self, step: Callable[[], object], threads: int = 2) -> Iterator[list[int]]:
        """Runs `step` over and over in threads; yields a counter of steps done; raises what broke.

        A step in flight at the end is waited for, so all that was sent is answered.
        """
        stopping, done = threading.Event(), [0]
        broken: list[BaseException] = []

        def run() -> None:
            while not stopping.is_set() and not broken:
                try:
                    step()
                except (TanzhangError, AssertionError) as error:
                    broken.append(error)
                done[0] += 1
                time.sleep(LOAD_PAUSE_S)

        runners = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
        for runner in runners:
            runner.start()
        try:
            yield done
        finally:
            stopping.set()
            for runner in runners:
                runner.join(PATIENCE_S * 2)
        if broken:
            raise broken[0]

    def pay_some(self) -> None:
        """A step of load: five payments of a fen in one call."""
        entries = [self.entry(payment(1)) for _ in range(5)]
        for result in self.send("PostEntries", entries, BUYER):
            accepted(result)

    def register_some(self) -> None:
        """A step of load on the ledger's book, and by reaction on ours: a key by two persons."""
        self.register_key("operator:lanzhou-bikes", Ed25519PrivateKey.generate())


class Worlds:
    """Makes worlds over the session's servers: a database and a NATS account for each."""

    def __init__(
        self, databases: DatabaseServer, nats: SharedNats, folders: pytest.TempPathFactory
    ) -> None:
        self._databases = databases
        self._nats = nats
        self._folders = folders

    @contextmanager
    def open(
        self,
        services: Sequence[str] = CORE,
        *,
        standbys: Sequence[str] = (),
        witnesses: int = 0,
        checked: bool = True,
    ) -> Iterator[World]:
        """A world of these services, in which the dead stay dead.

        Checked at its end, unless what is done in it cannot be put right any more.
        """
        with self._databases.fresh_database() as database:
            directory, room = self._folders.mktemp("world"), self._nats.take_room()
            _lend_passwords(directory, database)
            supervisor = Supervisor(
                directory,
                services=services,
                standbys=standbys,
                witnesses=witnesses,
                database_url=database.admin_url(),
                database=database.name,
                nats_url=room,
                restart=False,
            )
            made = World(supervisor, database.admin_url(), room[OPERATOR])
            with _running(made, checked) as world:
                yield world

    @contextmanager
    def open_own(self, services: Sequence[str] = CORE) -> Iterator[World]:
        """A world with servers of its own under a supervisor that restarts what dies."""
        supervisor = Supervisor(self._folders.mktemp("own-world"), services=services)
        with _running(World(supervisor)) as world:
            yield world


@contextmanager
def _running(world: World, checked: bool = True) -> Iterator[World]:
    world.start()
    try:
        world.settle_in()
        yield world
        if checked:
            world.check()
    finally:
        world.stop()


def _lend_passwords(directory: Path, database: Database) -> None:
    """Roles are the server's, not a database's: every world uses the same passwords."""
    for service in SERVICES:
        password = sa.make_url(database.url(service)).password
        write_secret(keys_folder(directory, service) / "database.password", f"{password}\n")


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Returns once the condition holds; fails after `patience_s`."""
    give_up_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_s, f"waited {patience_s:.0f} s for {what}"
        time.sleep(POLL_S)


def accepted(result: items_pb2.ItemResult) -> int:
    """The first position of an accepted item."""
    assert result.HasField("accepted"), result
    return result.accepted.first_position


def refusal(result: items_pb2.ItemResult) -> str:
    """The reason of a refused item."""
    assert result.HasField("refused"), result
    return result.refused.reason


def details(result: items_pb2.ItemResult) -> Mapping[str, str]:
    return result.refused.details


def payment(amount_fen: int) -> PostEntry:
    return PostEntry([leg(amount_fen, CNY, available(CITY_GROUP), available(QINWANGCHUAN))])


def leg_message(one: Leg) -> pb.Leg:
    return pb.Leg(
        debit=account_message(one.debit),
        credit=account_message(one.credit),
        asset=one.asset,
        amount=one.amount,
        serials=range_messages(one.serials),
    )


def account_message(account: Account) -> pb.Account:
    purpose = pb.Purpose.Value(f"PURPOSE_{Purpose(account.purpose).name}")
    return pb.Account(holder=account.holder, purpose=purpose, ref=account.ref)


def range_messages(ranges: Sequence[SerialRange]) -> list[pb.SerialRange]:
    return [pb.SerialRange(batch=one.batch, first=one.first, last=one.last) for one in ranges]


def some_uscc(number: int) -> str:
    """A code with a good check character that belongs to nobody."""
    first_17 = f"91620100MA{number:07}"
    return first_17 + uscc_check_character(first_17)
