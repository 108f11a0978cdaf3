"""Which trips of a person lie around another one, for the rule that no two may overlap.

Hours are sealed, so the state does not know them. This index does, in memory: what was reported
since the start is noted here in the moment it is handed to the writer, and what was credited before
is read from the journal and unsealed with the citizen's key when somebody asks for its day. It may
hold too much (trips not decided yet), never too little: `decide` counts only what was credited.
What was refused is taken back, and who is forgotten is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from kernel.journal.database import Engine
from kernel.journal.port import Journal
from kernel.projection import Projector
from kernel.record import decode_record
from kernel.values import DAY_MS, shanghai_day
from kernel.writer import Writer
from services.inclusive import queries
from services.inclusive.domain.commands import Ride
from services.inclusive.domain.events import TripCredited
from services.inclusive.domain.state import State
from services.inclusive.queries import CitizenDay, Known
from services.inclusive.vault import unseal

# Citizen's days in each of two generations. All that calls in flight may touch fits into one: the
# writer takes 64,000 commands in its queue, each of them looks at three days.
MAX_DAYS: Final = 200_000

_credited = msgspec.json.Decoder(TripCredited)


def days_around(at_ms: int) -> tuple[str, str, str]:
    """No trip lasts more than a day: what overlaps one began on its day, or beside it."""
    return (
        shanghai_day(max(at_ms - DAY_MS, 0)),
        shanghai_day(at_ms),
        shanghai_day(at_ms + DAY_MS),
    )


class RideIndex:
    """Rides by citizen and day; the half that nobody asked for lately is dropped when it is full.

    What is dropped is read again from the journal, so it must be there by then: `fetch` waits until
    the trips' read model covers all that has been decided.
    """

    def __init__(
        self, writer: Writer[State], engine: Engine, trips: Projector, max_days: int = MAX_DAYS
    ) -> None:
        self._writer = writer
        self._journal: Journal = writer.journal
        self._engine = engine
        self._trips = trips
        self._max_days = max_days
        self._young: dict[CitizenDay, list[Ride]] = {}
        self._old: dict[CitizenDay, list[Ride]] = {}

    async def fetch(self, wanted: Iterable[CitizenDay], keys: dict[str, Known]) -> None:
        """Makes these days complete; `keys` holds the citizens' keys by pseudonym."""
        missing = [
            one for one in dict.fromkeys(wanted) if self._take(one) is None and self._has_trips(one)
        ]
        if not missing:
            return
        await self._trips.reached(self._writer.progress.next_position - 1)
        found = await asyncio.to_thread(self._read, missing, keys)
        for one in missing:
            if self._is_forgotten(one[0]):  # since we began: nothing of hers is to stay
                continue
            known = self._take(one) or []
            have = {ride.nullifier for ride in known}
            known += [ride for ride in found.get(one, ()) if ride.nullifier not in have]
            self._keep(one, known)

    def around(self, citizen: str, at_ms: int) -> list[Ride]:
        """Rides that began on the day of an instant, the day before, or the day after."""
        return [ride for day in days_around(at_ms) for ride in self._take((citizen, day)) or ()]

    def note(self, citizen: str, ride: Ride) -> bool:
        """About to be decided. No `await` between this and handing it to the writer.

        What has earned already is not noted again: its times are those it was credited with.
        """
        if ride.nullifier in self._writer.state.credited or self._is_forgotten(citizen):
            return False
        place = (citizen, shanghai_day(ride.started_ms))
        rides = self._take(place)
        if rides is None:
            rides = []
            self._keep(place, rides)
        rides.append(ride)
        return True

    def take_back(self, citizen: str, ride: Ride) -> None:
        """It was noted and then refused: the same order may yet be credited with other times."""
        rides = self._take((citizen, shanghai_day(ride.started_ms))) or []
        rides[:] = [one for one in rides if one is not ride]

    def drop(self, citizens: Collection[str]) -> None:
        """Forgotten: no hour of theirs stays in memory."""
        gone = frozenset(citizens)
        for days in (self._young, self._old):
            for one in [one for one in days if one[0] in gone]:
                del days[one]

    def _is_forgotten(self, name: str) -> bool:
        citizen = self._writer.state.citizens.get(name)
        return citizen is not None and citizen.forgotten

    def _has_trips(self, one: CitizenDay) -> bool:
        citizen = self._writer.state.citizens.get(one[0])
        return citizen is not None and one[1] in citizen.days

    def _take(self, one: CitizenDay) -> list[Ride] | None:
        rides = self._young.get(one)
        if rides is None and (rides := self._old.pop(one, None)) is not None:
            self._keep(one, rides)
        return rides

    def _keep(self, one: CitizenDay, rides: list[Ride]) -> None:
        if len(self._young) >= self._max_days:
            self._old, self._young = self._young, {}
        self._young[one] = rides

    def _read(
        self, missing: Sequence[CitizenDay], keys: dict[str, Known]
    ) -> dict[CitizenDay, list[Ride]]:
        """In a thread: credited trips of these days, out of the journal, unsealed."""
        found: dict[CitizenDay, list[Ride]] = {}
        positions = queries.credited_positions(self._engine, missing)
        for event in self._journal.read_events(positions):
            raw = decode_record(event.record)
            body = _credited.decode(raw.body)
            known = keys.get(body.citizen)
            opened = unseal(known, str(raw.sealed)) if known else None
            if opened is None or opened.started_ms is None or opened.ended_ms is None:
                continue  # forgotten: nothing more is credited to her
            found.setdefault((body.citizen, body.day), []).append(
                Ride(bytes.fromhex(body.nullifier), opened.started_ms, opened.ended_ms)
            )
        return found
