"""The services as the tools call them: plain values in and out, one token per person, deadlines.

Every batch answers one outcome per item, in order; a refused item is an outcome, not an exception.
What was refused as a whole, or could not be reached, is raised in its family (kernel/errors.py).
The tools know gRPC only here and in the clients of single services, cli/*_client.py.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from tanzhang.accounts.v1 import accounts_pb2 as accounts
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.inclusive.v1 import inclusive_pb2, inclusive_pb2_grpc
from tanzhang.kernel.v1 import items_pb2, journal_pb2, journal_pb2_grpc
from tanzhang.ledger.v1 import ledger_pb2 as ledger
from tanzhang.ledger.v1 import ledger_pb2_grpc, receipts_pb2, receipts_pb2_grpc
from tanzhang.market.v1 import market_pb2, market_pb2_grpc
from tanzhang.registry.v1 import registry_pb2, registry_pb2_grpc

from cli.stack.provision import SERVICES
from cli.values import (
    Account,
    Asset,
    Balance,
    BookStatus,
    Claim,
    DirectoryKey,
    Disclosed,
    Entry,
    Holder,
    Leg,
    Movement,
    Outcome,
    Persona,
    Proofs,
    ReceiptAnswer,
    Refusal,
    SerialRange,
    StandingHalt,
    Total,
    WitnessStanding,
)
from kernel.acts import SUITE_ED25519
from kernel.errors import Conflict, Fault, InvariantBroken
from kernel.frames import StoredEvent
from kernel.rpc.client import (
    DEADLINE_S,
    PATIENCE_S,
    STREAM_DEADLINE_S,
    OwnerSource,
    call,
    metadata,
    open_channel,
)
from kernel.rpc.items import act_message, timestamp_of
from kernel.rpc.problems import from_rpc_error
from kernel.rpc.streams import IN_FLIGHT

__all__ = [
    "MAX_ENTRIES",
    "MAX_POSITIONS",
    "NO_PATIENCE_S",
    "OWNERS",
    "PROOF_DEADLINE_S",
    "Account",
    "Asset",
    "Balance",
    "BookStatus",
    "Books",
    "Claim",
    "DirectoryKey",
    "Disclosed",
    "Door",
    "Entry",
    "Holder",
    "Leg",
    "Movement",
    "Outcome",
    "Persona",
    "Proofs",
    "Refusal",
    "SerialRange",
    "StandingHalt",
    "Total",
    "answered_in_order",
    "in_parts",
    "instant_ms",
    "outcome_of",
    "ranges_of",
    "refusal_of",
]

MAX_ENTRIES: Final = 1000  # per call: about a megabyte, answered within tens of milliseconds
MAX_POSITIONS: Final = 500  # per call: proofs and records of 500 events stay below a few megabytes
PROOF_DEADLINE_S: Final = 30.0  # the ledger itself waits until its log covers the position
REMINT_AFTER_S: Final = 300.0  # far below the life of a token
NO_PATIENCE_S: Final = 0.0  # as long as a takeover lasts (kernel/rpc/client.py), and no longer
RETRY_EVERY_S: Final = 0.2  # between two of those, as long as patience lasts
# Book: the service that owns it.
OWNERS: Final = {book: name for name, card in SERVICES.items() for book in card.books}
# Service: how its owner discloses events. The requests have one shape.
_DISCLOSE: Final[Mapping[str, tuple[Any, Any]]] = {
    "accounts": (accounts_pb2_grpc.AccountsServiceStub, accounts.DiscloseEventsRequest),
    "registry": (registry_pb2_grpc.RegistryServiceStub, registry_pb2.DiscloseEventsRequest),
    "market": (market_pb2_grpc.MarketServiceStub, market_pb2.DiscloseEventsRequest),
    "inclusive": (inclusive_pb2_grpc.InclusiveServiceStub, inclusive_pb2.DiscloseEventsRequest),
    "ledger": (ledger_pb2_grpc.LedgerServiceStub, ledger.DiscloseEventsRequest),
}

T = TypeVar("T")


class Door(Protocol):
    """Where the services are and who may speak to them: cli/workspace.py."""

    def target(self, service: str) -> str:
        """host:port of a service."""
        ...

    def token(self, sub: str, roles: Iterable[str] = (), holders: Iterable[str] = ()) -> str:
        """A signed token for this person."""
        ...


class Books:
    """All services behind one door. Use with `async with`; not to be shared between loops.

    With `patience_s` a call is repeated, by the same ids, for as long as a service is away or says
    "not now"; without it the few attempts of every call have to do.
    """

    def __init__(self, door: Door, patience_s: float = NO_PATIENCE_S) -> None:
        self._door = door
        self.patience_s = patience_s
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._tokens: dict[Persona, tuple[float, str]] = {}

    async def __aenter__(self) -> Self:
        for service in SERVICES:
            self._channels[service] = open_channel(self._door.target(service))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel in self._channels.values():
            await channel.close(None)

    def channel(self, service: str) -> grpc.aio.Channel:
        """The open channel to a service, for clients of one service (cli/*_client.py)."""
        return self._channels[service]

    def token(self, who: Persona) -> str:
        """A token of this person, minted anew now and then."""
        minted_s, token = self._tokens.get(who, (0.0, ""))
        if not token or time.monotonic() - minted_s > REMINT_AFTER_S:
            token = self._door.token(who.sub, who.roles, who.holders)
            self._tokens[who] = (time.monotonic(), token)
        return token

    def forget_tokens(self) -> None:
        """After the development clock was moved: what was minted before it has run out."""
        self._tokens.clear()

    async def call(
        self, method: Any, request: Any, who: Persona | None = None, deadline_s: float = DEADLINE_S
    ) -> Any:
        """One call, in this person's name if there is one; raises as kernel/rpc/client.py does."""
        give_up_s = time.monotonic() + self.patience_s
        while True:
            token = None if who is None else self.token(who)
            try:
                return await call(
                    method, request, token, deadline_s=deadline_s, patience_s=PATIENCE_S
                )
            except Conflict:
                if time.monotonic() >= give_up_s:
                    raise
            await asyncio.sleep(RETRY_EVERY_S)

    @property
    def _accounts(self) -> Any:
        return accounts_pb2_grpc.AccountsServiceStub(self._channels["accounts"])

    @property
    def _ledger(self) -> Any:
        return ledger_pb2_grpc.LedgerServiceStub(self._channels["ledger"])

    # ---- what changes the accounts book ---------------------------------------------------------

    async def register_holders(self, who: Persona, holders: Sequence[Holder]) -> list[Outcome]:
        items = [
            accounts.Holder(
                id=one.id,
                holder=one.holder,
                kind=accounts.HolderKind.Value(f"HOLDER_KIND_{one.kind.upper()}"),
                uscc=one.uscc,
                name=one.name,
            )
            for one in holders
        ]
        request = accounts.RegisterHoldersRequest(holders=items)
        return await self._batch(self._accounts.RegisterHolders, request, who, holders)

    async def define_assets(self, who: Persona, assets: Sequence[Asset]) -> list[Outcome]:
        items = [
            accounts.Asset(
                id=one.id,
                asset=one.asset,
                unit=accounts.Unit.Value(f"UNIT_{one.unit.upper()}"),
                programme=one.programme,
                serialised=one.serialised,
                name=one.name,
                backdating_days=one.backdating_days,
            )
            for one in assets
        ]
        request = accounts.DefineAssetsRequest(assets=items)
        return await self._batch(self._accounts.DefineAssets, request, who, assets)

    async def post_entries(self, who: Persona, entries: Sequence[Entry]) -> list[Outcome]:
        """Decided in this order, so an entry may use what an earlier one of the call brought."""
        request = accounts.PostEntriesRequest(entries=[_entry_message(one) for one in entries])
        return await self._batch(self._accounts.PostEntries, request, who, entries)

    async def stream_entries(
        self, who: Persona, batches: Iterable[Sequence[Entry]]
    ) -> AsyncIterator[list[Outcome]]:
        """Batch after batch on one stream, their outcomes in order while the next are at work.

        A stream that breaks is opened again and goes on with what was not answered, by the same
        ids, for as long as patience lasts since the last answer.
        """
        source, unanswered = iter(batches), deque[Sequence[Entry]]()
        give_up_s = time.monotonic() + self.patience_s
        while True:
            try:
                async with self._stream(who) as stream:
                    for batch in unanswered:
                        await stream.write(_batch_message(batch))
                    while await _fill(stream, source, unanswered):
                        response = await stream.read()
                        if response is grpc.aio.EOF:
                            raise Conflict("STREAM_ENDED", f"{len(unanswered)} are unanswered")
                        answered = answered_in_order(response, unanswered.popleft())
                        give_up_s = time.monotonic() + self.patience_s
                        yield answered
                return
            except Conflict:
                if time.monotonic() >= give_up_s:
                    raise
            await asyncio.sleep(RETRY_EVERY_S)

    @asynccontextmanager
    async def _stream(self, who: Persona) -> AsyncIterator[Any]:
        """Open until the block ends; what breaks it is raised in its family."""
        stream = self._accounts.StreamBatches(metadata=metadata(self.token(who)))
        try:
            yield stream
            await stream.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            known = from_rpc_error(error) if isinstance(error, grpc.aio.AioRpcError) else None
            if known is None or isinstance(known, Fault):
                # It broke below us while we were writing, which gRPC calls a fault of its own.
                raise Conflict("STREAM_ENDED", f"the stream was closed: {error}") from error
            raise known from error
        finally:
            stream.cancel()

    async def outcomes(self, who: Persona, ids: Sequence[str]) -> list[Outcome]:
        """What became of these ids; those never carried out or refused are left out."""
        request = accounts.GetOutcomesRequest(ids=ids)
        response = await self.call(self._accounts.GetOutcomes, request, who)
        return [outcome_of(one) for one in response.results]

    async def _batch(
        self, method: Any, request: Any, who: Persona, items: Sequence[Any]
    ) -> list[Outcome]:
        response = await self.call(method, request, who)
        return answered_in_order(response, items)

    # ---- what reads the accounts book -----------------------------------------------------------

    async def balances(
        self, who: Persona, holder: str, asset: str = "", min_position: int = 0
    ) -> list[Balance]:
        request = accounts.GetBalancesRequest(holder=holder, asset=asset, min_position=min_position)
        response = await self.call(self._accounts.GetBalances, request, who)
        return [
            Balance(_account(one.account), one.asset, one.amount, ranges_of(one.serials))
            for one in response.balances
        ]

    async def totals(self, who: Persona, asset: str = "", min_position: int = 0) -> list[Total]:
        request = accounts.GetTotalsRequest(asset=asset, min_position=min_position)
        response = await self.call(self._accounts.GetTotals, request, who)
        return [
            Total(
                asset=one.asset,
                sum=one.sum,
                issued=one.issued,
                in_circulation=one.in_circulation,
                retired=one.retired,
                negative_accounts=one.negative_accounts,
            )
            for one in response.totals
        ]

    async def settlement_report(
        self, who: Persona, venue: str, session: str, min_position: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """Each trade of a session as it comes; at last the sums, under `totals`."""
        request = accounts.ReportSettlementsRequest(
            venue=venue, session=session, min_position=min_position
        )
        stream = self._accounts.ReportSettlements(
            request, timeout=STREAM_DEADLINE_S, metadata=metadata(self.token(who))
        )
        try:
            async for response in stream:
                for row in response.rows:
                    yield _settlement_row(row)
                if response.HasField("totals"):
                    yield _settlement_totals(response.totals)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def serial_history(
        self, who: Persona, asset: str, batch: str, serial: int, min_position: int = 0
    ) -> list[Movement]:
        request = accounts.GetSerialHistoryRequest(
            asset=asset, batch=batch, serial=serial, min_position=min_position
        )
        response = await self.call(self._accounts.GetSerialHistory, request, who)
        return [
            Movement(
                position=one.position,
                debit=_account(one.debit),
                credit=_account(one.credit),
                asset=one.asset,
                amount=one.amount,
                on_ms=instant_ms(one.on),
            )
            for one in response.movements
        ]

    async def disclose(self, who: Persona, book: str, positions: Sequence[int]) -> list[Disclosed]:
        """Record and salt of some events, to a party of them or an auditor; it is logged."""
        owner = OWNERS[book]
        make_stub, make_request = _DISCLOSE[owner]
        method = make_stub(self._channels[owner]).DiscloseEvents
        found: list[Disclosed] = []
        for part in in_parts(positions, MAX_POSITIONS):
            response = await self.call(method, make_request(positions=part), who)
            found += [Disclosed(one.position, one.record, one.salt) for one in response.events]
        return found

    async def receipts(
        self, who: Persona, book: str, positions: Sequence[int], *, cose: bool = False
    ) -> list[ReceiptAnswer]:
        """Receipts of distinct events, in order; of those `who` is no party of, the refusal."""
        stub: Any = receipts_pb2_grpc.ReceiptServiceStub(self._channels["ledger"])
        found: list[ReceiptAnswer] = []
        while rest := positions[len(found) :]:
            request = receipts_pb2.GetReceiptsRequest(
                book=book, positions=rest[:MAX_POSITIONS], cose=cose
            )
            answer = await self.call(stub.GetReceipts, request, who, PROOF_DEADLINE_S)
            found += map(_receipt, answer.receipts)
            if [one.position for one in found] != list(positions[: len(found)]):
                raise InvariantBroken(f"{book}: expected receipts in order, of what was asked")
        return found

    # ---- journals, whole ------------------------------------------------------------------------

    async def read_events(
        self, who: Persona, book: str, from_position: int = 0
    ) -> AsyncIterator[StoredEvent]:
        """Every stored event of a book up to its head at the time of the call, for an auditor."""
        source = OwnerSource(self._channels[OWNERS[book]], lambda: self.token(who))
        give_up_s = time.monotonic() + self.patience_s
        while True:
            begun_at = from_position
            try:
                async for frame in source.frames(book, from_position):
                    for event in frame.events:
                        if event.position >= from_position:
                            from_position = event.position + 1
                            yield event
                return
            except Conflict:  # from where we are, once the owner is back
                if from_position > begun_at:
                    give_up_s = time.monotonic() + self.patience_s
                if time.monotonic() >= give_up_s:
                    raise
            await asyncio.sleep(RETRY_EVERY_S)

    async def next_position(self, who: Persona, book: str) -> int:
        """As many events as the book has."""
        stub: Any = journal_pb2_grpc.JournalServiceStub(self._channels[OWNERS[book]])
        request = journal_pb2.GetHeadRequest(book=book)
        response = await self.call(stub.GetHead, request, who)
        return int(response.head.next_position)

    # ---- the logs: open to everyone -------------------------------------------------------------

    async def checkpoint(self, book: str) -> bytes:
        """The log's last published checkpoint, a signed note."""
        request = ledger.GetCheckpointRequest(book=book)
        return bytes((await self.call(self._ledger.GetCheckpoint, request)).checkpoint)

    async def tile(self, book: str, path: str) -> bytes:
        """A tile or entry bundle by its C2SP path."""
        request = ledger.GetTileRequest(book=book, path=path)
        return bytes((await self.call(self._ledger.GetTile, request)).data)

    async def proofs(self, book: str, positions: Sequence[int]) -> Proofs:
        """All under one checkpoint; returns once the log covers the highest of them."""
        request = ledger.GetProofsRequest(book=book, positions=positions)
        response = await self.call(self._ledger.GetProofs, request, deadline_s=PROOF_DEADLINE_S)
        return Proofs(
            {one.position: one.tlog_proof for one in response.proofs},
            instant_ms(response.proven_at),
        )

    async def status(self) -> list[BookStatus]:
        response = await self.call(self._ledger.GetStatus, ledger.GetStatusRequest())
        return [
            BookStatus(
                one.book,
                one.folded,
                one.proven,
                f"{one.halt.rule} at {one.halt.position}" if one.HasField("halt") else "",
                one.halt.expected,
                one.halt.actual,
                one.witnessed,
                tuple(
                    WitnessStanding(tuple(by.names), by.cosigned, by.said, by.alarm)
                    for by in one.witnesses
                ),
                missing_keys=tuple(one.missing_keys),
            )
            for one in response.books
        ]

    # ---- the key directory ----------------------------------------------------------------------

    async def keys(self) -> list[DirectoryKey]:
        response = await self.call(self._ledger.ListKeys, ledger.ListKeysRequest())
        return [
            DirectoryKey(one.key_id, one.subject, one.public_key, one.revoked)
            for one in response.keys
        ]

    async def propose_key(self, who: Persona, id: str, subject: str, public_key: bytes) -> Outcome:
        proposal = ledger.KeyRegistration(
            subject=subject, suite=SUITE_ED25519, public_key=public_key
        )
        request = ledger.ProposeRequest(id=id, register_key=proposal)
        return outcome_of((await self.call(self._ledger.Propose, request, who)).result)

    async def standing_halt(self, book: str) -> StandingHalt | None:
        response = await self.call(self._ledger.GetStatus, ledger.GetStatusRequest())
        for one in response.books:
            if one.book == book and one.HasField("halt"):
                halt = one.halt
                return StandingHalt(halt.position, halt.rule, halt.expected, halt.actual)
        return None

    async def propose_override(
        self, who: Persona, id: str, book: str, halt: StandingHalt, justification: str
    ) -> Outcome:
        override = ledger.Override(
            book=book, position=halt.position, rule=halt.rule, justification=justification
        )
        request = ledger.ProposeRequest(id=id, accept_override=override)
        return outcome_of((await self.call(self._ledger.Propose, request, who)).result)

    async def approve(self, who: Persona, id: str, proposal_id: str) -> Outcome:
        request = ledger.ApproveRequest(id=id, proposal_id=proposal_id)
        return outcome_of((await self.call(self._ledger.Approve, request, who)).result)


def in_parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Consecutive parts of at most `size` items."""
    return [items[at : at + size] for at in range(0, len(items), size)]


def _settlement_row(row: accounts.SettlementRow) -> dict[str, Any]:
    """Flat, for a table; what does not apply is empty."""
    result = row.result
    known = {
        field.name: getattr(row, field.name)
        for field in row.DESCRIPTOR.fields
        if field.name != "result"
    }
    found: dict[str, Any] = {**known, "trade": result.trade}
    if result.HasField("settled_position"):
        return {**found, "settled_position": result.settled_position}
    why = result.unsettled
    found["reason"] = why.reason
    if why.holder:
        short = {"needed": why.needed, "available": why.available}
        found |= {"holder": why.holder, "short_of": why.asset, **short}
    return found


def _settlement_totals(totals: accounts.SettlementTotals) -> dict[str, Any]:
    assets = [
        {
            "asset": one.asset,
            "trades": one.trades,
            "quantity_t": one.quantity_t,
            "turnover_fen": one.turnover_fen,
            "fees_fen": one.fees_fen,
        }
        for one in totals.assets
    ]
    return {"totals": assets, "unsettled": totals.unsettled}


def _batch_message(batch: Sequence[Entry]) -> accounts.StreamBatchesRequest:
    return accounts.StreamBatchesRequest(entries=[_entry_message(one) for one in batch])


async def _fill(
    stream: Any, source: Iterator[Sequence[Entry]], unanswered: deque[Sequence[Entry]]
) -> bool:
    """Writes until as many are on their way as the service takes; is there anything to wait for?"""
    while len(unanswered) < IN_FLIGHT:
        batch = next(source, None)
        if batch is None:
            break
        unanswered.append(batch)
        await stream.write(_batch_message(batch))
    return bool(unanswered)


def _entry_message(entry: Entry) -> accounts.Entry:
    return accounts.Entry(
        id=entry.id,
        on=None if entry.on_ms is None else timestamp_of(entry.on_ms),
        legs=[
            accounts.Leg(
                debit=_account_message(leg.debit),
                credit=_account_message(leg.credit),
                asset=leg.asset,
                amount=leg.amount,
                serials=[
                    accounts.SerialRange(batch=one.batch, first=one.first, last=one.last)
                    for one in leg.serials
                ],
            )
            for leg in entry.legs
        ],
        claim=None
        if entry.claim is None
        else accounts.Claim(
            beneficiary=entry.claim.beneficiary,
            purpose=entry.claim.purpose,
            details=entry.claim.details,
        ),
        acts=[act_message(act) for act in entry.acts],
    )


def _account_message(account: Account) -> accounts.Account:
    purpose = accounts.Purpose.Value(f"PURPOSE_{account.purpose.upper()}")
    return accounts.Account(holder=account.holder, purpose=purpose, ref=account.ref)


def _account(message: accounts.Account) -> Account:
    purpose = accounts.Purpose.Name(message.purpose).removeprefix("PURPOSE_").lower()
    return Account(message.holder, purpose, message.ref)


def outcome_of(result: items_pb2.ItemResult) -> Outcome:
    if result.HasField("accepted"):
        accepted = result.accepted
        return Outcome(result.id, accepted.first_position, accepted.repeated)
    refused = refusal_of(result.refused)
    return Outcome(
        result.id, reason=refused.reason, message=refused.message, details=refused.details
    )


def _receipt(message: receipts_pb2.Receipt) -> ReceiptAnswer:
    if message.HasField("refused"):
        return ReceiptAnswer(message.position, refused=refusal_of(message.refused))
    overrides = tuple(message.override_positions)
    return ReceiptAnswer(message.position, message.file, message.cose, overrides=overrides)


def refusal_of(message: items_pb2.Refusal) -> Refusal:
    return Refusal(message.reason, message.message, dict(message.details))


def ranges_of(messages: Iterable[Any]) -> tuple[SerialRange, ...]:
    """Serial ranges as any service writes them."""
    return tuple(SerialRange(one.batch, one.first, one.last) for one in messages)


def answered_in_order(response: Any, items: Sequence[Any]) -> list[Outcome]:
    """One outcome per item asked for, or the service broke its word."""
    answered, asked = [one.id for one in response.results], [one.id for one in items]
    if answered != asked:
        raise InvariantBroken(f"expected one result per item in order, got {len(answered)}")
    return [outcome_of(one) for one in response.results]


def instant_ms(timestamp: Timestamp) -> int:
    return int(timestamp.seconds) * 1000 + int(timestamp.nanos) // 1_000_000
