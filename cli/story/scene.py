"""What all chapters of the story share: the services, the holders and keys, the watch, the figures.

Every id is made once and kept while its call is repeated, so the story survives services that die
and come back; what a process over two books comes to is asked for until it has ended. Nothing here
depends on how long something takes, but by giving up after `patience_s`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.clients import Balance, Books, Entry, Leg, Outcome, Persona
from cli.gateway_client import Gateway
from cli.inclusive_client import Inclusive
from cli.market_client import Market
from cli.registry_client import PledgeState, Registry
from cli.story.cast import AUDITOR
from cli.telling import Teller, Unexpected, expect
from cli.workspace import Workspace
from kernel.acts import sign_act
from kernel.errors import Conflict, Refused
from kernel.ids import uuid7
from kernel.values import Act

LEAST_PATIENCE_S: Final = 60.0  # for what other services have to finish
ASK_EVERY_S: Final = 0.1

T = TypeVar("T")


@dataclass
class Figures:
    """What the answers said; goes into the report as it is."""

    instance: int = 0
    ticket: str = ""
    holders: dict[str, str] = field(default_factory=dict)
    projects: list[dict[str, Any]] = field(default_factory=list)
    issuance: dict[str, Any] = field(default_factory=dict)
    settlement: dict[str, Any] = field(default_factory=dict)
    quotes: dict[str, Any] = field(default_factory=dict)
    pledges: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    isolation: str = ""
    standing: list[dict[str, Any]] = field(default_factory=list)  # of the liens
    judged: list[dict[str, Any]] = field(default_factory=list)
    rides: list[dict[str, Any]] = field(default_factory=list)
    citizen: dict[str, Any] = field(default_factory=dict)
    retirement: dict[str, Any] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    logs: dict[str, dict[str, Any]] = field(default_factory=dict)
    totals: list[dict[str, Any]] = field(default_factory=list)
    witnesses: dict[str, Any] = field(default_factory=dict)  # by book
    proven_after_ms: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """From the answer "recorded" to a checkpoint that covers the event, as the caller sees it.

    Of what the story itself asked for: what one book asks of another is not in it.
    """

    step: str
    book: str
    position: int
    wait_ms: int


class Scene:
    """One telling's world. Use its steps one after another, and `in_step` around each."""

    def __init__(self, workspace: Workspace, books: Books, teller: Teller) -> None:
        self.workspace = workspace
        self.clock = workspace.clock
        self.books = books
        self.registry = Registry(books)
        self.market = Market(books)
        self.inclusive = Inclusive(books)
        self.teller = teller
        self.patience_s = max(books.patience_s, LEAST_PATIENCE_S)
        self.holders: dict[str, str] = {}
        self.keys: dict[str, Ed25519PrivateKey] = {}
        self.last: dict[str, int] = {}  # by book: the highest position we were told
        self.traded_ms = 0  # when the price of the pledges was made
        self.liens: dict[str, PledgeState] = {}  # by lender
        self.samples: list[Sample] = []
        self.figures = Figures()
        self._step = ""
        self._watches: list[asyncio.Task[None]] = []

    @cached_property
    def gateway(self) -> Gateway:
        """Found when it is first asked: where nothing runs there is none."""
        return Gateway(self.books, self.workspace.target("gateway"))

    @asynccontextmanager
    async def in_step(self, title: str) -> AsyncIterator[None]:
        """One step: at its end everything it recorded is proven."""
        with self.teller.step(title):
            self._step = title
            try:
                yield
                await asyncio.gather(*self._watches)
            finally:
                for watch in self._watches:
                    watch.cancel()
                await asyncio.gather(*self._watches, return_exceptions=True)
                self._watches.clear()

    def say(self, line: str) -> None:
        self.teller.say(line)

    # ---- names, ids, signatures -----------------------------------------------------------------

    @property
    def ticket(self) -> str:
        return self.figures.ticket

    @property
    def number(self) -> int:
        """Of this telling on this data folder."""
        return self.figures.instance

    def new_id(self) -> str:
        return uuid7(self.clock.now_ms())

    def operator(self, who: str, role: str = "trader") -> Persona:
        """The person who acts for one holder of the story."""
        return Persona(f"{who}.{role}", (), (self.holders[who],))

    def sign(self, who: str, statement: dict[str, Any]) -> Act:
        """As the institution would, on its own side."""
        return sign_act(self.keys[who], statement)

    # ---- asking ---------------------------------------------------------------------------------

    def take(self, outcome: Outcome, book: str) -> int:
        """The position of what must have been accepted; a watch waits for its proof.

        What was recorded before this answer (asked again, or by an earlier telling) is no sample.
        """
        if outcome.position is None:
            expect("the answer", "accepted", f"{outcome.reason}: {outcome.message}")
            return 0
        self.last[book] = max(self.last.get(book, 0), outcome.position)
        watch = self._watch(self._step, book, outcome, time.monotonic_ns())
        self._watches.append(asyncio.create_task(watch))
        return outcome.position

    async def _watch(self, step: str, book: str, outcome: Outcome, answered_ns: int) -> None:
        position = outcome.position or 0
        await self.books.proofs(book, [position])
        wait_ms = (time.monotonic_ns() - answered_ns) // 1_000_000
        if not outcome.repeated:
            self.samples.append(Sample(step, book, position, wait_ms))

    def take_all(self, outcomes: Sequence[Outcome], book: str) -> list[int]:
        return [self.take(outcome, book) for outcome in outcomes]

    def refused(self, outcome: Outcome, reason: str) -> Outcome:
        """What must have been refused, for this reason."""
        expect("refused because", reason, outcome.reason or f"accepted at {outcome.position}")
        self.note_refusal(outcome.reason, outcome.message, outcome.details)
        return outcome

    async def refused_whole(self, asked: Awaitable[object], reason: str) -> Refused:
        """A call that must be refused as a whole, for this reason."""
        try:
            await asked
        except Refused as refused:
            expect("refused because", reason, refused.reason)
            self.note_refusal(refused.reason, refused.message, refused.details)
            return refused
        raise Unexpected("refused because", reason, "answered")

    def note_refusal(self, reason: str, message: str, details: Any) -> None:
        self.figures.refusals.append({"reason": reason, "message": message, **dict(details)})

    async def until(
        self, what: str, ask: Callable[[], Awaitable[T]], ended: Callable[[T], bool]
    ) -> T:
        """Asks again until it has ended; Conflict when that takes longer than our patience."""
        give_up_s = time.monotonic() + self.patience_s
        while True:
            answer = await ask()
            if ended(answer):
                return answer
            if time.monotonic() >= give_up_s:
                raise Conflict("NOT_YET", f"{what}: expected an end, got {answer}")
            await asyncio.sleep(ASK_EVERY_S)

    async def while_stopped(self, ask: Callable[[], Awaitable[T]]) -> T:
        """A call to the market, made again while the market takes no orders."""
        give_up_s = time.monotonic() + self.patience_s
        while True:
            try:
                return await ask()
            except Refused as refused:
                if refused.reason != "MARKET_STOPPED" or time.monotonic() >= give_up_s:
                    raise
            await asyncio.sleep(ASK_EVERY_S)

    # ---- the accounts book ----------------------------------------------------------------------

    async def post(self, who: Persona, legs: Sequence[Leg], *acts: Act, **more: Any) -> Outcome:
        """An entry that must be accepted."""
        entry = Entry(self.new_id(), tuple(legs), acts=acts, **more)
        (outcome,) = await self.books.post_entries(who, [entry])
        self.take(outcome, "accounts")
        return outcome

    async def balances(self, who: str, asset: str, min_position: int = 0) -> list[Balance]:
        position = max(min_position, self.last.get("accounts", 0))
        return await self.books.balances(AUDITOR, self.holders[who], asset, position)

    async def amount(
        self, who: str, asset: str, purpose: str = "available", min_position: int = 0
    ) -> int:
        found = await self.balances(who, asset, min_position)
        return sum(one.amount for one in found if one.account.purpose == purpose)

    async def record(self, book: str, position: int, who: Persona = AUDITOR) -> dict[str, Any]:
        """The recorded event, as it is disclosed to a party of it or an auditor."""
        (event,) = await self.books.disclose(who, book, [position])
        record: dict[str, Any] = json.loads(event.record)
        return record
