"""`tanzhang up --bank-sim`, for real: a bank comes up beside everything else, founds itself, and
what is paid in at its counter is booked on its own signature.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from cli.clients import Books, Holder, Persona
from cli.stack.folder import recorded_processes
from cli.workspace import Workspace
from kernel.acts import key_id, public_bytes
from kernel.ids import derived_holder_id, uuid7
from kernel.keys import load_private_key
from kernel.rpc.items import act_message
from kernel.values import Act
from tests.integration.test_supervisor import tanzhang
from tests.support.lanzhou import CITY_GROUP, CNY, USCCS
from tests.support.world import until

BANK = "bank-sim"
REGISTRAR = Persona("registrar", ("registrar",))
AUDITOR = Persona("auditor", ("auditor",))
PAID_IN_FEN = 123_456
BOOTED_S = 60.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "var"
    code, said = tanzhang(directory, "up", "--detach", "--bank-sim")
    assert code == 0, said
    try:
        yield directory
    finally:
        code, said = tanzhang(directory, "down")
    assert code == 0, said
    assert BANK not in recorded_processes(directory)


def counter(house: Path, path: str, body: object | None = None) -> Any:
    port = json.loads((house / BANK / BANK / "counter.json").read_text())["port"]
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", data), timeout=10.0) as said:
        return json.loads(said.read())


def is_founded(house: Path) -> bool:
    try:
        return bool(counter(house, "/state")["terms"]["first_day"])
    except (OSError, URLError, ValueError):
        return False


async def bind(house: Path) -> None:
    """The company is registered, and its account at the bank bound by the bank's own act."""
    place = Workspace(house)
    said = counter(house, "/accounts", {"holder": CITY_GROUP, "uscc": USCCS[CITY_GROUP]})
    async with Books(place, patience_s=BOOTED_S) as books:

        def new_id() -> str:
            return uuid7(place.clock.now_ms())

        row = Holder(new_id(), CITY_GROUP, "enterprise", "兰州新区城投", USCCS[CITY_GROUP])
        (registered,) = await books.register_holders(REGISTRAR, [row])
        assert registered.position is not None, registered
        binding = pb.BankAccountBinding(
            id=new_id(),
            holder=CITY_GROUP,
            clearing_house=derived_holder_id(BANK, BANK, "clearing house"),
            bank=derived_holder_id(BANK, BANK),
            account=said["account"],
            acts=[act_message(Act(**said["act"]))],
        )
        stub = accounts_pb2_grpc.AccountsServiceStub(books.channel("accounts"))
        request = pb.BindBankAccountsRequest(bindings=[binding])
        answer = await books.call(stub.BindBankAccounts, request, REGISTRAR)
        assert answer.results[0].HasField("accepted"), answer


async def balance_fen(house: Path) -> int:
    async with Books(Workspace(house), patience_s=BOOTED_S) as books:
        stub = accounts_pb2_grpc.AccountsServiceStub(books.channel("accounts"))
        request = pb.GetBalancesRequest(holder=CITY_GROUP, asset=CNY)
        answer = await books.call(stub.GetBalances, request, AUDITOR)
        return sum(one.amount for one in answer.balances)


async def deposit(house: Path) -> dict[str, Any]:
    """The record of the one entry that brought money in."""
    async with Books(Workspace(house), patience_s=BOOTED_S) as books:
        stub = accounts_pb2_grpc.AccountsServiceStub(books.channel("accounts"))
        request = pb.ListMovementsRequest(holder=CITY_GROUP, page_size=10)
        moved = (await books.call(stub.ListMovements, request, AUDITOR)).movements
        (shown,) = await books.disclose(AUDITOR, "accounts", [moved[0].position])
        await books.proofs("accounts", [shown.position])
        record: dict[str, Any] = json.loads(shown.record)
        return record


def test_up_starts_a_bank_whose_signed_advice_becomes_a_deposit(house: Path) -> None:
    until(lambda: is_founded(house), "the bank to be agreed with", BOOTED_S)
    assert recorded_processes(house)[BANK]
    asyncio.run(bind(house))
    line = counter(house, "/pay-in", {"holder": CITY_GROUP, "amount_fen": PAID_IN_FEN})["line"]
    until(lambda: asyncio.run(balance_fen(house)) == PAID_IN_FEN, "the deposit", BOOTED_S)

    record = asyncio.run(deposit(house))

    assert record["body"]["bank_line"] == line
    (act,) = record["acts"]
    bank_key = load_private_key(house / BANK / BANK / "bank.key")
    assert act["key_id"] == key_id(public_bytes(bank_key))
    assert json.loads(act["statement"])["amount_fen"] == PAID_IN_FEN
