"""Every process of k8s/base for real: its own variables, production, TLS, its own role and schema.

Commands, variables and probes are read from the manifests; only what names the cluster's network
and mounts is put on loopback and into a temporary folder. PostgreSQL is prepared by the very
statements of docs/operating/kubernetes.md. There is no NATS: a process starts without its bus.
"""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psycopg
import pytest

from cli.stack.ports import free_port
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.provision import (
    GATEWAY,
    LOG_KEEPER,
    PROGRAMS,
    SERVICES,
    Provisioned,
    identities_file,
    keys_folder,
    provision,
)
from tests.support.authority import Authority
from tests.support.checkout import ROOT
from tests.support.kustomize import Object, render

DOCUMENT = ROOT / "docs" / "operating" / "kubernetes.md"
PATIENCE_S = 60.0
STATEMENTS = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Installation(NamedTuple):
    """What an operator makes before the first apply."""

    folder: Path
    provisioned: Provisioned
    authority: Authority
    postgres: EmbeddedPostgres


def prepare_postgres(server: EmbeddedPostgres, passwords: dict[str, str]) -> None:
    """As the document says: the first block once, the second for each service."""
    database, service = STATEMENTS.findall(DOCUMENT.read_text())
    execute(server.admin_url(), database)
    for name, password in passwords.items():
        text = re.sub(r"\baccounts\b", name, service).replace("…", password)
        execute(server.admin_url("tanzhang"), text)


def execute(url: str, text: str) -> None:
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as admin:
        for statement in text.split(";\n"):
            if statement.strip():
                admin.execute(statement.encode())


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    provisioned = provision(folder / "made", "log.lanzhou.example")
    authority = Authority(folder)
    with EmbeddedPostgres(folder, free_port()) as postgres:
        prepare_postgres(postgres, dict(provisioned.database_passwords))
        yield Installation(folder, provisioned, authority, postgres)


def container(name: str) -> Any:
    workload = next(
        one
        for one in render()
        if one["kind"] in ("Deployment", "StatefulSet") and one["metadata"]["name"] == name
    )
    spec = workload["spec"]["template"]["spec"]
    return next(one for one in spec["containers"] if one["name"] == name)


def environment(installation: Installation, name: str, port: int) -> dict[str, str]:
    """What the container is told, with its mounts and references where they are here."""
    settings = next(one["data"] for one in render() if one["metadata"]["name"] == "settings")
    given: dict[str, str] = dict(settings)
    for one in container(name)["env"]:
        source = one.get("valueFrom")
        given[one["name"]] = (
            one["value"] if source is None else referred(installation, name, source)
        )
    given["TANZHANG_LISTEN"] = f"{given['TANZHANG_LISTEN'].rpartition(':')[0]}:{port}"
    given["TANZHANG_METRICS_PORT"] = str(free_port())
    paths = mounts(installation, name)
    for variable, value in given.items():
        for inside, outside in paths.items():
            if value == inside or value.startswith(f"{inside}/"):
                given[variable] = str(outside) + value.removeprefix(inside)
    code = f"{ROOT}{os.pathsep}{ROOT / 'proto'}"
    return {**given, "PYTHONPATH": code, "PATH": os.environ["PATH"]}


def referred(installation: Installation, name: str, source: Object) -> str:
    reference: Object = next(iter(source.values()))
    known = {
        "database-url": lambda: installation.postgres.url(
            name, installation.provisioned.database_passwords[name], "tanzhang"
        ),
        "nats-url": lambda: f"tls://{name}:nobody-there@127.0.0.1:{free_port()}",
        "operator-vkey": lambda: installation.provisioned.operator_vkey,
        "log-prefix": lambda: installation.provisioned.log_prefix,
    }
    return known[reference["key"]]()


def mounts(installation: Installation, name: str) -> dict[str, Path]:
    """Where each mount is; the keys of a process and of its logs lie together, as in the pod."""
    folder = installation.folder / "pods" / name
    keys, given = folder / "keys", folder / "installation"
    for place in (keys, given, folder / "checkpoints"):
        place.mkdir(parents=True, exist_ok=True)
    made = installation.provisioned.directory
    (given / "ca.crt").write_bytes(installation.authority.certificate.read_bytes())
    (given / "identities.note").write_bytes(identities_file(made).read_bytes())
    sources = [*keys_folder(made, name).glob("*.key")]
    if name == LOG_KEEPER:
        sources += keys_folder(made, name).glob("logs/*")
    for source in sources:
        copy_key(source, keys)
    tls = installation.authority.issue(folder / "tls", name)
    return {
        "/keys": keys,
        "/tls": tls,
        "/installation": given,
        "/checkpoints": folder / "checkpoints",
    }


def copy_key(source: Path, keys: Path) -> None:
    """By the command of the init container, as it stands in every book's file."""
    command = ["install", "--mode=0400", f"--target-directory={keys}", str(source)]
    subprocess.run(command, check=True)


def run(arguments: list[str], given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=given, cwd=ROOT, capture_output=True, text=True, check=False)


def serves(name: str, given: dict[str, str]) -> bool:
    """Asked as the pod's readiness probe asks."""
    probe = container(name)["readinessProbe"]
    if name != GATEWAY:
        return run(probe["exec"]["command"][1:], given).returncode == 0
    # A kubelet does not look at the certificate; callers do.
    port = given["TANZHANG_LISTEN"].rpartition(":")[2]
    context = ssl.create_default_context(cafile=given["TANZHANG_TLS_AUTHORITY"])
    path = container(name)["livenessProbe"]["httpGet"]["path"]
    try:
        with urlopen(f"https://127.0.0.1:{port}{path}", timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except (HTTPError, URLError, OSError):
        return False


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_process_serves_with_what_its_pod_tells_it(
    installation: Installation, name: str, tmp_path: Path
) -> None:
    given = environment(installation, name, free_port())
    assert given["TANZHANG_MODE"] == "production"
    if name in SERVICES:
        migrated = run(["-m", "services", name, "migrate"], given)
        assert migrated.returncode == 0, migrated.stderr
    command = container(name).get("command", ["python", "-m", "services"])
    log = tmp_path / "log"
    with log.open("wb") as file:
        arguments = [*command[1:], *container(name).get("args", [])]
        process = subprocess.Popen(
            [sys.executable, *arguments], env=given, cwd=ROOT, stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not serves(name, given):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
