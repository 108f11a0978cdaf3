"""A fresh stack in a temporary folder, with money on many accounts, for every benchmark."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from benchmarks.jobs import Person
from cli.clients import Account, Asset, Books, Entry, Holder, Leg, Persona
from cli.directory import accept, register_keys, wait_until_known
from cli.stack.folder import NATS, POSTGRES
from cli.stack.provision import PROGRAMS
from cli.stack.supervisor import Supervisor
from cli.workspace import Workspace
from kernel.acts import sign_act
from kernel.ids import new_holder_id, uuid7
from kernel.values import uscc_check_character

START_FEN: Final = 10**12  # on every account: nothing runs dry
BATCH: Final = 500
HOLDERS_PER_PERSON: Final = 100  # a token names them all, and a header has its limit
READ_MODELS_WITHIN_S: Final = 120.0
REGISTRAR: Final = Persona("registrar", ("registrar",))
CASHIER: Final = Persona("cashier", ("cashier",))


class Bench(NamedTuple):
    """Each person operates for a slice of the holders, and may pay from any of those."""

    supervisor: Supervisor
    workspace: Workspace
    people: tuple[Person, ...]

    @property
    def directory(self) -> str:
        return str(self.workspace.directory)

    @property
    def holders(self) -> list[str]:
        return [holder for person in self.people for holder in person.holders]

    def first(self, accounts: int) -> tuple[Person, ...]:
        """Who operates for the first so many holders, and for no others."""
        chosen = set(self.holders[:accounts])
        people = [
            Person(one.sub, tuple(holder for holder in one.holders if holder in chosen))
            for one in self.people
        ]
        return tuple(one for one in people if one.holders)

    def pids(self) -> dict[str, int]:
        """Every process of the stack by name."""
        names = (*PROGRAMS, POSTGRES, NATS)
        found = {name: self.supervisor.process(name).pid for name in names}
        return {name: pid for name, pid in found.items() if pid is not None}

    def await_read_models(self, position: int) -> None:
        """Returns once the movements of accounts cover a position: the last work of an entry."""
        asyncio.run(self._await_read_models(position))

    async def _await_read_models(self, position: int) -> None:
        who = self.people[0]
        request = pb.ListMovementsRequest(holder=who.holders[0], min_position=position, page_size=1)
        async with Books(self.workspace, patience_s=READ_MODELS_WITHIN_S) as books:
            stub = accounts_pb2_grpc.AccountsServiceStub(books.channel("accounts"))
            await books.call(stub.ListMovements, request, who.persona())


@contextmanager
def bench_world(holders: int, standbys: Sequence[str] = ()) -> Iterator[Bench]:
    """A running stack with this many funded holders; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as folder:
        supervisor = Supervisor(Path(folder), standbys=standbys)
        supervisor.start()
        try:
            workspace = Workspace(Path(folder))
            ids = [new_holder_id() for _ in range(holders)]
            asyncio.run(_fund(workspace, ids))
            slices = iter(ids)
            people: list[Person] = []
            while mine := tuple(islice(slices, HOLDERS_PER_PERSON)):
                people.append(Person(f"load-{len(people)}", mine))
            yield Bench(supervisor, workspace, tuple(people))
        finally:
            supervisor.stop()


async def _fund(workspace: Workspace, holders: list[str]) -> None:
    """Registers holders and brings their money in by signed advices, as in real life."""
    bank, house = new_holder_id(), new_holder_id()
    key = workspace.institution_key("bench-bank")

    def new_id() -> str:
        return uuid7(workspace.clock.now_ms())

    async with Books(workspace) as books:
        code = "91110000MA00BENC4"
        rows = [
            Holder(
                new_id(), bank, "settlement_bank", "结算银行", code + uscc_check_character(code)
            ),
            *(Holder(new_id(), one, "foreign", f"账户 {one}") for one in (house, *holders)),
        ]
        for i in range(0, len(rows), BATCH):
            for outcome in await books.register_holders(REGISTRAR, rows[i : i + BATCH]):
                accept(outcome)
        money = Asset(new_id(), "CNY", "fen", "人民币", backdating_days=30)
        accept((await books.define_assets(REGISTRAR, [money]))[0])
        await register_keys(books, workspace.clock, {f"bank:{bank}": key})
        source = Account(house, "external", bank)
        first = (Leg(source, Account(holders[0]), "CNY", START_FEN),)
        await wait_until_known(books, workspace.clock, CASHIER, key, first)
        entries = []
        for n, holder in enumerate(holders):
            advice = {
                "kind": "bank-advice",
                "amount_fen": START_FEN,
                "asset": "CNY",
                "bank": bank,
                "clearing_house": house,
                "holder": holder,
                "line": f"bench-{n}",
            }
            legs = (Leg(source, Account(holder), "CNY", START_FEN),)
            entries.append(Entry(new_id(), legs, acts=(sign_act(key, advice),)))
        for i in range(0, len(entries), BATCH):
            for outcome in await books.post_entries(CASHIER, entries[i : i + BATCH]):
                accept(outcome)
