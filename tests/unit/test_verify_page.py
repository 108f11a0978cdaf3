"""The verify page without a browser: its verdicts on every vector, and how it is served."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.app import make_app
from gateway.clients import Services
from gateway.config import PEERS
from gateway.sse import Streams
from kernel.auth import TokenVerifier
from kernel.clock import FixedClock
from kernel.identities import Identities
from tests.support.checkout import ROOT
from tests.support.webpage import build_page, run_node

MORNING_MS = 1_790_000_000_000
POLICY = b"quorum none\n"


def test_the_page_judges_every_vector_as_the_kernel_does() -> None:
    told = run_node("node_vectors.ts", str(ROOT / "tests" / "vectors" / "tlog"))
    assert told["wrong"] == []
    assert told["judged"] > 200


@pytest.fixture(scope="module")
def built() -> dict[str, bytes]:
    folder = build_page()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
async def client(built: dict[str, bytes], tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    policy = tmp_path / "policy.txt"
    policy.write_bytes(POLICY)
    services, clock = Services(dict.fromkeys(PEERS, "127.0.0.1:9")), FixedClock(MORNING_MS)
    verifier = TokenVerifier(Identities([], [], 1), clock)
    app = make_app(services, verifier, Streams(), clock, policy)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as one:
        yield one
    await services.close()


async def test_every_built_file_is_served_whole_and_named_by_its_kind(
    client: httpx.AsyncClient, built: dict[str, bytes]
) -> None:
    assert {"index.html", "sw.js", "manifest.webmanifest", "icon.svg"} < set(built)
    for name, data in built.items():
        answer = await client.get(f"/verify/{name}")
        assert answer.content == data
        assert "octet-stream" not in answer.headers["content-type"]


async def test_the_page_is_asked_for_again_and_its_parts_are_kept(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/verify/")
    assert page.headers["cache-control"] == "no-cache"
    (script,) = re.findall(r'src="\./(assets/[^"]+\.js)"', page.text)
    part = await client.get(f"/verify/{script}")
    assert "immutable" in part.headers["cache-control"]
    again = await client.get("/verify/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    packed = await client.get(f"/verify/{script}", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == part.content


async def test_the_page_has_one_set_of_rules_and_they_allow_nothing_inline(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/verify/")
    (rules,) = page.headers.get_list("content-security-policy")
    assert rules.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in rules
    assert page.headers.get_list("x-content-type-options") == ["nosniff"]
    elsewhere = await client.get("/healthz")
    (rules,) = elsewhere.headers.get_list("content-security-policy")
    assert rules == "default-src 'none'; frame-ancestors 'none'"


async def test_the_suggested_policy_is_the_deployments_file_as_it_is_now(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    assert (await client.get("/verify/policy.txt")).content == POLICY
    (tmp_path / "policy.txt").unlink()
    gone = await client.get("/verify/policy.txt")
    assert (gone.status_code, gone.json()["reason"]) == (404, "UNKNOWN_RESOURCE")


@pytest.mark.parametrize("name", ["%2e%2e/app.py", "assets", "assets/%2e%2e/sw.js", "none.js"])
async def test_nothing_but_the_page_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/verify/{name}")).status_code == 404


async def test_the_address_without_its_slash_leads_to_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/verify")
    assert (answer.status_code, answer.headers["location"]) == (308, "/verify/")
