"""Registry and market ask the real accounts book: what is not to be done yet ends no errand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.asks import Result
from kernel.errands import Errands
from kernel.keyring import AdmitKey, WithdrawKey
from kernel.record import decode_record
from kernel.rpc.batch import read_items
from kernel.rpc.items import disclosed_messages
from kernel.rpc.problems import to_item_result
from kernel.values import Caller
from services.accounts.domain.commands import PostEntry
from services.accounts.entries_rpc import post_entry
from services.market.clients import AccountsClient as MarketsClient
from services.market.clients import open_settlements
from services.market.domain.commands import PickOrders
from services.market.domain.events import Side
from services.registry.clients import AccountsClient as RegistrysClient
from services.registry.clients import open_pledges
from services.registry.domain.state import Stage
from tests.support import crossings
from tests.support.crossings import (
    FIRST_LENDER,
    MARKET_KEY,
    PICKED,
    SERVICE,
    VENUE,
    Teller,
    running_desks,
)
from tests.support.ending import end
from tests.support.lanzhou import (
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    FARMER,
    QINWANGCHUAN,
    SYSTEM,
    TICKET,
    advice,
    available,
    deposit_entry,
    leg,
    seeded_key,
    trading,
)

PATIENCE_S = 20.0


class Accounts:
    """A channel to the accounts service: its own writer answers, without a network."""

    def __init__(self, tell: Teller, caller: Caller) -> None:
        self._desk = tell.desks["accounts"]
        self._caller = caller
        self.refused: list[str] = []  # reasons
        self.has_refused = asyncio.Event()

    def unary_unary(self, path: str, **ways: object) -> Any:
        method = path.rpartition("/")[2]

        async def ask(request: Any, **around: object) -> Any:
            return await getattr(self, method)(request)

        return ask

    def unary_stream(self, path: str, **ways: object) -> None:
        """Nothing here is asked for in parts."""

    stream_stream = unary_stream

    async def PostEntries(self, request: pb.PostEntriesRequest) -> pb.PostEntriesResponse:
        _, _, asks = read_items(request.entries, self._caller, post_entry)
        results = await self._desk.writer.submit(asks)
        refusals = [one.outcome.refusal for one in results]
        self.refused += [refusal.reason for refusal in refusals if refusal is not None]
        if self.refused:
            self.has_refused.set()
        return pb.PostEntriesResponse(results=[to_item_result(one) for one in results])

    async def GetOutcomes(self, request: pb.GetOutcomesRequest) -> pb.GetOutcomesResponse:
        principal = self._caller.principal
        found = await self._desk.writer.find_outcomes(principal, request.ids)
        results = [to_item_result(Result(one, repeated=True)) for one in found]
        return pb.GetOutcomesResponse(results=results)

    async def DiscloseEvents(self, request: pb.DiscloseEventsRequest) -> pb.DiscloseEventsResponse:
        stored = self._desk.journal.read_events(list(request.positions))
        return pb.DiscloseEventsResponse(events=disclosed_messages(stored))


@asynccontextmanager
async def a_market_day() -> AsyncIterator[Teller]:
    """兰州新区 has issued, sold, and given the city group what it may pledge."""
    async with running_desks() as tell, asyncio.timeout(PATIENCE_S):
        await crossings.tell_of_keys(tell)
        await crossings.tell_of_holders(tell)
        await crossings.tell_of_forests(tell)
        lots = [("LZXQ-QIN", 1000), ("LZXQ-ZHONG", 800)]
        await crossings.tell_of_issuance(tell, "I-1", lots)
        gift = [leg(400, TICKET, available(QINWANGCHUAN), available(CITY_GROUP))]
        await tell.ask("given", "accounts", PostEntry(gift), FARMER)
        deposit, act = deposit_entry(CITY_GROUP, 41_940), advice(CITY_GROUP, 41_940, "1")
        await tell.ask("deposited", "accounts", deposit, CASHIER, act)
        bring = [leg(41_940, CNY, available(CITY_GROUP), trading(CITY_GROUP, "market"))]
        await tell.ask("money brought", "accounts", PostEntry(bring), BUYER)
        await tell.react("money brought", "market")
        await crossings.tell_of_instruments(tell)
        yield tell


async def key_leaves_accounts(tell: Teller, subject: str) -> AdmitKey:
    """As before the accounts book had heard of it; answers how it comes."""
    body = tell.whole.record(f"{subject} in accounts")["body"]
    await tell.desks["accounts"].ask(WithdrawKey(body["key_id"]), SYSTEM)
    return AdmitKey(**body)


async def until_refused(accounts: Accounts) -> None:
    await accounts.has_refused.wait()
    assert set(accounts.refused) == {"ACT_KEY_UNKNOWN"}


@pytest.mark.parametrize("late", [FIRST_LENDER, CITY_GROUP])
async def test_a_key_that_accounts_hears_of_later_costs_nobody_the_lien(late: str) -> None:
    async with a_market_day() as tell:
        admit = await key_leaves_accounts(tell, f"holder:{late}")
        lien = "l-" + "d" * 16
        await crossings.tell_of_pledge(tell, lien, 10, answered=False)
        writer, accounts = tell.desks["registry"].writer, Accounts(tell, SERVICE)
        client = RegistrysClient(writer, cast(Any, accounts), lambda: None)
        running = asyncio.create_task(Errands("pledge", writer, open_pledges, client.pledge).run())
        await until_refused(accounts)
        assert writer.state.liens[lien].process.stage == Stage.REQUESTED
        await tell.desks["accounts"].ask(admit, SYSTEM)
        while lien in writer.state.open_pledges:
            await writer.next_commit()
        await end(running)
        assert writer.state.liens[lien].process.stage == Stage.COMPLETED


async def pick_ten(tell: Teller, name: str) -> None:
    bring = [leg(10, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN, "market"))]
    await tell.ask(f"{name}: brought", "accounts", PostEntry(bring), FARMER)
    await tell.react(f"{name}: brought", "market")
    await crossings.place(tell, f"{name}: listed", PICKED, QINWANGCHUAN, "sell", 4194, 10)
    listed = tell.id_of(f"{name}: listed")
    pick = PickOrders(PICKED, CITY_GROUP, Side.BUY, 10, 4194, [listed])
    await tell.ask(name, "market", pick, BUYER)


async def settle_all(tell: Teller, accounts: Accounts, key: Ed25519PrivateKey) -> asyncio.Task[Any]:
    writer = tell.desks["market"].writer
    client = MarketsClient(writer, cast(Any, accounts), lambda: "", key)
    return asyncio.create_task(Errands("settle", writer, open_settlements, client.settle).run())


async def test_a_venues_key_that_accounts_hears_of_later_unwinds_no_trade() -> None:
    async with a_market_day() as tell:
        await pick_ten(tell, "ten tonnes")
        admit = await key_leaves_accounts(tell, "venue:market")
        writer, accounts = tell.desks["market"].writer, Accounts(tell, VENUE)
        running = await settle_all(tell, accounts, MARKET_KEY)
        await until_refused(accounts)
        assert len(writer.state.settlements) == 1
        await tell.desks["accounts"].ask(admit, SYSTEM)
        while writer.state.settlements:
            await writer.next_commit()
        await end(running)
        last = decode_record(tell.desks["market"].events()[-1].record)
        assert last.type == "SettlementCompleted"


async def test_what_a_replaced_key_has_settled_is_settled() -> None:
    """The answer was lost with the old process; the new one signs with the venue's new key."""
    async with a_market_day() as tell:
        await pick_ten(tell, "ten tonnes")
        writer, accounts = tell.desks["market"].writer, Accounts(tell, VENUE)
        before = MarketsClient(writer, cast(Any, accounts), lambda: "", MARKET_KEY)
        await before.settle(open_settlements(writer.state))
        running = await settle_all(tell, accounts, seeded_key("the market's new key"))
        while writer.state.settlements:
            await writer.next_commit()
        await end(running)
        last = decode_record(tell.desks["market"].events()[-1].record)
        assert last.type == "SettlementCompleted"
        assert set(accounts.refused) == {"ID_REUSED"}
