"""Clients of the accounts service in a fault run: entries, settlements, holds, reads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.rpc.items import timestamp_of
from kernel.values import Act
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import Account, Leg, Purpose
from tests.support.books import person
from tests.support.history import Place, Read
from tests.support.lanzhou import (
    CITY_GROUP,
    CNY,
    QINWANGCHUAN,
    TICKET,
    VENUE,
    ZHONGCHUAN,
    advice,
    available,
    deposit_entry,
    leg,
    settlement,
    settlement_entry,
    trading,
)
from tests.support.patient import PATIENCE_S, Asked, PatientClient, Service, Step, batch_item
from tests.support.proxied import STANDBY
from tests.support.world import BATCHES, World, account_message

HOLDERS = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP)
ASSETS = (TICKET, CNY)
MUCH = 10**12  # nobody has that: to be refused
LIVE_HOLDS = 12  # of one trader


@dataclass
class LiveHold:
    id: str
    asset: str
    holder: str
    to: str
    amount: int


def batch_request(items: Sequence[Any]) -> pb.PostBatchRequest:
    return pb.PostBatchRequest(items=[batch_item(item) for item in items])


ACCOUNTS = Service(
    book="accounts",
    stub=accounts_pb2_grpc.AccountsServiceStub,
    batches={**BATCHES, "PostBatch": (batch_request, "items")},
    outcomes=pb.GetOutcomesRequest,
    processes=("accounts", STANDBY),
)


class Trader(PatientClient):
    """Acts for all three holders, as venue and as cashier too."""

    def __init__(self, name: str, world: World, seed: str, folder: Path) -> None:
        caller = person(name, roles=[f"venue:{VENUE}", "cashier"], holders=HOLDERS)
        super().__init__(name, world, ACCOUNTS, caller, seed, folder)
        self._advised: list[tuple[PostEntry, Act]] = []
        self._holds: list[LiveHold] = []
        self._numbered = 0

    def steps(self) -> tuple[Step, ...]:
        return (
            (self.pays, 6),
            (self.moves_in_legs, 2),
            (self.goes_to_the_venue, 2),
            (self.comes_from_the_venue, 1),
            (self.settles, 3),
            (self.holds, 3),
            (self.ends_a_hold, 3),
            (self.pays_in, 1),
            (self.reads, 6),
        )

    def pays(self) -> None:
        """One to five payments of one leg; sometimes of what nobody has."""
        asked = []
        for _ in range(self.chance.randint(1, 5)):
            asset = self.chance.choice(ASSETS)
            source, target = self._two()
            amount = MUCH if self.chance.random() < 0.1 else self.chance.randint(1, 5)
            asked.append(self._entry([leg(amount, asset, available(source), available(target))]))
        self.ask("PostEntries", asked)

    def moves_in_legs(self) -> None:
        legs = []
        for _ in range(self.chance.randint(2, 4)):
            source, target = self._two()
            amount, asset = self.chance.randint(1, 4), self.chance.choice(ASSETS)
            legs.append(leg(amount, asset, available(source), available(target)))
        self.ask("PostEntries", [self._entry(legs)])

    def goes_to_the_venue(self) -> None:
        holder, asset = self.chance.choice(HOLDERS), self.chance.choice(ASSETS)
        amount = self.chance.randint(5, 30)
        entry = self._entry([leg(amount, asset, available(holder), trading(holder))])
        self.ask("PostEntries", [entry])

    def comes_from_the_venue(self) -> None:
        holder, asset = self.chance.choice(HOLDERS), self.chance.choice(ASSETS)
        amount = self.chance.randint(1, 10)
        entry = self._entry([leg(amount, asset, trading(holder), available(holder))])
        self.ask("PostEntries", [entry])

    def settles(self) -> None:
        """One to three trades in one entry: delivery and payment, signed by the venue."""
        deals = []
        for _ in range(self.chance.randint(1, 3)):
            seller, buyer = self._two()
            price = self.chance.randint(1, 3)
            deals.append((self._number("trade"), seller, buyer, self.chance.randint(1, 4), price))
        entry = self._entry(settlement_entry(*deals).legs, acts=[settlement(*deals)])
        self.ask("PostEntries", [entry])

    def holds(self) -> None:
        if len(self._holds) >= LIVE_HOLDS:
            return
        life_ms = self.chance.choice((None, None, 1500, 5000))
        placed, one = self._hold(self.chance.randint(1, 6), life_ms)
        if self.ask("PlaceHolds", [placed])[0]:
            self._holds.append(one)

    def _hold(self, amount: int, life_ms: int | None) -> tuple[Asked, LiveHold]:
        """One to place, and what it is once it stands."""
        holder, to = self._two()
        asset = self.chance.choice(ASSETS)
        id = self.world.new_id()
        item = pb.Hold(
            id=id,
            holder=holder,
            asset=asset,
            amount=amount,
            to=account_message(available(to)),
            expires_at=None
            if life_ms is None
            else timestamp_of(self.world.clock.now_ms() + life_ms),
        )
        moved = (place(available(holder), asset), place(held(holder, id), asset), amount)
        asked = Asked(item, "HoldPlaced", (moved,), moved[0])
        return asked, LiveHold(id, asset, holder, to, amount)

    def ends_a_hold(self) -> None:
        """Paid out, all or part, or released; some have expired by then."""
        if not self._holds:
            return
        one = self._holds.pop(self.chance.randrange(len(self._holds)))
        source = place(held(one.holder, one.id), one.asset)
        if self.chance.random() < 0.4:
            back = (source, place(available(one.holder), one.asset), one.amount)
            item = pb.HoldRelease(id=self.world.new_id(), hold=one.id)
            self.ask("ReleaseHolds", [Asked(item, "HoldReleased", (back,))])
            return
        paid = self.chance.randint(1, one.amount)
        move = (source, place(available(one.to), one.asset), paid)
        post = pb.HoldPost(id=self.world.new_id(), hold=one.id, amount=paid)
        self.ask("PostHolds", [Asked(post, "HoldPosted", (move,))])

    def pays_in(self) -> None:
        """On a bank's advice; sometimes on one that was used already, under another id."""
        if not self._advised or self.chance.random() < 0.8:
            holder, amount_fen = self.chance.choice(HOLDERS), self.chance.randint(1, 50)
            act = advice(holder, amount_fen, self._number("line"))
            self._advised.append((deposit_entry(holder, amount_fen), act))
        entry, act = self._advised[-1]
        self.ask("PostEntries", [self._entry(entry.legs, acts=[act])])

    def reads(self) -> None:
        """The balances of a holder: strong reads, from memory, under a fresh lease."""
        holder = self.chance.choice(HOLDERS)
        begun_s = time.monotonic()
        request = pb.GetBalancesRequest(holder=holder)
        answer = self.call("GetBalances", request, begun_s + PATIENCE_S)
        if answer is None:
            return
        self.diary.note(
            Read(
                client=self.name,
                holder=holder,
                invoked_s=begun_s,
                answered_s=time.monotonic(),
                as_of=answer.as_of_position,
                balances=tuple((_answered(one), one.amount) for one in answer.balances),
                by=self.answered_by,
            )
        )

    def _two(self) -> tuple[str, str]:
        one, other = self.chance.sample(HOLDERS, 2)
        return one, other

    def _number(self, what: str) -> str:
        self._numbered += 1
        return f"{what} {self._numbered} of {self.name}"

    def _entry(self, legs: Sequence[Leg], acts: Sequence[Act] = ()) -> Asked:
        item = self.world.entry(PostEntry(list(legs)), acts=acts)
        moves = tuple(
            (place(one.debit, one.asset), place(one.credit, one.asset), one.amount) for one in legs
        )
        return Asked(item, "EntryPosted", moves, moves[0][0] if len(moves) == 1 else None)


def _answered(balance: pb.Balance) -> Place:
    purpose = pb.Purpose.Name(balance.account.purpose).removeprefix("PURPOSE_").lower()
    return balance.account.holder, balance.asset, purpose, balance.account.ref


def place(account: Account, asset: str) -> Place:
    return account.holder, asset, str(account.purpose), account.ref


def held(holder: str, hold: str) -> Account:
    return Account(holder, Purpose.HELD, hold)
