"""Protobuf to command and back, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.auth import check_may_see
from kernel.clock import Clock
from kernel.journal.database import Engine
from kernel.projection import Projector
from kernel.record import decode_record
from kernel.rpc.batch import carry_out, disclose, find_outcomes
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import enum_of, instant_of, timestamp_of
from kernel.rpc.pages import page_limit, page_place, page_token
from kernel.values import Caller, check_text, parse_instant
from kernel.writer import Writer
from services.accounts import queries
from services.accounts.domain import commands, events
from services.accounts.domain.rules import TERMINAL
from services.accounts.domain.state import State

SERVICE: Final = "tanzhang.accounts.v1.AccountsService"
MAX_WORD_CHARS: Final = 80  # no holder, asset or batch has a longer name

_PURPOSES: Final = {
    pb.Purpose.Value(f"PURPOSE_{purpose.name}"): purpose for purpose in events.Purpose
}
_PURPOSE_NUMBERS: Final = {purpose: number for number, purpose in _PURPOSES.items()}
_KINDS: Final = {
    pb.HolderKind.Value(f"HOLDER_KIND_{kind.name}"): kind for kind in events.HolderKind
}
_UNITS: Final = {pb.Unit.Value(f"UNIT_{unit.name}"): unit for unit in events.Unit}


class AccountsRpc(accounts_pb2_grpc.AccountsServiceServicer):
    def __init__(
        self, writer: Writer[State], engine: Engine, movements: Projector, clock: Clock
    ) -> None:
        self._writer = writer
        self._engine = engine
        self._movements = movements
        self._clock = clock

    async def RegisterHolders(self, request: pb.RegisterHoldersRequest, context: object) -> Any:
        results = await carry_out(self._writer, "RegisterHolders", request.holders, register_holder)
        return pb.RegisterHoldersResponse(results=results)

    async def DefineAssets(self, request: pb.DefineAssetsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "DefineAssets", request.assets, define_asset)
        return pb.DefineAssetsResponse(results=results)

    async def PostEntries(self, request: pb.PostEntriesRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PostEntries", request.entries, post_entry)
        return pb.PostEntriesResponse(results=results)

    async def PlaceHolds(self, request: pb.PlaceHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PlaceHolds", request.holds, place_hold)
        return pb.PlaceHoldsResponse(results=results)

    async def PostHolds(self, request: pb.PostHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PostHolds", request.posts, post_hold)
        return pb.PostHoldsResponse(results=results)

    async def ReleaseHolds(self, request: pb.ReleaseHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "ReleaseHolds", request.releases, release_hold)
        return pb.ReleaseHoldsResponse(results=results)

    async def GetBalances(self, request: pb.GetBalancesRequest, context: object) -> Any:
        check_may_see(current_caller(), request.holder)
        rows, position = await self._writer.read(
            lambda state: queries.balances(state, request.holder, request.asset),
            request.min_position,
        )
        found = [
            pb.Balance(
                account=_account_message(row.key[0], row.key[2], row.key[3]),
                asset=row.key[1],
                amount=row.amount,
                serials=_range_messages(row.serials),
            )
            for row in rows
        ]
        return pb.GetBalancesResponse(balances=found, as_of_position=position)

    async def GetTotals(self, request: pb.GetTotalsRequest, context: object) -> Any:
        rows, position = await self._writer.read(
            lambda state: queries.totals(state, request.asset), request.min_position
        )
        found = [
            pb.Total(
                asset=row.asset,
                sum=row.sum,
                issued=-row.by_purpose.get(events.Purpose.ISSUED, 0),
                in_circulation=row.in_circulation,
                surrendered=row.by_purpose.get(events.Purpose.SURRENDERED, 0),
                retired=row.by_purpose.get(events.Purpose.RETIRED, 0),
                cancelled=row.by_purpose.get(events.Purpose.CANCELLED, 0),
                expired=row.by_purpose.get(events.Purpose.EXPIRED, 0),
                negative_accounts=row.negative_accounts,
            )
            for row in rows
        ]
        return pb.GetTotalsResponse(totals=found, as_of_position=position)

    async def ListMovements(self, request: pb.ListMovementsRequest, context: object) -> Any:
        check_may_see(current_caller(), request.holder)
        _check_words(holder=request.holder, asset=request.asset)
        after = page_place(request.page_token, 2)
        limit = page_limit(request.page_size)
        position = await self._movements.reached(request.min_position)
        rows = await asyncio.to_thread(
            queries.list_movements, self._engine, request.holder, request.asset, after, limit
        )
        token = page_token(rows[-1].position, rows[-1].leg) if rows else ""
        return pb.ListMovementsResponse(
            movements=await self._movement_messages(rows),
            next_page_token=token if len(rows) == limit else "",
            as_of_position=position,
        )

    async def GetSerialHistory(self, request: pb.GetSerialHistoryRequest, context: object) -> Any:
        _check_words(asset=request.asset, batch=request.batch)
        position = await self._movements.reached(request.min_position)
        found = await asyncio.to_thread(
            queries.serial_history, self._engine, request.asset, request.batch, request.serial
        )
        caller = current_caller()
        rows = [row for row in found if _may_see_move(caller, row)]
        return pb.GetSerialHistoryResponse(
            movements=await self._movement_messages(rows), as_of_position=position
        )

    async def _movement_messages(self, rows: Sequence[queries.MovementRow]) -> list[pb.Movement]:
        places = [(row.position, row.leg) for row in rows]
        ranges = await asyncio.to_thread(queries.ranges_of, self._engine, places)
        return [
            pb.Movement(
                position=row.position,
                leg=row.leg,
                at=timestamp_of(parse_instant(row.at)),
                on=timestamp_of(parse_instant(row.on)),
                type=row.type,
                debit=_account_message(row.debit_holder, row.debit_purpose, row.debit_ref),
                credit=_account_message(row.credit_holder, row.credit_purpose, row.credit_ref),
                asset=row.asset,
                amount=row.amount,
                serials=_range_messages(ranges.get((row.position, row.leg), [])),
            )
            for row in rows
        ]

    async def GetOutcomes(self, request: pb.GetOutcomesRequest, context: object) -> Any:
        principal = current_caller().principal
        found = await find_outcomes(self._writer, principal, request.ids)
        return pb.GetOutcomesResponse(results=found)

    async def DiscloseEvents(self, request: pb.DiscloseEventsRequest, context: object) -> Any:
        """Record and salt, to a party of the event; whoever else asks is refused."""
        found = await disclose(
            self._writer, self._engine, self._clock, request.positions, _is_party
        )
        return pb.DiscloseEventsResponse(events=found)


def _check_words(**words: str) -> None:
    """What a history is looked up by: the database takes no zero byte, not even in a question."""
    for what, word in words.items():
        check_text(word, what, MAX_WORD_CHARS, required=False)


def _may_see_move(caller: Caller, row: queries.MovementRow) -> bool:
    """Issuance and retirement of a serial are public facts; what lies between is its parties'."""
    return (
        "auditor" in caller.roles
        or row.debit_purpose == events.Purpose.ISSUED
        or row.credit_purpose in TERMINAL
        or row.debit_holder in caller.holders
        or row.credit_holder in caller.holders
    )


async def _is_party(caller: Caller, record: bytes) -> bool:
    """The holders in the event, whoever asked for it, the venue it names, and auditors."""
    if "auditor" in caller.roles:
        return True
    raw = decode_record(record)
    if raw.actor == caller.actor:
        return True
    body = msgspec.json.decode(raw.body)
    accounts = [leg[side] for leg in body.get("legs", ()) for side in ("debit", "credit")]
    if "to" in body:  # whom a hold is promised to
        accounts.append(body["to"])
    parties = {body.get("holder"), *(account["holder"] for account in accounts)}
    # A settlement bank is named by the external account it answers for, a venue by trading.
    parties |= {account["ref"] for account in accounts if account["purpose"] == "external"}
    if "pledge" in body:
        parties.add(body["pledge"]["pledgee"])
    venues = {f"venue:{one['ref']}" for one in accounts if one["purpose"] == "trading"}
    return bool(parties & caller.holders or venues & caller.roles)


def register_holder(item: pb.Holder) -> commands.RegisterHolder:
    kind = enum_of(_KINDS, item.kind, "kind")
    return commands.RegisterHolder(item.holder, kind, item.uscc, item.name)


def define_asset(item: pb.Asset) -> commands.DefineAsset:
    return commands.DefineAsset(
        item.asset,
        enum_of(_UNITS, item.unit, "unit"),
        item.programme,
        item.serialised,
        item.name,
        item.backdating_days,
    )


def post_entry(item: pb.Entry) -> commands.PostEntry:
    claim = None
    if item.HasField("claim"):
        claim = events.Claim(item.claim.beneficiary, item.claim.details, item.claim.purpose)
    return commands.PostEntry([_leg(leg) for leg in item.legs], claim)


def place_hold(item: pb.Hold) -> commands.PlaceHold:
    return commands.PlaceHold(
        item.holder,
        item.asset,
        item.amount,
        _ranges(item.serials),
        _account(item.to),
        instant_of(item.expires_at, "expires_at") if item.HasField("expires_at") else None,
    )


def post_hold(item: pb.HoldPost) -> commands.PostHold:
    return commands.PostHold(item.hold, item.amount)


def release_hold(item: pb.HoldRelease) -> commands.ReleaseHold:
    return commands.ReleaseHold(item.hold)


def _leg(leg: pb.Leg) -> events.Leg:
    ranges = leg.serials
    return events.Leg(
        leg.amount,
        leg.asset,
        _account(leg.credit),
        _account(leg.debit),
        _ranges(ranges) if ranges else [],
    )


def _account(account: pb.Account) -> events.Account:
    number = account.purpose
    purpose = _PURPOSES.get(number) or enum_of(_PURPOSES, number, "purpose")
    return events.Account(account.holder, purpose, account.ref)


def _ranges(ranges: Sequence[pb.SerialRange]) -> list[events.SerialRange]:
    return [events.SerialRange(block.batch, block.first, block.last) for block in ranges]


def _account_message(holder: str, purpose: str, ref: str) -> pb.Account:
    number = _PURPOSE_NUMBERS[events.Purpose(purpose)]
    return pb.Account(holder=holder, purpose=number, ref=ref)


def _range_messages(ranges: Sequence[events.SerialRange]) -> list[pb.SerialRange]:
    return [pb.SerialRange(batch=b.batch, first=b.first, last=b.last) for b in ranges]


def register(servicer: AccountsRpc) -> Callable[[Any], None]:
    return lambda server: accounts_pb2_grpc.add_AccountsServiceServicer_to_server(servicer, server)
