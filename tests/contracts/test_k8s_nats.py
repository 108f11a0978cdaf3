"""NATS with the configuration of k8s/base: three real servers, TLS, passwords from the environment.

The text is the ConfigMap's own; only what names the cluster's network and folders is put on
loopback and into a temporary folder.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from cli.stack.nats import _wheel_binary, stream_name
from cli.stack.ports import free_port
from cli.stack.provision import BOOKS
from kernel.bus import Bus, BusDown
from tests.support.authority import Authority
from tests.support.checkout import ROOT
from tests.support.kustomize import Object, render

PATIENCE_S = 60.0  # three servers elect their leaders on a shared machine
SERVERS = 3


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    client_port: int
    route_port: int
    monitor_port: int


class Cluster(NamedTuple):
    servers: list[Server]
    authority: Path

    def url(self, user: str, server: int = 0) -> str:
        port = self.servers[server].client_port
        return f"tls://{user}:{password(user)}@127.0.0.1:{port}"


def password(user: str) -> str:
    return f"{user}-over-lanzhou"


def configuration() -> dict[str, str]:
    return next(
        one["data"]
        for one in render()
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "nats")
    )


def put_on_loopback(text: str, home: Path, ports: dict[str, str]) -> str:
    """What a pod finds at its mounts and names, where this machine has it."""
    moved = {
        "/installation/": f"{home.parent}/",
        "/tls/": f"{home}/tls/",
        "/run/nats/": f"{home}/",
        "store_dir: /data": f"store_dir: {home}/data",
        **ports,
    }
    for old, new in moved.items():
        assert old in text, f"the configuration no longer says {old}"
        text = text.replace(old, new)
    return text


def start(folder: Path, number: int, ports: list[dict[str, int]], authority: Authority) -> Server:
    home = folder / f"nats-{number}"
    authority.issue(home / "tls", "nats", f"nats-{number}.nats-routes")
    own = ports[number]
    moved = {f"port: {old}\n": f"host: 127.0.0.1\nport: {own[old]}\n" for old in ("4222", "6222")}
    moved["http: 8222"] = f"http: 127.0.0.1:{own['8222']}"
    files = configuration()
    (home / "users.conf").write_text(files["users.conf"])
    (home / "nats.conf").write_text(put_on_loopback(files["nats.conf"], home, moved))
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(_wheel_binary()), "--config", str(home / "nats.conf")],
            env=environment(number, ports),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Server(process, own["4222"], own["6222"], own["8222"])


def environment(number: int, ports: list[dict[str, int]]) -> dict[str, str]:
    """As the kubelet makes it of the pod's list: earlier variables stand in later ones."""
    given = {"POD_NAME": f"nats-{number}"}
    for one in nats_container()["env"]:
        reference = one.get("valueFrom", {}).get("secretKeyRef")
        if reference is not None:
            given[one["name"]] = password(reference["key"])
        elif "value" in one:
            value = re.sub(r"\$\((\w+)\)", lambda hit: given[hit[1]], one["value"])
            for other, its in enumerate(ports):
                value = value.replace(f"nats-{other}.nats-routes:6222", f"127.0.0.1:{its['6222']}")
            given[one["name"]] = value
    return given


def await_healthy(server: Server, path: str, log: Path) -> None:
    """By the very page a pod's probes read."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{server.monitor_port}{path}", timeout=5) as answer:
                if json.load(answer)["status"] == "ok":
                    return
        except (URLError, OSError):
            pass
        if server.process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(log.read_text()[-4000:], pytrace=False)
        time.sleep(0.1)


def nats_container() -> Object:
    workload = next(
        one for one in render() if (one["kind"], one["metadata"]["name"]) == ("StatefulSet", "nats")
    )
    found: Object = workload["spec"]["template"]["spec"]["containers"][0]
    return found


def probe_paths() -> list[str]:
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    return [nats_container()[probe]["httpGet"]["path"] for probe in probes]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    authority = Authority(folder)
    ports = [{name: free_port() for name in ("4222", "6222", "8222")} for _ in range(SERVERS)]
    servers: list[Server] = []
    try:
        for number in range(SERVERS):
            servers.append(start(folder, number, ports, authority))
        for number, server in enumerate(servers):
            for path in probe_paths():
                await_healthy(server, path, folder / f"nats-{number}" / "log")
        yield Cluster(servers, authority.certificate)
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()


def guessing(cluster: Cluster) -> dict[str, str]:
    """The environment of somebody who knows where the servers are, and no password."""
    urls = (f"tls://route:guessed@127.0.0.1:{one.route_port}" for one in cluster.servers)
    routes = {f"ROUTE_{number}": url for number, url in enumerate(urls)}
    return {"ROUTE_PASSWORD": "guessed", **routes}


def make_streams(cluster: Cluster, user: str = "operator") -> subprocess.CompletedProcess[str]:
    """As the CronJob does: the variable, the authority by OpenSSL's own, three replicas."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto'}",
        "SSL_CERT_FILE": str(cluster.authority),
        "TANZHANG_NATS_URL": cluster.url(user),
    }
    command = [sys.executable, "-m", "cli", "streams", "--replicas", str(SERVERS)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def streams(cluster: Cluster) -> Cluster:
    done = make_streams(cluster)
    assert done.returncode == 0, done.stderr
    return cluster


@pytest.fixture
def trusting(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process trusts the authority the way a pod does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(cluster.authority))


async def test_every_book_has_its_stream_on_three_servers(streams: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(streams.authority))
    client = await nats.connect(streams.url("operator"), tls=context)
    try:
        for book in BOOKS:
            info = await client.jetstream().stream_info(stream_name(book))
            assert info.config.num_replicas == SERVERS
            assert info.cluster is not None
            assert len(info.cluster.replicas or []) == SERVERS - 1
    finally:
        await client.close()


def test_streams_can_be_made_again(streams: Cluster) -> None:
    done = make_streams(streams)
    assert done.returncode == 0, done.stderr
    for book in BOOKS:
        assert f"{stream_name(book)}: {SERVERS} replicas" in done.stdout.splitlines()


@pytest.mark.usefixtures("trusting")
async def test_the_ledger_hears_on_one_server_what_accounts_says_on_another(
    streams: Cluster,
) -> None:
    accounts = await Bus.connect(streams.url("accounts", 0), "accounts")
    ledger = await Bus.connect(streams.url("ledger", 2), "ledger")
    heard: list[bytes] = []

    async def hear(data: bytes) -> None:
        heard.append(data)

    try:
        following = await ledger.follow_frames("accounts", hear)
        await accounts.publish_frames("accounts", [("lanzhou:0-0", b"12,000 t of tickets")])
        deadline = time.monotonic() + PATIENCE_S
        while not heard and time.monotonic() < deadline:
            await ledger._client.flush()
        assert heard == [b"12,000 t of tickets"]
        await following.end()
    finally:
        await accounts.close()
        await ledger.close()


@pytest.mark.usefixtures("trusting")
async def test_the_market_cannot_speak_for_accounts(streams: Cluster) -> None:
    market = await Bus.connect(streams.url("market"), "market")
    try:
        with pytest.raises(BusDown):
            await market.publish_frames("accounts", [("shenzhen:0-0", b"forged")])
    finally:
        await market.close()


# nats-py leaves the transport of a connection that was refused to the garbage collector: it is
# collected here, where it belongs, and not in the middle of another test.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_who_does_not_speak_tls_or_does_not_know_the_password_is_sent_away(
    streams: Cluster,
) -> None:
    try:
        await turned_away(streams)
    finally:
        await asyncio.sleep(0.1)
        gc.collect()


async def turned_away(streams: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(streams.authority))

    async def connect(url: str, **how: ssl.SSLContext) -> Client:
        return await nats.connect(url, allow_reconnect=False, error_cb=quiet, **how)

    async def quiet(error: Exception) -> None:
        """What goes wrong is raised."""

    plain = streams.url("accounts").replace("tls://", "nats://")
    with pytest.raises((NatsError, ssl.SSLError)):
        await connect(plain)
    with pytest.raises(NatsError, match=r"(?i)authorization"):
        await connect(streams.url("accounts").replace(password("accounts"), "guessed"), tls=context)


def test_a_service_with_a_certificate_is_no_server_of_the_cluster(
    streams: Cluster, tmp_path: Path
) -> None:
    """Its certificate is by the same authority; the routes' password it does not have."""
    home = streams.authority.parent / "nats-0"  # as good a certificate as any service's
    _, _, cluster_block = (home / "nats.conf").read_text().partition("cluster {")
    stolen = re.sub(r"port: \d+", f"port: {free_port()}", cluster_block, count=1)
    (tmp_path / "nats.conf").write_text(
        f"server_name: nats-9\nport: {free_port()}\ncluster {{"
        + stolen.replace("include users.conf", "")
    )
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(_wheel_binary()), "--config", str(tmp_path / "nats.conf")],
            env=guessing(streams),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "uthorization" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    assert "uthorization" in log.read_text(), log.read_text()[-2000:]
    with urlopen(f"http://127.0.0.1:{streams.servers[0].monitor_port}/routez", timeout=5) as page:
        names = {route["remote_name"] for route in json.load(page)["routes"]}
    assert names == {"nats-1", "nats-2"}
