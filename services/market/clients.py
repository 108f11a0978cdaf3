"""What the market asks of other services: entries of the accounts book, the ledger's status.

A settlement is one entry: delivery and payment of every trade, under the venue's own signature. The
statement is made from the event alone and Ed25519 is deterministic, so it is the same, byte for
byte, however often it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from kernel.errands import MAX_ERRANDS, Done, Errand, errand_id
from kernel.rpc.answers import conclusive
from kernel.rpc.client import call
from kernel.rpc.items import act_message
from kernel.writer import Writer
from services.market.config import BOOK
from services.market.domain.commands import (
    CompleteRelease,
    CompleteSettlement,
    RefuseRelease,
    RefuseSettlement,
)
from services.market.domain.events import ReleaseRequested, TradesMade
from services.market.domain.state import MONEY, State

MAX_LEGS_PER_CALL: Final = 4000  # about 1 MB, where a message takes 8
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

    async def settle(self, errands: Sequence[Errand[TradesMade]]) -> list[Done]:
        entries = [
            settlement_entry(errand, errand_id(self._writer, errand), self._venue_key)
            for errand in errands
        ]
        results = await self._post(entries)
        return [
            _done(result, CompleteSettlement, RefuseSettlement, errand.what.settlement)
            for errand, result in zip(errands, results, strict=True)
        ]

    async def release(self, errands: Sequence[Errand[ReleaseRequested]]) -> list[Done]:
        entries = [release_entry(errand, errand_id(self._writer, errand)) for errand in errands]
        results = await self._post(entries)
        return [
            _done(result, CompleteRelease, RefuseRelease, errand.what.release)
            for errand, result in zip(errands, results, strict=True)
        ]

    async def _post(self, entries: Sequence[pb.Entry]) -> list[items_pb2.ItemResult]:
        results: list[items_pb2.ItemResult] = []
        for part in parts_of(entries):
            request = pb.PostEntriesRequest(entries=part)
            # Not repeated here: whoever runs the errands sends all of them again, and slower.
            answer = await call(self._stub.PostEntries, request, self._token(), patience_s=0)
            results += await conclusive(answer.results, self._outcomes)
        return results

    async def _outcomes(self, ids: list[str]) -> pb.GetOutcomesResponse:
        request = pb.GetOutcomesRequest(ids=ids)
        answer: pb.GetOutcomesResponse = await call(
            self._stub.GetOutcomes, request, self._token(), patience_s=0
        )
        return answer


def settlement_entry(errand: Errand[TradesMade], id: str, venue_key: Ed25519PrivateKey) -> pb.Entry:
    """Delivery and payment of every trade, all or none."""
    made = errand.what
    legs = []
    for trade in made.trades:
        seller, buyer = _trading(trade.seller), _trading(trade.buyer)
        value_fen = trade.quantity_t * trade.price_fen_per_t
        legs.append(_leg(seller, buyer, made.asset, trade.quantity_t))
        legs.append(_leg(buyer, seller, MONEY, value_fen))
    act = sign_act(venue_key, settlement_statement(made))
    return pb.Entry(id=id, legs=legs, acts=[act_message(act)], cause=_cause(errand))


def release_entry(errand: Errand[ReleaseRequested], id: str) -> pb.Entry:
    asked = errand.what
    available = pb.Account(holder=asked.holder, purpose=pb.PURPOSE_AVAILABLE)
    legs = [_leg(_trading(asked.holder), available, asked.asset, asked.amount)]
    return pb.Entry(id=id, legs=legs, cause=_cause(errand))


def _cause(errand: Errand[Any]) -> items_pb2.Cause:
    return items_pb2.Cause(book=BOOK, position=errand.position)


def settlement_statement(made: TradesMade) -> dict[str, Any]:
    """What the venue signs: its trades, in order."""
    trades = [
        {
            "asset": made.asset,
            "buyer": trade.buyer,
            "price_fen_per_t": trade.price_fen_per_t,
            "quantity_t": trade.quantity_t,
            "seller": trade.seller,
            "trade": trade.trade,
        }
        for trade in made.trades
    ]
    return {"kind": "settlement", "trades": trades, "venue": BOOK}


def parts_of(entries: Sequence[pb.Entry]) -> Iterator[list[pb.Entry]]:
    part: list[pb.Entry] = []
    legs = 0
    for entry in entries:
        if part and legs + len(entry.legs) > MAX_LEGS_PER_CALL:
            yield part
            part, legs = [], 0
        part.append(entry)
        legs += len(entry.legs)
    if part:
        yield part


def _trading(holder: str) -> pb.Account:
    return pb.Account(holder=holder, purpose=pb.PURPOSE_TRADING, ref=BOOK)


def _leg(debit: pb.Account, credit: pb.Account, asset: str, amount: int) -> pb.Leg:
    return pb.Leg(debit=debit, credit=credit, asset=asset, amount=amount)


def _done(
    result: items_pb2.ItemResult,
    completed: Callable[[str], msgspec.Struct],
    refused: Callable[[str, str, str, dict[str, str]], msgspec.Struct],
    name: str,
) -> Done:
    """Accepted: the entry is the cause of our end. Refused: in the words of the accounts book."""
    if result.HasField("accepted"):
        return Done(completed(name), ("accounts", result.accepted.first_position))
    said = result.refused
    return Done(refused(name, said.reason, said.message, dict(said.details)), None, said.reason)


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
