"""Does a journal contradict what clients saw? Names every contradiction; believes nobody's folding.

The journal is one order of all commands. It explains the clients' histories if every acknowledged
command stands in it once, at the position that was named and as it was asked; if what was refused
or never asked is not in it; if of two operations, of which one was answered before the other was
asked, the first has the lower position; and if every strong read and every number in a refusal is
what the book adds up to at one position between asking and answer. That is strict
serialisability, of every account and of all together.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tests.support.history import (
    Answer,
    Command,
    Move,
    Place,
    Read,
    Seen,
    commands_of,
    reads_of,
)

Raw = Mapping[str, Any]
NEVER_S = float("inf")
MAY_BE_NEGATIVE = ("issued", "external")


class Finding(NamedTuple):
    """One contradiction: its name, what it is about, and in words."""

    name: str
    what: str
    words: str


class Book(NamedTuple):
    """A journal, as the checker needs it."""

    records: Sequence[Raw]
    first_of: Mapping[tuple[str, str], list[int]]  # (who, id) -> where its runs of events begin


def check_history(seen: Sequence[Seen], records: Sequence[Raw]) -> list[Finding]:
    """All contradictions between what was seen and the whole journal, from position 0."""
    book = Book(records, runs_of(records))
    commands, reads = commands_of(seen), reads_of(seen)
    return [
        *check_presence(commands, book),
        *check_content(commands, book),
        *check_repeats(commands),
        *check_groups(commands, reads, book),
        *check_calls(commands),
        *check_institutions(records),
        *check_order(commands, reads),
        *check_values(commands, reads, book),
    ]


def runs_of(records: Sequence[Raw]) -> dict[tuple[str, str], list[int]]:
    """The events of one command stand together: an id that comes again later happened twice."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    before: tuple[str, str] | None = None
    for raw in records:
        key = (raw["actor"]["sub"], raw["by"])
        if key != before:
            found[key].append(raw["position"])
        before = key
    return found


# ---- what is there ------------------------------------------------------------------------------


def check_presence(commands: Iterable[Command], book: Book) -> Iterator[Finding]:
    """Acknowledged: once, where it was said. Refused: not at all. Unknown: as its id says."""
    asked = set()
    for one in commands:
        asked.add((one.client, one.id))
        positions = book.first_of.get((one.client, one.id), [])
        if len(positions) > 1:
            yield Finding("DOUBLED", one.id, f"happened {len(positions)} times: {positions}")
        elif one.answer is Answer.OK and positions != [one.position]:
            yield Finding("LOST", one.id, f"acknowledged at {one.position}, found at {positions}")
        elif one.answer is Answer.REFUSED and positions:
            yield Finding("GHOST", one.id, f"refused as {one.reason}, found at {positions}")
        elif one.answer is Answer.UNKNOWN:
            said = [] if one.found is None else [one.found]
            if said != positions:
                yield Finding("UNRESOLVED", one.id, f"its id says {said}, found at {positions}")
    clients = {client for client, _ in asked}
    for (who, id), positions in book.first_of.items():
        if who in clients and (who, id) not in asked:
            yield Finding("NEVER_ASKED", id, f"by {who}, found at {positions}")


def check_content(commands: Iterable[Command], book: Book) -> Iterator[Finding]:
    """An event says what its command asked for."""
    for one in commands:
        for position in book.first_of.get((one.client, one.id), [])[:1]:
            raw = book.records[position]
            there = moves_of(raw)
            if raw["type"] != one.type or there[: len(one.moves)] != one.moves:
                words = f"asked {one.type} {one.moves}, recorded {raw['type']} {there}"
                yield Finding("CHANGED", one.id, words)


def check_repeats(commands: Iterable[Command]) -> Iterator[Finding]:
    """The same id, asked again, gets the first answer."""
    for one in commands:
        if one.again is not None and one.again != one.position:
            yield Finding("ANSWER_CHANGED", one.id, f"first {one.position}, then {one.again}")


def check_groups(
    commands: Iterable[Command], reads: Iterable[Read], book: Book
) -> Iterator[Finding]:
    """Linked commands are recorded one right after the other, or none; no read parts them."""
    groups: dict[tuple[str, str], list[Command]] = defaultdict(list)
    for one in commands:
        if one.group:
            groups[one.client, one.group].append(one)
    seen_at = sorted(one.as_of for one in reads)
    for (client, name), members in groups.items():
        found = [at for one in members for at in book.first_of.get((client, one.id), [])]
        run = list(range(found[0], found[0] + len(members))) if found else []
        if found != run:
            yield Finding("LINK_BROKEN", name, f"{len(members)} commands, found at {found}")
        elif found and bisect.bisect_left(seen_at, run[0]) < bisect.bisect_left(seen_at, run[-1]):
            as_of = seen_at[bisect.bisect_left(seen_at, run[0])]
            yield Finding("LINK_SEEN_PARTED", name, f"found at {found}, read as of {as_of}")


def check_calls(commands: Iterable[Command]) -> Iterator[Finding]:
    """What was sent in one call or stream is recorded in its order."""
    calls: dict[tuple[str, str], list[Command]] = defaultdict(list)
    for one in commands:
        if one.call:
            calls[one.client, one.call].append(one)
    for (_, name), members in calls.items():
        members.sort(key=lambda one: one.place)
        positions = [one.found if one.position is None else one.position for one in members]
        there = [position for position in positions if position is not None]
        if there != sorted(there):
            yield Finding("DISORDERED", name, f"sent one after another, found at {there}")


def check_institutions(records: Iterable[Raw]) -> Iterator[Finding]:
    """A venue's trade is settled once, a line of a bank's statement is booked once, for ever."""
    known: dict[tuple[str, str, str, str], int] = {}
    for raw in records:
        body = raw["body"]
        names = []
        if raw["type"] == "EntryPosted":
            session = body.get("session", "")
            names = [("SETTLED_TWICE", session, name) for name in body.get("trades") or ()]
        names += [("BOOKED_TWICE", "", body["bank_line"])] if body.get("bank_line") else []
        for what, session, name in names:
            key = (what, body["legs"][0]["debit"]["ref"], session, name)
            if key in known:
                words = f"of {key[1]}, at {known[key]} and at {raw['position']}"
                yield Finding(what, name, words)
            known[key] = raw["position"]


# ---- real time ----------------------------------------------------------------------------------


class Point(NamedTuple):
    """Something that certainly lies at or before, or at or after, a position of the journal."""

    invoked_s: float
    answered_s: float
    position: int
    reads: bool  # a read sees a position; a command makes one of its own
    what: str


def points_of(commands: Iterable[Command], reads: Iterable[Read]) -> list[Point]:
    points = [
        Point(one.invoked_s, one.answered_s or NEVER_S, one.position, False, one.id)
        for one in commands
        if one.position is not None
    ]
    points += [
        Point(one.invoked_s, NEVER_S, one.found, False, one.id)
        for one in commands
        if one.found is not None
    ]
    points += [
        Point(one.invoked_s, one.answered_s, one.as_of, True, f"read of {one.client}")
        for one in reads
    ]
    return points


def check_order(commands: Sequence[Command], reads: Sequence[Read]) -> Iterator[Finding]:
    """Whatever was answered before something else was asked for comes before it."""
    points = points_of(commands, reads)
    done = sorted(points, key=lambda one: one.answered_s)
    highest: Point | None = None
    i = 0
    for one in sorted(points, key=lambda point: point.invoked_s):
        while i < len(done) and done[i].answered_s < one.invoked_s:
            if highest is None or done[i].position >= highest.position:
                highest = done[i]
            i += 1
        if highest is None:
            continue
        # A read may see what another read saw, and what a command made; a command makes more.
        behind = one.position - highest.position
        if behind < 0 or (behind == 0 and not one.reads):
            name = "STALE_READ" if one.reads else "TIME_INVERSION"
            if highest.reads and not one.reads:
                name = "READ_FROM_FUTURE"
            yield Finding(
                name,
                one.what,
                f"at {one.position}, asked {one.invoked_s - highest.answered_s:.3f} s after"
                f" {highest.what} was answered at {highest.position}",
            )


# ---- values -------------------------------------------------------------------------------------


class Sums:
    """The book, added up leg by leg: a dict of balances, and each place's changes."""

    def __init__(self) -> None:
        self.balances: dict[Place, int] = defaultdict(int)
        self.changes: dict[Place, list[tuple[int, int]]] = defaultdict(list)

    def add(self, position: int, moves: Iterable[Move]) -> Iterator[Finding]:
        for source, target, amount in moves:
            for place, change in ((source, -amount), (target, amount)):
                self.balances[place] += change
                self.changes[place].append((position, self.balances[place]))
            if self.balances[source] < 0 and source[2] not in MAY_BE_NEGATIVE:
                words = f"{source} at {self.balances[source]}"
                yield Finding("OVERDRAWN", f"position {position}", words)

    def between(self, place: Place, low: int, high: float) -> set[int]:
        """What a place held after any of the positions low..high; before all of them 0."""
        changes = self.changes.get(place, [])
        begin = bisect.bisect_right(changes, (low, NEVER_S)) - 1
        values = {changes[begin][1]} if begin >= 0 else {0}
        for position, balance in changes[begin + 1 :]:
            if position > high:
                break
            values.add(balance)
        return values


def check_values(
    commands: Sequence[Command], reads: Sequence[Read], book: Book
) -> Iterator[Finding]:
    """Reads and refusals say what was there at their time; nothing is overdrawn; sums are zero."""
    sums = Sums()
    waiting = sorted(reads, key=lambda one: one.as_of, reverse=True)
    for raw in book.records:
        yield from sums.add(raw["position"], moves_of(raw))
        while waiting and waiting[-1].as_of == raw["position"]:
            yield from _check_read(waiting.pop(), sums.balances)
    for one in waiting:
        yield Finding("READ_FROM_FUTURE", f"read of {one.client}", f"as of {one.as_of}: no such")
    totals: dict[str, int] = defaultdict(int)
    for place, balance in sums.balances.items():
        totals[place[1]] += balance
    for asset, total in totals.items():
        if total:
            yield Finding("SUM_NOT_ZERO", asset, f"{total}")
    yield from _check_refusals(commands, reads, sums)


def _check_read(read: Read, balances: Mapping[Place, int]) -> Iterator[Finding]:
    there = {p: amount for p, amount in balances.items() if p[0] == read.holder and amount}
    said = dict(read.balances)
    if said != there:
        off = {p: (said.get(p, 0), there.get(p, 0)) for p in said.keys() | there.keys()}
        words = {p: pair for p, pair in off.items() if pair[0] != pair[1]}
        yield Finding(
            "WRONG_BALANCE", f"read of {read.client}", f"as of {read.as_of} (said, is): {words}"
        )


def _check_refusals(
    commands: Sequence[Command], reads: Sequence[Read], sums: Sums
) -> Iterator[Finding]:
    """What a refusal says was there was there at some moment between asking and answer."""
    points = points_of(commands, reads)
    done = sorted((one.answered_s, one.position) for one in points)
    highest = running(done, max)
    begun = sorted((one.invoked_s, one.position) for one in points if not one.reads)
    lowest = running(begun[::-1], min)[::-1]
    for one in commands:
        if one.available is None or one.of is None or one.answered_s is None:
            continue
        before = bisect.bisect_left(done, (one.invoked_s, -1)) - 1
        after = bisect.bisect_right(begun, (one.answered_s, NEVER_S))
        low = highest[before] if before >= 0 else -1
        high = lowest[after] - 1 if after < len(begun) else NEVER_S
        possible = sums.between(one.of, low, high)
        if one.available not in possible or (one.needed or 0) <= one.available:
            words = f"needed {one.needed}, said {one.available}, was {sorted(possible)} in {one.of}"
            yield Finding("WRONG_REFUSAL", one.id, words)


def running(rows: Sequence[tuple[float, int]], best: Any) -> list[int]:
    """The best position so far, row by row."""
    found: list[int] = []
    for _, position in rows:
        found.append(position if not found else best(found[-1], position))
    return found


def moves_of(raw: Raw) -> tuple[Move, ...]:
    return tuple(
        (_place(leg["debit"], leg["asset"]), _place(leg["credit"], leg["asset"]), leg["amount"])
        for leg in raw["body"].get("legs", ())
    )


def _place(account: Raw, asset: str) -> Place:
    return account["holder"], asset, account["purpose"], account["ref"]
