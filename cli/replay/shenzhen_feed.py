"""The replay itself: a plan's trips as batches under one operator's signature, and a look at them.

Ids derive from names and from what a batch holds, so a second run asks for the same and changes
nothing. The operator's key is made here: it is ours and not Shenzhen Tong's, and the report says
so. Cards become riders in the vault. Ids and orders that come from a card are made with a secret of
that key, and so is the sequence in which all are sent: the taps are public and the events for ever,
and whoever has both must not match them by name or by rank.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.progress import Progress

from cli.clients import Books, Holder, Persona, in_parts
from cli.directory import ASK_EVERY_S, KEY_IS_KNOWN, KNOWN_WITHIN_S, accept, register_keys
from cli.inclusive_client import (
    MAX_CITIZENS,
    MAX_TRIPS,
    Distance,
    Enrolment,
    Inclusive,
    Methodology,
    Operator,
    Sums,
    Trip,
    TripOutcome,
    trips_digest,
)
from cli.own_stack import own_stack
from cli.replay.progress import shown_progress
from cli.replay.shenzhen_plan import BUS_MODE, DATASET, METRO_MODE, Plan, PlannedTrip
from cli.replay.shenzhen_report import make_report
from cli.workspace import Workspace
from kernel.acts import sign_act
from kernel.errors import Conflict
from kernel.ids import derived_holder_id, derived_id, uuid7

BOOK: Final = "inclusive"
CITY: Final = "Shenzhen"
OPERATOR_NAME: Final = "Shenzhen Tong 深圳通 (replayed from open data of 2018)"
OPERATOR_KEY: Final = "shenzhen-tong"
METHODOLOGY: Final = "SZ-2021-PUBLIC-TRAVEL-COUNTERFACTUAL"
FACTORS_MG_PER_KM: Final = {METRO_MODE: 46_800, BUS_MODE: 26_900}
SOURCE: Final = (
    "factors of Shenzhen's low-carbon public travel methodology of 2021, applied to rides of 2018:"
    " what they would have earned had it been in force"
)
FIRST_DAY, LAST_DAY = "2018-01-01", "2018-12-31"

REGISTRAR: Final = Persona("szt.registrar", ("registrar",))
PROPOSER: Final = Persona("szt.methodologist", ("inclusive-operator",))
APPROVER: Final = Persona("szt.reviewer", ("inclusive-operator",))
REPORTER: Final = "szt.replay"


NOTHING: Final = Sums((), -1)


@dataclass
class Fed:
    """What the services answered, by the planned trip's order, and how long it took.

    `before` and `after` are the book's sums around the reporting.
    """

    operator: str = ""
    key_id: str = ""
    trips: dict[str, TripOutcome] = field(default_factory=dict)
    before: Sums = NOTHING
    after: Sums = NOTHING
    citizens: int = 0
    citizens_repeated: int = 0
    batches: int = 0
    batches_repeated: int = 0
    started_here: bool = False
    enrolled_s: float = 0.0
    reported_s: float = 0.0
    proven_s: float = 0.0
    total_s: float = 0.0


def replay(directory: Path, plan: Plan) -> dict[str, Any]:
    """Feeds a plan to the services of a data folder (starting them if need be); the report."""
    started_s = time.monotonic()
    with own_stack(directory) as supervisor:
        fed = asyncio.run(_replay(Workspace(directory), plan))
    fed.started_here = supervisor is not None
    fed.total_s = time.monotonic() - started_s
    return make_report(plan, fed, METHODOLOGY, FACTORS_MG_PER_KM)


async def _replay(workspace: Workspace, plan: Plan) -> Fed:
    with shown_progress() as progress:
        async with Books(workspace) as books:
            feed = _Feed(workspace, books, plan, progress)
            await feed.define()
            await feed.enrol()
            await feed.report()
            return feed.fed


class _Feed:
    """One run over one plan."""

    def __init__(self, workspace: Workspace, books: Books, plan: Plan, progress: Progress) -> None:
        self._workspace = workspace
        self._books = books
        self._inclusive = Inclusive(books)
        self._plan = plan
        self._progress = progress
        self._operator = derived_holder_id(DATASET, f"{DATASET}/operator")
        self._reporter = Persona(REPORTER, holders=(self._operator,))
        self._key: Ed25519PrivateKey = workspace.institution_key(OPERATOR_KEY)
        self._names = Names(self._key)
        self.fed = Fed(operator=self._operator)

    # ---- definitions ----------------------------------------------------------------------------

    async def define(self) -> None:
        """The operator with its key, and the methodology in two persons' names."""
        holder = Holder(_id("holder"), self._operator, "foreign", OPERATOR_NAME)
        for outcome in await self._books.register_holders(REGISTRAR, [holder]):
            accept(outcome)
        subject = f"holder:{self._operator}"
        ids = await register_keys(self._books, self._workspace.clock, {subject: self._key})
        self.fed.key_id = ids[subject]
        modes = tuple(FACTORS_MG_PER_KM)
        operator = Operator(_id("operator"), self._operator, OPERATOR_NAME, CITY, True, modes)
        for outcome in await self._inclusive.register_operators(PROPOSER, [operator]):
            accept(outcome)
        methodologies = [_methodology(mode) for mode in modes]
        for outcome in await self._inclusive.propose_methodologies(PROPOSER, methodologies):
            accept(outcome)
        approvals = {_id("approval", one.mode): one for one in methodologies}
        for outcome in await self._inclusive.approve_methodologies(APPROVER, approvals):
            accept(outcome)

    async def enrol(self) -> None:
        """One citizen for each card: measured, not sold."""
        started_s = time.monotonic()
        cards = sorted({trip.card for trip in self._plan.trips}, key=self._names.of)
        task = self._progress.add_task("citizens", total=len(cards))
        for part in in_parts(cards, MAX_CITIZENS):
            enrolments = [
                Enrolment(
                    _id("citizen", self._names.of(card)),
                    self._operator,
                    card,
                    measure=True,
                    sell=False,
                )
                for card in part
            ]
            for outcome in await self._inclusive.enrol_citizens(PROPOSER, enrolments):
                self.fed.citizens_repeated += accept(outcome).repeated
            self.fed.citizens += len(part)
            self._progress.advance(task, len(part))
        self.fed.enrolled_s = time.monotonic() - started_s

    # ---- trips ----------------------------------------------------------------------------------

    async def report(self) -> None:
        """All trips in signed batches; then until a checkpoint covers the last."""
        if not self._plan.trips:
            return
        await self._wait_until_known()
        self.fed.before = await self._inclusive.sums()
        started_s = time.monotonic()
        last = 0
        for part in self._parts():
            last = max(last, await self._report(part))
        self.fed.reported_s = time.monotonic() - started_s
        await self._books.proofs(BOOK, [last])
        self.fed.proven_s = time.monotonic() - started_s
        self.fed.after = await self._inclusive.sums(last)

    def _parts(self) -> Iterator[Sequence[PlannedTrip]]:
        task = self._progress.add_task("trips", total=len(self._plan.trips))
        trips = sorted(self._plan.trips, key=lambda trip: self._names.of(trip.order))
        for part in in_parts(trips, MAX_TRIPS):
            yield part
            self._progress.advance(task, len(part))

    async def _report(self, part: Sequence[PlannedTrip]) -> int:
        """One batch; answers the last position it took."""
        trips = [reported_trip(one, self._names) for one in part]
        digest = trips_digest(trips)
        batch = f"{DATASET}-{digest[:24]}"  # named by what it holds: the same trips, the same batch
        statement = {
            "kind": "trip-batch",
            "batch": batch,
            "count": len(trips),
            "digest": digest,
            "operator": self._operator,
        }
        done = await self._inclusive.report_trips(
            self._reporter,
            _id("batch", digest),
            self._operator,
            batch,
            trips,
            (sign_act(self._key, statement),),
            METHODOLOGY,
        )
        outcome = accept(done.batch)
        self.fed.batches += 1
        self.fed.batches_repeated += outcome.repeated
        self.fed.trips |= {
            planned.order: answer for planned, answer in zip(part, done.trips, strict=True)
        }
        return max([outcome.position or 0, *(one.position for one in done.trips)])

    async def _wait_until_known(self) -> None:
        """Returns once the citizens' book counts the operator's key; Conflict after a while.

        Asks with a statement that says nothing, under a new id: it is refused either way, and no
        id of real work is spent on a refusal that only means "not yet".
        """
        act = sign_act(self._key, {"kind": "nothing"})
        trips = [reported_trip(self._plan.trips[0], self._names)]
        loop = asyncio.get_running_loop()
        end_s = loop.time() + KNOWN_WITHIN_S
        while loop.time() < end_s:
            id = uuid7(self._workspace.clock.now_ms())
            done = await self._inclusive.report_trips(
                self._reporter, id, self._operator, id, trips, (act,), METHODOLOGY
            )
            if done.batch.reason in KEY_IS_KNOWN:
                return
            if done.batch.reason != "ACT_KEY_UNKNOWN":
                accept(done.batch)
            await asyncio.sleep(ASK_EVERY_S)
        raise Conflict(
            "KEY_NOT_KNOWN_YET",
            f"expected the citizens' book to know key {act.key_id} within {KNOWN_WITHIN_S:.0f} s,"
            " it does not",
        )


def _methodology(mode: str) -> Methodology:
    return Methodology(
        id=_id("methodology", mode),
        methodology=METHODOLOGY,
        version=f"1-{mode}",
        title=f"What if: Shenzhen public travel by {mode}, 2018 rides by the factors of 2021",
        region=CITY,
        mode=mode,
        status="filed",
        factor_mg_per_km=FACTORS_MG_PER_KM[mode],
        gas="CO2",
        source=SOURCE,
        valid_first=FIRST_DAY,
        valid_last=LAST_DAY,
        counterfactual=True,
    )


class Names:
    """Names that only the holder of a key can make of public ones; the same key, the same names."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._secret = key.sign(b"tanzhang replay: names of riders and orders")

    def of(self, public: str) -> str:
        return hmac.digest(self._secret, public.encode(), "sha256").hex()[:32]


def reported_trip(planned: PlannedTrip, names: Names) -> Trip:
    """As it is signed and sent: the network's length, and the fare's band beside it."""
    distances = []
    if planned.network_m is not None:
        distances.append(Distance("network", planned.network_m))
    if planned.fare is not None:
        distances.append(Distance("fare", planned.fare.metres, planned.fare.least_metres))
    return Trip(
        order=f"szt-{names.of(planned.order)}",
        rider_ref=planned.card,
        mode=planned.mode,
        evidence="fare_gate",
        started_ms=planned.started_ms,
        ended_ms=planned.ended_ms,
        from_place=planned.from_place,
        to_place=planned.to_place,
        distances=tuple(distances),
    )


def _id(*parts: str) -> str:
    return derived_id(0, DATASET, *parts)
