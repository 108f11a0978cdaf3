"""Somebody at a screen: asks the gateway, which runs in this process, about a world's books.

The application runs over ASGI; the services are processes of the world. What is written through it
is noted like every command of a world, so its journals are held to it too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from cli.stack.ports import free_port
from cli.stack.provision import identities_file
from gateway.app import make_app
from gateway.clients import Services, answer_model
from gateway.config import PEERS
from gateway.sse import Streams
from kernel.auth import TokenVerifier
from kernel.identities import load_identities
from kernel.values import Act, Caller
from tests.support.world import Command, World


class Desk:
    """Asks the gateway as a person of the world."""

    def __init__(self, world: World, client: httpx.AsyncClient) -> None:
        self.world = world
        self.client = client

    async def write(
        self, path: str, body: dict[str, Any], caller: Caller, key: str | None = None
    ) -> httpx.Response:
        """A write to accounts, noted before it is sent and after it is answered."""
        key = key or self.world.new_id()
        command = Command("accounts", caller.actor.sub, key)
        self.world._note_sent([command])
        answer = await self.client.post(
            path, json=body, headers={**self.bearer(caller), "Idempotency-Key": key}
        )
        if answer.status_code in (200, 201):
            self.world.sent[command] = answer.json()["position"]
        return answer

    async def read(
        self, path: str, caller: Caller | None = None, **query: str | int | list[int]
    ) -> httpx.Response:
        headers = {} if caller is None else self.bearer(caller)
        return await self.client.get(path, params=query, headers=headers)

    def bearer(self, caller: Caller) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.world.token(caller)}"}


@asynccontextmanager
async def open_desk(world: World) -> AsyncIterator[Desk]:
    services = Services(peers_of(world))
    verifier = TokenVerifier(
        load_identities(identities_file(world.directory), operator_vkey(world)), world.clock
    )
    app = make_app(services, verifier, Streams(), world.clock)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield Desk(world, client)
    await services.close()


def peers_of(world: World) -> dict[str, str]:
    """Services this world runs, and addresses where nobody is for those it leaves out."""
    here = world.supervisor.services
    return {
        name: world.supervisor.target(name) if name in here else f"127.0.0.1:{free_port()}"
        for name in PEERS
    }


def operator_vkey(world: World) -> str:
    return world.service("accounts").environment["TANZHANG_OPERATOR_VKEY"]


def problem(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["reason"]) == (status, reason), body
    return body


def shown(answer: httpx.Response, method: str) -> dict[str, Any]:
    """An answer that is as the document says."""
    body: dict[str, Any] = answer.json()
    assert answer.status_code == 200, body
    answer_model(method).model_validate(body, strict=True, extra="forbid")
    return body


def act_of(act: Act) -> dict[str, str]:
    return {"key_id": act.key_id, "signature": act.signature, "statement": act.statement}
