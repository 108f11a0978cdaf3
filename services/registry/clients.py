"""What the registry asks of the accounts book: the entries that carry out its open requests.

Each errand's item has an id that derives from its request, so it is carried out once, however often
it is sent. A refusal of the item is the answer; of the whole call (a halted book, a full queue) it
is "later". Acts and business time are read from the request's own record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import grpc
import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.kernel.v1 import items_pb2

from kernel.errands import MAX_ERRANDS, Done, Errand, errand_id
from kernel.errors import InvariantBroken
from kernel.record import RawRecord, decode_record
from kernel.rpc.answers import conclusive
from kernel.rpc.client import Token, call
from kernel.rpc.items import act_message, timestamp_of
from kernel.values import parse_instant
from kernel.writer import Writer
from services.registry.domain import commands
from services.registry.domain.events import SerialRange
from services.registry.domain.state import Issuance, Lien, Process, Release, State
from services.registry.reactions import entry_legs, moved_serials

ACCOUNTS: Final = "accounts"
MAX_CALL_BYTES: Final = 4 * 1024 * 1024  # half of what a server takes in one message
MAX_DISCLOSED: Final = 100  # records of at most 64 KiB: the answer stays below the same bound


class OpenRelease(NamedTuple):
    """A release on its way, with the lien it is of."""

    lien: Lien
    name: str
    release: Release


E = TypeVar("E", Issuance, Lien, OpenRelease)


def open_issuances(state: State) -> list[Errand[Issuance]]:
    first = islice(state.open_issuances.values(), MAX_ERRANDS)
    return [_errand(one.process, one) for one in first]


def open_pledges(state: State) -> list[Errand[Lien]]:
    first = islice(state.open_pledges.values(), MAX_ERRANDS)
    return [_errand(one.process, one) for one in first]


def open_releases(state: State) -> list[Errand[OpenRelease]]:
    return [
        _errand(one.process, OpenRelease(state.liens[lien], name, one))
        for (lien, name), one in islice(state.open_releases.items(), MAX_ERRANDS)
    ]


def _errand(process: Process, what: E) -> Errand[E]:
    return Errand(process.requested.id, process.requested.position, what)


class AccountsClient:
    """Sends errands; every method answers one Done for each, in order (kernel/errands.py)."""

    def __init__(self, writer: Writer[State], channel: grpc.aio.Channel, token: Token) -> None:
        self._writer = writer
        self._stub: Any = accounts_pb2_grpc.AccountsServiceStub(channel)
        self._token = token

    async def issue(self, errands: Sequence[Errand[Issuance]]) -> list[Done]:
        results = await self._post(errands, issued_legs)
        return [
            _refused(partial(commands.RefuseIssuance, one.what.proposed.issuance), result)
            if result.HasField("refused")
            else _done(commands.CompleteIssuance(one.what.proposed.issuance), result)
            for one, result in zip(errands, results, strict=True)
        ]

    async def pledge(self, errands: Sequence[Errand[Lien]]) -> list[Done]:
        results = await self._post(errands, pledged_legs)
        moved = await self._moved(results)
        return [
            _refused(partial(commands.RefusePledge, one.what.asked.lien), result)
            if result.HasField("refused")
            else _done(commands.CompletePledge(one.what.asked.lien, moved[result.id]), result)
            for one, result in zip(errands, results, strict=True)
        ]

    async def release(self, errands: Sequence[Errand[OpenRelease]]) -> list[Done]:
        results = await self._post(errands, released_legs)
        moved = await self._moved(results)
        ended = []
        for errand, result in zip(errands, results, strict=True):
            one = errand.what
            lien = one.lien.asked.lien
            if result.HasField("refused"):
                refuse = partial(commands.RefuseRelease, lien, one.name)
                ended.append(_refused(refuse, result))
            else:
                done = commands.CompleteRelease(lien, one.name, moved[result.id])
                ended.append(_done(done, result))
        return ended

    async def _post(
        self, errands: Sequence[Errand[E]], legs_of: Callable[[E], list[pb.Leg]]
    ) -> list[items_pb2.ItemResult]:
        positions = [errand.position for errand in errands]
        stored = await asyncio.to_thread(self._writer.journal.read_events, positions)
        entries = [
            self._entry(errand, decode_record(event.record), legs_of(errand.what))
            for errand, event in zip(errands, stored, strict=True)
        ]
        results: list[items_pb2.ItemResult] = []
        for part in calls_of(entries):
            request = pb.PostEntriesRequest(entries=part)
            answer = await call(self._stub.PostEntries, request, self._token())
            results += await conclusive(answer.results, self._outcomes)
        if [result.id for result in results] != [entry.id for entry in entries]:
            raise InvariantBroken("accounts: expected a result for each entry, in order")
        return results

    async def _outcomes(self, ids: list[str]) -> pb.GetOutcomesResponse:
        request = pb.GetOutcomesRequest(ids=ids)
        answer: pb.GetOutcomesResponse = await call(self._stub.GetOutcomes, request, self._token())
        return answer

    def _entry(self, errand: Errand[E], request: RawRecord, legs: list[pb.Leg]) -> pb.Entry:
        acts = request.acts or ()
        # A claimed business time goes on; without one the entry's is its own recording.
        on_ms = None if request.on == request.at else parse_instant(request.on)
        return pb.Entry(
            id=errand_id(self._writer, errand),
            on=None if on_ms is None else timestamp_of(on_ms),
            legs=legs,
            acts=[act_message(act) for act in acts],
            cause=items_pb2.Cause(book=self._writer.book, position=errand.position),
        )

    async def _moved(self, results: Iterable[items_pb2.ItemResult]) -> dict[str, list[SerialRange]]:
        """Per accepted item, the serials its entry moved, read from the entry itself."""
        places = {
            result.accepted.first_position: result.id
            for result in results
            if result.HasField("accepted")
        }
        moved: dict[str, list[SerialRange]] = {}
        positions = sorted(places)
        for i in range(0, len(positions), MAX_DISCLOSED):
            request = pb.DiscloseEventsRequest(positions=positions[i : i + MAX_DISCLOSED])
            answer = await call(self._stub.DiscloseEvents, request, self._token())
            for event in answer.events:
                raw = decode_record(event.record)
                id = places[event.position]
                if (raw.book, raw.position, raw.by) != (ACCOUNTS, event.position, id):
                    raise InvariantBroken(
                        f"accounts: expected the entry of {id} at {event.position},"
                        f" got that of {raw.by} at {raw.position} of {raw.book}"
                    )
                moved[id] = moved_serials(entry_legs(raw))
        return moved


def calls_of(entries: Sequence[pb.Entry]) -> Iterator[list[pb.Entry]]:
    """The entries in order, cut where a message would grow too large."""
    part: list[pb.Entry] = []
    size = 0
    for entry in entries:
        if part and size + entry.ByteSize() > MAX_CALL_BYTES:
            yield part
            part, size = [], 0
        part.append(entry)
        size += entry.ByteSize()
    if part:
        yield part


def issued_legs(issuance: Issuance) -> list[pb.Leg]:
    """A leg per owner, the batch's serials in order."""
    proposed, first, legs = issuance.proposed, issuance.proposed.first, []
    for owner in proposed.owners:
        last = first + owner.quantity_t - 1
        legs.append(
            pb.Leg(
                debit=pb.Account(holder=proposed.programme, purpose=pb.PURPOSE_ISSUED),
                credit=pb.Account(holder=owner.holder, purpose=pb.PURPOSE_AVAILABLE),
                asset=proposed.asset,
                amount=owner.quantity_t,
                serials=[pb.SerialRange(batch=proposed.batch, first=first, last=last)],
            )
        )
        first = last + 1
    return legs


def pledged_legs(lien: Lien) -> list[pb.Leg]:
    asked = lien.asked
    leg = pb.Leg(
        debit=pb.Account(holder=asked.pledgor, purpose=pb.PURPOSE_AVAILABLE),
        credit=_pledged(lien),
        asset=asked.asset,
        amount=asked.quantity_t,
        serials=[
            pb.SerialRange(batch=block.batch, first=block.first, last=block.last)
            for block in asked.serials
        ],
    )
    return [leg]


def released_legs(open_release: OpenRelease) -> list[pb.Leg]:
    lien = open_release.lien
    leg = pb.Leg(
        debit=_pledged(lien),
        credit=pb.Account(holder=lien.asked.pledgor, purpose=pb.PURPOSE_AVAILABLE),
        asset=lien.asked.asset,
        amount=open_release.release.quantity_t,
    )
    return [leg]


def _pledged(lien: Lien) -> pb.Account:
    return pb.Account(holder=lien.asked.pledgor, purpose=pb.PURPOSE_PLEDGED, ref=lien.asked.lien)


def _done(command: msgspec.Struct, result: items_pb2.ItemResult) -> Done:
    return Done(command, (ACCOUNTS, result.accepted.first_position))


def _refused(
    refuse: Callable[[str, str, dict[str, str]], msgspec.Struct], result: items_pb2.ItemResult
) -> Done:
    refusal = result.refused
    said = refuse(refusal.reason, refusal.message, dict(refusal.details))
    return Done(said, None, refusal.reason)
