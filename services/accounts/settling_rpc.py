"""Protobuf to command and back for trades matched elsewhere: files, sessions, their reports."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.errors import Kind, Refused
from kernel.rpc.batch import carry_out
from kernel.rpc.interceptors import current_caller
from kernel.values import Caller
from services.accounts import settlements
from services.accounts.base_rpc import AccountsPart
from services.accounts.domain import commands
from services.accounts.domain.operators import may_view
from services.accounts.domain.settling import MAX_PART_TRADES
from services.accounts.legs_rpc import check_words

MAX_PARTS: Final = 32  # of a call: 8,000 trades, in one commit
_TRADE: Final = '"trade":'  # once in each trade of a canonical statement

Sees = Callable[[str, str], bool]  # what is a holder's, in an asset


class SettlingRpc(AccountsPart):
    """The methods about settlement files and sessions."""

    async def SettleTrades(self, request: pb.SettleTradesRequest, context: object) -> Any:
        command = commands.SettleTrades(request.venue)
        results = await carry_out(
            self._writer,
            "SettleTrades",
            request.parts,
            lambda part: command,
            limit=MAX_PARTS,
            weigh=part_weight,
        )
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
        check_words(venue=request.venue, session=request.session)
        all_of_it = bool({"auditor", f"venue:{request.venue}"} & caller.roles)
        if not (all_of_it or caller.holders):
            raise Refused(
                "NOT_A_PARTY", "expected a member, the venue or an auditor", Kind.FORBIDDEN
            )
        position = await self._movements.reached(request.min_position)
        report = settlements.SessionReport(
            self._engine, self._writer.journal, request.venue, request.session
        )
        sees = self._sight(caller, all_of_it)
        parts = report.parts()
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            shown = report.keep(
                part, lambda one: sees(one.buyer, one.asset) or sees(one.seller, one.asset)
            )
            if shown:
                rows = [settlement_row(part, told, sees) for told in shown]
                yield pb.ReportSettlementsResponse(rows=rows)
        yield pb.ReportSettlementsResponse(totals=settlement_totals(report, position))

    def _sight(self, caller: Caller, all_of_it: bool) -> Sees:
        """Does the caller see what is a holder's in an asset? Asked of the register once for each.

        On the loop alone, where the state stands still meanwhile.
        """
        now_ms = self._clock.now_ms()
        return functools.cache(
            lambda holder, asset: (
                all_of_it or may_view(self._writer.state, caller, holder, asset, now_ms)
            )
        )


def part_weight(part: pb.SettlementPart) -> int:
    """How many events a part may make: what tells of it, and one for each trade."""
    trades = sum(act.statement.count(_TRADE) for act in part.acts)
    return 1 + min(trades, MAX_PART_TRADES)


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
    part: settlements.ToldPart, told: settlements.ToldTrade, sees: Sees
) -> pb.SettlementRow:
    trade, result = told.trade, trade_result(told)
    why = told.unsettled
    if why is not None and why.holder and not sees(why.holder, why.asset or trade.asset):
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
