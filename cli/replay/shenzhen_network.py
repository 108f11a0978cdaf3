"""The Shenzhen metro as a graph: which stations neighbour which, and how far a ride is at least.

Reads a network file as HKUST-Trans-Lab's China-Metro-Info publishes it. Its `dist` values are
broken, so an edge is the great circle between the `center_gps` of two neighbouring stations of a
line, rounded to whole metres; a ride is the shortest path. That is a chord: the rails are longer,
never shorter. Stations of one name are one place, and changing lines there costs no metres.
"""

from __future__ import annotations

import heapq
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from kernel.errors import Kind, Refused

EARTH_RADIUS_M: Final = 6_371_009  # mean radius of WGS-84, as for great circles
MAX_EDGE_M: Final = 10_000  # no two neighbours of a metro are farther apart: then a place is wrong


class Span(msgspec.Struct, frozen=True):
    """A line as it ran: its name in the taps, its name in the file, its first and last station."""

    taps_name: str
    file_name: str
    first: str
    last: str


# The file shows later years. Lines and ends that opened after the taps would give shorter ways than
# anybody could have ridden, so only these count; the plan checks that every tap lies on them.
IN_SERVICE_2018: Final = (
    Span("地铁一号线", "Line1", "罗湖", "机场东"),
    Span("地铁二号线", "Line2", "新秀", "赤湾"),
    Span("地铁三号线", "Line3", "益田", "双龙"),
    Span("地铁四号线", "Line4", "清湖", "福田口岸"),
    Span("地铁五号线", "Line5", "前海湾", "黄贝岭"),
    Span("地铁七号线", "Line7", "太安", "西丽湖"),
    Span("地铁九号线", "Line9", "红树湾南", "文锦"),
    Span("地铁十一号线", "Line11", "碧头", "福田"),
)

# Names of the taps that no spelling rule turns into the network's.
OTHER_NAMES: Final = {
    "深圳大学": "深大",
    "马鞍山": "马安山",
    "?I岭": "孖岭",  # its first character was lost in an older character set
}

Place = tuple[float, float]  # longitude and latitude in degrees, as the file gives them


def station_name(text: str) -> str:
    """A station's one name: width, brackets and the suffix 站 taken off, other names replaced."""
    name = re.sub(r"\(.*?\)", "", unicodedata.normalize("NFKC", text)).strip()
    name = name.removesuffix("站")
    return OTHER_NAMES.get(name, name)


def great_circle_m(one: Place, other: Place) -> int:
    """Haversine, rounded to the whole metre: the same on every machine."""
    (east, north), (east_2, north_2) = (map(math.radians, place) for place in (one, other))
    half = (
        math.sin((north_2 - north) / 2) ** 2
        + math.cos(north) * math.cos(north_2) * math.sin((east_2 - east) / 2) ** 2
    )
    return round(2 * EARTH_RADIUS_M * math.asin(math.sqrt(half)))


class Network:
    """Stations by name, and their neighbours with the metres to each."""

    def __init__(self) -> None:
        self.neighbours: dict[str, dict[str, int]] = {}
        self.lines: dict[str, tuple[str, ...]] = {}
        self._ways: dict[str, dict[str, int]] = {}

    def __contains__(self, station: str) -> bool:
        return station in self.neighbours

    def add_line(self, name: str, stations: Mapping[str, Place]) -> None:
        """A line by its stations in order. Two lines between the same neighbours: the shorter."""
        self.lines[name] = tuple(stations)
        for one, other in pairwise(stations):
            metres = great_circle_m(stations[one], stations[other])
            if not 0 < metres <= MAX_EDGE_M:
                raise _unreadable(name, f"neighbours at most {MAX_EDGE_M} m apart", f"{metres} m")
            for near, far in ((one, other), (other, one)):
                edges = self.neighbours.setdefault(near, {})
                edges[far] = min(metres, edges.get(far, metres))
        self._ways.clear()

    def shortest_m(self, start: str, end: str) -> int | None:
        """Metres of the shortest way, None if a station is unknown or there is no way."""
        if start not in self._ways:
            self._ways[start] = self._from(start) if start in self else {}
        return self._ways[start].get(end)

    def _from(self, start: str) -> dict[str, int]:
        """Dijkstra's algorithm: metres to every station that can be reached."""
        found: dict[str, int] = {}
        heap = [(0, start)]
        while heap:
            metres, station = heapq.heappop(heap)
            if station in found:
                continue
            found[station] = metres
            for neighbour, edge_m in self.neighbours[station].items():
                if neighbour not in found:
                    heapq.heappush(heap, (metres + edge_m, neighbour))
        return found


def read_network(path: Path, spans: tuple[Span, ...] = IN_SERVICE_2018) -> Network:
    """The part of a network file that was in service.

    Raises Refused: FILE_MISSING, or NETWORK_UNREADABLE when a line or its ends are not in it.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        message = f"{path.name}: expected a readable file, got {error.strerror}"
        raise Refused("FILE_MISSING", message, Kind.INVALID) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(path.name, "JSON", str(error)) from error
    network = Network()
    for span in spans:
        line = content.get(span.file_name) if isinstance(content, dict) else None
        if line is None:
            raise _unreadable(path.name, f"a line {span.file_name}", "none")
        network.add_line(span.taps_name, _in_service(span, dict(_stations(span, line))))
    return network


def _in_service(span: Span, stations: dict[str, Place]) -> dict[str, Place]:
    names = list(stations)
    for end in (span.first, span.last):
        if end not in stations:
            raise _unreadable(span.file_name, f"a station {end}", f"{len(names)} others")
    first, last = sorted((names.index(span.first), names.index(span.last)))
    return {name: stations[name] for name in names[first : last + 1]}


def _stations(span: Span, line: Any) -> Iterator[tuple[str, Place]]:
    """Names and places in the order of the line; the file wraps each table in a list of one."""
    try:
        (names,), (places,) = line["id2name"], line["center_gps"]
        for at in range(int(line["station_num"])):
            yield station_name(names[str(at)]), _place(*places[str(at)])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(span.file_name, "stations with their center_gps", repr(error)) from error


def _place(east: Any, north: Any) -> Place:
    place = (float(east), float(north))
    if not (-180 <= place[0] <= 180 and -90 <= place[1] <= 90):  # neither is a "nan" of the file
        raise ValueError(f"{east}, {north} is no place")
    return place


def _unreadable(what: str, expected: str, actual: str) -> Refused:
    message = f"{what}: expected {expected}, got {actual}"
    return Refused("NETWORK_UNREADABLE", message, Kind.INVALID)
