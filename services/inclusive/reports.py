"""A signed batch of trips on its way into the book: the batch first, then its trips in one go.

Who signed is decided before anybody is looked up. Then riders become citizens (one query), trips
are sealed under their keys, and all are handed to the writer together; each ends in an event or in
a refusal of its own. A repeat finds what was recorded and answers the same, whatever has been
forgotten since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from kernel.asks import Ask, Result
from kernel.clock import Clock
from kernel.ids import derived_id, uuid7_ms
from kernel.journal.port import Outcome, Refusal
from kernel.record import EventTypes
from kernel.values import DAY_MS, Act, Caller
from kernel.writer import Writer
from services.inclusive.domain.commands import (
    Distance,
    Evidence,
    ReceiveTripBatch,
    ReportTrip,
    Ride,
)
from services.inclusive.domain.events import EVENTS, Mode, TripCredited, TripRefused
from services.inclusive.domain.measure import nullifier_of, payable_m
from services.inclusive.domain.state import State
from services.inclusive.queries import CitizenDay, Known
from services.inclusive.rides import RideIndex, days_around
from services.inclusive.vault import SealedTrip, Vault, seal

TYPES: Final = EventTypes(*EVENTS)


class ReportedTrip(NamedTuple):
    """As its operator says it."""

    order: str
    rider_ref: str
    mode: Mode
    evidence: Evidence
    started_ms: int | None
    ended_ms: int | None
    from_place: str
    to_place: str
    distances: tuple[Distance, ...]


class ReportedBatch(NamedTuple):
    """A trip that is malformed is its own refusal; the rest goes in."""

    id: str
    operator: str
    batch: str
    methodology: str
    digest: str
    acts: tuple[Act, ...]
    trips: Sequence[ReportedTrip | Refusal]


class TripAnswer(NamedTuple):
    """An event at its position, or a refusal that left none."""

    position: int
    event: TripCredited | TripRefused | None
    refusal: Refusal | None


class Reports:
    """Takes batches of trips."""

    def __init__(self, writer: Writer[State], vault: Vault, rides: RideIndex, clock: Clock) -> None:
        self._writer = writer
        self._vault = vault
        self._rides = rides
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def report(self, caller: Caller, batch: ReportedBatch) -> tuple[Result, list[TripAnswer]]:
        """What became of the batch and, if it was believed, of each trip in order."""
        # Two calls of one id at once: the second finds what the first has recorded.
        turn = self._turns.setdefault(f"{caller.principal} {batch.id}", asyncio.Lock())
        async with turn:
            command = ReceiveTripBatch(batch.operator, batch.batch, len(batch.trips), batch.digest)
            (result,) = await self._writer.submit([Ask(batch.id, caller, command, acts=batch.acts)])
            if result.outcome.refusal is not None:
                return result, []
            # A crash here: the batch is known and its trips are not; a repeat brings them.
            return result, await self._report_trips(caller, batch, result.repeated)

    async def _report_trips(
        self, caller: Caller, batch: ReportedBatch, repeated: bool
    ) -> list[TripAnswer]:
        at_ms = uuid7_ms(batch.id)
        ids = [derived_id(at_ms, "trip", batch.id, i) for i in range(len(batch.trips))]
        outcomes: dict[str, Outcome] = {}
        if repeated:
            found = await self._writer.find_outcomes(caller.principal, ids)
            outcomes = {one.id: one for one in found}
        new = [
            (id, trip)
            for id, trip in zip(ids, batch.trips, strict=True)
            if isinstance(trip, ReportedTrip) and id not in outcomes
        ]
        noted: dict[str, tuple[str, Ride]] = {}
        if new:
            known = await self._look_up(batch, [trip for _, trip in new])
            # From here to the writer's queue nothing else runs: who is noted is decided in order.
            asks = [self._ask(caller, batch, id, trip, known, noted) for id, trip in new]
            for result in await self._writer.submit(asks):
                outcomes[result.outcome.id] = result.outcome
        answers = await self._answers(batch, [outcomes.get(id) for id in ids])
        for id, answer in zip(ids, answers, strict=True):
            if id in noted and not isinstance(answer.event, TripCredited):
                self._rides.take_back(*noted[id])
        return answers

    async def _look_up(
        self, batch: ReportedBatch, trips: Sequence[ReportedTrip]
    ) -> dict[str, Known]:
        """Citizens by rider, and their rides around these trips ready to be asked for."""
        refs = list(dict.fromkeys(trip.rider_ref for trip in trips))
        known = await self._vault.riders(batch.operator, refs)
        keys = {one.citizen: one for one in known.values()}
        await self._rides.fetch(self._days(trips, known), keys)
        return known

    def _days(self, trips: Sequence[ReportedTrip], known: dict[str, Known]) -> Iterator[CitizenDay]:
        for trip in trips:
            rider = known.get(trip.rider_ref)
            if rider is not None and (span := self._span(trip)) is not None:
                yield from ((rider.citizen, day) for day in days_around(span[0]))

    def _span(self, trip: ReportedTrip) -> tuple[int, int] | None:
        """Start and end of a trip that could be credited: not backwards, not far in the future."""
        started_ms, ended_ms = trip.started_ms, trip.ended_ms
        if started_ms is None or ended_ms is None:
            return None
        possible = 0 <= ended_ms - started_ms <= DAY_MS
        return (started_ms, ended_ms) if possible and ended_ms <= self._latest_ms() else None

    def _latest_ms(self) -> int:
        """The writer may be ahead of the clock, and is asked a little later."""
        return max(self._clock.now_ms(), self._writer.progress.last_at_ms) + DAY_MS

    def _ask(
        self,
        caller: Caller,
        batch: ReportedBatch,
        id: str,
        trip: ReportedTrip,
        known: dict[str, Known],
        noted: dict[str, tuple[str, Ride]],
    ) -> Ask:
        """The hot path: what the rules need, and what only the rider may read, side by side.

        Of who has not agreed to be measured no hour and no place is kept, not even sealed.
        """
        rider = known.get(trip.rider_ref)
        citizen = None if rider is None else self._writer.state.citizens.get(rider.citizen)
        consented = citizen is not None and citizen.measure
        nullifier = nullifier_of(batch.operator, trip.order)
        rides, ride = self._rides_of(rider, trip, nullifier)
        if rider is not None and ride is not None:
            noted[id] = rider.citizen, ride
        command = ReportTrip(
            batch.operator,
            batch.batch,
            rider.citizen if rider else "",
            nullifier,
            trip.mode,
            trip.evidence,
            trip.started_ms,
            trip.ended_ms,
            trip.from_place,
            trip.to_place,
            trip.distances,
            rides,
            batch.methodology,
            consented,
        )
        sealed = _sealed(rider, trip) if rider is not None and consented else None
        # The batch's own id binds its digest, and with it this trip and all it says.
        return Ask(id, caller, command, sealed=sealed, same=nullifier)

    def _rides_of(
        self, rider: Known | None, trip: ReportedTrip, nullifier: bytes
    ) -> tuple[tuple[Ride, ...], Ride | None]:
        """Those around it, and itself as far as it was noted."""
        span = self._span(trip)
        if rider is None or span is None:
            return (), None
        started_ms, ended_ms = span
        found = tuple(
            ride
            for ride in self._rides.around(rider.citizen, started_ms)
            if ride.started_ms < ended_ms
            and ride.ended_ms > started_ms
            and ride.nullifier != nullifier
        )
        ride = Ride(nullifier, started_ms, ended_ms)
        return found, ride if self._rides.note(rider.citizen, ride) else None

    async def _answers(
        self, batch: ReportedBatch, outcomes: Sequence[Outcome | None]
    ) -> list[TripAnswer]:
        positions = [one.first for one in outcomes if one is not None and one.refusal is None]
        events = await read_trips(self._writer, positions)
        answers = []
        for trip, outcome in zip(batch.trips, outcomes, strict=True):
            if isinstance(trip, Refusal):
                answers.append(TripAnswer(0, None, trip))
            elif outcome is None or outcome.refusal is not None:
                answers.append(TripAnswer(0, None, outcome.refusal if outcome else None))
            else:
                answers.append(TripAnswer(outcome.first, events[outcome.first].event, None))
        return answers


class RecordedTrip(NamedTuple):
    event: TripCredited | TripRefused
    sealed: str | None


async def read_trips(writer: Writer[State], positions: Sequence[int]) -> dict[int, RecordedTrip]:
    """Trip events by position, from the journal: one query."""
    if not positions:
        return {}

    def read() -> dict[int, RecordedTrip]:
        found = {}
        for stored in writer.journal.read_events(positions):
            raw = TYPES.decode(stored.record)
            event = raw.body
            if isinstance(event, TripCredited | TripRefused):
                sealed = None if raw.sealed is msgspec.UNSET else raw.sealed
                found[stored.position] = RecordedTrip(event, sealed)
        return found

    return await asyncio.to_thread(read)


def _sealed(rider: Known, trip: ReportedTrip) -> str:
    return seal(
        rider,
        SealedTrip(
            payable_m(trip.distances) or 0,
            trip.ended_ms,
            trip.evidence.value,
            trip.from_place,
            trip.order,
            trip.started_ms,
            trip.to_place,
        ),
    )
