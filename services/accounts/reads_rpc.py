"""What is held and what has moved, as protobuf: balances, totals, movements, serials."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import enum_of, instant_of, timestamp_of
from kernel.rpc.pages import page_limit, page_place, page_token
from kernel.values import Caller, parse_instant
from services.accounts import queries
from services.accounts.base_rpc import AccountsPart
from services.accounts.domain import events
from services.accounts.domain.rules import TERMINAL
from services.accounts.holdings import Place
from services.accounts.legs_rpc import (
    PURPOSES,
    account_message,
    check_words,
    optional_timestamp,
    range_messages,
)
from services.accounts.moments import Asked, Clockwork, holdings_then

MOMENTS: Final = {clock: pb.Moment.Value(f"MOMENT_{clock.name}") for clock in Clockwork}


class ReadsRpc(AccountsPart):
    """The methods that answer what is, and what was."""

    async def GetBalances(self, request: pb.GetBalancesRequest, context: object) -> Any:
        self._check_may_view(request.holder, request.asset)
        scope = scope_of(request)
        if any(request.HasField(name) for name in ("position", "at", "on")):
            return await self._balances_then(request, scope)
        rows, position = await self._writer.read(
            lambda state: queries.balances(state, scope), request.min_position
        )
        found = [
            _balance_message(row.key[0], row.key[1:], row.amount, row.serials, row.frozen)
            for row in rows
        ]
        return pb.GetBalancesResponse(balances=found, as_of_position=position, moment=pb.MOMENT_NOW)

    async def _balances_then(self, request: pb.GetBalancesRequest, scope: queries.Scope) -> Any:
        """At a moment of the past, from the read models."""
        await self._writer.read(
            lambda state: queries.check_known(state, scope.holder, scope.asset),
            request.min_position,
        )
        asked = Asked(
            position_of(request),
            instant_of(request.at, "at") if request.HasField("at") else None,
            instant_of(request.on, "on") if request.HasField("on") else None,
        )
        seen = await self._moments.find(asked, request.min_position)
        held = await asyncio.to_thread(holdings_then, self._engine, scope, seen)
        found = [
            _balance_message(scope.holder, place, one.amount, one.serials)
            for place, one in held.accounts.items()
        ]
        return pb.GetBalancesResponse(
            balances=found,
            as_of_position=seen.position,
            moment=MOMENTS[seen.clock],
            instant=optional_timestamp(seen.instant_ms),
        )

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
        self._check_may_view(request.holder, request.asset)
        check_words(holder=request.holder, asset=request.asset)
        after = page_place(request.page_token, 2)
        limit = page_limit(request.page_size)
        position = await self._movements.reached(request.min_position)
        rows = await asyncio.to_thread(
            queries.list_movements,
            self._engine,
            self._writer.book,
            request.holder,
            request.asset,
            after,
            limit,
        )
        token = page_token(rows[-1].position, rows[-1].leg_no) if rows else ""
        return pb.ListMovementsResponse(
            movements=[_movement_message(row) for row in rows],
            next_page_token=token if len(rows) == limit else "",
            as_of_position=position,
        )

    async def GetSerialHistory(self, request: pb.GetSerialHistoryRequest, context: object) -> Any:
        check_words(asset=request.asset, batch=request.batch)
        position = await self._movements.reached(request.min_position)
        found = await asyncio.to_thread(
            queries.serial_history,
            self._engine,
            self._writer.book,
            request.asset,
            request.batch,
            request.serial,
        )
        caller = current_caller()
        rows = [_movement_message(row) for row in found if self._may_see_move(caller, row.leg)]
        return pb.GetSerialHistoryResponse(movements=rows, as_of_position=position)

    def _may_see_move(self, caller: Caller, leg: events.Leg) -> bool:
        """Issuance and retirement of a serial are public; what lies between is its parties'."""
        return (
            "auditor" in caller.roles
            or leg.debit.purpose == events.Purpose.ISSUED
            or leg.credit.purpose in TERMINAL
            or self._views_any(caller, (leg.debit.holder, leg.credit.holder), leg.asset)
        )


def scope_of(request: pb.GetBalancesRequest | pb.GetStatementRequest) -> queries.Scope:
    """Which accounts are asked for."""
    purpose = enum_of(PURPOSES, request.purpose, "purpose").value if request.purpose else ""
    ref = request.ref if request.HasField("ref") else None
    check_words(holder=request.holder, asset=request.asset, ref=ref or "")
    return queries.Scope(request.holder, request.asset, purpose, ref)


def position_of(request: pb.GetBalancesRequest | pb.GetStatementRequest) -> int | None:
    return request.position if request.HasField("position") else None


def _balance_message(
    holder: str,
    place: Place,
    amount: int,
    serials: Sequence[events.SerialRange],
    frozen: int = 0,
) -> pb.Balance:
    asset, purpose, ref = place
    return pb.Balance(
        account=account_message(holder, purpose, ref),
        asset=asset,
        amount=amount,
        serials=range_messages(serials),
        frozen=frozen,
    )


def _movement_message(row: queries.Movement) -> pb.Movement:
    leg = row.leg
    return pb.Movement(
        position=row.position,
        leg=row.leg_no,
        at=timestamp_of(parse_instant(row.at)),
        on=timestamp_of(parse_instant(row.on)),
        type=row.type,
        debit=account_message(leg.debit.holder, leg.debit.purpose, leg.debit.ref),
        credit=account_message(leg.credit.holder, leg.credit.purpose, leg.credit.ref),
        asset=leg.asset,
        amount=leg.amount,
        serials=range_messages(leg.serials),
    )
