"""Messages of a statement as plain values, for who writes it out (kernel/statement).

The contract is the caller's: it gives the messages and the words of their purposes by number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernel.rpc.items import instant_of
from kernel.statement.plain import Balance, Counterpart, Head, Line, Part, Range
from kernel.values import format_instant

Purposes = Mapping[int, str]


def head_of(head: Any, purposes: Purposes, by: str) -> Head:
    """`by`: at or on, the clock's word."""
    return Head(
        book=head.book,
        book_id=head.book_id,
        holder=head.holder,
        asset=head.asset or None,
        purpose=purposes[head.purpose] if head.purpose else None,
        ref=head.ref if head.HasField("ref") else None,
        by=by,
        from_=_instant(head.from_instant),
        to=_instant(head.to_instant) if head.HasField("to_instant") else None,
        as_of_position=head.as_of_position,
    )


def part_of(message: Any, purposes: Purposes) -> Part:
    return Part(
        [_balance(one, purposes) for one in message.openings],
        [_line(one, purposes) for one in message.lines],
        [_balance(one, purposes) for one in message.closings],
        message.end.lines if message.HasField("end") else None,
    )


def _balance(one: Any, purposes: Purposes) -> Balance:
    return Balance(one.asset, purposes[one.account.purpose], one.account.ref, one.amount)


def _line(line: Any, purposes: Purposes) -> Line:
    account, other = line.account, line.counterpart
    return Line(
        line.position,
        line.leg,
        _instant(line.at),
        _instant(line.on),
        line.type,
        line.asset,
        purposes[account.purpose],
        account.ref,
        line.amount,
        line.balance,
        Counterpart(other.holder, purposes[other.purpose], other.ref),
        [Range(one.batch, one.first, one.last) for one in line.serials],
    )


def _instant(timestamp: Any) -> str:
    return format_instant(instant_of(timestamp, "instant"))
