"""Protobuf to command and back, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import UNSET
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.clock import Clock
from kernel.errors import Conflict, Kind, Refused
from kernel.journal.database import Engine
from kernel.projection import Projector
from kernel.record import decode_record
from kernel.rpc.batch import carry_out, carry_out_briefly, disclose, find_outcomes
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import enum_of, instant_of, timestamp_of
from kernel.rpc.pages import page_limit, page_place, page_token
from kernel.rpc.streams import in_order
from kernel.values import DAY_MS, Caller, check_day, check_text, day_start_ms, parse_instant
from kernel.writer import Writer
from services.accounts import holders, queries, settlements
from services.accounts.bank_rpc import BankRpc
from services.accounts.domain import commands, destinations, events
from services.accounts.domain.operators import may_view
from services.accounts.domain.rules import TERMINAL
from services.accounts.domain.safeguards import APPROVE_MS, DELAY_MS
from services.accounts.domain.state import Freeze, FreezeKey, Hold, Safeguards, State
from services.accounts.holders_rpc import KINDS, HoldersRpc
from services.accounts.holdings import Place
from services.accounts.moments import Asked, Clockwork, Moments, PeriodAsked, holdings_then
from services.accounts.statements import Line, Part, statement_parts

SERVICE: Final = "tanzhang.accounts.v1.AccountsService"
MAX_PARTS: Final = 32  # of a call: 8,000 trades, in one commit
MAX_SETTLING_CALLS: Final = 4  # each may be 8,000 events of one commit
MAX_WORD_CHARS: Final = 80  # no holder, asset or batch has a longer name
STATEMENT_THREADS: Final = 2

_PURPOSES: Final = {
    pb.Purpose.Value(f"PURPOSE_{purpose.name}"): purpose for purpose in events.Purpose
}
# By word: a purpose is its word.
_PURPOSE_NUMBERS: Final[dict[str, pb.Purpose.ValueType]] = {
    purpose: number for number, purpose in _PURPOSES.items()
}
# Who is named in what is proposed about holders and in what came of it.
_PARTIES_OF_CHANGES: Final = (
    *(("opening", "holder"), ("operator", "holder"), ("status", "holder")),
    *(("mandate", "principal"), ("mandate", "agent"), ("fund", "fund"), ("fund", "manager")),
)
_MOMENTS: Final = {clock: pb.Moment.Value(f"MOMENT_{clock.name}") for clock in Clockwork}
_UNITS: Final = {pb.Unit.Value(f"UNIT_{unit.name}"): unit for unit in events.Unit}


class AccountsRpc(HoldersRpc, BankRpc, accounts_pb2_grpc.AccountsServiceServicer):
    def __init__(
        self, writer: Writer[State], engine: Engine, movements: Projector, clock: Clock
    ) -> None:
        self._writer = writer
        self._engine = engine
        self._movements = movements
        self._clock = clock
        self._moments = Moments(writer, engine, movements, clock)
        # Long statements share these: they take turns, and nobody else's question waits for them.
        self._reading = ThreadPoolExecutor(STATEMENT_THREADS, thread_name_prefix="statements")
        self._settling = 0  # calls of SettleTrades whose parts are with the writer

    async def RegisterHolders(self, request: pb.RegisterHoldersRequest, context: object) -> Any:
        results = await carry_out(self._writer, "RegisterHolders", request.holders, register_holder)
        return pb.RegisterHoldersResponse(results=results)

    async def DefineAssets(self, request: pb.DefineAssetsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "DefineAssets", request.assets, define_asset)
        return pb.DefineAssetsResponse(results=results)

    async def PostEntries(self, request: pb.PostEntriesRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PostEntries", request.entries, post_entry)
        return pb.PostEntriesResponse(results=results)

    async def PostEntriesInBulk(self, request: pb.PostEntriesInBulkRequest, context: object) -> Any:
        positions, told = await carry_out_briefly(
            self._writer, "PostEntriesInBulk", request.entries, post_entry
        )
        return pb.PostEntriesInBulkResponse(positions=positions, results=told)

    async def PlaceHolds(self, request: pb.PlaceHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PlaceHolds", request.holds, place_hold)
        return pb.PlaceHoldsResponse(results=results)

    async def PostHolds(self, request: pb.PostHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PostHolds", request.posts, post_hold)
        return pb.PostHoldsResponse(results=results)

    async def ReleaseHolds(self, request: pb.ReleaseHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "ReleaseHolds", request.releases, release_hold)
        return pb.ReleaseHoldsResponse(results=results)

    async def PostBatch(self, request: pb.PostBatchRequest, context: object) -> Any:
        items = [inner_item(item) for item in request.items]
        results = await carry_out(self._writer, "PostBatch", items, command_of)
        return pb.PostBatchResponse(results=results)

    async def StreamBatches(
        self, requests: AsyncIterator[pb.StreamBatchesRequest], context: object
    ) -> AsyncIterator[pb.StreamBatchesResponse]:
        async for results in in_order(requests, self._stream_batch):
            yield pb.StreamBatchesResponse(results=results)

    async def _stream_batch(self, request: pb.StreamBatchesRequest) -> list[Any]:
        items = [*request.entries, *(inner_item(item) for item in request.items)]
        return await carry_out(self._writer, "StreamBatches", items, command_of)

    async def SettleTrades(self, request: pb.SettleTradesRequest, context: object) -> Any:
        if self._settling >= MAX_SETTLING_CALLS:
            raise Conflict("QUEUE_FULL", f"expected at most {MAX_SETTLING_CALLS} calls at a time")
        self._settling += 1
        try:
            command = commands.SettleTrades(request.venue)
            results = await carry_out(
                self._writer, "SettleTrades", request.parts, lambda part: command, limit=MAX_PARTS
            )
        finally:
            self._settling -= 1
        return pb.SettleTradesResponse(parts=await self._part_results(results))

    async def _part_results(self, results: Sequence[Any]) -> list[pb.PartResult]:
        done = [one for one in results if one.HasField("accepted")]
        positions = [one.accepted.first_position for one in done]
        parts = await asyncio.to_thread(settlements.read_parts, self._writer.journal, positions)
        told = {one.id: part for one, part in zip(done, parts, strict=True)}
        return [
            pb.PartResult(
                result=one,
                trades=[trade_result(trade) for trade in told[one.id].trades]
                if one.id in told
                else [],
            )
            for one in results
        ]

    async def CloseSessions(self, request: pb.CloseSessionsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer,
            "CloseSessions",
            request.closes,
            lambda item: commands.CloseSession(item.session, request.venue),
        )
        return pb.CloseSessionsResponse(results=results)

    async def ReportSettlements(
        self, request: pb.ReportSettlementsRequest, context: object
    ) -> AsyncIterator[pb.ReportSettlementsResponse]:
        """Part after part; nothing of it is held in memory."""
        caller = current_caller()
        _check_words(venue=request.venue, session=request.session)
        all_of_it = bool({"auditor", f"venue:{request.venue}"} & caller.roles)
        if not (all_of_it or caller.holders):
            raise Refused(
                "NOT_A_PARTY", "expected a member, the venue or an auditor", Kind.FORBIDDEN
            )
        position = await self._movements.reached(request.min_position)
        report = settlements.SessionReport(
            self._engine, self._writer.journal, request.venue, request.session
        )
        parts = report.parts(
            lambda trade: all_of_it or bool({trade.buyer, trade.seller} & caller.holders)
        )
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            rows = [settlement_row(part, told, caller, all_of_it) for told in part.trades]
            yield pb.ReportSettlementsResponse(rows=rows)
        yield pb.ReportSettlementsResponse(totals=settlement_totals(report, position))

    async def GetBalances(self, request: pb.GetBalancesRequest, context: object) -> Any:
        self._check_may_view(request.holder, request.asset)
        scope = _scope_of(request)
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
            _position_of(request),
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
            moment=_MOMENTS[seen.clock],
            instant=_optional_timestamp(seen.instant_ms),
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
        _check_words(holder=request.holder, asset=request.asset)
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
        _check_words(asset=request.asset, batch=request.batch)
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

    async def GetStatement(
        self, request: pb.GetStatementRequest, context: object
    ) -> AsyncIterator[pb.GetStatementResponse]:
        """The head, then the parts as a thread of its own makes them."""
        self._check_may_view(request.holder, request.asset)
        scope = _scope_of(request)
        await self._writer.read(
            lambda state: queries.check_known(state, scope.holder, scope.asset),
            request.min_position,
        )
        period = _period_of(request)
        span = await self._moments.find_span(period, request.min_position)
        head = pb.StatementHead(
            book=self._writer.book,
            book_id=self._writer.progress.book_id.hex(),
            holder=request.holder,
            asset=request.asset,
            purpose=request.purpose,
            ref=scope.ref,
            moment=_MOMENTS[period.clock],
            from_instant=timestamp_of(period.from_ms),
            to_instant=_optional_timestamp(period.to_ms),
            as_of_position=span.known,
        )
        yield pb.GetStatementResponse(head=head)
        parts = statement_parts(self._engine, self._writer.book, scope, period, span)
        messages = (_part_message(scope.holder, part) for part in parts)
        loop = asyncio.get_running_loop()
        while message := await loop.run_in_executor(self._reading, next, messages, None):
            yield message

    async def FreezeUnits(self, request: pb.FreezeUnitsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "FreezeUnits", request.orders, freeze_units)
        return pb.FreezeUnitsResponse(results=results)

    async def UnfreezeUnits(self, request: pb.UnfreezeUnitsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "UnfreezeUnits", request.orders, unfreeze_units)
        return pb.UnfreezeUnitsResponse(results=results)

    async def ListFreezes(self, request: pb.ListFreezesRequest, context: object) -> Any:
        caller = current_caller()
        if "registrar" not in caller.roles:
            self._check_may_view(request.holder, "")
        (after,), limit = page_place(request.page_token, 1), page_limit(request.page_size)
        rows, position = await self._writer.read(
            lambda state: queries.list_freezes(state, request.holder, after, limit),
            request.min_position,
        )
        token = page_token(rows[-1][0]) if len(rows) == limit else ""
        return pb.ListFreezesResponse(
            freezes=[_freeze_message(name, freeze) for _, name, freeze in rows],
            next_page_token=token,
            as_of_position=position,
        )

    async def PostTransfers(self, request: pb.PostTransfersRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PostTransfers", request.orders, post_transfer)
        return pb.PostTransfersResponse(results=results)

    async def ConfirmTransfers(self, request: pb.ConfirmTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ConfirmTransfers", request.transfers, confirm_transfer
        )
        return pb.ConfirmTransfersResponse(results=results)

    async def WithdrawTransfers(self, request: pb.WithdrawTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "WithdrawTransfers", request.transfers, withdraw_transfer
        )
        return pb.WithdrawTransfersResponse(results=results)

    async def ListFiledTransfers(
        self, request: pb.ListFiledTransfersRequest, context: object
    ) -> Any:
        (after,), limit = page_place(request.page_token, 1), page_limit(request.page_size)
        rows, position = await self._writer.read(
            lambda state: queries.list_filed(state, after, limit), request.min_position
        )
        return pb.ListFiledTransfersResponse(
            transfers=[_filed_message(filed) for filed in rows],
            next_page_token=page_token(after + len(rows)) if len(rows) == limit else "",
            as_of_position=position,
        )

    async def ListNonTradeTransfers(
        self, request: pb.ListNonTradeTransfersRequest, context: object
    ) -> Any:
        _check_words(asset=request.asset)
        after, limit = page_place(request.page_token, 2), page_limit(request.page_size)
        position = await self._movements.reached(request.min_position)
        rows = await asyncio.to_thread(
            queries.list_transfers, self._engine, request.asset, after, limit
        )
        token = page_token(rows[-1].position, rows[-1].line) if len(rows) == limit else ""
        return pb.ListNonTradeTransfersResponse(
            transfers=[_transfer_message(row) for row in rows],
            next_page_token=token,
            as_of_position=position,
        )

    async def ProposeSafeguards(self, request: pb.ProposeSafeguardsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ProposeSafeguards", request.proposals, propose_safeguards
        )
        return pb.ProposeSafeguardsResponse(results=results)

    async def ConfirmSafeguards(self, request: pb.ConfirmSafeguardsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ConfirmSafeguards", request.confirmations, confirm_safeguards
        )
        return pb.ConfirmSafeguardsResponse(results=results)

    async def WithdrawSafeguards(
        self, request: pb.WithdrawSafeguardsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "WithdrawSafeguards", request.withdrawals, withdraw_safeguards
        )
        return pb.WithdrawSafeguardsResponse(results=results)

    async def AddDestinations(self, request: pb.AddDestinationsRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "AddDestinations", request.destinations, add_destination
        )
        return pb.AddDestinationsResponse(results=results)

    async def ConfirmDestinations(
        self, request: pb.ConfirmDestinationsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "ConfirmDestinations", request.destinations, confirm_destination
        )
        return pb.ConfirmDestinationsResponse(results=results)

    async def RemoveDestinations(
        self, request: pb.RemoveDestinationsRequest, context: object
    ) -> Any:
        results = await carry_out(
            self._writer, "RemoveDestinations", request.destinations, remove_destination
        )
        return pb.RemoveDestinationsResponse(results=results)

    async def ProposeTransfers(self, request: pb.ProposeTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ProposeTransfers", request.transfers, propose_transfer
        )
        return pb.ProposeTransfersResponse(results=results)

    async def ApproveTransfers(self, request: pb.ApproveTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ApproveTransfers", request.approvals, approve_transfer
        )
        return pb.ApproveTransfersResponse(results=results)

    async def RefuseTransfers(self, request: pb.RefuseTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "RefuseTransfers", request.refusals, refuse_transfer
        )
        return pb.RefuseTransfersResponse(results=results)

    async def GetSafeguards(self, request: pb.GetSafeguardsRequest, context: object) -> Any:
        self._check_may_view(request.holder, "")
        now_ms = self._clock.now_ms()
        message, position = await self._writer.read(
            lambda state: _safeguards_message(state.safeguards.get(request.holder), now_ms),
            request.min_position,
        )
        message.as_of_position = position
        return message

    async def ListProposedTransfers(
        self, request: pb.ListProposedTransfersRequest, context: object
    ) -> Any:
        self._check_may_view(request.holder, "")
        rows, position = await self._writer.read(
            lambda state: queries.proposed(state, request.holder), request.min_position
        )
        return pb.ListProposedTransfersResponse(
            transfers=[_proposed_message(name, hold) for name, hold in rows],
            as_of_position=position,
        )

    async def GetOutcomes(self, request: pb.GetOutcomesRequest, context: object) -> Any:
        principal = current_caller().principal
        found = await find_outcomes(self._writer, principal, request.ids)
        return pb.GetOutcomesResponse(results=found)

    async def DiscloseEvents(self, request: pb.DiscloseEventsRequest, context: object) -> Any:
        """Record and salt, to a party of the event; whoever else asks is refused."""
        found = await disclose(
            self._writer, self._engine, self._clock, request.positions, self._is_party
        )
        return pb.DiscloseEventsResponse(events=found)

    def _check_may_view(self, holder: str, asset: str) -> None:
        holders.check_may_view(
            self._writer.state, current_caller(), holder, asset, self._clock.now_ms()
        )

    def _may_see_move(self, caller: Caller, leg: events.Leg) -> bool:
        """Issuance and retirement of a serial are public; what lies between is its parties'."""
        return (
            "auditor" in caller.roles
            or leg.debit.purpose == events.Purpose.ISSUED
            or leg.credit.purpose in TERMINAL
            or self._views_any(caller, (leg.debit.holder, leg.credit.holder), leg.asset)
        )

    def _views_any(self, caller: Caller, parties: Iterable[str], asset: str) -> bool:
        state, now_ms = self._writer.state, self._clock.now_ms()
        return any(may_view(state, caller, party, asset, now_ms) for party in parties)

    async def _is_party(self, caller: Caller, record: bytes) -> bool:
        """The holders in the event, whoever asked for it, the venue it names, and auditors."""
        if "auditor" in caller.roles:
            return True
        raw = decode_record(record)
        if raw.actor == caller.actor:
            return True
        if raw.type == "AccountTermsSet":
            return True  # a programme's terms are everybody's to read
        parties, venues = _parties_of(msgspec.json.decode(raw.body))
        return bool(venues & caller.roles) or self._views_any(caller, parties, "")


def _scope_of(request: pb.GetBalancesRequest | pb.GetStatementRequest) -> queries.Scope:
    """Which accounts are asked for."""
    purpose = enum_of(_PURPOSES, request.purpose, "purpose").value if request.purpose else ""
    ref = request.ref if request.HasField("ref") else None
    _check_words(holder=request.holder, asset=request.asset, ref=ref or "")
    return queries.Scope(request.holder, request.asset, purpose, ref)


def _position_of(request: pb.GetBalancesRequest | pb.GetStatementRequest) -> int | None:
    return request.position if request.HasField("position") else None


def _period_of(request: pb.GetStatementRequest) -> PeriodAsked:
    """Days in Shanghai, the last one included, or instants, the last one not."""
    by_business_time = request.moment == pb.MOMENT_ON
    if request.moment not in (pb.MOMENT_UNSPECIFIED, pb.MOMENT_AT, pb.MOMENT_ON):
        raise Refused(
            "UNKNOWN_VALUE", "moment: expected at or on for a period", Kind.INVALID, field="moment"
        )
    from_ms = _end_of(request, "from")
    if from_ms is None:
        raise Refused("MISSING_VALUE", "from is missing", Kind.INVALID, field="from")
    to_ms = _end_of(request, "to")
    if request.to_day and to_ms is not None:
        to_ms += DAY_MS
    clock = Clockwork.ON if by_business_time else Clockwork.AT
    return PeriodAsked(clock, from_ms, to_ms, _position_of(request))


def _end_of(request: pb.GetStatementRequest, which: str) -> int | None:
    """The first instant of a day, an instant, or nothing."""
    day, name = getattr(request, f"{which}_day"), f"{which}_instant"
    if day and request.HasField(name):  # type: ignore[arg-type]
        raise Refused(
            "MOMENT_AMBIGUOUS", f"{which}: expected a day or an instant, not both", Kind.INVALID
        )
    if day:
        return day_start_ms(check_day(day, which))
    return instant_of(getattr(request, name), which) if request.HasField(name) else None  # type: ignore[arg-type]


def _check_words(**words: str) -> None:
    """What a history is looked up by: the database takes no zero byte, not even in a question."""
    for what, word in words.items():
        check_text(word, what, MAX_WORD_CHARS, required=False)


def _parties_of(body: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Holders named in an event, and the roles of venues and banks that are."""
    accounts = [leg[side] for leg in body.get("legs", ()) for side in ("debit", "credit")]
    if "to" in body:  # whom a hold is promised to
        accounts.append(body["to"])
    parties = {body[name] for name in ("holder", "source", "target") if name in body}
    parties |= {account["holder"] for account in accounts}
    # A settlement bank is named by the external account it answers for, a venue by trading.
    banks = {one["ref"] for one in accounts if one["purpose"] == "external"}
    banks |= {body["bank"]} if "bank" in body else set()
    parties |= banks | ({body["clearing_house"]} if "clearing_house" in body else set())
    if "pledge" in body:
        parties.add(body["pledge"]["pledgee"])
    parties |= {lien["pledgee"] for lien in body.get("liens", ())}
    said = body.get("change", body)  # what is proposed, or what came of it
    parties |= {
        said[what][who] for what, who in _PARTIES_OF_CHANGES if isinstance(said.get(what), dict)
    }
    venues = {f"venue:{one['ref']}" for one in accounts if one["purpose"] == "trading"}
    if isinstance(body.get("venue"), str):  # of settlement files and sessions
        venues.add(f"venue:{body['venue']}")
    if isinstance(body.get("trade"), dict) and "holder" not in body:  # else it tells what one has
        parties |= {body["trade"]["buyer"], body["trade"]["seller"]}
    return parties, venues | {f"bank:{bank}" for bank in banks}


def register_holder(item: pb.Holder) -> commands.RegisterHolder:
    kind = enum_of(KINDS, item.kind, "kind")
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
    return commands.PostEntry([_leg(leg) for leg in item.legs], claim, item.mandate or UNSET)


def place_hold(item: pb.Hold) -> commands.PlaceHold:
    return commands.PlaceHold(
        item.holder,
        item.asset,
        item.amount,
        _ranges(item.serials),
        _account(item.to),
        instant_of(item.expires_at, "expires_at") if item.HasField("expires_at") else None,
        item.mandate or UNSET,
    )


def post_hold(item: pb.HoldPost) -> commands.PostHold:
    return commands.PostHold(item.hold, item.amount, item.mandate or UNSET, item.keep_rest)


def release_hold(item: pb.HoldRelease) -> commands.ReleaseHold:
    return commands.ReleaseHold(item.hold, item.mandate or UNSET)


def freeze_units(item: pb.SignedOrder) -> commands.FreezeUnits:
    return commands.FreezeUnits()


def unfreeze_units(item: pb.SignedOrder) -> commands.UnfreezeUnits:
    return commands.UnfreezeUnits()


def post_transfer(item: pb.SignedOrder) -> commands.PostTransfer:
    return commands.PostTransfer()


def confirm_transfer(item: pb.FiledTransferName) -> commands.ConfirmTransfer:
    return commands.ConfirmTransfer(item.transfer)


def withdraw_transfer(item: pb.FiledTransferName) -> commands.WithdrawTransfer:
    return commands.WithdrawTransfer(item.transfer)


def propose_safeguards(item: pb.SafeguardsProposal) -> commands.ProposeSafeguards:
    rules = _rules(item.rules) if item.HasField("rules") else None
    return commands.ProposeSafeguards(item.holder, rules)


def _rules(rules: pb.SafeguardRules) -> events.SafeguardRules:
    within_ms = rules.approve_within_ms if rules.HasField("approve_within_ms") else APPROVE_MS
    return events.SafeguardRules(
        within_ms,
        rules.delay_ms if rules.HasField("delay_ms") else DELAY_MS,
        [events.SafeguardLimit(limit.amount, limit.asset) for limit in rules.limits],
        rules.unlisted,
    )


def confirm_safeguards(item: pb.SafeguardsConfirmation) -> commands.ConfirmSafeguards:
    return commands.ConfirmSafeguards(item.holder, item.proposal)


def withdraw_safeguards(item: pb.SafeguardsWithdrawal) -> commands.WithdrawSafeguards:
    return commands.WithdrawSafeguards(item.holder)


def add_destination(item: pb.DestinationItem) -> commands.AddDestination:
    return commands.AddDestination(item.holder, item.destination)


def confirm_destination(item: pb.DestinationItem) -> commands.ConfirmDestination:
    return commands.ConfirmDestination(item.holder, item.destination)


def remove_destination(item: pb.DestinationItem) -> commands.RemoveDestination:
    return commands.RemoveDestination(item.holder, item.destination)


def propose_transfer(item: pb.TransferProposal) -> commands.ProposeTransfer:
    return commands.ProposeTransfer(
        item.holder, item.to, item.asset, item.amount, _ranges(item.serials)
    )


def approve_transfer(item: pb.TransferApproval) -> commands.ApproveTransfer:
    return commands.ApproveTransfer(item.hold)


def refuse_transfer(item: pb.TransferRefusal) -> commands.RefuseTransfer:
    return commands.RefuseTransfer(item.hold, item.reason)


def inner_item(item: pb.BatchItem) -> Any:
    """The one that is set; of none an entry without an id, which is refused as malformed."""
    return getattr(item, item.WhichOneof("item") or "entry")


def command_of(item: Any) -> msgspec.Struct:
    return _TO_COMMAND[type(item)](item)


_TO_COMMAND: Final[dict[type[Any], Callable[[Any], msgspec.Struct]]] = {
    pb.Entry: post_entry,
    pb.Hold: place_hold,
    pb.HoldPost: post_hold,
    pb.HoldRelease: release_hold,
}


def trade_result(told: settlements.ToldTrade) -> pb.TradeResult:
    name, why = told.trade.trade, told.unsettled
    if told.known:
        return pb.TradeResult(trade=name, settled_before=True)
    if why is None:
        return pb.TradeResult(trade=name, settled_position=told.position)
    unsettled = pb.Unsettled(
        position=told.position,
        reason=why.reason,
        holder=why.holder or "",
        asset=why.asset or "",
        needed=why.needed or 0,
        available=why.available or 0,
    )
    return pb.TradeResult(trade=name, unsettled=unsettled)


def settlement_row(
    part: settlements.ToldPart, told: settlements.ToldTrade, caller: Caller, all_of_it: bool
) -> pb.SettlementRow:
    trade, result = told.trade, trade_result(told)
    why = told.unsettled
    if why is not None and why.holder and not (all_of_it or why.holder in caller.holders):
        for field in ("holder", "asset", "needed", "available"):
            result.unsettled.ClearField(field)
    return pb.SettlementRow(
        file=part.file,
        part=part.part,
        asset=trade.asset,
        buyer=trade.buyer,
        seller=trade.seller,
        quantity_t=trade.quantity_t,
        price_fen_per_t=trade.price_fen_per_t,
        buyer_fee_fen=trade.buyer_fee_fen,
        seller_fee_fen=trade.seller_fee_fen,
        result=result,
    )


def settlement_totals(report: settlements.SessionReport, position: int) -> pb.SettlementTotals:
    assets = [
        pb.AssetSettled(
            asset=asset,
            trades=one.trades,
            quantity_t=one.quantity_t,
            turnover_fen=one.turnover_fen,
            fees_fen=one.fees_fen,
        )
        for asset, one in sorted(report.totals.items())
    ]
    return pb.SettlementTotals(assets=assets, unsettled=report.unsettled, as_of_position=position)


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
    return pb.Account(holder=holder, purpose=_PURPOSE_NUMBERS[purpose], ref=ref)


def _balance_message(
    holder: str,
    place: Place,
    amount: int,
    serials: Sequence[events.SerialRange],
    frozen: int = 0,
) -> pb.Balance:
    asset, purpose, ref = place
    return pb.Balance(
        account=_account_message(holder, purpose, ref),
        asset=asset,
        amount=amount,
        serials=_range_messages(serials),
        frozen=frozen,
    )


def _part_message(holder: str, part: Part) -> pb.GetStatementResponse:
    return pb.GetStatementResponse(
        openings=[_statement_balance(holder, *one) for one in part.openings],
        lines=[_line_message(line) for line in part.lines],
        closings=[_statement_balance(holder, *one) for one in part.closings],
        end=None if part.total is None else pb.StatementEnd(lines=part.total),
    )


def _statement_balance(holder: str, place: Place, amount: int) -> pb.StatementBalance:
    asset, purpose, ref = place
    return pb.StatementBalance(
        account=_account_message(holder, purpose, ref), asset=asset, amount=amount
    )


def _line_message(line: Line) -> pb.StatementLine:
    account, other = line.account, line.counterpart
    at = timestamp_of(parse_instant(line.at))
    return pb.StatementLine(
        position=line.position,
        leg=line.leg_no,
        at=at,
        on=at if line.on == line.at else timestamp_of(parse_instant(line.on)),
        type=line.type,
        account=_account_message(account.holder, account.purpose, account.ref),
        counterpart=_account_message(other.holder, other.purpose, other.ref),
        asset=line.asset,
        amount=line.amount,
        balance=line.balance,
        serials=_range_messages(line.serials),
    )


def _optional_timestamp(at_ms: int | None) -> Timestamp | None:
    return None if at_ms is None else timestamp_of(at_ms)


def _movement_message(row: queries.Movement) -> pb.Movement:
    leg = row.leg
    return pb.Movement(
        position=row.position,
        leg=row.leg_no,
        at=timestamp_of(parse_instant(row.at)),
        on=timestamp_of(parse_instant(row.on)),
        type=row.type,
        debit=_account_message(leg.debit.holder, leg.debit.purpose, leg.debit.ref),
        credit=_account_message(leg.credit.holder, leg.credit.purpose, leg.credit.ref),
        asset=leg.asset,
        amount=leg.amount,
        serials=_range_messages(leg.serials),
    )


def _freeze_message(name: FreezeKey, freeze: Freeze) -> pb.Freeze:
    message = pb.Freeze(
        authority=name[0],
        freeze=name[1],
        document=freeze.document,
        reason=freeze.reason,
        holder=freeze.holder,
        asset=freeze.asset,
        ref=freeze.ref,
        amount=freeze.amount,
        serials=_range_messages(freeze.serials),
        until=freeze.until,
    )
    if freeze.purpose:
        message.purpose = _PURPOSE_NUMBERS[events.Purpose(freeze.purpose)]
    return message


def _rules_message(rules: events.SafeguardRules | None) -> pb.SafeguardRules | None:
    if rules is None:
        return None
    limits = [pb.SafeguardLimit(asset=one.asset, amount=one.amount) for one in rules.limits]
    return pb.SafeguardRules(
        delay_ms=rules.delay_ms,
        approve_within_ms=rules.approve_within_ms,
        limits=limits,
        unlisted=rules.unlisted,
    )


def _safeguards_message(kept: Safeguards | None, now_ms: int) -> pb.GetSafeguardsResponse:
    if kept is None:
        return pb.GetSafeguardsResponse()
    trusted = [
        pb.Destination(destination=to, trusted_from=timestamp_of(since_ms))
        for to, since_ms in sorted(kept.destinations.items())
    ]
    added = [
        pb.Destination(destination=to, added_by=who.sub) for to, who in sorted(kept.added.items())
    ]
    message = pb.GetSafeguardsResponse(
        rules=_rules_message(destinations.in_force(kept, now_ms)),
        destinations=[*trusted, *added],
    )
    if kept.next_ms is not None and kept.next_ms > now_ms:
        message.next_from.CopyFrom(timestamp_of(kept.next_ms))
        message.next_rules.CopyFrom(_rules_message(kept.next_rules) or pb.SafeguardRules())
    if kept.asked is not None:
        message.proposal, message.proposed_by = kept.asked.proposal, kept.asked.proposer.sub
        message.proposed_rules.CopyFrom(_rules_message(kept.asked.rules) or pb.SafeguardRules())
    return message


def _proposed_message(name: str, hold: Hold) -> pb.ProposedTransfer:
    return pb.ProposedTransfer(
        hold=name,
        to=hold.to.holder,
        asset=hold.asset,
        amount=hold.amount,
        proposed_by="" if hold.proposer is None else hold.proposer.sub,
        expires_at=None if hold.expires_at_ms is None else timestamp_of(hold.expires_at_ms),
    )


def _filed_message(filed: events.TransferFiled) -> pb.FiledTransfer:
    return pb.FiledTransfer(
        transfer=filed.transfer,
        nature=filed.nature,
        document=filed.document,
        source=filed.source,
        target=filed.target,
        filed_by=filed.filer.sub,
        moves=[
            pb.TransferMove(
                asset=leg.asset, amount=leg.amount, serials=_range_messages(leg.serials)
            )
            for leg in filed.moves
        ],
    )


def _transfer_message(row: queries.TransferRow) -> pb.NonTradeTransfer:
    return pb.NonTradeTransfer(
        position=row.position,
        at=timestamp_of(parse_instant(row.at)),
        on=timestamp_of(parse_instant(row.on)),
        nature=row.nature,
        document=row.document,
        authority=row.authority,
        asset=row.asset,
        amount=row.amount,
    )


def _range_messages(ranges: Sequence[events.SerialRange]) -> list[pb.SerialRange]:
    return [pb.SerialRange(batch=b.batch, first=b.first, last=b.last) for b in ranges]


def register(servicer: AccountsRpc) -> Callable[[Any], None]:
    return lambda server: accounts_pb2_grpc.add_AccountsServiceServicer_to_server(servicer, server)
