"""Registry and market ask the real accounts book: what is not to be done yet ends no errand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.kernel.v1 import items_pb2

from kernel.acts import sign_act
from kernel.asks import Ask, Result
from kernel.errands import Errands, errand_id
from kernel.keyring import AdmitKey, WithdrawKey
from kernel.record import decode_record
from kernel.rpc.batch import read_items
from kernel.rpc.items import disclosed_messages
from kernel.rpc.problems import to_item_result
from kernel.values import Caller
from services.accounts.domain.commands import PostEntry, SettleTrades
from services.accounts.entries_rpc import post_entry
from services.accounts.settlements import read_parts
from services.accounts.settling_rpc import trade_result
from services.market.clients import AccountsClient as MarketsClient
from services.market.clients import open_settlements
from services.market.domain.commands import PickOrders
from services.market.domain.events import SettlementsEnded, Side
from services.registry.clients import AccountsClient as RegistrysClient
from services.registry.clients import open_pledges
from services.registry.domain.state import Stage
from tests.support import crossings
from tests.support.crossings import (
    FIRST_KEY,
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
        self.parts: list[list[str]] = []  # ids of parts, by call

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

    async def SettleTrades(self, request: pb.SettleTradesRequest) -> pb.SettleTradesResponse:
        command = SettleTrades(request.venue)
        _, _, asks = read_items(request.parts, self._caller, lambda part: command)
        results = [to_item_result(one) for one in await self._desk.writer.submit(asks)]
        self.refused += [one.refused.reason for one in results if one.HasField("refused")]
        if self.refused:
            self.has_refused.set()
        self.parts.append([one.id for one in results])
        return pb.SettleTradesResponse(parts=[self._part_result(one) for one in results])

    def _part_result(self, result: items_pb2.ItemResult) -> pb.PartResult:
        if not result.HasField("accepted"):
            return pb.PartResult(result=result)
        (part,) = read_parts(self._desk.journal, [result.accepted.first_position])
        return pb.PartResult(result=result, trades=map(trade_result, part.trades))

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


async def pick_some(tell: Teller, name: str, quantity_t: int = 10) -> None:
    bring = [leg(quantity_t, TICKET, available(QINWANGCHUAN), trading(QINWANGCHUAN, "market"))]
    await tell.ask(f"{name}: brought", "accounts", PostEntry(bring), FARMER)
    await tell.react(f"{name}: brought", "market")
    await crossings.place(tell, f"{name}: listed", PICKED, QINWANGCHUAN, "sell", 4194, quantity_t)
    listed = tell.id_of(f"{name}: listed")
    pick = PickOrders(PICKED, CITY_GROUP, Side.BUY, quantity_t, 4194, [listed])
    await tell.ask(name, "market", pick, BUYER)


async def settle_all(tell: Teller, accounts: Accounts, key: Ed25519PrivateKey) -> asyncio.Task[Any]:
    writer = tell.desks["market"].writer
    client = MarketsClient(writer, cast(Any, accounts), lambda: "", key)
    return asyncio.create_task(Errands("settle", writer, open_settlements, client.settle).run())


async def test_a_venues_key_that_accounts_hears_of_later_unwinds_no_trade() -> None:
    async with a_market_day() as tell:
        await pick_some(tell, "ten tonnes")
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
        assert last.type == "SettlementsEnded"


async def test_what_a_replaced_key_has_settled_is_settled() -> None:
    """The answer was lost with the old process; the new one signs with the venue's new key."""
    async with a_market_day() as tell:
        await pick_some(tell, "ten tonnes")
        writer, accounts = tell.desks["market"].writer, Accounts(tell, VENUE)
        before = MarketsClient(writer, cast(Any, accounts), lambda: "", MARKET_KEY)
        await before.settle(open_settlements(writer.state))
        running = await settle_all(tell, accounts, seeded_key("the market's new key"))
        while writer.state.settlements:
            await writer.next_commit()
        await end(running)
        last = decode_record(tell.desks["market"].events()[-1].record)
        assert last.type == "SettlementsEnded"
        assert set(accounts.refused) == {"ID_REUSED"}


async def one_after_another(tell: Teller, count: int) -> None:
    for number in range(count):
        await pick_some(tell, f"two tonnes, {number}", 2)


def ends(tell: Teller) -> list[Any]:
    """Of settlements: each event's settlements, entries and refused trades."""
    records = [decode_record(one.record) for one in tell.desks["market"].events()]
    bodies = [
        msgspec.json.decode(one.body, type=SettlementsEnded)
        for one in records
        if one.type == "SettlementsEnded"
    ]
    return [
        ([e.entries for e in body.settlements], [r.reason for r in body.refused]) for body in bodies
    ]


async def until_settled(tell: Teller) -> None:
    writer = tell.desks["market"].writer
    while writer.state.settlements:
        await writer.next_commit()


async def test_what_was_traded_meanwhile_is_settled_as_one_part_and_ends_as_one_event() -> None:
    async with a_market_day() as tell:
        await one_after_another(tell, 3)
        first = tell.desks["accounts"].writer.committed_next
        accounts = Accounts(tell, VENUE)
        running = await settle_all(tell, accounts, MARKET_KEY)
        await until_settled(tell)
        await end(running)
        assert ends(tell) == [([[first + 1], [first + 2], [first + 3]], [])]
        assert [len(ids) for ids in accounts.parts] == [1]


async def test_a_part_of_another_length_that_was_carried_out_is_found_by_its_first_trade() -> None:
    """The process died before it knew; another trade was made before the next one asked."""
    async with a_market_day() as tell:
        await one_after_another(tell, 2)
        writer, accounts = tell.desks["market"].writer, Accounts(tell, VENUE)
        before = MarketsClient(writer, cast(Any, accounts), lambda: "", MARKET_KEY)
        first = tell.desks["accounts"].writer.committed_next
        await before.settle(open_settlements(writer.state))
        await pick_some(tell, "later", 2)
        running = await settle_all(tell, accounts, MARKET_KEY)
        await until_settled(tell)
        await end(running)
        (known, more) = ends(tell)
        assert known == ([[first + 1], [first + 2]], [])
        assert more[1] == []
        assert accounts.refused == ["ID_REUSED"]


async def test_a_part_refused_for_good_ends_its_first_trades_alone() -> None:
    async with a_market_day() as tell:
        await one_after_another(tell, 2)
        stranger = Accounts(tell, VENUE)
        running = await settle_all(tell, stranger, FIRST_KEY)  # a lender's, and known
        await until_settled(tell)
        await end(running)
        assert ends(tell) == [([[]], ["ACT_SUBJECT"])] * 2
        held = tell.desks["market"].writer.state.positions[CITY_GROUP]["CNY"]
        assert (held.free, held.on_the_way) == (41_940, 0)


async def test_what_an_entry_of_old_has_settled_is_settled() -> None:
    """Books from before files: the answer was lost, then the market was replaced by this one."""
    async with a_market_day() as tell:
        await pick_some(tell, "ten tonnes")
        writer, accounts = tell.desks["market"].writer, Accounts(tell, VENUE)
        (errand,) = open_settlements(writer.state)
        (made,) = errand.what.trades
        legs = [
            leg(10, TICKET, trading(made.seller, "market"), trading(made.buyer, "market")),
            leg(41_940, CNY, trading(made.buyer, "market"), trading(made.seller, "market")),
        ]
        row = {"asset": TICKET, "buyer": made.buyer, "price_fen_per_t": 4194}
        row |= {"quantity_t": 10, "seller": made.seller, "trade": made.trade}
        act = sign_act(MARKET_KEY, {"kind": "settlement", "trades": [row], "venue": "market"})
        entry = Ask(
            errand_id(writer, errand),
            VENUE,
            PostEntry(legs),
            acts=(act,),
            cause=("market", errand.position),
        )
        (result,) = await tell.desks["accounts"].writer.submit([entry])
        running = await settle_all(tell, accounts, MARKET_KEY)
        await until_settled(tell)
        await end(running)
        assert ends(tell) == [([[result.outcome.first]], [])]
        assert accounts.refused == ["ID_REUSED"]
