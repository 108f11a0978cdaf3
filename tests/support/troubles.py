"""What is done to processes and connections in a fault run, and when: drawn from one seed.

A plan is a list of troubles in lanes that run side by side: processes of the book and others,
connections to servers and to services; within a lane one ends before the next begins. A round has
every kind once, so the shortest run has them all. Whom a trouble hits is named by part (`the
writer`), and found when it begins: by then it may be another process.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cli.stack import StackFault, children_of
from cli.stack.folder import NATS, POSTGRES
from tests.support.bank_sim import NAME as BANK
from tests.support.proxied import STANDBY
from tests.support.tcp_proxy import Cut, Link, TcpProxy
from tests.support.world import World, until

WRITER, STANDBY_PART = "the writer", "the standby"
BACK_S = 60.0  # for a process to be there again before something is done to it
LATER_MS = (20, 150)

Span = tuple[float, float]


class Kind(NamedTuple):
    """Something that can be done: how, to whom, and for how long, in seconds."""

    what: str
    whom: str
    lasts_s: Span = (0.0, 0.0)


class Trouble(NamedTuple):
    """One of them at its turn: the pause before it, and how long it lasts."""

    what: str
    whom: str
    pause_s: float
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.what} {self.whom}"


TAKEOVER_S = (4.5, 6.0)  # longer than a lease: somebody else takes the book
BLINK_S = (0.5, 1.5)  # shorter: nobody does

# Each lane goes on for itself, so that troubles meet; no two lanes touch the same process or link.
OF_THE_BOOK = (
    Kind("kill", WRITER),
    Kind("kill", STANDBY_PART),
    Kind("stop", WRITER, TAKEOVER_S),
    Kind("stop briefly", WRITER, BLINK_S),
    Kind("stop briefly", STANDBY_PART, BLINK_S),
    Kind("restart", WRITER),
)
OF_OTHERS = (
    Kind("kill", "ledger"),
    Kind("kill", "market"),
    Kind("kill", "gateway"),
    Kind("kill", BANK),
    Kind("kill", NATS),
    Kind("kill", POSTGRES),
    Kind("stop", "ledger", (1.0, 4.0)),
    Kind("stop", BANK, (1.0, 4.0)),
    Kind("stop", NATS, (1.0, 4.0)),
    Kind("stop briefly", POSTGRES, BLINK_S),
    Kind("restart", "ledger"),
    Kind("restart", BANK),
)
TO_SERVERS = (
    Kind("cut by RST", "all→nats"),
    Kind("hang", "all→nats", (2.0, 5.0)),
    Kind("refuse", "the writer→nats", (1.0, 3.0)),
    Kind("cut by RST", "the writer→postgres"),
    Kind("cut by FIN", "ledger→postgres"),
    Kind("cut by RST", "market→postgres"),
    Kind("delay", "all→postgres", (1.0, 3.0)),
    Kind("hang briefly", "the writer→postgres", BLINK_S),
    Kind("hang", "the writer→postgres", TAKEOVER_S),
)
TO_SERVICES = (
    Kind("cut by RST", "clients→accounts"),
    Kind("cut by FIN", "clients→accounts"),
    Kind("delay", "clients→accounts", (1.0, 3.0)),
    Kind("hang", "clients→accounts", (1.0, 3.0)),
    Kind("refuse", "clients→accounts", (0.5, 2.0)),
    Kind("cut by RST", "ledger→accounts"),
    Kind("hang", "ledger→accounts", (2.0, 5.0)),
    Kind("delay", "ledger→accounts", (1.0, 3.0)),
    Kind("cut by RST", "clients→market"),
    Kind("cut by RST", "clients→gateway"),
    Kind("hang", "gateway→accounts", (1.0, 3.0)),
    Kind("hang", "market→accounts", (1.0, 3.0)),
    Kind("cut by RST", f"{BANK}→accounts"),
    Kind("cut by FIN", f"{BANK}→accounts"),
    Kind("delay", f"{BANK}→accounts", (1.0, 3.0)),
    Kind("hang", f"{BANK}→accounts", (1.0, 3.0)),
    Kind("refuse", f"{BANK}→accounts", (0.5, 2.0)),
)
LANES = (OF_THE_BOOK, OF_OTHERS, TO_SERVERS, TO_SERVICES)


def rounds(
    kinds: Sequence[Kind], chance: random.Random, pause_s: Span, share: float = 1.0
) -> Iterator[list[Trouble]]:
    """Round after round, each with every kind once, in an order and with lengths of its own.

    `share` of a length is taken, but where a takeover is to come of it.
    """
    while True:
        shuffled = chance.sample(kinds, len(kinds))
        yield [
            Trouble(
                one.what,
                one.whom,
                chance.uniform(*pause_s),
                chance.uniform(*one.lasts_s) * (1.0 if one.lasts_s is TAKEOVER_S else share),
            )
            for one in shuffled
        ]


class Controller:
    """Does what is planned to a world until it is told to end, and puts everything right again."""

    def __init__(self, world: World, proxy: TcpProxy, writer: Callable[[], str]) -> None:
        self.done: Counter[str] = Counter()
        self.told: list[tuple[float, str]] = []  # when what was done, by the monotonic clock
        self.world = world
        self._proxy = proxy
        self.writer = writer  # which process answers at the moment
        self._ending = threading.Event()
        self._noting = threading.Lock()
        self._stopped: set[int] = set()
        self._broken: list[BaseException] = []

    def run(self, *lanes: Iterator[list[Trouble]], at_least: int, for_s: float) -> None:
        """All lanes side by side for so many rounds at least, and for so long."""
        self._ending.clear()
        until_s = time.monotonic() + for_s
        runners = [
            threading.Thread(target=self._lane, args=(lane, at_least, until_s), daemon=True)
            for lane in lanes
        ]
        for runner in runners:
            runner.start()
        for runner in runners:
            runner.join()
        self.heal()
        self._ending.clear()
        if self._broken:
            raise self._broken[0]

    def _lane(self, lane: Iterator[list[Trouble]], at_least: int, until_s: float) -> None:
        try:
            for number, troubles in enumerate(lane):
                for trouble in troubles:
                    if number >= at_least and time.monotonic() >= until_s:
                        return
                    self._ending.wait(trouble.pause_s)
                    if self._ending.is_set():
                        return
                    self.make(trouble)
        except BaseException as error:
            self._broken.append(error)
            self._ending.set()

    def make(self, trouble: Trouble) -> None:
        """One trouble, from its beginning to its end."""
        if "→" in trouble.whom:
            self._on_links(trouble)
        else:
            self._on_process(trouble)

    def _note(self, trouble: Trouble, whom: str) -> None:
        with self._noting:
            self.done[str(trouble)] += 1
            self.told.append((time.monotonic(), f"{trouble.what} {whom}, {trouble.lasts_s:.1f} s"))

    # ---- processes ------------------------------------------------------------------------------

    def _process(self, part: str) -> str:
        if part not in (WRITER, STANDBY_PART):
            return part
        writer = self.writer()
        other = "accounts" if writer == STANDBY else STANDBY
        return writer if part == WRITER else other

    def _on_process(self, trouble: Trouble) -> None:
        supervisor = self.world.supervisor
        while not self._ending.is_set():
            until(
                lambda: supervisor.process(self._process(trouble.whom)).running,
                f"{trouble.whom} to be there",
                BACK_S,
            )
            name = self._process(trouble.whom)
            try:
                self._hit(trouble, name)
            except (StackFault, ProcessLookupError):  # it has just died of something else
                continue
            return

    def _hit(self, trouble: Trouble, name: str) -> None:
        supervisor = self.world.supervisor
        if trouble.what == "kill":
            supervisor.kill(name, signal.SIGKILL)
            self._note(trouble, name)
        elif trouble.what == "restart":
            self._note(trouble, name)
            supervisor.restart_service(name)
        else:
            pid = supervisor.kill(name, signal.SIGSTOP)
            self._note(trouble, name)
            family = [pid, *children_of(pid)]
            self._signal(family[1:], signal.SIGSTOP)
            self._stopped.update(family)
            self._ending.wait(trouble.lasts_s)
            self._wake(family)

    def _wake(self, family: Sequence[int]) -> None:
        self._signal(family, signal.SIGCONT)
        self._stopped.difference_update(family)

    @staticmethod
    def _signal(family: Sequence[int], number: signal.Signals) -> None:
        for pid in family:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    # ---- connections ----------------------------------------------------------------------------

    def links(self, whom: str) -> list[str]:
        """Links of a way: `all` and `clients` are many, and accounts is two processes."""
        who, what = whom.split("→")
        who = self._process(who)
        found = []
        for name in list(self._proxy.links):
            source, target = name.split("→")
            if what != target and not (what == "accounts" and target == STANDBY):
                continue
            is_client = who == "clients" and source.startswith("client")
            if is_client or who in (source, "all"):
                found.append(name)
        return found

    def _on_links(self, trouble: Trouble) -> None:
        names = self.links(trouble.whom)
        assert names, f"no link is {trouble.whom}"
        self._note(trouble, f"{len(names)} links {trouble.whom}")
        delay_ms = int(LATER_MS[0] + (LATER_MS[1] - LATER_MS[0]) * (trouble.lasts_s % 1))
        acts = {
            "cut by RST": lambda link: link.cut(Cut.RST),
            "cut by FIN": lambda link: link.cut(Cut.FIN),
            "delay": lambda link: link.delay(delay_ms),
            "hang": Link.hang,
            "hang briefly": Link.hang,
            "refuse": Link.refuse,
        }
        self._proxy.do(acts[trouble.what], *names)
        self._ending.wait(trouble.lasts_s)
        self._proxy.do(Link.heal, *names)

    def heal(self) -> None:
        """Everybody awake, every link open, and nothing on its way that was held back."""
        self._ending.set()
        self._wake(list(self._stopped))
        self._proxy.do(Link.heal)
