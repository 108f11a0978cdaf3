"""What a load generator sends and how it reads the answers: one-leg entries, and signed trades.

An entry is made as the bytes of protobuf: what differs between two (id, payer, payee) is put into
the bytes of one real message, at about a microsecond. Trades are what an exchange really sends:
canonical JSON that it has signed, 250 trades under one signature.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tanzhang.accounts.v1 import accounts_pb2 as pb

from benchmarks.jobs import Job, Person, Trading
from kernel.acts import sign_act
from kernel.ids import uuid7
from kernel.rpc.items import act_message

SERVICE: Final = "/tanzhang.accounts.v1.AccountsService"
PRICE_FEN_PER_T: Final = 7446
FEE_FEN: Final = 100
PART: Final = 250  # trades under one signature, as many as a part may have
SESSION_MS: Final = 10 * 86_400_000

Answered = tuple[bytes, int, str]  # id, position, and a reason where there is no position


class Maker(Protocol):
    """Requests of one kind, each of `size` entries, and what their answers say."""

    method: str

    def request(self, size: int, person: Person) -> tuple[list[bytes], bytes]:
        """The ids of its entries, and the bytes to send."""
        ...

    def answers(self, ids: list[bytes], answer: bytes) -> Iterator[Answered]: ...


class Entries:
    """One leg of 1 fen from one of the person's own holders to any of the payees."""

    method = f"{SERVICE}/PostEntriesInBulk"

    def __init__(self, job: Job, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._template = _template()
        payees = job.payees or [holder for person in job.people for holder in person.holders]
        self._payees = [holder.encode() for holder in payees]
        self._chance = random.Random(job.seed)  # noqa: S311 - load, not secrets
        self._check(job.people[0])

    def request(self, size: int, person: Person) -> tuple[list[bytes], bytes]:
        ids = new_ids(size, self._now_ms())
        payers = [holder.encode() for holder in person.holders]
        debits = self._chance.choices(payers, k=size)
        credits = self._chance.choices(self._payees, k=size)
        fill = self._template
        parts = []
        for id, debit, credit in zip(ids, debits, credits, strict=True):
            while credit == debit:  # nobody pays oneself
                credit = self._chance.choice(self._payees)  # noqa: PLW2901
            parts.append(fill % (id, debit, credit))
        return ids, b"".join(parts)

    def answers(self, ids: list[bytes], answer: bytes) -> Iterator[Answered]:
        said = pb.PostEntriesInBulkResponse.FromString(answer)
        for id, position in zip(ids, said.positions, strict=True):
            if position >= 0:
                yield id, position, ""
        for result in said.results:
            if result.HasField("refused"):
                yield result.id.encode(), -1, result.refused.reason

    def _check(self, person: Person) -> None:
        """Our bytes must be what protobuf itself would write."""
        ids, request = self.request(3, person)
        message = pb.PostEntriesInBulkRequest.FromString(request)
        found = [entry.id.encode() for entry in message.entries]
        if found != ids or message.SerializeToString(deterministic=True) != request:
            raise RuntimeError("expected the request to be the bytes protobuf makes of it")


class Trades:
    """Delivery, payment and fee of trades between any two members, signed by the venue."""

    method = f"{SERVICE}/SettleTrades"

    def __init__(
        self, job: Job, trading: Trading, key: Ed25519PrivateKey, now_ms: Callable[[], int]
    ) -> None:
        self._trading = trading
        self._key = key
        self._now_ms = now_ms
        self._members = [holder for person in job.people for holder in person.holders]
        self._chance = random.Random(job.seed)  # noqa: S311
        self._part = itertools.count(1)
        self._closes_at_ms = now_ms() + SESSION_MS
        self._session = uuid7(now_ms())[:23]  # of this run alone, so that names are new

    def request(self, size: int, person: Person) -> tuple[list[bytes], bytes]:
        names: list[bytes] = []
        parts = []
        while len(names) < size:
            number = next(self._part)
            trades = [self._trade(number, n) for n in range(min(PART, size - len(names)))]
            names.extend(trade["trade"].encode() for trade in trades)
            act = act_message(sign_act(self._key, self._statement(number, trades)))
            parts.append(pb.SettlementPart(id=uuid7(self._now_ms()), acts=[act]))
        request = pb.SettleTradesRequest(venue=self._trading.venue, parts=parts)
        return names, request.SerializeToString()

    def answers(self, ids: list[bytes], answer: bytes) -> Iterator[Answered]:
        parts = pb.SettleTradesResponse.FromString(answer).parts
        for part in parts:
            if not part.result.HasField("accepted"):
                yield b"", -1, part.result.refused.reason
        trades = [trade for part in parts for trade in part.trades]
        for id, trade in zip(ids, trades, strict=False):
            if trade.HasField("settled_position"):
                yield id, trade.settled_position, ""
            else:
                yield id, -1, trade.unsettled.reason

    def _trade(self, part: int, n: int) -> dict[str, Any]:
        seller, buyer = self._chance.sample(self._members, 2)
        return {
            "asset": self._trading.asset,
            "buyer": buyer,
            "buyer_fee_fen": FEE_FEN,
            "price_fen_per_t": PRICE_FEN_PER_T,
            "quantity_t": 1 + n % 5,
            "seller": seller,
            "seller_fee_fen": 0,
            "trade": f"T-{part}-{n}",
        }

    def _statement(self, part: int, trades: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "closes_at_ms": self._closes_at_ms,
            "fee_holder": self._trading.fee_holder,
            "file": "F-1",
            "kind": "settlement-file",
            "part": part,
            "session": self._session,
            "trades": trades,
            "venue": self._trading.venue,
        }


# Three texts as long as the real ones, that occur nowhere else in a message.
_ID: Final = "0" * 36
_PAYER: Final = "h-" + "1" * 16
_PAYEE: Final = "h-" + "2" * 16


def _template() -> bytes:
    """One entry of a request, with `%b` for id, payer and payee in this order."""
    available = pb.Purpose.PURPOSE_AVAILABLE
    leg = pb.Leg(
        debit=pb.Account(holder=_PAYER, purpose=available),
        credit=pb.Account(holder=_PAYEE, purpose=available),
        asset="CNY",
        amount=1,
    )
    whole = pb.PostEntriesInBulkRequest(entries=[pb.Entry(id=_ID, legs=[leg])]).SerializeToString()
    pieces: bytes = whole.replace(b"%", b"%%")
    for marker in (_ID, _PAYER, _PAYEE):
        pieces = pieces.replace(marker.encode(), b"%b")
    return pieces


def new_ids(count: int, now_ms: int) -> list[bytes]:
    """UUIDv7 of this instant; the same as kernel/ids.py:uuid7, many at a time."""
    head = f"{now_ms:012x}"
    front, chance = f"{head[:8]}-{head[8:]}-7".encode(), os.urandom(10 * count).hex().encode()
    return [
        front
        + chance[at : at + 3]
        + b"-8"
        + chance[at + 3 : at + 6]
        + b"-"
        + chance[at + 6 : at + 18]
        for at in range(0, 20 * count, 20)
    ]
