"""The plan of `tanzhang replay shenzhen-tong`: taps become trips, with what they say of its length.

A card's tap in followed by its next tap out is one trip. A tap without a partner and every bus
boarding (no bus row has an alighting) is a trip without an end, or without a start: it goes through
the service too, whose own rule refuses it. Pure, and the same for the rows in any order. The fare
is a second witness of the length: how far both agree is counted here, who is paid is not.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec

from cli.replay.shenzhen_fares import Bounds, fare_bounds
from cli.replay.shenzhen_network import Network, read_network, station_name
from cli.replay.shenzhen_rows import BUS, ENTRY, EXIT, Tap, read_taps
from cli.replay.tables import RefusedRow
from kernel.errors import InvariantBroken

DATASET: Final = "shenzhen-tong-2018"
METRO_MODE, BUS_MODE = "metro", "bus"
NO_NAME: Final = "-"  # what the source writes where a gate did not say its station


class PlannedTrip(msgspec.Struct, frozen=True):
    """One trip of a card. `card` is personal: it goes to the vault alone.

    `started_ms` or `ended_ms` is None where the tap is missing; then nothing is known of a length.
    """

    order: str
    card: str
    mode: str
    started_ms: int | None
    ended_ms: int | None
    from_place: str
    to_place: str
    network_m: int | None
    fare_fen: int | None

    @property
    def is_pair(self) -> bool:
        return self.started_ms is not None and self.ended_ms is not None

    @property
    def fare(self) -> Bounds | None:
        """The lengths its fare pays for, if the tariff has such a fare."""
        return None if self.fare_fen is None else fare_bounds(self.fare_fen)

    @property
    def at_ms(self) -> int:
        """When it began, or when it ended if that is all that is known."""
        return (self.ended_ms or 0) if self.started_ms is None else self.started_ms


class FareBand(msgspec.Struct, frozen=True):
    """Pairs that paid one fare: the network's length within its bounds, below or above them."""

    fare_fen: int
    least_metres: int
    metres: int
    within: int
    below: int
    above: int

    @property
    def pairs(self) -> int:
        return self.within + self.below + self.above


class FareAgreement(msgspec.Struct, frozen=True):
    """The network's length against the fare's band, over the rides that have both.

    `off_m` holds by how much the network's length misses its band, in order: negative where the
    fare says the ride was longer, positive where it says it was shorter.
    """

    bands: tuple[FareBand, ...]
    off_m: tuple[int, ...]
    not_in_tariff: int
    """Rides whose fare the tariff does not know; they have one witness less."""


class Counts(msgspec.Struct, frozen=True):
    """Rows read = taps + rows refused; taps = 2 × pairs + every tap without a partner."""

    rows: int
    taps: int
    refused_rows: int
    cards: int
    pairs: int
    pairs_of_one_station: int
    pairs_without_network: int
    entries_alone: int
    exits_alone: int
    bus_boardings: int
    named_by_their_gates: int
    """Taps whose station the source left out and other taps of the same gates name."""

    @property
    def trips(self) -> int:
        return self.pairs + self.entries_alone + self.exits_alone + self.bus_boardings


class Plan(msgspec.Struct, frozen=True):
    """What will be reported, by time; what was not and why; sentences on what was chosen."""

    trips: tuple[PlannedTrip, ...]
    refused: tuple[RefusedRow, ...]
    unmatched_stations: dict[str, int]
    """Taps by the name of a station that the network does not have."""
    off_line: dict[str, int]
    """Taps by station and line where the network's line does not pass: the table of lines errs."""
    fares: FareAgreement
    counts: Counts
    choices: tuple[str, ...]
    unchecked: tuple[str, ...]


def plan_files(taps: Path, network: Path) -> Plan:
    """Read both files and plan them. Raises Refused as the readers do."""
    return plan_rows(taps.name, read_taps(taps), read_network(network))


def plan_rows(file: str, rows: Iterable[Tap | RefusedRow], network: Network) -> Plan:
    """Plan rows that were read; `file` is their name in what is said about them."""
    read = list(rows)
    taps = [row for row in read if isinstance(row, Tap)]
    refused = [row for row in read if isinstance(row, RefusedRow)]
    places = _Places(taps)
    trips = sorted(_trips(taps, places, network), key=attrgetter("at_ms", "order"))
    counts = _counts(taps, refused, trips, places)
    _check_complete(file, counts)
    unmatched, off_line = _unmatched(taps, places, network)
    return Plan(
        trips=tuple(trips),
        refused=tuple(sorted(refused, key=attrgetter("row"))),
        unmatched_stations=unmatched,
        off_line=off_line,
        fares=_agreement(trips),
        counts=counts,
        choices=tuple(_choices(counts, places, network)),
        unchecked=tuple(_unchecked(counts)),
    )


# ---- where a tap was ---------------------------------------------------------------------------


class _Places:
    """Station names of taps: their own, else the one that other taps of the same gates give."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        given: defaultdict[str, set[str]] = defaultdict(set)
        for tap in taps:
            if tap.kind != BUS and tap.station != NO_NAME:
                given[tap.gates].add(station_name(tap.station))
        self._by_gates = {gates: names.pop() for gates, names in given.items() if len(names) == 1}
        unnamed = [tap.gates for tap in taps if tap.kind != BUS and tap.station == NO_NAME]
        self.named_by_gates = sum(gates in self._by_gates for gates in unnamed)
        self.unnamed = len(unnamed) - self.named_by_gates

    def of(self, tap: Tap) -> str:
        """One name for one station; unnamed gates are a place of their own."""
        if tap.station != NO_NAME:
            return station_name(tap.station)
        return self._by_gates.get(tap.gates, f"gates {tap.gates}")


def _unmatched(
    taps: Sequence[Tap], places: _Places, network: Network
) -> tuple[dict[str, int], dict[str, int]]:
    unknown: Counter[str] = Counter()
    off_line: Counter[str] = Counter()
    for tap in taps:
        if tap.kind == BUS:
            continue
        place = places.of(tap)
        if place not in network:
            unknown[place] += 1
        elif place not in network.lines.get(tap.line, ()):
            off_line[f"{place} on {tap.line}"] += 1
    return dict(sorted(unknown.items())), dict(sorted(off_line.items()))


# ---- trips -------------------------------------------------------------------------------------


def _trips(taps: Sequence[Tap], places: _Places, network: Network) -> Iterator[PlannedTrip]:
    by_card: defaultdict[str, list[Tap]] = defaultdict(list)
    for tap in taps:
        if tap.kind == BUS:
            yield _trip(tap, None, places, network)
        else:
            by_card[tap.card].append(tap)
    for of_card in by_card.values():
        of_card.sort(key=lambda tap: (tap.at_ms, tap.kind != ENTRY, tap.digest))
        for start, end in _paired(of_card):
            yield _trip(start, end, places, network)


def _paired(taps: Iterable[Tap]) -> Iterator[tuple[Tap | None, Tap | None]]:
    """A tap in and its next tap out; None stands for a partner that is not there."""
    inside: Tap | None = None
    for tap in taps:
        if tap.kind == EXIT:
            yield inside, tap
            inside = None
        else:
            if inside is not None:
                yield inside, None
            inside = tap
    if inside is not None:
        yield inside, None


def _trip(start: Tap | None, end: Tap | None, places: _Places, network: Network) -> PlannedTrip:
    known = start or end
    if known is None:
        raise InvariantBroken("a trip: expected at least one tap, got none")
    is_bus = known.kind == BUS
    # Of a bus the source gives the route, which is no place.
    from_place = places.of(start) if start is not None and not is_bus else ""
    to_place = places.of(end) if end is not None else ""
    is_pair = start is not None and end is not None
    return PlannedTrip(
        order=_order(start, end),
        card=known.card,
        mode=BUS_MODE if is_bus else METRO_MODE,
        started_ms=None if start is None else start.at_ms,
        ended_ms=None if end is None else end.at_ms,
        from_place=from_place,
        to_place=to_place,
        network_m=network.shortest_m(from_place, to_place) if is_pair else None,
        fare_fen=end.fare_fen if is_pair and end is not None else None,
    )


def _order(start: Tap | None, end: Tap | None) -> str:
    """The trip's number in the plan, from its rows alone: the same wherever they stand in a file.

    Anyone who has the file can make it, so it is not the order that is reported.
    """
    digests = (tap.digest if tap is not None else "" for tap in (start, end))
    return hashlib.sha256("\x00".join(digests).encode()).hexdigest()[:32]


# ---- counting ----------------------------------------------------------------------------------


def _counts(
    taps: Sequence[Tap],
    refused: Sequence[RefusedRow],
    trips: Sequence[PlannedTrip],
    places: _Places,
) -> Counts:
    pairs = [trip for trip in trips if trip.is_pair]
    alone = [trip for trip in trips if not trip.is_pair and trip.mode == METRO_MODE]
    return Counts(
        rows=len(taps) + len(refused),
        taps=len(taps),
        refused_rows=len(refused),
        cards=len({tap.card for tap in taps}),
        pairs=len(pairs),
        pairs_of_one_station=sum(trip.from_place == trip.to_place for trip in pairs),
        pairs_without_network=sum(trip.network_m is None for trip in pairs),
        entries_alone=sum(trip.ended_ms is None for trip in alone),
        exits_alone=sum(trip.started_ms is None for trip in alone),
        bus_boardings=sum(trip.mode == BUS_MODE for trip in trips),
        named_by_their_gates=places.named_by_gates,
    )


def _check_complete(file: str, counts: Counts) -> None:
    """Every tap is in exactly one trip."""
    used = counts.trips + counts.pairs
    if used != counts.taps:
        raise InvariantBroken(f"plan of {file}: expected {counts.taps} taps in trips, got {used}")


def _agreement(trips: Sequence[PlannedTrip]) -> FareAgreement:
    """Rides between two stations; who leaves where he entered pays for no length."""
    off_m: defaultdict[int, list[int]] = defaultdict(list)
    not_in_tariff = 0
    for trip in trips:
        if trip.fare_fen is None or trip.network_m is None or trip.from_place == trip.to_place:
            continue
        if trip.fare is None:
            not_in_tariff += 1
        else:
            off_m[trip.fare_fen].append(trip.fare.off_m(trip.network_m))
    bands = tuple(_band(fare_fen, off_m[fare_fen]) for fare_fen in sorted(off_m))
    outside = sorted(one for of_fare in off_m.values() for one in of_fare if one)
    return FareAgreement(bands, tuple(outside), not_in_tariff)


def _band(fare_fen: int, off_m: Sequence[int]) -> FareBand:
    bounds = fare_bounds(fare_fen)
    if bounds is None:
        raise InvariantBroken(f"fare {fare_fen}: expected one of the tariff")
    below, above = sum(one < 0 for one in off_m), sum(one > 0 for one in off_m)
    within = len(off_m) - below - above
    return FareBand(fare_fen, bounds.least_metres, bounds.metres, within, below, above)


# ---- what was chosen and what is not known, in sentences ---------------------------------------


def _choices(counts: Counts, places: _Places, network: Network) -> Iterator[str]:
    lines = ", ".join(f"{name} {on[0]}-{on[-1]}" for name, on in network.lines.items())
    yield (
        "the network file shows later years: only the lines of August 2018 between their ends of"
        f" then count ({lines}), so that no way is shorter than anybody could ride"
    )
    yield (
        "an edge is the great circle between neighbouring stations in whole metres, a ride the"
        " shortest path; changing lines adds nothing. The rails are longer: the figure is a floor"
    )
    yield (
        f"{places.named_by_gates} taps without a station's name take the name that other taps of"
        f" the same gates give; {places.unnamed} stay unnamed"
    )
    yield "the fare that witnesses a length is the tariff's own, before the card's discount"
    yield (
        f"{counts.entries_alone + counts.exits_alone:,} metro taps without a partner and"
        f" {counts.bus_boardings:,} bus boardings are reported as trips without an end or a start,"
        " to be refused by the service's own rule"
    )


def _unchecked(counts: Counts) -> Iterator[str]:
    yield (
        f"where the partners of {counts.entries_alone + counts.exits_alone:,} metro taps are: the"
        " file is a slice of a day, and their other tap lies outside it"
    )
    yield f"where {counts.bus_boardings:,} bus riders got off: the source has no alighting"
    yield "whether a card is one person, and which way through the network a rider took"
    yield "the datum of the network's coordinates: the file does not say, and lengths hardly change"
