"""Clients of the gateway in a fault run: transfers by REST, repeated by their Idempotency-Key."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.kernel.v1 import items_pb2

from kernel.errors import Conflict, Refused
from tests.support.books import person
from tests.support.lanzhou import CNY, TICKET, available
from tests.support.patient import Asked, PatientClient, Service, Step
from tests.support.traders import HOLDERS, MUCH, place
from tests.support.world import World

CALL_S = 5.0  # the gateway itself asks again behind it
TRANSFERS = "/v1/transfers"
AWAY = (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)  # and everything from 500 on


class Transfer(msgspec.Struct):
    """What is posted, and under which key."""

    id: str
    body: dict[str, Any]


class Posted(msgspec.Struct):
    """One request holds one of them."""

    transfers: list[Transfer]


class Answered(msgspec.Struct):
    results: list[items_pb2.ItemResult]


GATEWAY = Service(
    book="accounts",
    stub=accounts_pb2_grpc.AccountsServiceStub,  # at the end, of what became of its keys
    batches={TRANSFERS: (Posted, "transfers")},
    outcomes=pb.GetOutcomesRequest,
    processes=("gateway",),
)


class AppUser(PatientClient):
    """Acts for all three holders."""

    def __init__(self, name: str, world: World, seed: str, folder: Path) -> None:
        super().__init__(name, world, GATEWAY, person(name, holders=HOLDERS), seed, folder)

    def steps(self) -> tuple[Step, ...]:
        return ((self.transfers, 1),)

    def transfers(self) -> None:
        source, target = self.chance.sample(HOLDERS, 2)
        asset = self.chance.choice((TICKET, CNY))
        amount = MUCH if self.chance.random() < 0.1 else self.chance.randint(1, 5)
        body = {"holder": source, "to": target, "asset": asset, "amount": amount}
        moved = (place(available(source), asset), place(available(target), asset), amount)
        item = Transfer(self.world.new_id(), body)
        self.ask(TRANSFERS, [Asked(item, "EntryPosted", (moved,), moved[0])])

    def attempt(self, process: str, method: str, request: Posted) -> Answered:
        (one,) = request.transfers
        headers = {
            "Authorization": f"Bearer {self.token()}",
            "Content-Type": "application/json",
            "Idempotency-Key": one.id,
        }
        url = f"http://{self.address(process)}{method}"
        asked = Request(url, json.dumps(one.body).encode(), headers, method="POST")
        try:
            with urlopen(asked, timeout=CALL_S) as answer:
                return Answered([_accepted(one.id, json.loads(answer.read()))])
        except HTTPError as problem:
            return Answered([_refused(one.id, problem)])
        except (OSError, HTTPException, ValueError) as error:  # cut off, also in its middle
            raise Conflict("GATEWAY_AWAY", repr(error)) from error


def _accepted(id: str, body: dict[str, Any]) -> items_pb2.ItemResult:
    accepted = items_pb2.Accepted(first_position=body["position"], repeated=body["repeated"])
    return items_pb2.ItemResult(id=id, accepted=accepted)


def _refused(id: str, problem: HTTPError) -> items_pb2.ItemResult:
    """A refusal of the item; of the call it is raised, and what may come right is a Conflict."""
    with problem:
        body = json.loads(problem.read())
    if problem.code in AWAY or problem.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Conflict(f"GATEWAY {body['reason']}", body["detail"])
    if body["reason"] != "INSUFFICIENT_BALANCE":
        raise Refused(body["reason"], body["detail"])
    details = {name: str(value) for name, value in body["details"].items()}
    refusal = items_pb2.Refusal(reason=body["reason"], message=body["detail"], details=details)
    return items_pb2.ItemResult(id=id, refused=refusal)
