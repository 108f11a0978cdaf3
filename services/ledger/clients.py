"""What the ledger asks of others: of the books' owners, and of witnesses.

Of owners it asks for somebody else, with that caller's own token. Who may see an event, or a
holder's accounts, is judged by the service that owns them, and it notes what it has shown. The
ledger adds only what it has signed.

A witness (c2sp.org/tlog-witness, over HTTP) belongs to somebody else again: its answer is bounded
in time and size, no redirect is followed, and nothing in it is believed here. It is told what is
public anyway.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tanzhang.accounts.v1 import accounts_pb2, accounts_pb2_grpc
from tanzhang.inclusive.v1 import inclusive_pb2, inclusive_pb2_grpc
from tanzhang.kernel.v1 import items_pb2
from tanzhang.market.v1 import market_pb2, market_pb2_grpc
from tanzhang.registry.v1 import registry_pb2, registry_pb2_grpc

from kernel.errors import Kind, Refused
from kernel.rpc.client import Channel, call
from kernel.tlog.witness import ADD_CHECKPOINT, MAX_ANSWER_BYTES, monitoring_path
from services.ledger.books.followed import owner_of

ACCOUNTS: Final = "accounts"
# A caller who waits is told soon that an owner is away; it may ask again.
PATIENCE_S: Final = 2.0


class Disclosed(NamedTuple):
    """An event as its owner has shown it."""

    position: int
    record: bytes
    salt: bytes


class Disclosure(NamedTuple):
    """What a caller was shown of what it asked for, and why the rest was left out."""

    events: Sequence[Disclosed]
    left_out: Mapping[int, items_pb2.Refusal]


_STUBS: Final[Mapping[str, Any]] = {
    "accounts": accounts_pb2_grpc.AccountsServiceStub,
    "registry": registry_pb2_grpc.RegistryServiceStub,
    "market": market_pb2_grpc.MarketServiceStub,
    "inclusive": inclusive_pb2_grpc.InclusiveServiceStub,
}
_REQUESTS: Final[Mapping[str, Any]] = {
    "accounts": accounts_pb2.DiscloseEventsRequest,
    "registry": registry_pb2.DiscloseEventsRequest,
    "market": market_pb2.DiscloseEventsRequest,
    "inclusive": inclusive_pb2.DiscloseEventsRequest,
}


class Owners:
    """The services whose books the ledger follows, by their names."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._stubs = {name: _STUBS[name](channel) for name, channel in channels.items()}

    async def disclose(self, book: str, positions: Sequence[int], token: str) -> list[Disclosed]:
        """The events, as their owner shows them to whoever has this token. Raises its refusal."""
        return _shown(await self._ask(book, token, positions=positions))

    async def disclose_any(self, book: str, positions: Sequence[int], token: str) -> Disclosure:
        """Those of the events that their owner shows to whoever has this token."""
        answer = await self._ask(book, token, positions=positions, leave_out=True)
        return Disclosure(_shown(answer), {one.position: one.refused for one in answer.left_out})

    async def _ask(self, book: str, token: str, **fields: Any) -> Any:
        owner = owner_of(book)
        request = _REQUESTS[owner](**fields)
        return await call(self._stub(owner).DiscloseEvents, request, token, patience_s=PATIENCE_S)

    async def require_view(self, holder: str, asset: str, token: str) -> None:
        """Raises what accounts answers to who may not see this holder's accounts."""
        request = accounts_pb2.GetBalancesRequest(holder=holder, asset=asset)
        await call(self._stub(ACCOUNTS).GetBalances, request, token, patience_s=PATIENCE_S)

    def _stub(self, owner: str) -> Any:
        stub = self._stubs.get(owner)
        if stub is None:
            raise Refused("UNKNOWN_BOOK", f"no book of {owner} is followed here", Kind.UNKNOWN)
        return stub


def _shown(answer: Any) -> list[Disclosed]:
    return [Disclosed(one.position, one.record, one.salt) for one in answer.events]


TIMEOUT_S: Final = 5.0  # to connect, and between two pieces of an answer
TEXT_TYPE: Final = "text/plain; charset=utf-8"
ANSWER_S: Final = 10.0  # for all of it: a byte now and then wins no time
MAX_CONNECTIONS: Final = 32


class HttpAnswer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class WitnessUnreachable(Exception):
    """No whole answer came; the message says why."""


class WitnessClient:
    """Asks any number of witnesses; kept connections, closed with `close`."""

    def __init__(self, authority: Path | None) -> None:
        import httpx  # noqa: PLC0415 - a ledger without witnesses starts without it

        trusted = ssl.create_default_context()
        if authority is not None:
            trusted.load_verify_locations(authority)
        self._broken = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)
        self._http = httpx.AsyncClient(
            verify=trusted,
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def add_checkpoint(self, url: str, body: bytes) -> HttpAnswer:
        """POST <submission prefix>/add-checkpoint. Raises WitnessUnreachable."""
        return await self._ask("POST", f"{url}/{ADD_CHECKPOINT}", body)

    async def latest(self, url: str, origin: str) -> HttpAnswer:
        """GET <monitoring prefix>/<hash of the origin>/checkpoint. Raises WitnessUnreachable."""
        return await self._ask("GET", f"{url}/{monitoring_path(origin)}", None)

    async def _ask(self, method: str, url: str, body: bytes | None) -> HttpAnswer:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._whole(method, url, body)
        except self._broken as error:
            raise WitnessUnreachable(f"{type(error).__name__}: {error}"[:200]) from error

    async def _whole(self, method: str, url: str, body: bytes | None) -> HttpAnswer:
        headers = {} if body is None else {"Content-Type": TEXT_TYPE}
        async with self._http.stream(method, url, content=body, headers=headers) as answer:
            parts, size = [], 0
            async for part in answer.aiter_raw():
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise WitnessUnreachable(f"expected up to {MAX_ANSWER_BYTES} bytes")
                parts.append(part)
            kind = answer.headers.get("Content-Type", "")
            return HttpAnswer(answer.status_code, kind, b"".join(parts))
