"""The gateway's edge: what it refuses before any service is asked, and what every answer carries.

The real application over ASGI; its services are at addresses where nobody listens.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from cli.stack.ports import free_port
from gateway.app import make_app
from gateway.clients import Services
from gateway.config import PEERS, load_config
from gateway.edge import MAX_BATCH_BYTES, MAX_BODY_BYTES
from gateway.entrance import Visitor
from gateway.sse import MAX_STREAMS_OF_ONE, HolderView, LongResponse, Streams, check_place
from kernel.acts import public_bytes
from kernel.auth import TokenVerifier, mint_token
from kernel.clock import FixedClock
from kernel.config import Environment
from kernel.errors import Misconfigured, Refused
from kernel.identities import Identities, TokenKey
from kernel.ids import uuid7
from tests.support.books import MORNING_MS
from tests.support.lanzhou import CITY_GROUP, TICKET

ISSUER = "tanzhang.local/issuer"
ISSUER_KEY = Ed25519PrivateKey.generate()
RETIREMENT = {
    "holder": CITY_GROUP,
    "asset": TICKET,
    "amount": 12_000,
    "beneficiary": "兰州新区城投",
    "purpose": "carbon-neutral event",
}


def identities() -> Identities:
    public = base64.b64encode(public_bytes(ISSUER_KEY)).decode()
    return Identities(frames=[], tokens=[TokenKey(ISSUER, public, ["*"])], v=1)


def token(now_ms: int = MORNING_MS) -> str:
    return mint_token(
        ISSUER_KEY,
        iss=ISSUER,
        sub="buyer",
        roles=[],
        holders=[CITY_GROUP],
        now_ms=now_ms,
        ttl_s=600,
    )


def headers(**changed: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token()}",
        "Idempotency-Key": uuid7(MORNING_MS),
        "Content-Type": "application/json",
        **changed,
    }


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    services = Services({name: f"127.0.0.1:{free_port()}" for name in PEERS})
    clock = FixedClock(MORNING_MS)
    app = make_app(services, TokenVerifier(identities(), clock), Streams(), clock)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as one:
        yield one
    await services.close()


def refused(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, body["reason"]) == (status, reason), body
    assert body["type"] == f"/problems/{reason.lower().replace('_', '-')}"
    return body


async def retire(client: httpx.AsyncClient, content: str | bytes, **changed: str) -> httpx.Response:
    return await client.post("/v1/retirements", content=content, headers=headers(**changed))


# ---- who comes in --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ("", "TOKEN_MISSING"),
        ("Basic bGFuemhvdTpsYW56aG91", "TOKEN_MISSING"),
        ("Bearer nonsense", "TOKEN_MALFORMED"),
        (f"Bearer {token(MORNING_MS - 3_600_000)}", "TOKEN_EXPIRED"),
    ],
)
async def test_cannot_come_in_without_a_good_token(
    client: httpx.AsyncClient, authorization: str, reason: str
) -> None:
    answer = await retire(client, json.dumps(RETIREMENT), Authorization=authorization)
    refused(answer, 401, reason)
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_service_that_is_away_is_no_fault_and_can_be_asked_again(
    client: httpx.AsyncClient,
) -> None:
    answer = await retire(client, json.dumps(RETIREMENT))
    problem = refused(answer, 503, "UNAVAILABLE")
    assert problem["detail"] == "accounts did not answer: ask again"  # and not where it is
    assert int(answer.headers["retry-after"]) >= 1


# ---- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"amount": "12000"}, "#/amount"),
        ({"amount": 12000.0}, "#/amount"),
        ({"amount": True}, "#/amount"),
        ({"amount": 0}, "#/amount"),
        ({"amount": 2**53}, "#/amount"),
        ({"holder": "兰州新区城投"}, "#/holder"),
        ({"on": "yesterday"}, "#/on"),
        ({"serials": [{"batch": "LZXQ", "first": 0, "last": 5}]}, "#/serials/0/first"),
        ({"beneficiary": None}, "#/beneficiary"),
    ],
)
async def test_cannot_ask_with_a_value_that_is_not_as_the_contract_says(
    client: httpx.AsyncClient, changed: dict[str, Any], pointer: str
) -> None:
    answer = await retire(client, json.dumps({**RETIREMENT, **changed}))
    body = refused(answer, 400, "REQUEST_MALFORMED")
    assert [one["pointer"] for one in body["errors"]] == [pointer]


async def test_cannot_ask_with_a_field_that_nobody_knows(client: httpx.AsyncClient) -> None:
    answer = await retire(client, json.dumps({**RETIREMENT, "amount_kg": 5}))
    assert refused(answer, 400, "UNKNOWN_FIELD")["errors"][0]["pointer"] == "#/amount_kg"


async def test_cannot_ask_with_a_parameter_that_nobody_knows(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/holders/{CITY_GROUP}/balances?min_positon=5", headers=headers())
    assert refused(answer, 400, "UNKNOWN_FIELD")["errors"][0]["pointer"] == "query/min_positon"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(RETIREMENT).replace('"amount": 12000', '"amount": 1, "amount": 12000'),
        json.dumps(RETIREMENT).replace("12000", "NaN"),
        json.dumps(RETIREMENT).replace("12000", "9" * 5000),
        '{"holder": ',
        "[" * 100_000,
        b"\xff\xfe\x00",
        "[]",
        "",
    ],
)
async def test_cannot_ask_with_json_that_does_not_mean_one_thing(
    client: httpx.AsyncClient, content: str | bytes
) -> None:
    refused(await retire(client, content), 400, "REQUEST_MALFORMED")


async def test_cannot_ask_with_half_a_character(client: httpx.AsyncClient) -> None:
    content = json.dumps({**RETIREMENT, "purpose": "\ud800"})
    refused(await retire(client, content), 400, "REQUEST_MALFORMED")


async def test_cannot_write_without_an_idempotency_key(client: httpx.AsyncClient) -> None:
    asked = headers()
    del asked["Idempotency-Key"]
    answer = await client.post("/v1/retirements", json=RETIREMENT, headers=asked)
    refused(answer, 400, "IDEMPOTENCY_KEY_MISSING")


@pytest.mark.parametrize(
    "key", ["", "1", "d9428888-122b-11e1-b85c-61cd3cbb3210", "01A1F693-21C0-7C98-ABD7-A21D5BD426FC"]
)
async def test_cannot_write_with_a_key_that_is_no_uuid_of_version_7(
    client: httpx.AsyncClient, key: str
) -> None:
    answer = await retire(client, json.dumps(RETIREMENT), **{"Idempotency-Key": key})
    refused(answer, 400, "ID_MALFORMED")


async def test_cannot_send_more_than_fits_declared_or_not(client: httpx.AsyncClient) -> None:
    async def drops() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    declared = await retire(client, b" " * (MAX_BODY_BYTES + 1))
    undeclared = await client.post("/v1/retirements", content=drops(), headers=headers())
    for answer in (declared, undeclared):
        assert refused(answer, 413, "BODY_TOO_LARGE")["details"] == {"limit": MAX_BODY_BYTES}


@pytest.mark.parametrize("authorization", ["", "Bearer nonsense"])
async def test_a_strangers_body_is_not_even_read(
    client: httpx.AsyncClient, authorization: str
) -> None:
    read: list[bytes] = []

    async def megabytes() -> AsyncIterator[bytes]:
        for _ in range(5):
            read.append(b" " * 2**20)
            yield read[-1]

    given = headers(Authorization=authorization)
    answer = await client.post("/v1/trip-batches", content=megabytes(), headers=given)
    assert answer.status_code == 401
    assert read == []


async def test_a_batch_of_trips_may_be_larger_but_not_by_any_size(
    client: httpx.AsyncClient,
) -> None:
    async def report(size: int) -> httpx.Response:
        return await client.post("/v1/trip-batches", content=b" " * size, headers=headers())

    refused(await report(MAX_BODY_BYTES + 1), 400, "REQUEST_MALFORMED")
    refused(await report(MAX_BATCH_BYTES + 1), 413, "BODY_TOO_LARGE")


async def test_cannot_send_anything_but_json(client: httpx.AsyncClient) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await retire(client, json.dumps(RETIREMENT), **{"Content-Type": media_type})
        refused(answer, 415, "MEDIA_TYPE_UNKNOWN")


async def test_an_address_or_a_method_that_is_not_there_is_a_problem_too(
    client: httpx.AsyncClient,
) -> None:
    refused(await client.get("/v1/nothing"), 404, "UNKNOWN_RESOURCE")
    answer = await client.delete("/v1/market-state")
    refused(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    "path", ["/log/accounts/tile/0/1", "/log/accounts/tile/64/000", "/log/accounts/tile/0/000.p/0"]
)
async def test_a_path_that_is_no_tile_is_refused_without_asking(
    client: httpx.AsyncClient, path: str
) -> None:
    refused(await client.get(path), 400, "TILE_PATH_MALFORMED")


# ---- what every answer carries -------------------------------------------------------------------


async def test_every_answer_has_an_id_and_is_kept_by_nobody(client: httpx.AsyncClient) -> None:
    seen = set()
    for path in ("/healthz", "/v1/nothing", "/v1/totals", "/readyz"):
        answer = await client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 4


async def test_the_log_names_routes_and_never_people_or_tokens(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        answer = await client.get(f"/v1/holders/{CITY_GROUP}/balances", headers=headers())
    (line,) = [one for one in lines if one["event"] == "http.request"]
    assert line["route"] == "/v1/holders/{holder}/balances"
    assert line["status"] == answer.status_code
    assert line["request_id"] == answer.headers["x-request-id"]
    assert CITY_GROUP not in str(lines)
    assert token() not in str(lines)


async def test_a_fault_is_answered_without_its_words_and_logged_with_them() -> None:
    class Broken(Services):
        async def health(self) -> dict[str, bool]:
            raise RuntimeError("the disk of Lanzhou is full")

    clock, services = FixedClock(MORNING_MS), Broken({})
    app = make_app(services, TokenVerifier(identities(), clock), Streams(), clock)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    with capture_logs() as lines:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            answer = await client.get("/readyz")
    refused(answer, 500, "FAULT")
    assert "Lanzhou" not in answer.text
    (line,) = [one for one in lines if one["event"] == "http.fault"]
    assert "Lanzhou" in str(line["exc_info"])
    assert line["request_id"] == answer.headers["x-request-id"]


async def test_a_gateway_without_any_service_lives_and_is_not_ready(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/healthz")).status_code == 200
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["services"] == dict.fromkeys(PEERS, "away")


# ---- live views ----------------------------------------------------------------------------------


async def test_one_caller_has_no_more_live_views_than_tabs() -> None:
    streams = Streams()
    for _ in range(MAX_STREAMS_OF_ONE):
        streams.enter("buyer")
    with pytest.raises(Refused, match="live views") as refusal:
        streams.enter("buyer")
    assert refusal.value.reason == "TOO_MANY_STREAMS"
    streams.enter("farmer")
    streams.leave("buyer")
    streams.enter("buyer")


async def test_views_that_begin_at_once_are_counted_before_anybody_is_asked(
    client: httpx.AsyncClient,
) -> None:
    def look() -> Coroutine[Any, Any, httpx.Response]:
        return client.get(f"/v1/holders/{CITY_GROUP}/events", headers=headers())

    answers = await asyncio.gather(*(look() for _ in range(MAX_STREAMS_OF_ONE + 5)))
    found = Counter(answer.status_code for answer in answers)
    assert found == {503: MAX_STREAMS_OF_ONE, 429: 5}  # the service they look at is away
    assert (await look()).status_code == 503  # what came to nothing takes no place


async def test_a_view_whose_reader_is_gone_gives_its_place_back() -> None:
    services, streams = Services({}), Streams()
    visitor = Visitor(token(), TokenVerifier(identities(), FixedClock(MORNING_MS)).verify(token()))
    for _ in range(MAX_STREAMS_OF_ONE):
        streams.enter("buyer")
    view = HolderView(services, streams, visitor, CITY_GROUP)

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def unsent(message: Any) -> None:
        raise OSError("nobody is there")

    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with pytest.raises(ClientDisconnect):
        await LongResponse(view.events(), streams, "buyer")(scope, gone, unsent)
    streams.enter("buyer")


async def test_no_live_view_begins_while_the_process_ends_and_pauses_end_at_once() -> None:
    streams = Streams()
    pause = asyncio.ensure_future(streams.pause(3600))
    streams.closing.set()
    await pause
    with pytest.raises(Refused):
        streams.enter("buyer")


@pytest.mark.parametrize(
    "place", ["1", "1.", ".1", "-1.0", "1.01", "１.0", "1.0\n", "9" * 17 + ".0"]
)
def test_a_place_that_no_stream_has_given_out_is_refused(place: str) -> None:
    with pytest.raises(Refused) as refusal:
        check_place(place)
    assert refusal.value.reason == "LAST_EVENT_ID_MALFORMED"


# ---- what it is told -----------------------------------------------------------------------------

TOLD = {
    "TANZHANG_LISTEN": "127.0.0.1:8080",
    "TANZHANG_METRICS_PORT": "9100",
    "TANZHANG_IDENTITIES": "identities.note",
    "TANZHANG_OPERATOR_VKEY": "lanzhou/operator+0+0",
    **{f"TANZHANG_PEER_{name.upper()}": f"127.0.0.1:{i}" for i, name in enumerate(PEERS)},
}


def test_it_needs_to_be_told_where_every_service_is() -> None:
    assert set(load_config(Environment(TOLD)).peers) == set(PEERS)
    for name in TOLD:
        with pytest.raises(Misconfigured, match=name):
            load_config(Environment({**TOLD, name: ""}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"TANZHANG_LISTEN": "0.0.0.0:80"}, "not loopback"),
        ({"TANZHANG_MODE": "production", "TANZHANG_CLOCK_FILE": "clock"}, "refused in production"),
        ({"TANZHANG_MODE": "production", "TANZHANG_CRASH": "gateway.called"}, "in production"),
    ],
)
def test_it_refuses_what_the_services_refuse(changed: dict[str, str], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        load_config(Environment({**TOLD, **changed}))
