"""The gateway as the process that people reach: live views, its end in order, a death, a halt."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack.ports import free_port
from cli.stack.process import ServiceProcess
from kernel.crash import EXIT_CODE
from kernel.values import Caller
from tests.support.authority import Authority
from tests.support.checkout import ROOT
from tests.support.lanzhou import BUYER, CITY_GROUP, CNY, QINWANGCHUAN, available
from tests.support.world import FUNDS_FEN, Command, World, Worlds, until

WITH_GATEWAY = ("accounts", "ledger", "gateway")
MISSING_FEN = 500_000
EVENTS = f"/v1/holders/{CITY_GROUP}/events"


@pytest.fixture(scope="module")
def world(worlds: Worlds) -> Iterator[World]:
    with worlds.open(WITH_GATEWAY) as made:
        made.fund(CITY_GROUP, FUNDS_FEN)
        yield made


@contextmanager
def browser(world: World, caller: Caller, **changed: Any) -> Iterator[httpx.Client]:
    bearer = {"Authorization": f"Bearer {world.token(caller, **changed)}"}
    url = f"http://{world.supervisor.target('gateway')}"
    with httpx.Client(base_url=url, headers=bearer, timeout=30, trust_env=False) as client:
        yield client


Event = tuple[str, str, Any]  # name, id, data


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """As a browser reads them: comments and the pause left out."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif "data" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}
        else:
            fields = {}


def pay(world: World, client: httpx.Client, amount_fen: int, key: str) -> httpx.Response:
    """Through the gateway, noted as every command of a world."""
    command = Command("accounts", BUYER.actor.sub, key)
    world._note_sent([command])
    payment = {"holder": CITY_GROUP, "to": QINWANGCHUAN, "asset": CNY, "amount": amount_fen}
    answer = client.post("/v1/transfers", json=payment, headers={"Idempotency-Key": key})
    if answer.status_code in (200, 201):
        world.sent[command] = answer.json()["position"]
    return answer


# ---- live views ----------------------------------------------------------------------------------


def test_a_movement_is_seen_as_it_is_recorded_and_a_lost_line_misses_none(world: World) -> None:
    with browser(world, BUYER) as client:
        with client.stream("GET", EVENTS) as live:
            assert live.headers["content-type"].startswith("text/event-stream")
            seen = events_of(live.iter_lines())
            name, begin, _ = next(seen)
            assert name == "ready"
            first = world.pay(11)
            name, place, movement = next(seen)
            assert (name, place) == ("movement", f"{first}.0")
            assert movement["amount"] == 11
            assert movement["debit"]["holder"] == CITY_GROUP
        second, third = world.pay(12), world.pay(13)
        with client.stream("GET", EVENTS, headers={"Last-Event-ID": place}) as live:
            seen = events_of(live.iter_lines())
            assert next(seen)[:2] == ("ready", place)
            places = [next(seen)[1] for _ in range(2)]
            assert places == [f"{second}.0", f"{third}.0"]
        # Who lost the line before the first movement came goes on from where it began.
        with client.stream("GET", f"{EVENTS}?last_event_id={begin}") as live:
            seen = events_of(live.iter_lines())
            amounts = [data["amount"] for _, _, data in [next(seen) for _ in range(4)][1:]]
            assert amounts == [11, 12, 13]


def test_a_live_view_ends_with_its_token(world: World) -> None:
    with browser(world, BUYER, ttl_s=3) as client, client.stream("GET", EVENTS) as live:
        seen = list(events_of(live.iter_lines()))
    name, _, problem = seen[-1]
    assert name == "problem"
    assert (problem["status"], problem["reason"]) == (401, "TOKEN_EXPIRED")


def test_a_live_view_outlives_the_service_it_looks_at(world: World) -> None:
    with browser(world, BUYER) as client, client.stream("GET", EVENTS) as live:
        seen = events_of(live.iter_lines())
        assert next(seen)[0] == "ready"
        world.stop_services("accounts")
        world.bring_back("accounts")
        position = world.pay(14)
        assert next(seen)[1] == f"{position}.0"


def test_told_to_stop_it_ends_its_live_views_and_then_itself_in_order(world: World) -> None:
    gateway = world.service("gateway")
    with browser(world, BUYER) as client, client.stream("GET", EVENTS) as live:
        seen = events_of(live.iter_lines())
        assert next(seen)[0] == "ready"
        gateway.ask_to_stop()
        assert [event for event in seen if event[0] == "problem"] == []
    world.stop_services("gateway")
    assert gateway.status == 0
    world.bring_back("gateway")


# ---- dying ---------------------------------------------------------------------------------------


def test_who_dies_before_the_answer_has_the_payment_made_once(world: World) -> None:
    before = world.balance(available(QINWANGCHUAN), CNY)
    key = world.new_id()
    world.start_armed("gateway", "gateway.called")
    world.supervisor.await_serving("gateway")
    with browser(world, BUYER) as client:
        with pytest.raises(httpx.TransportError):
            pay(world, client, 500, key)
        assert world.await_death("gateway") == EXIT_CODE
        world.bring_back("gateway")
        again = pay(world, client, 500, key)
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    assert world.balance(available(QINWANGCHUAN), CNY) == before + 500


def test_a_service_that_hangs_is_said_to_be_late_and_the_same_key_pays_once(world: World) -> None:
    before = world.balance(available(QINWANGCHUAN), CNY)
    key, pid = world.new_id(), world.service("accounts").pid
    assert pid is not None
    with browser(world, BUYER) as client:
        os.kill(pid, signal.SIGSTOP)
        try:
            late = pay(world, client, 600, key)
        finally:
            os.kill(pid, signal.SIGCONT)
        # Whichever is noticed first: that it answers no ping, or that the time is over.
        answer = (late.status_code, late.json()["reason"])
        assert answer in {(503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED")}
        until(lambda: pay(world, client, 600, key).status_code in (200, 201), "accounts to answer")
    assert world.balance(available(QINWANGCHUAN), CNY) == before + 600


# ---- watching ------------------------------------------------------------------------------------


def test_metrics_count_requests_by_route_and_never_by_holder(world: World) -> None:
    with browser(world, BUYER) as client:
        client.get(f"/v1/holders/{CITY_GROUP}/balances")
        client.get(f"/v1/{CITY_GROUP}")
    shown = world.metrics("gateway")
    assert 'route="/v1/holders/{holder}/balances",status="200"' in shown
    assert 'route="(no such route)",status="404"' in shown
    assert CITY_GROUP not in shown


def test_its_log_holds_no_token_and_no_holder(world: World) -> None:
    with browser(world, BUYER) as client:
        client.get(f"/v1/holders/{CITY_GROUP}/balances")
        token = client.headers["Authorization"].removeprefix("Bearer ")
    text = world.service("gateway").log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert any(line["event"] == "http.request" for line in lines)
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    assert token not in text
    assert CITY_GROUP not in text


def test_it_serves_beside_another_one_that_has_the_same_answers(world: World) -> None:
    name = world.supervisor.start_service("gateway")
    world.supervisor.await_serving(name)
    with browser(world, BUYER) as client:
        key = world.new_id()
        first = pay(world, client, 15, key)
    with browser(world, BUYER) as client:
        client.base_url = httpx.URL(f"http://{world.supervisor.target(name)}")
        again = pay(world, client, 15, key)
    assert again.json() == {**first.json(), "repeated": True}
    world.stop_services(name)


# ---- starting ------------------------------------------------------------------------------------


def run(**changed: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", **changed}
    return subprocess.run(
        [sys.executable, "-m", "gateway"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_is_missing_is_one_line_and_exit_code_2() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (2, "gateway: TANZHANG_LISTEN is not set\n")


def test_a_port_that_is_taken_is_one_line_and_exit_code_2(world: World) -> None:
    process = world.service("gateway")
    assert isinstance(process, ServiceProcess)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        changed = {
            **process.environment,
            "TANZHANG_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}",
            "TANZHANG_METRICS_PORT": str(free_port()),
        }
        done = run(**changed)
    assert done.returncode == 2
    assert done.stderr.startswith("gateway: cannot listen on 127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1


def test_beyond_loopback_it_speaks_tls_alone_and_stops_in_order(
    world: World, tmp_path: Path
) -> None:
    authority, port = Authority(tmp_path), free_port()
    issued = authority.issue(tmp_path / "tls", "gateway.lanzhou")
    environment = {
        **world.service("gateway").environment,
        "TANZHANG_LISTEN": f"0.0.0.0:{port}",
        "TANZHANG_TLS_CERTIFICATE": str(issued / "tls.crt"),
        "TANZHANG_TLS_KEY": str(issued / "tls.key"),
        "TANZHANG_METRICS_PORT": str(free_port()),
    }
    running = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, cwd=ROOT)
    try:
        trusted = ssl.create_default_context(cafile=str(authority.certificate))
        url = f"https://127.0.0.1:{port}"
        with httpx.Client(base_url=url, verify=trusted, trust_env=False) as client:
            until(lambda: answers(client), "the gateway to serve")
            assert "strict-transport-security" in client.get("/healthz").headers
            assert client.get("/v1/logs/status").status_code == 200
        with httpx.Client(trust_env=False) as plain, pytest.raises(httpx.TransportError):
            plain.get(f"http://127.0.0.1:{port}/healthz")
    finally:
        running.terminate()
        assert running.wait(30) == 0


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_certificate_that_is_none_is_one_line_and_exit_code_2(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "tls.crt").write_text("no certificate")
    changed = {
        **world.service("gateway").environment,
        "TANZHANG_LISTEN": f"127.0.0.1:{free_port()}",
        "TANZHANG_TLS_CERTIFICATE": str(tmp_path / "tls.crt"),
        "TANZHANG_TLS_KEY": str(tmp_path / "tls.crt"),
        "TANZHANG_METRICS_PORT": str(free_port()),
    }
    done = run(**changed)
    assert done.returncode == 2
    assert done.stderr.startswith("gateway: the certificate and its key: ")


# ---- a halt --------------------------------------------------------------------------------------


def test_a_halt_shows_at_the_gateway_and_writes_are_put_off_not_refused(worlds: Worlds) -> None:
    """A build of accounts without its sufficiency rule overdraws, and two persons take it."""
    with worlds.open(WITH_GATEWAY) as world, browser(world, BUYER) as client:
        world.fund(CITY_GROUP, 1000)
        world.stop_services("accounts")
        world.supervisor.start_service("accounts", module="tests.support.faulty")
        world.supervisor.await_serving("accounts")
        overdrawn = world.pay(1000 + MISSING_FEN)
        halt = world.await_halt("accounts")
        until(lambda: world.status("accounts").proven == overdrawn, "all before it to be proven")
        shown = {one["book"]: one for one in client.get("/v1/logs/status").json()["books"]}
        assert shown["accounts"]["halt"]["rule"] == "SUFFICIENCY"
        assert shown["accounts"]["halt"]["position"] == overdrawn == shown["accounts"]["proven"]
        assert shown["ledger"]["halt"] is None
        until(lambda: not world.takes_commands(), "accounts to hear of the halt")
        key = world.new_id()
        put_off = pay(world, client, 1, key)
        assert (put_off.status_code, put_off.json()["reason"]) == (503, "BOOK_HALTED")
        assert "retry-after" in put_off.headers
        world.accept_halt("accounts", halt)
        world.fund(CITY_GROUP, MISSING_FEN + 1)
        assert pay(world, client, 1, key).status_code == 201
        world.stop_services("accounts")
        world.bring_back("accounts")
