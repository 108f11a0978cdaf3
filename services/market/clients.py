"""What the market asks of other services: entries of the accounts book, the ledger's status.

Trades are settled by the hundreds, as parts of a file that the venue has signed (parts.py); a
release is an entry of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import grpc
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.kernel.v1 import items_pb2
from tanzhang.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from kernel.acts import sign_act
from kernel.errands import MAX_ATTEMPTS, MAX_ERRANDS, NOT_YET, Done, Errand, errand_id
from kernel.errors import Conflict, Fault
from kernel.record import RawRecord, decode_record
from kernel.rpc.answers import conclusive
from kernel.rpc.client import call
from kernel.rpc.items import act_message
from kernel.writer import Writer
from services.market.config import BOOK
from services.market.domain.commands import CompleteRelease, RefuseRelease
from services.market.domain.events import ReleaseRequested, TradesMade
from services.market.domain.state import State
from services.market.parts import (
    Errands,
    Told,
    ends_of,
    parts_of,
    refused_whole,
    statement_of,
)

ACCOUNTS: Final = "accounts"
MAX_PARTS: Final = 4  # of one call: at most 800 trades, which accounts decides in one go
SHORTAGE: Final = ("asset", "available", "holder", "needed")
STATUS_DEADLINE_S: Final = 3.0  # well below what counts as away


def open_settlements(state: State) -> list[Errand[TradesMade]]:
    first = islice(state.settlements.values(), 2 * MAX_ERRANDS)
    return [Errand(one.id, one.position, one.event) for one in first]


def open_releases(state: State) -> list[Errand[ReleaseRequested]]:
    first = islice(state.releases.values(), 2 * MAX_ERRANDS)
    return [Errand(one.id, one.position, one.event) for one in first]


class AccountsClient:
    """Asks the accounts book to settle and to release, as this venue."""

    def __init__(
        self,
        writer: Writer[State],
        channel: grpc.aio.Channel,
        token: Callable[[], str],
        venue_key: Ed25519PrivateKey,
    ) -> None:
        self._writer = writer
        self._stub = accounts_pb2_grpc.AccountsServiceStub(channel)
        self._token = token
        self._venue_key = venue_key
        # By the first trade's position: how often a part was refused for something of the moment.
        self._attempts: dict[int, int] = {}

    async def settle(self, errands: Sequence[Errand[TradesMade]]) -> list[Done]:
        """Several parts in a call, in order. One that is not carried out holds up the rest."""
        parts = list(islice(parts_of(errands), MAX_PARTS))
        request = pb.SettleTradesRequest(venue=BOOK, parts=[self._part(one) for one in parts])
        # Not repeated here: whoever runs the errands sends all of them again, and slower.
        answer = await call(self._stub.SettleTrades, request, self._token(), patience_s=0)
        done: list[Done] = []
        for part, said in zip(parts, answer.parts, strict=True):
            if not said.result.HasField("accepted"):
                rest = errands[sum(one.errands for one in done) :]
                return done + await self._not_carried_out(rest, said.result, bool(done))
            done += ends_of(part, _told(said.trades), _end_of(said.result.accepted))
            self._attempts.pop(part[0].position, None)
        return done

    def _part(self, part: Errands) -> pb.SettlementPart:
        act = sign_act(self._venue_key, statement_of(part))
        id, cause = self._part_id(part[0]), _cause(part[-1])
        return pb.SettlementPart(id=id, acts=[act_message(act)], cause=cause)

    def _part_id(self, first: Errand[TradesMade]) -> str:
        attempt = self._attempts.get(first.position, 0)
        return errand_id(self._writer, first._replace(attempt=attempt))

    async def _not_carried_out(
        self, errands: Errands, result: items_pb2.ItemResult, others_were: bool
    ) -> list[Done]:
        """Refused as a whole; or carried out before, in a part of another length or another key."""
        (result,) = await conclusive([result], self._outcomes)
        if result.HasField("accepted"):
            told = await self._disclosed(result.accepted)
            ended = ends_of(errands, told, _end_of(result.accepted))
            if not ended:
                raise Fault("PART_DIFFERS", f"{result.id} is not of {errands[0].what.settlement}")
            return ended
        said, first = result.refused, errands[0].position
        attempt = self._attempts.pop(first, 0)
        if said.reason in NOT_YET and attempt + 1 < MAX_ATTEMPTS:
            self._attempts[first] = attempt + 1
            if not others_were:
                raise Conflict(said.reason, said.message)
            return []
        why = Told(0, said.reason, said.message, dict(said.details))
        return [refused_whole(errands[0], why)]

    async def _disclosed(self, accepted: items_pb2.Accepted) -> dict[str, Told]:
        first = accepted.first_position
        request = pb.DiscloseEventsRequest(positions=range(first, first + accepted.events))
        answer = await call(self._stub.DiscloseEvents, request, self._token(), patience_s=0)
        told: dict[str, Told] = {}
        for one in answer.events:
            told |= _told_by(decode_record(one.record))
        return told

    async def release(self, errands: Sequence[Errand[ReleaseRequested]]) -> list[Done]:
        entries = [release_entry(errand, errand_id(self._writer, errand)) for errand in errands]
        request = pb.PostEntriesRequest(entries=entries)
        answer = await call(self._stub.PostEntries, request, self._token(), patience_s=0)
        results = await conclusive(answer.results, self._outcomes)
        return [
            _done(result, errand.what.release)
            for errand, result in zip(errands, results, strict=True)
        ]

    async def _outcomes(self, ids: list[str]) -> pb.GetOutcomesResponse:
        request = pb.GetOutcomesRequest(ids=ids)
        answer: pb.GetOutcomesResponse = await call(
            self._stub.GetOutcomes, request, self._token(), patience_s=0
        )
        return answer


def _end_of(accepted: items_pb2.Accepted) -> tuple[str, int]:
    """The last event of a part: when it is checked, all of the part is."""
    return ACCOUNTS, accepted.first_position + accepted.events - 1


def _told(results: Iterable[pb.TradeResult]) -> dict[str, Told]:
    return {
        one.trade: _unsettled(
            one.unsettled.position,
            one.unsettled.reason,
            {name: str(getattr(one.unsettled, name)) for name in SHORTAGE},
        )
        if one.HasField("unsettled")
        else Told(one.settled_position)
        for one in results
    }


def _told_by(raw: RawRecord) -> dict[str, Told]:
    """What an event of a part, or the entry of a settlement of old, says of trades."""
    body = msgspec.json.decode(raw.body)
    if raw.type == "EntryPosted":
        return dict.fromkeys(body["trades"], Told(raw.position))
    if raw.type == "TradeUnsettled":
        details = {name: str(body[name]) for name in SHORTAGE if body.get(name) is not None}
        return {body["trade"]["trade"]: _unsettled(raw.position, body["reason"], details)}
    acts = raw.acts if isinstance(raw.acts, list) else []
    trades = [row["trade"] for act in acts for row in msgspec.json.decode(act.statement)["trades"]]
    return {trades[place]: Told(0) for place in body["known"]}


def _unsettled(position: int, reason: str, said: dict[str, str]) -> Told:
    if reason == "TRADE_SETTLED":  # by an entry of its own, before this market sent files
        return Told(0)
    if reason != "INSUFFICIENT_BALANCE":
        return Told(position, reason, "the accounts book did not settle it")
    message = (
        f"{said['asset']} at this market of {said['holder']}:"
        f" needed {said['needed']}, available {said['available']}"
    )
    return Told(position, reason, message, said)


def release_entry(errand: Errand[ReleaseRequested], id: str) -> pb.Entry:
    asked = errand.what
    available = pb.Account(holder=asked.holder, purpose=pb.PURPOSE_AVAILABLE)
    legs = [_leg(_trading(asked.holder), available, asked.asset, asked.amount)]
    return pb.Entry(id=id, legs=legs, cause=_cause(errand))


def _cause(errand: Errand[Any]) -> items_pb2.Cause:
    return items_pb2.Cause(book=BOOK, position=errand.position)


def _trading(holder: str) -> pb.Account:
    return pb.Account(holder=holder, purpose=pb.PURPOSE_TRADING, ref=BOOK)


def _leg(debit: pb.Account, credit: pb.Account, asset: str, amount: int) -> pb.Leg:
    return pb.Leg(debit=debit, credit=credit, asset=asset, amount=amount)


def _done(result: items_pb2.ItemResult, release: str) -> Done:
    """Accepted: the entry is the cause of our end. Refused: in the words of the accounts book."""
    if result.HasField("accepted"):
        return Done(CompleteRelease(release), (ACCOUNTS, result.accepted.first_position))
    said = result.refused
    refused = RefuseRelease(release, said.reason, said.message, dict(said.details))
    return Done(refused, None, said.reason)


class BookProgress(NamedTuple):
    """How far the ledger has checked a book, and how far it is under a checkpoint."""

    folded: int
    proven: int


class LedgerClient:
    """Asks the ledger how far the books are proven."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ledger_pb2_grpc.LedgerServiceStub(channel)

    async def progress(self) -> dict[str, BookProgress]:
        """By book. Raises Conflict while the ledger cannot be reached."""
        request = ledger_pb2.GetStatusRequest()
        answer = await call(
            self._stub.GetStatus, request, deadline_s=STATUS_DEADLINE_S, patience_s=0
        )
        return {one.book: BookProgress(one.folded, one.proven) for one in answer.books}
