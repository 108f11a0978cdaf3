"""Statements of accounts as protobuf, part after part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.errors import Kind, Refused
from kernel.rpc.items import instant_of, timestamp_of
from kernel.values import DAY_MS, check_day, day_start_ms, parse_instant
from services.accounts import queries
from services.accounts.base_rpc import AccountsPart
from services.accounts.holdings import Place
from services.accounts.legs_rpc import account_message, optional_timestamp, range_messages
from services.accounts.moments import Clockwork, PeriodAsked
from services.accounts.reads_rpc import MOMENTS, position_of, scope_of
from services.accounts.statements import Line, Part, statement_parts

STATEMENT_THREADS: Final = 2


class StatementsRpc(AccountsPart):
    """The method GetStatement."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        # Long statements share these: they take turns, and nobody else's question waits for them.
        self._reading = ThreadPoolExecutor(STATEMENT_THREADS, thread_name_prefix="statements")

    async def GetStatement(
        self, request: pb.GetStatementRequest, context: object
    ) -> AsyncIterator[pb.GetStatementResponse]:
        """The head, then the parts as a thread of its own makes them."""
        self._check_may_view(request.holder, request.asset)
        scope = scope_of(request)
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
            moment=MOMENTS[period.clock],
            from_instant=timestamp_of(period.from_ms),
            to_instant=optional_timestamp(period.to_ms),
            as_of_position=span.known,
        )
        yield pb.GetStatementResponse(head=head)
        parts = statement_parts(self._engine, self._writer.book, scope, period, span)
        messages = (part_message(scope.holder, part) for part in parts)
        loop = asyncio.get_running_loop()
        while message := await loop.run_in_executor(self._reading, next, messages, None):
            yield message


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
    return PeriodAsked(clock, from_ms, to_ms, position_of(request))


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


def part_message(holder: str, part: Part) -> pb.GetStatementResponse:
    return pb.GetStatementResponse(
        openings=[_statement_balance(holder, *one) for one in part.openings],
        lines=[_line_message(line) for line in part.lines],
        closings=[_statement_balance(holder, *one) for one in part.closings],
        end=None if part.total is None else pb.StatementEnd(lines=part.total),
    )


def _statement_balance(holder: str, place: Place, amount: int) -> pb.StatementBalance:
    asset, purpose, ref = place
    return pb.StatementBalance(
        account=account_message(holder, purpose, ref), asset=asset, amount=amount
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
        account=account_message(account.holder, account.purpose, account.ref),
        counterpart=account_message(other.holder, other.purpose, other.ref),
        asset=line.asset,
        amount=line.amount,
        balance=line.balance,
        serials=range_messages(line.serials),
    )
