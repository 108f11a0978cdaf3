"""A venue that matches elsewhere in a fault run: settlement files in parts, sessions that close.

It signs with its own key, sends parts again under other ids, lets trades come twice and come with
another content, closes sessions with the totals it was reported, and lets others run out. What it
was told of each trade it writes down, every time it is told.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import grpc
import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.kernel.v1 import items_pb2

from kernel.rpc.client import metadata
from kernel.rpc.items import act_message
from kernel.rpc.problems import from_rpc_error
from kernel.values import DAY_MS, Act
from services.accounts.domain.commands import PostEntry
from tests.support.books import person
from tests.support.brokers import admitted
from tests.support.history import Said, TradeTold
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    PROGRAMME,
    TICKET,
    available,
    leg,
    trading,
)
from tests.support.patient import PATIENCE_S, Asked, PatientClient, Service, Step
from tests.support.proxied import STANDBY
from tests.support.settlecheck import Report
from tests.support.settling import WUHAN, WUHAN_KEY, Trade, close, part, totals, trade
from tests.support.traders import HOLDERS
from tests.support.world import AUDITOR, World, until

EACH_T, EACH_FEN = 200, 20_000  # of every member, at the venue
MANY_T = 100_000
LONG = 0.6  # of the sessions are closed by the venue, if they live to see it; the rest run out
LONG_MS = 5 * DAY_MS
SHORT_MS = (3_000, 8_000)
CLOSED_AFTER_PARTS = 3
OLD = 0.4  # of the parts have a trade that came before
OLD_PARTS = 20  # of which one may be sent again
REPORT_S = 10.0


def settle_request(parts: Sequence[pb.SettlementPart]) -> pb.SettleTradesRequest:
    return pb.SettleTradesRequest(venue=WUHAN, parts=parts)


def close_request(closes: Sequence[pb.SessionClose]) -> pb.CloseSessionsRequest:
    return pb.CloseSessionsRequest(venue=WUHAN, closes=closes)


CLEARING = Service(
    book="accounts",
    stub=accounts_pb2_grpc.AccountsServiceStub,
    batches={
        "SettleTrades": (settle_request, "parts"),
        "CloseSessions": (close_request, "closes"),
    },
    outcomes=pb.GetOutcomesRequest,
    processes=("accounts", STANDBY),
)


class Answered(msgspec.Struct):
    results: list[items_pb2.ItemResult]


class Part(NamedTuple):
    act: Act
    trades: list[Trade]


class Session(msgspec.Struct):
    """One that the venue has begun: its parts, the last of them, and all of its trades."""

    name: str
    closes_at_ms: int
    is_long: bool
    numbered: int = 0
    parts: list[Part] = []
    trades: list[Trade] = []


class Clearer(PatientClient):
    """The desk of the exchange."""

    def __init__(self, name: str, world: World, seed: str, folder: Path) -> None:
        caller = person(name, roles=[f"venue:{WUHAN}"])
        super().__init__(name, world, CLEARING, caller, seed, folder)
        self._sent: dict[str, tuple[str, list[Trade]]] = {}  # by the part's id
        self._traded = 0
        self.sessions: list[str] = []
        self._session = self._last = self._begin_session()

    def steps(self) -> tuple[Step, ...]:
        return ((self.sends_parts, 6), (self.sends_again, 1), (self.ends_a_session, 1))

    def sends_parts(self) -> None:
        parts = [self._part(self._session) for _ in range(self.chance.randint(1, 3))]
        self._send(self._session, parts)
        if not self._session.is_long and self.world.clock.now_ms() > self._session.closes_at_ms:
            self._next_session()

    def sends_again(self) -> None:
        """Under another id; of a session that may be over."""
        session = self.chance.choice((self._last, self._session))
        if session.parts:
            self._send(session, [self.chance.choice(session.parts)])

    def ends_a_session(self) -> None:
        """With the totals that the service itself reports: the check adds them up for itself."""
        session = self._session
        if not session.is_long or session.numbered < CLOSED_AFTER_PARTS:
            return
        report = self._patiently(
            lambda process: report_of(self.stub(process), self.token(), session.name),
            time.monotonic() + PATIENCE_S,
        )
        if report is None:
            return
        said = close(report.totals, report.left, session.name)
        item = pb.SessionClose(
            id=self.world.new_id(), session=session.name, acts=[act_message(said)]
        )
        if self.ask("CloseSessions", [Asked(item, "SessionClosed")])[0]:
            self._next_session()

    def attempt(self, process: str, method: str, request: Any) -> Any:
        answer = super().attempt(process, method, request)
        if method != "SettleTrades":
            return answer
        for told in answer.parts:
            self._hear(told)
        return Answered([told.result for told in answer.parts])

    # ---- what is sent ---------------------------------------------------------------------------

    def _next_session(self) -> None:
        self._last, self._session = self._session, self._begin_session()

    def _begin_session(self) -> Session:
        name = f"session {len(self.sessions) + 1} of {self.name}"
        self.sessions.append(name)
        is_long = self.chance.random() < LONG
        lasts_ms = LONG_MS if is_long else self.chance.randint(*SHORT_MS)
        return Session(name, self.world.clock.now_ms() + lasts_ms, is_long)

    def _send(self, session: Session, parts: Sequence[Part]) -> None:
        asked = []
        for one in parts:
            item = pb.SettlementPart(id=self.world.new_id(), acts=[act_message(one.act)])
            self._sent[item.id] = (session.name, one.trades)
            asked.append(Asked(item, "SettlementReceived"))
        self.ask("SettleTrades", asked)

    def _part(self, session: Session) -> Part:
        """New trades; sometimes an old one beside them, as it was or with another price."""
        trades = [self._trade() for _ in range(self.chance.randint(1, 5))]
        old = [self._once_more(session)] if session.trades and self.chance.random() < OLD else []
        session.trades += trades
        session.numbered += 1
        act = part(
            *old,
            *trades,
            closes_at_ms=session.closes_at_ms,
            fee_holder=PROGRAMME,
            file=f"file of {self.name}",
            part=session.numbered,
            session=session.name,
        )
        made = Part(act, [*old, *trades])
        session.parts.append(made)
        del session.parts[:-OLD_PARTS]
        return made

    def _once_more(self, session: Session) -> Trade:
        one = self.chance.choice(session.trades)
        return {**one, "price_fen_per_t": one["price_fen_per_t"] + self.chance.choice((0, 0, 1))}

    def _trade(self) -> Trade:
        """Sometimes of more than anybody has: not settled, and told of."""
        self._traded += 1
        seller, buyer = self.chance.sample(HOLDERS, 2)
        return trade(
            f"{self._traded} of {self.name}",
            MANY_T if self.chance.random() < 0.1 else self.chance.randint(1, 4),
            self.chance.randint(3, 9),
            fees=(self.chance.randint(0, 2), self.chance.randint(0, 2)),
            seller=seller,
            buyer=buyer,
        )

    # ---- what is told ---------------------------------------------------------------------------

    def _hear(self, told: pb.PartResult) -> None:
        if not told.result.HasField("accepted"):
            return
        session, trades = self._sent[told.result.id]
        for one, result in zip(trades, told.trades, strict=True):
            short = result.unsettled
            self.diary.note(
                TradeTold(
                    client=self.name,
                    part=told.result.id,
                    session=session,
                    trade=one,
                    said=Said(str(result.WhichOneof("result"))),
                    position=short.position or result.settled_position,
                    reason=short.reason,
                    holder=short.holder,
                    asset=short.asset,
                    needed=short.needed,
                    available=short.available,
                )
            )


# ---- before and after ---------------------------------------------------------------------------


def open_the_exchange(world: World) -> None:
    """Its key is known, and everybody has something there."""
    world.register_key(f"venue:{WUHAN}", WUHAN_KEY)
    until(lambda: f"venue:{WUHAN}" in admitted(world), "accounts to admit the exchange's key")
    for holder in HOLDERS:
        caller = BUYER if holder == CITY_GROUP else FARMER
        for asset, amount in ((TICKET, EACH_T), (CNY, EACH_FEN)):
            moved = leg(amount, asset, available(holder), trading(holder, WUHAN))
            world.post(PostEntry([moved]), caller)


def reports_of(world: World, process: str, sessions: Sequence[str]) -> list[Report]:
    """What the service says became of every session that has one."""
    stub = accounts_pb2_grpc.AccountsServiceStub(world.channel(process))
    head = world.head_of(process) - 1
    return [report_of(stub, world.token(AUDITOR), session, head) for session in sessions]


def report_of(stub: Any, token: str, session: str, min_position: int = 0) -> Report:
    request = pb.ReportSettlementsRequest(venue=WUHAN, session=session, min_position=min_position)
    try:
        answers = list(stub.ReportSettlements(request, timeout=REPORT_S, metadata=metadata(token)))
    except grpc.RpcError as error:
        raise from_rpc_error(cast(Any, error)) from error
    rows = [row.result for answer in answers for row in answer.rows]
    sums = answers[-1].totals
    return Report(
        session,
        {
            one.trade: one.settled_position
            for one in rows
            if one.WhichOneof("result") == Said.SETTLED
        },
        {one.trade: one.unsettled.reason for one in rows if one.HasField("unsettled")},
        [
            totals(one.trades, one.quantity_t, one.turnover_fen, one.fees_fen, one.asset)
            for one in sums.assets
        ],
        sums.unsettled,
    )
