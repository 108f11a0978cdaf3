"""The probe of a pod: a real server over TLS, asked the way its callers reach and check it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.stack.ports import free_port
from kernel.auth import TokenVerifier
from kernel.clock import SystemClock
from kernel.config import Listen
from kernel.identities import Identities
from kernel.rpc.server import RpcServer
from tests.support.authority import Authority
from tests.support.checkout import ROOT


class Process(NamedTuple):
    server: RpcServer
    authority: Path


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Process]:
    """A server with a certificate of `accounts`, on every address, as in a pod."""
    authority = Authority(tmp_path)
    folder = authority.issue(tmp_path / "tls", "accounts")
    listen = Listen("0.0.0.0", free_port(), folder / "tls.crt", folder / "tls.key")
    verifier = TokenVerifier(Identities(frames=[], tokens=[], v=1), SystemClock(None))
    server = RpcServer(listen, verifier, [])
    await server.start()
    yield Process(server, authority.certificate)
    await server.stop()


async def probe(port: int, authority: Path | None, service: str = "accounts") -> tuple[int, str]:
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto'}"}
    environment["TANZHANG_LISTEN"] = f"0.0.0.0:{port}"
    if authority is not None:
        environment["TANZHANG_TLS_AUTHORITY"] = str(authority)
    command = ("-m", "kernel.rpc.probe", service)
    asked = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asked.communicate()
    return asked.returncode or 0, said.decode().strip()


async def test_a_process_that_serves_passes(accounts: Process) -> None:
    assert await probe(accounts.server.port, accounts.authority) == (0, "SERVING")


async def test_a_process_that_ends_fails(accounts: Process) -> None:
    await accounts.server.set_serving(False)
    assert await probe(accounts.server.port, accounts.authority) == (1, "NOT_SERVING")


async def test_a_process_with_another_services_certificate_fails(accounts: Process) -> None:
    """Its callers would not believe it either."""
    asked = await probe(accounts.server.port, accounts.authority, "ledger")
    assert asked == (1, "UNREACHABLE")


async def test_a_certificate_by_somebody_else_fails(accounts: Process, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    asked = await probe(accounts.server.port, stranger.certificate)
    assert asked == (1, "UNREACHABLE")


async def test_nobody_there_fails(accounts: Process) -> None:
    assert await probe(free_port(), accounts.authority) == (1, "UNREACHABLE")


async def test_a_missing_authority_is_said(tmp_path: Path) -> None:
    assert await probe(free_port(), tmp_path / "ca.crt") == (2, "")
