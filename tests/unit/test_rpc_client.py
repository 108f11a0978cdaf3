"""A call of ours: repeated by id while that may help, never longer than its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from kernel.errors import Conflict, Misconfigured, Refused, TanzhangError
from kernel.rpc.client import RETRY_FIRST_S, call, is_several, open_channel
from kernel.rpc.problems import to_status

REQUEST = health_pb2.HealthCheckRequest(service="settlement")

Answer = Callable[[int], TanzhangError | None]


class Desk(health_pb2_grpc.HealthServicer):
    """Answers as it is told, by the number of the attempt, and notes when it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda attempt: None
        self.asked_s: list[float] = []

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        self.asked_s.append(time.monotonic())
        error = self.answer(len(self.asked_s) - 1)
        if error is not None:
            status = rpc_status.to_status(to_status(error))
            await context.abort(status.code, status.details, tuple(status.trailing_metadata))
        return health_pb2.HealthCheckResponse()

    @property
    def pauses_s(self) -> list[float]:
        return [
            after - before for before, after in zip(self.asked_s, self.asked_s[1:], strict=False)
        ]


@pytest.fixture
async def desk() -> AsyncIterator[tuple[Desk, Any]]:
    server, servicer = grpc.aio.server(), Desk()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = open_channel(f"127.0.0.1:{port}")
    stub: Any = health_pb2_grpc.HealthStub(channel)
    yield servicer, stub.Check
    await channel.close(None)
    await server.stop(None)


async def test_a_conflict_is_asked_again_until_it_is_none(desk: tuple[Desk, Any]) -> None:
    servicer, check = desk
    servicer.answer = lambda attempt: Conflict("STANDBY", "ask there", 1) if attempt < 4 else None
    await call(check, REQUEST)
    assert len(servicer.asked_s) == 5
    first_s, *_, last_s = servicer.pauses_s
    assert first_s >= RETRY_FIRST_S * 0.75
    assert last_s > first_s


async def test_the_pause_is_as_long_as_the_service_asked_for(desk: tuple[Desk, Any]) -> None:
    servicer, check = desk
    full = Conflict("QUEUE_FULL", "come back", retry_after_ms=700)
    servicer.answer = lambda attempt: full if attempt == 0 else None
    await call(check, REQUEST)
    (pause_s,) = servicer.pauses_s
    assert pause_s >= 0.7 * 0.75
    assert pause_s >= RETRY_FIRST_S * 1.25


async def test_what_is_refused_is_not_asked_again(desk: tuple[Desk, Any]) -> None:
    servicer, check = desk
    servicer.answer = lambda attempt: Refused("INSUFFICIENT_BALANCE", "needed 500, available 480")
    with pytest.raises(Refused) as refused:
        await call(check, REQUEST)
    assert refused.value.reason == "INSUFFICIENT_BALANCE"
    assert len(servicer.asked_s) == 1


async def test_patience_ends_with_the_last_conflict(desk: tuple[Desk, Any]) -> None:
    servicer, check = desk
    servicer.answer = lambda attempt: Conflict("STANDBY", "ask there", 1)
    with pytest.raises(Conflict) as conflict:
        await call(check, REQUEST, patience_s=0.5)
    assert conflict.value.reason == "STANDBY"
    assert len(servicer.asked_s) > 1


async def test_without_patience_there_is_one_attempt(desk: tuple[Desk, Any]) -> None:
    servicer, check = desk
    servicer.answer = lambda attempt: Conflict("STANDBY", "ask there", 1)
    with pytest.raises(Conflict):
        await call(check, REQUEST, patience_s=0)
    assert len(servicer.asked_s) == 1


async def test_no_attempt_begins_after_the_deadline(desk: tuple[Desk, Any]) -> None:
    servicer, check = desk
    servicer.answer = lambda attempt: Conflict("STANDBY", "ask there", 1)
    async with asyncio.timeout(30):
        with pytest.raises(Conflict):
            await call(check, REQUEST, deadline_s=2.0, patience_s=60)
    ended_s = time.monotonic()
    await asyncio.sleep(0.5)
    assert len(servicer.asked_s) > 1
    assert servicer.asked_s[-1] < ended_s


async def test_a_pause_that_would_end_after_the_deadline_is_not_begun(
    desk: tuple[Desk, Any],
) -> None:
    servicer, check = desk
    servicer.answer = lambda attempt: Conflict("QUEUE_FULL", "come back", retry_after_ms=60_000)
    async with asyncio.timeout(30):
        with pytest.raises(Conflict) as conflict:
            await call(check, REQUEST)
    assert conflict.value.retry_after_ms == 60_000


async def test_what_has_been_waited_for_is_not_waited_for_again(desk: tuple[Desk, Any]) -> None:
    servicer, check = desk
    servicer.answer = lambda attempt: Conflict("POSITION_NOT_REACHED", "expected 7, got 6")
    with pytest.raises(Conflict):
        await call(check, REQUEST, waited=["POSITION_NOT_REACHED"])
    assert len(servicer.asked_s) == 1


@pytest.mark.parametrize(
    ("target", "certificate", "why"),
    [
        ("127.0.0.1:1,accounts:2", None, "expected loopback addresses"),
        ("10.0.0.1:1,10.0.0.2:2", None, "expected loopback addresses"),
        ("127.0.0.1:1,127.0.0.1:2", b"an authority", "without TLS, or one name"),
        ("127.0.0.1:1,[::1]:2", None, "addresses of one kind"),
    ],
)
def test_a_list_that_grpc_could_not_take_is_refused(
    target: str, certificate: bytes | None, why: str
) -> None:
    with pytest.raises(Misconfigured, match=why):
        open_channel(target, certificate)


def test_several_are_told_from_one() -> None:
    assert is_several("127.0.0.1:1,127.0.0.1:2")
    assert is_several("dns:///accounts:7443")
    assert not is_several("accounts:7443")
