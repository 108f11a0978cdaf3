"""A fault run: a world through a proxy, clients that do not give up, troubles from a seed, a check.

`fault_run` does all of it and answers a `Report`; it raises when anything acknowledged was lost,
done twice or contradicted, and tells the seed and the folder in which all is kept.
"""

from __future__ import annotations

import functools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc
from tanzhang.kernel.v1 import journal_pb2

from kernel.frames import frame_from_message
from kernel.rpc.client import metadata
from kernel.rpc.health import SERVING, health
from tests.support.appusers import AppUser
from tests.support.bank_sim import NAME as BANK
from tests.support.bankcheck import BankBooks, check_bank
from tests.support.bankers import (
    Banker,
    TheBank,
    bring_the_days_end_near,
    close_the_day,
    open_the_bank,
)
from tests.support.batchers import Batcher
from tests.support.brokers import MARKET, Broker, open_the_market
from tests.support.clearers import Clearer, open_the_exchange, reports_of
from tests.support.history import (
    Answer,
    Command,
    Said,
    Seen,
    commands_of,
    reads_of,
    resolved,
    trades_of,
)
from tests.support.historycheck import Finding, check_history
from tests.support.lanzhou import CNY, PROGRAMME, TICKET
from tests.support.patient import PatientClient, outcomes_of
from tests.support.proxied import STANDBY, ProxiedSupervisor
from tests.support.settlecheck import check_settlements
from tests.support.settling import WUHAN
from tests.support.tcp_proxy import Cut, TcpProxy
from tests.support.traders import ACCOUNTS, HOLDERS, Trader
from tests.support.troubles import (
    LANES,
    WRITER,
    Controller,
    Trouble,
    rounds,
)
from tests.support.world import AUDITOR, PATIENCE_S, World, until
from tests.support.world import Command as Sent
from tests.support.worldcheck import open_errands

SERVICES = ("accounts", "ledger", "market", "gateway")
KEEPERS = ("accounts", "ledger", "market")  # those with a book
TRADERS = 4
DAY_ENDS_S = 8.0  # after the work's beginning, at the bank
WARM_S = 1.0  # of work before the first trouble
CALM_S = 2.0  # of work after the last one
BACK_S = 120.0  # until everybody serves again: some wait out a back-off
SOON_MS = 60_000
START_T, START_FEN = 900, 100_000  # of each holder, a third of it at the venue
PAUSE_S, SHARE = (0.1, 0.6), 0.5  # between troubles in a short run, and how much of them
LONG_PAUSE_S = (0.5, 5.0)  # with time to get well in
CALM = ("kill", "stop", "hang")  # of the writer: itself, or its way to the database
LONGER_THAN_A_LEASE_S = 8.0
WORDS = {
    Said.SETTLED: "told settled",
    Said.BEFORE: "settled before",
    Said.UNSETTLED: "not settled",
}
SHOWN = 12  # contradictions in words; the others are counted


@dataclass
class Report:
    """What a run comes to; `str` of it is what is printed."""

    seed: str
    folder: Path
    lasted_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    again_for: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    snapshots: Counter[str] = field(default_factory=Counter)
    trades: Counter[str] = field(default_factory=Counter)
    bank: BankBooks | None = None
    calm_s: dict[str, float] = field(default_factory=dict)
    longest_gap_s: float = 0.0
    failovers_s: list[float] = field(default_factory=list)

    def count(self, name: str) -> int:
        return sum(one.name == name for one in self.findings)

    def __str__(self) -> str:
        a = self.answers
        failovers = " ".join(f"{one:.1f}" for one in self.failovers_s) or "none"
        calm = ", ".join(f"{name} {s:.1f}" for name, s in self.calm_s.items()) or "none"
        others = len(self.findings) - self.count("LOST") - self.count("DOUBLED")
        lines = [
            f"fault run: TANZHANG_SEED={self.seed}, {self.lasted_s:.0f} s, {self.folder}",
            f"  faults injected      {self.faults.total()}: {told(self.faults)}",
            f"  commands             acknowledged {a['ok']}, refused {a['refused']},"
            f" unknown {a['unknown']} (of these recorded {a['found']},"
            f" refused {a['found refused']}, never there {a['absent']})",
            f"  refused for          {told(self.reasons)}",
            f"  asked again minutes after the answer: {a['asked of old']} calls",
            f"  asked again for      {told(self.again_for)}",
            f"  strong reads         {a['reads']}",
            f"  events in the books  {told(self.events)}",
            f"  of kinds             {told(self.kinds)}",
            f"  snapshots equal to a replay from zero: {told(self.snapshots)}",
            f"  linked groups        {a['groups']}; in streams or calls of several {a['in calls']}",
            f"  trades of the venue  {told(self.trades)}",
            f"  bank                 {bank_told(self.bank)}",
            f"  lost                 {self.count('LOST')}",
            f"  doubled              {self.count('DOUBLED')}",
            f"  other contradictions {others}",
            f"  longest time without an answer {self.longest_gap_s:.1f} s",
            f"  takeovers among the troubles, as clients saw them (s): {failovers}",
            f"  takeovers in calm (s): {calm}",
        ]
        return "\n".join(lines)


def told(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "nothing"


def bank_told(bank: BankBooks | None) -> str:
    if bank is None:
        return "never settled"
    words = f"{len(bank.lines)} lines, {len(bank.statements)} days; its words: "
    return words + told({name: count for name, count in bank.counts.items() if count})


# What happens while clients work; it may look whether one of them could not go on.
Meanwhile = Callable[[Controller, Report, Callable[[], None]], None]


class Place(NamedTuple):
    """Where a run takes place: the world, the proxy through it, and the bank."""

    world: World
    proxy: TcpProxy
    bank: TheBank


@contextmanager
def troubled_world(
    folder: Path, seed: str, builds: Mapping[str, str] | None = None
) -> Iterator[Place]:
    """Servers of its own, all services, a standby of accounts, and the proxy between them."""
    with TcpProxy() as proxy:
        supervisor = ProxiedSupervisor(folder, proxy, SERVICES, builds)
        world = World(supervisor)
        world.start()
        try:
            world.settle_in()
            bank = open_the_bank(world, seed)
            endow(world)
            open_the_market(world)
            open_the_exchange(world)
            yield Place(world, proxy, bank)
        finally:
            proxy_is_open(proxy)
            world.stop()


def proxy_is_open(proxy: TcpProxy) -> None:
    """Nothing held back: services may be stopping through it."""
    proxy.do(lambda link: link.heal())


def endow(world: World) -> None:
    """Every holder has units and money, part of it at the venue."""
    world.issue("LZXQ-2026", dict.fromkeys(HOLDERS, START_T))
    for holder in HOLDERS:
        world.fund(holder, START_FEN)
        world.allocate(holder, START_T // 3, TICKET)
        world.allocate(holder, START_FEN // 3, CNY)


def fault_run(folder: Path, seed: str, for_s: float) -> Report:
    """All of it. Raises AssertionError with the seed and the folder when something is wrong."""
    return _run(folder, seed, functools.partial(troubles, for_s=for_s), {})


def quiet_run(folder: Path, seed: str, for_s: float, builds: Mapping[str, str]) -> Report:
    """The same without troubles, of builds that are not ours: what they do is to be found."""
    return _run(folder, seed, lambda *_: time.sleep(for_s), builds)


def _run(folder: Path, seed: str, meanwhile: Meanwhile, builds: Mapping[str, str]) -> Report:
    report = Report(seed, folder)
    try:
        with troubled_world(folder, seed, builds) as place:
            seen = work(place, report, meanwhile)
            check(place, seen, report)
    except BaseException as error:
        raise AssertionError(f"{report}\n\n{type(error).__name__}: {error}") from error
    return report


def work(place: Place, report: Report, meanwhile: Meanwhile) -> list[Seen]:
    """Everybody at work, troubles meanwhile, all healed at the end; what clients saw."""
    world, proxy, bank = place.world, place.proxy, place.bank.sim
    bring_the_days_end_near(world, place.bank, DAY_ENDS_S)
    began_s = time.monotonic()
    given = (world, report.seed, report.folder / "history")
    traders = [Trader(f"client {n}", *given) for n in range(1, TRADERS + 1)]
    clients: list[PatientClient] = [
        *traders,
        Batcher("client n1", *given),
        Batcher("client n2", *given),
        Clearer("client v1", *given),
        Broker("client b1", *given),
        AppUser("client a1", *given),
        Banker("client c1", *given, bank),
    ]

    def writer() -> str:
        return Counter(one.answered_by for one in traders).most_common(1)[0][0]

    controller = Controller(world, proxy, writer)
    for client in clients:
        client.start()
    try:
        time.sleep(WARM_S)
        meanwhile(controller, report, lambda: raise_broken(clients))
    finally:
        controller.heal()
        for client in clients:
            client.stop()
        for client in clients:
            client.join()
            report.again_for.update(client.asked_again_for)
            report.answers["asked of old"] += client.asked_of_old
        report.faults = controller.done
        keep_troubles(report.folder, began_s, controller)
    raise_broken(clients)
    report.lasted_s = time.monotonic() - began_s
    for whom in ("clients→accounts", "clients→market", "clients→gateway"):
        proxy.do(lambda link: link.cut(Cut.FIN), *controller.links(whom))
    return resolve(world, [one for client in clients for one in client.diary.seen])


def troubles(
    controller: Controller, report: Report, look: Callable[[], None], *, for_s: float
) -> None:
    """All lanes; then, in calm, what takes over from whom, and how fast."""
    pause_s, share = (LONG_PAUSE_S, 1.0) if for_s else (PAUSE_S, SHARE)
    lanes = [
        rounds(kinds, random.Random(f"{report.seed} lane {number}"), pause_s, share)
        for number, kinds in enumerate(LANES, start=1)
    ]
    controller.run(*lanes, at_least=1, for_s=for_s)
    look()
    await_all(controller.world)
    time.sleep(CALM_S)
    for what in CALM if for_s else CALM[:1]:
        report.calm_s[what] = takeover(controller, what)
        await_all(controller.world)
        time.sleep(CALM_S)


def raise_broken(clients: Sequence[PatientClient]) -> None:
    """What a client could not go on after: nobody is ever to be refused a whole call."""
    for client in clients:
        if client.broken is not None:
            raise client.broken


def takeover(controller: Controller, what: str) -> float:
    """Nothing else is wrong: how long until there is another writer, and it answers.

    Mostly the standby. One that was killed is started again at once, and may be the first to see
    that its own lease has gone stale.
    """
    world, old, began_s = controller.world, controller.writer(), time.monotonic()
    pid = world.supervisor.process(old).pid

    def taken_over() -> bool:
        if controller.writer() != old:
            return True
        return world.supervisor.process(old).pid not in (pid, None) and serving(world) == old

    whom = f"{WRITER}→postgres" if what == "hang" else WRITER
    lasts_s = 0.0 if what == "kill" else LONGER_THAN_A_LEASE_S
    trouble = threading.Thread(target=controller.make, args=(Trouble(what, whom, 0.0, lasts_s),))
    trouble.start()
    until(taken_over, f"another writer than {old}, {pid}, to answer")
    took_s = time.monotonic() - began_s
    trouble.join()
    return took_s


def keep_troubles(folder: Path, began_s: float, controller: Controller) -> None:
    lines = [f"{at_s - began_s:8.2f} {what}\n" for at_s, what in controller.told]
    (folder / "history" / "troubles.txt").write_text("".join(lines), encoding="utf-8")


def await_all(world: World) -> None:
    """Every process there, one accounts process serving, the others too."""
    for name in (*SERVICES, STANDBY, BANK, "postgres", "nats"):
        until(lambda name=name: world.supervisor.process(name).running, f"{name} to run", BACK_S)  # type: ignore[misc]
    for name in ("ledger", "market"):
        until(lambda name=name: world.serves(name), f"{name} to serve", BACK_S)  # type: ignore[misc]
    until(lambda: serving(world) is not None, "an accounts process to serve", BACK_S)


def serving(world: World) -> str | None:
    """Which accounts process serves, if one does."""
    found = [n for n in ACCOUNTS.processes if health(world.supervisor.target(n)) == SERVING]
    return found[0] if found else None


def resolve(world: World, seen: Sequence[Seen]) -> list[Seen]:
    """Every unknown one is asked for by its id."""
    process = serving(world)
    assert process is not None
    unknown: dict[tuple[str, str], list[str]] = {}
    for one in commands_of(seen):
        if one.answer is Answer.UNKNOWN:
            unknown.setdefault((one.book, one.client), []).append(one.id)
    outcomes: dict[str, int | None] = {}
    for (book, client), ids in unknown.items():
        service, where = (ACCOUNTS, process) if book == ACCOUNTS.book else (MARKET, "market")
        outcomes |= outcomes_of(world, service, where, client, ids)
    return [resolved(one, outcomes) if isinstance(one, Command) else one for one in seen]


# ---- the check ----------------------------------------------------------------------------------


def check(place: Place, seen: Sequence[Seen], report: Report) -> None:
    """The clients' histories against the journal, one process against the other, then the world."""
    world = place.world
    until(lambda: not open_errands({"market": world.records("market")}), "trades to be settled")
    until(lambda: not about_to_end(world), "the last holds and sessions to end")
    records = {book: records_of(world, book) for book in ("accounts", "market")}
    count(seen, records, report)
    for book, found in records.items():
        report.findings += check_history([one for one in seen if one.book == book], found)
    sessions = {one.session for one in trades_of(seen)}
    process = serving(world)
    assert process is not None
    reports = reports_of(world, process, sorted(sessions))
    accounts = records["accounts"]
    report.findings += check_settlements(WUHAN, PROGRAMME, seen, accounts, reports)
    raise_found(report)
    for one in commands_of(seen):
        world.sent[Sent(one.book, one.client, one.id)] = one.position
    report.bank = close_the_day(world, place.bank.sim)
    report.findings += check_bank(report.bank, seen, records_of(world))
    raise_found(report)
    same_states(world)
    pictures(world)
    world.check()
    verify(world, report)


def raise_found(report: Report) -> None:
    words = "\n".join(f"  {one.name} {one.what}: {one.words}" for one in report.findings[:SHOWN])
    assert not report.findings, f"{len(report.findings)} contradictions\n{words}"


def verify(world: World, report: Report) -> None:
    """Every book, replayed from zero by a process of its own, equals each snapshot made of it."""
    for book in KEEPERS:
        done = world.service(book).beside("verify")
        assert done.returncode == 0, f"{book} does not verify: {done.stdout} {done.stderr}"
        assert "DIFFERS" not in done.stdout, done.stdout
        report.snapshots[book] += done.stdout.count("equals a replay from zero")
        if book == "accounts":
            assert f"state {state_of(world, book).sha256.hex()}" in done.stdout, done.stdout


def records_of(world: World, book: str = "accounts") -> list[dict[str, Any]]:
    """All events of a book, as whoever serves it answers them."""
    process = serving(world) if book == "accounts" else book
    assert process is not None
    stream = world.journal(process).ReadEvents(
        journal_pb2.ReadEventsRequest(book=book),
        timeout=PATIENCE_S,
        metadata=metadata(world.token(AUDITOR)),
    )
    frames = [frame_from_message(response.frame) for response in stream]
    return [json.loads(event.record) for frame in frames for event in frame.events]


def about_to_end(world: World) -> set[str]:
    """Holds and sessions that a timer will still end, which would be in the middle of the check."""
    records = records_of(world)
    soon_ms = world.clock.now_ms() + SOON_MS
    live = {
        raw["body"]["hold"]
        for raw in records
        if raw["type"] == "HoldPlaced" and raw["body"].get("expires_at_ms") is not None
    }
    open_ones = {
        raw["body"]["session"]
        for raw in records
        if raw["type"] == "SettlementReceived" and raw["body"]["closes_at_ms"] < soon_ms
    }
    ends = ("HoldPosted", "HoldReleased", "HoldExpired")
    ended = {
        raw["body"]["hold"]
        for raw in records
        if raw["type"] in ends and not raw["body"].get("rest_held")
    }
    closed = {raw["body"]["session"] for raw in records if raw["type"] == "SessionClosed"}
    return (live - ended) | (open_ones - closed)


def same_states(world: World) -> None:
    """The standby has folded the very state that the writer has."""
    writer = serving(world)
    assert writer is not None
    (standby,) = [name for name in ACCOUNTS.processes if name != writer]
    until(lambda: state_of(world, standby).standby, f"{standby} to stand by")
    mine = state_of(world, writer)
    theirs = state_of(world, standby, mine.as_of_position)
    assert (theirs.as_of_position, theirs.sha256) == (mine.as_of_position, mine.sha256)


def state_of(world: World, process: str, min_position: int = 0) -> journal_pb2.GetStateHashResponse:
    """The hash of all that a process knows of the accounts book."""
    request = journal_pb2.GetStateHashRequest(book="accounts", min_position=min_position)
    method = world.journal(process).GetStateHash
    answer: journal_pb2.GetStateHashResponse = world.call(
        method, request, AUDITOR, patience_s=PATIENCE_S
    )
    return answer


def pictures(world: World) -> None:
    """The writer's balances are those of the standby that takes over, and of a fresh replay.

    Ends with the process `accounts` writing, alone.
    """
    supervisor = world.supervisor
    first = serving(world)
    assert first is not None
    before = picture(world, first)
    supervisor.stop_service(first)
    (other,) = [name for name in ACCOUNTS.processes if name != first]
    supervisor.await_serving(other)
    assert picture(world, other) == before, f"{other}, taking over, differs from {first}"
    supervisor.start_service(first)
    supervisor.stop_service(other)
    supervisor.await_serving(first)
    assert picture(world, first) == before, f"{first}, from zero, differs from itself before"
    if first != "accounts":
        supervisor.start_service("accounts")
        supervisor.stop_service(first)
        supervisor.await_serving("accounts")
        assert picture(world, "accounts") == before


def picture(world: World, process: str) -> Any:
    """Everything a process answers of holders and totals."""
    stub = accounts_pb2_grpc.AccountsServiceStub(world.channel(process))

    def ask(method: Any, request: Any) -> Any:
        return world.call(method, request, AUDITOR, patience_s=PATIENCE_S)

    balances = {
        holder: sorted(
            one.SerializeToString()
            for one in ask(stub.GetBalances, pb.GetBalancesRequest(holder=holder)).balances
        )
        for holder in HOLDERS
    }
    totals = ask(stub.GetTotals, pb.GetTotalsRequest()).totals
    return balances, sorted(one.SerializeToString() for one in totals)


def count(
    seen: Sequence[Seen], records: Mapping[str, Sequence[Mapping[str, Any]]], report: Report
) -> None:
    commands, reads = commands_of(seen), reads_of(seen)
    report.events = Counter({book: len(found) for book, found in records.items()})
    report.kinds = Counter(raw["type"] for found in records.values() for raw in found)
    report.answers.update(one.answer.value for one in commands)
    report.answers["reads"] = len(reads)
    report.answers["groups"] = len({one.group for one in commands if one.group})
    calls = Counter((one.client, one.call) for one in commands)
    report.answers["in calls"] = sum(number for number in calls.values() if number > 1)
    report.trades.update(WORDS[one.said] for one in trades_of(seen))
    report.reasons.update(one.reason for one in commands if one.reason)
    for one in commands:
        if one.answer is Answer.UNKNOWN:
            there = "absent" if one.found is None else "found"
            report.answers["found refused" if one.found_refused else there] += 1
    done_s = [
        one.answered_s for one in commands if one.answer is Answer.OK and one.answered_s is not None
    ]
    answered = sorted([*done_s, *(one.answered_s for one in reads)])
    report.longest_gap_s = max((b - a for a, b in pairwise(answered)), default=0.0)
    of_accounts = [one for one in commands if one.book == "accounts"]
    report.failovers_s = takeovers(of_accounts, records["accounts"])


def takeovers(commands: Sequence[Command], records: Sequence[Mapping[str, Any]]) -> list[float]:
    """From the last answer before a new writer to the first after it, for each new writer."""
    answers = sorted(
        (one.position, one.answered_s)
        for one in commands
        if one.position is not None and one.answered_s is not None
    )
    found = []
    for raw in records:
        if raw["type"] != "WriterStarted":
            continue
        before = [at_s for position, at_s in answers if position < raw["position"]]
        after = [at_s for position, at_s in answers if position > raw["position"]]
        if before and after:
            found.append(max(min(after) - max(before), 0.0))
    return found
