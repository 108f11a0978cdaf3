"""Clients of the accounts service who do not give up: all kinds of commands, repeated by their ids.

Each `Trader` is a thread with a chance of its own, drawn from the run's seed, and writes down what
it saw (tests/support/history.py). It tries one process of the service after another until one
answers; now and then it loses patience, and then it does not know.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.kernel.v1 import items_pb2

from kernel.errors import Refused
from kernel.rpc.client import metadata
from kernel.rpc.items import timestamp_of
from kernel.rpc.problems import from_rpc_error
from kernel.values import Act
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import Account, Leg, Purpose
from tests.support.books import person
from tests.support.history import Answer, Command, Diary, Move, Place, Read
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
from tests.support.proxied import ProxiedSupervisor
from tests.support.world import BATCHES, World, account_message

HOLDERS = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP)
ASSETS = (TICKET, CNY)
CALL_S = 2.0  # then the call is taken for lost and asked again
PATIENCE_S = 45.0  # longer than anything that is done to a service lasts
IMPATIENT = 0.08  # of the commands are asked once and given up
ASKED_AGAIN = 0.05  # of the answered ones are asked once more
PAUSE_S = (0.02, 0.12)  # between two steps
RETRY_S = 0.05
MUCH = 10**12  # nobody has that: to be refused
LIVE_HOLDS = 12  # of one trader


@dataclass
class LiveHold:
    id: str
    asset: str
    holder: str
    to: str
    amount: int


class Asked(msgspec.Struct):
    """An item on its way, and what is to be written down about it."""

    item: Any
    type: str
    moves: tuple[Move, ...]
    of: Place | None = None  # where a refusal's numbers are looked up: of commands of one leg


class Trader:
    """One client. `start` it, `stop` it; then `diary.seen` is all it saw."""

    def __init__(
        self, name: str, world: World, processes: Sequence[str], seed: str, folder: Path
    ) -> None:
        self.name = name
        self.diary = Diary(folder / f"{name}.jsonl")
        self.answered_by = processes[0]
        self.asked_again_for: Counter[str] = Counter()  # why calls were repeated
        self.broken: BaseException | None = None
        self._world = world
        self._caller = person(name, roles=[f"venue:{VENUE}", "cashier"], holders=HOLDERS)
        self._chance = random.Random(f"{seed} {name}")
        self._processes = list(processes)
        self._channels = {one: self._channel(one) for one in processes}
        self._holds: list[LiveHold] = []
        self._numbered = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._steps: tuple[tuple[Callable[[], None], int], ...] = (
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

    def _channel(self, process: str) -> grpc.Channel:
        supervisor = self._world.supervisor
        assert isinstance(supervisor, ProxiedSupervisor)
        return grpc.insecure_channel(
            f"127.0.0.1:{supervisor.way(self.name, process).port}",
            options=[
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 200),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Asks to stop; `join` waits for the step on its way, which is not given up for that."""
        self._stopping.set()

    def join(self) -> None:
        self._thread.join(PATIENCE_S * 2)
        assert not self._thread.is_alive(), f"{self.name} does not end"
        for channel in self._channels.values():
            channel.close()
        self.diary.__exit__(None, None, None)

    def _run(self) -> None:
        steps, weights = zip(*self._steps, strict=True)
        try:
            while not self._stopping.is_set():
                self._chance.choices(steps, weights)[0]()
                self._stopping.wait(self._chance.uniform(*PAUSE_S))
        except BaseException as error:  # told by whoever joins
            self.broken = error

    # ---- what they do ---------------------------------------------------------------------------

    def pays(self) -> None:
        """One to five payments of one leg; sometimes of what nobody has."""
        asked = []
        for _ in range(self._chance.randint(1, 5)):
            asset = self._chance.choice(ASSETS)
            source, target = self._two()
            amount = MUCH if self._chance.random() < 0.1 else self._chance.randint(1, 5)
            asked.append(self._entry([leg(amount, asset, available(source), available(target))]))
        self._ask("PostEntries", asked)

    def moves_in_legs(self) -> None:
        legs = []
        for _ in range(self._chance.randint(2, 4)):
            source, target = self._two()
            amount, asset = self._chance.randint(1, 4), self._chance.choice(ASSETS)
            legs.append(leg(amount, asset, available(source), available(target)))
        self._ask("PostEntries", [self._entry(legs)])

    def goes_to_the_venue(self) -> None:
        holder, asset = self._chance.choice(HOLDERS), self._chance.choice(ASSETS)
        amount = self._chance.randint(5, 30)
        entry = self._entry([leg(amount, asset, available(holder), trading(holder))])
        self._ask("PostEntries", [entry])

    def comes_from_the_venue(self) -> None:
        holder, asset = self._chance.choice(HOLDERS), self._chance.choice(ASSETS)
        amount = self._chance.randint(1, 10)
        entry = self._entry([leg(amount, asset, trading(holder), available(holder))])
        self._ask("PostEntries", [entry])

    def settles(self) -> None:
        """One to three trades in one entry: delivery and payment, signed by the venue."""
        deals = []
        for _ in range(self._chance.randint(1, 3)):
            seller, buyer = self._two()
            price = self._chance.randint(1, 3)
            deals.append((self._number("trade"), seller, buyer, self._chance.randint(1, 4), price))
        entry = self._entry(settlement_entry(*deals).legs, acts=[settlement(*deals)])
        self._ask("PostEntries", [entry])

    def holds(self) -> None:
        if len(self._holds) >= LIVE_HOLDS:
            return
        holder, to = self._two()
        asset, amount = self._chance.choice(ASSETS), self._chance.randint(1, 6)
        life_ms = self._chance.choice((None, None, 1500, 5000))
        id = self._world.new_id()
        item = pb.Hold(
            id=id,
            holder=holder,
            asset=asset,
            amount=amount,
            to=account_message(available(to)),
            expires_at=None
            if life_ms is None
            else timestamp_of(self._world.clock.now_ms() + life_ms),
        )
        moved = (place(available(holder), asset), place(held(holder, id), asset), amount)
        if self._ask("PlaceHolds", [Asked(item, "HoldPlaced", (moved,), moved[0])])[0]:
            self._holds.append(LiveHold(id, asset, holder, to, amount))

    def ends_a_hold(self) -> None:
        """Paid out, all or part, or released; some have expired by then."""
        if not self._holds:
            return
        one = self._holds.pop(self._chance.randrange(len(self._holds)))
        source = place(held(one.holder, one.id), one.asset)
        if self._chance.random() < 0.4:
            back = (source, place(available(one.holder), one.asset), one.amount)
            item = pb.HoldRelease(id=self._world.new_id(), hold=one.id)
            self._ask("ReleaseHolds", [Asked(item, "HoldReleased", (back,))])
            return
        paid = self._chance.randint(1, one.amount)
        move = (source, place(available(one.to), one.asset), paid)
        post = pb.HoldPost(id=self._world.new_id(), hold=one.id, amount=paid)
        self._ask("PostHolds", [Asked(post, "HoldPosted", (move,))])

    def pays_in(self) -> None:
        holder, amount_fen = self._chance.choice(HOLDERS), self._chance.randint(1, 50)
        act = advice(holder, amount_fen, self._number("line"))
        self._ask("PostEntries", [self._entry(deposit_entry(holder, amount_fen).legs, acts=[act])])

    def reads(self) -> None:
        """The balances of a holder: strong reads, from memory, under a fresh lease."""
        holder = self._chance.choice(HOLDERS)
        begun_s = time.monotonic()
        request = pb.GetBalancesRequest(holder=holder)
        answer = self._call("GetBalances", request, begun_s + PATIENCE_S)
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
        one, other = self._chance.sample(HOLDERS, 2)
        return one, other

    def _number(self, what: str) -> str:
        self._numbered += 1
        return f"{what} {self._numbered} of {self.name}"

    def _entry(self, legs: Sequence[Leg], acts: Sequence[Act] = ()) -> Asked:
        item = self._world.entry(PostEntry(list(legs)), acts=acts)
        moves = tuple(
            (place(one.debit, one.asset), place(one.credit, one.asset), one.amount) for one in legs
        )
        return Asked(item, "EntryPosted", moves, moves[0][0] if len(moves) == 1 else None)

    # ---- how they ask ---------------------------------------------------------------------------

    def _ask(self, method: str, asked: Sequence[Asked]) -> list[bool]:
        """Sent until it is answered, then written down; whether each was accepted."""
        request_type, field = BATCHES[method]
        request = request_type(**{field: [one.item for one in asked]})
        begun_s = time.monotonic()
        patience_s = 0.0 if self._chance.random() < IMPATIENT else PATIENCE_S
        before = self.asked_again_for.total()
        answer = self._call(method, request, begun_s + patience_s)
        answered_s = time.monotonic()
        attempts = 1 + self.asked_again_for.total() - before
        results = [None] * len(asked) if answer is None else answer.results
        again: Any = None
        if answer is not None and self._chance.random() < ASKED_AGAIN:
            now_s = time.monotonic()
            again = self._call(method, request, now_s + PATIENCE_S)
        for i, (one, result) in enumerate(zip(asked, results, strict=True)):
            command = Command(
                client=self.name,
                id=one.item.id,
                type=one.type,
                invoked_s=begun_s,
                answered_s=None if result is None else answered_s,
                attempts=attempts,
                moves=one.moves,
            )
            told = command if result is None else _told(command, one, result)
            if again is not None:
                told = _told_again(told, again.results[i])
            self.diary.note(told)
        return [result is not None and result.HasField("accepted") for result in results]

    def _call(self, method: str, request: Any, give_up_s: float) -> Any:
        """One call, of one process after another, until it is answered; None when given up."""
        while True:
            process = self._processes[0]
            stub: Any = accounts_pb2_grpc.AccountsServiceStub(self._channels[process])
            try:
                token = metadata(self._world.token(self._caller))
                answer = getattr(stub, method)(request, timeout=CALL_S, metadata=token)
                self.answered_by = process
                return answer
            except grpc.RpcError as error:
                known = from_rpc_error(error)  # type: ignore[arg-type]
                if isinstance(known, Refused):
                    raise known from error
                self.asked_again_for[getattr(known, "reason", "FAULT")] += 1
                self._processes.append(self._processes.pop(0))
            if time.monotonic() >= give_up_s:
                return None
            time.sleep(RETRY_S)


def _told(command: Command, one: Asked, result: items_pb2.ItemResult) -> Command:
    if result.HasField("accepted"):
        first = result.accepted.first_position
        return msgspec.structs.replace(command, answer=Answer.OK, position=first)
    refused = result.refused
    numbered = refused.reason == "INSUFFICIENT_BALANCE" and one.of is not None
    return msgspec.structs.replace(
        command,
        answer=Answer.REFUSED,
        reason=refused.reason,
        needed=int(refused.details["needed"]) if numbered else None,
        available=int(refused.details["available"]) if numbered else None,
        of=one.of if numbered else None,
    )


def _told_again(told: Command, result: items_pb2.ItemResult) -> Command:
    """What a repeat was answered, if it is worth a word: -1 stands for another refusal."""
    if result.HasField("accepted"):
        return msgspec.structs.replace(told, again=result.accepted.first_position)
    if told.answer is not Answer.REFUSED or result.refused.reason != told.reason:
        return msgspec.structs.replace(told, again=-1)
    return told


def _answered(balance: pb.Balance) -> Place:
    purpose = pb.Purpose.Name(balance.account.purpose).removeprefix("PURPOSE_").lower()
    return balance.account.holder, balance.asset, purpose, balance.account.ref


def place(account: Account, asset: str) -> Place:
    return account.holder, asset, str(account.purpose), account.ref


def held(holder: str, hold: str) -> Account:
    return Account(holder, Purpose.HELD, hold)


def outcomes_of(
    world: World, process: str, client: str, ids: Sequence[str]
) -> dict[str, int | None]:
    """What a client's ids are answered: the first position, None for a refusal."""
    stub = accounts_pb2_grpc.AccountsServiceStub(world.channel(process))
    caller = person(client, holders=HOLDERS)
    request = pb.GetOutcomesRequest(ids=ids)
    answer = world.call(stub.GetOutcomes, request, caller, patience_s=PATIENCE_S)
    return {
        result.id: result.accepted.first_position if result.HasField("accepted") else None
        for result in answer.results
    }
