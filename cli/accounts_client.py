"""The accounts service as the tools ask it of the past: balances of a moment, statements.

Beside cli/clients.py, which has the rest of that service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from cli.clients import Account, Balance, Books, Persona, ranges_of
from kernel.errors import Kind, Refused
from kernel.rpc.client import STREAM_DEADLINE_S, metadata
from kernel.rpc.items import timestamp_of
from kernel.rpc.problems import from_rpc_error
from kernel.rpc.statements import head_of, part_of
from kernel.statement.plain import Adding, Head, Part
from kernel.values import check_day, parse_instant

PURPOSES: Final[dict[int, str]] = {
    number: name.removeprefix("PURPOSE_").lower() for name, number in pb.Purpose.items() if number
}
_NUMBERS: Final = {word: number for number, word in PURPOSES.items()}
_CLOCKS: Final = {"at": pb.MOMENT_AT, "on": pb.MOMENT_ON}
_WORDS: Final = {number: name.removeprefix("MOMENT_").lower() for name, number in pb.Moment.items()}


@dataclass(frozen=True)
class Accounts:
    """Which accounts of a holder; empty and None: all of them."""

    holder: str
    asset: str = ""
    purpose: str = ""
    ref: str | None = None


@dataclass(frozen=True)
class Then:
    """A moment: a position, an instant of recording, or one of business time."""

    position: int | None = None
    at_ms: int | None = None
    on_ms: int | None = None


@dataclass(frozen=True)
class Period:
    """From a day or an instant to another; by the time of recording or (`on`) business time."""

    begins: str
    ends: str | None
    by: str
    position: int | None = None


@dataclass(frozen=True)
class Shown:
    """Balances, up to which position they count, and by which clock that was found."""

    balances: list[Balance]
    position: int
    by: str


async def balances_then(books: Books, who: Persona, accounts: Accounts, then: Then) -> Shown:
    request = pb.GetBalancesRequest(
        holder=accounts.holder,
        asset=accounts.asset,
        purpose=purpose_number(accounts.purpose),
        ref=accounts.ref,
        position=then.position,
        at=None if then.at_ms is None else timestamp_of(then.at_ms),
        on=None if then.on_ms is None else timestamp_of(then.on_ms),
    )
    answer = await books.call(_stub(books).GetBalances, request, who)
    found = [
        Balance(
            Account(one.account.holder, PURPOSES[one.account.purpose], one.account.ref),
            one.asset,
            one.amount,
            ranges_of(one.serials),
        )
        for one in answer.balances
    ]
    return Shown(found, answer.as_of_position, _WORDS[answer.moment])


async def statement(
    books: Books, who: Persona, accounts: Accounts, period: Period
) -> AsyncIterator[Head | Part]:
    """The head, then the parts, added up as they pass. Raises Conflict when it is cut off."""
    request = pb.GetStatementRequest(
        holder=accounts.holder,
        asset=accounts.asset,
        purpose=purpose_number(accounts.purpose),
        ref=accounts.ref,
        moment=_CLOCKS[period.by],
        position=period.position,
        **_end("from", period.begins),
        **({} if period.ends is None else _end("to", period.ends)),
    )
    adding = Adding()
    stream = _stub(books).GetStatement(
        request, timeout=STREAM_DEADLINE_S, metadata=metadata(books.token(who))
    )
    try:
        async for message in stream:
            if message.HasField("head"):
                yield head_of(message.head, PURPOSES, period.by)
                continue
            part = part_of(message, PURPOSES)
            adding.add(part)
            yield part
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        stream.cancel()
    adding.check_ended()


def purpose_number(word: str) -> Any:
    if word and word not in _NUMBERS:
        raise Refused(
            "UNKNOWN_VALUE",
            f"purpose: expected one of {', '.join(_NUMBERS)}, got {word[:40]!r}",
            Kind.INVALID,
            field="purpose",
        )
    return _NUMBERS.get(word, 0)


def _end(name: str, text: str) -> dict[str, Any]:
    """One end of a period as the request's field."""
    if "T" in text:
        return {f"{name}_instant": timestamp_of(instant_or_refuse(text, name))}
    return {f"{name}_day": check_day(text, name)}


def instant_or_refuse(text: str, what: str) -> int:
    """Milliseconds of an instant like 2026-11-20T08:30:00Z, with or without three decimals."""
    try:
        return parse_instant(text if "." in text else f"{text.removesuffix('Z')}.000Z")
    except ValueError:
        raise Refused(
            "INSTANT_MALFORMED",
            f"{what}: expected an instant like 2026-11-20T08:30:00.000Z, got {text[:40]!r}",
            Kind.INVALID,
            field=what,
        ) from None


def _stub(books: Books) -> Any:
    return accounts_pb2_grpc.AccountsServiceStub(books.channel("accounts"))
