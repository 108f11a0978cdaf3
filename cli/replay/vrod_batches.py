"""Which batch and which serial numbers each issued tonne of the ACR tables gets.

Issuances carry no serials, retirements do. A *part* is what one issuance row gives to its project
or to the buffer pool; a *run* is all retirements of one prefix. Runs are seated in parts of the
same project, vintage and date of issue, and a range of exactly the part's size is laid around them.
Pure, and independent of the order of rows. It does not ask whether a serial is retired twice.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec

from cli.replay.tables import MAX_INTEGER, RefusedRow
from cli.replay.vrod_rows import RETIREMENTS_FILE, IssuanceRow, RetirementRow

Range = tuple[int, int]
Triple = tuple[str, int, dt.date]
"""What both tables name: project, vintage, date issued."""


class Assignment(msgspec.Struct, frozen=True):
    """Batches for every part, retirements no batch can hold, and what had to overlap."""

    batches: tuple[Batch, ...]
    refused: tuple[RefusedRow, ...]
    overlapping: tuple[str, ...]
    """Prefixes of the running numbering whose range reaches into the next batch's."""


def assign_batches(issued: Sequence[IssuanceRow], retired: Sequence[RetirementRow]) -> Assignment:
    """Seat all runs, lay all ranges. Each retirement ends in one batch or is refused once."""
    refused: list[RefusedRow] = []
    parts = _parts(issued)
    runs = _runs(retired, parts, refused)
    batches: list[Batch] = []
    for triple, of_triple in parts.items():
        batches += _seat_all(runs.get(triple, []), of_triple, refused)
    overlapping = _place(batches)
    return Assignment(tuple(batches), tuple(refused), tuple(overlapping))


class Part(msgspec.Struct, frozen=True):
    """What one issuance row gives to one receiver: its project, or the buffer pool."""

    row: IssuanceRow
    number: int  # of the row among those of its triple, by content and not by place in the file
    is_buffer: bool
    size_t: int


class _Cover:
    """A set of serials as sorted ranges; ranges that touch are one."""

    def __init__(self) -> None:
        self.ranges: list[Range] = []
        self.size_t = 0

    def growth_t(self, first: int, last: int) -> int:
        """How many of these serials are not in the set yet."""
        return self._joined(first, last)[2]

    def add(self, first: int, last: int) -> None:
        touched, whole, growth_t = self._joined(first, last)
        self.ranges[touched] = [whole]
        self.size_t += growth_t

    def _joined(self, first: int, last: int) -> tuple[slice, Range, int]:
        start = bisect_left(self.ranges, first - 1, key=lambda each: each[1])
        end = bisect_left(self.ranges, last + 2, key=lambda each: each[0])
        touched = self.ranges[start:end]
        whole = (min([first, *(low for low, _ in touched)]), max([last, *(h for _, h in touched)]))
        return slice(start, end), whole, _size(whole) - sum(map(_size, touched))


class Run:
    """All retirements that name one prefix, hence one batch of the registry."""

    def __init__(self, rows: Sequence[RetirementRow]) -> None:
        self.prefix = rows[0].prefix
        self.batch_number = rows[0].batch_number
        self.room_t = MAX_INTEGER
        self.keep(rows)

    def keep(self, rows: Sequence[RetirementRow]) -> None:
        self.rows = list(rows)
        self.cover = _Cover()
        for row in rows:
            self.cover.add(row.first, row.last)

    @property
    def first(self) -> int:
        return self.cover.ranges[0][0]

    @property
    def last(self) -> int:
        return self.cover.ranges[-1][1]

    @property
    def span_t(self) -> int:
        return self.last - self.first + 1

    def fits(self, size_t: int) -> bool:
        """Whether one range of this size can hold the run.

        Newer batches are numbered from 1. Older ones share one running numbering, where a batch
        must also find room between the retired serials of the batches before and after it.
        """
        return self.last <= size_t or self.span_t <= size_t <= self.room_t

    def fills(self, size_t: int) -> bool:
        """Whether the run names the first and the last serial such a batch would have."""
        return self.last == size_t or (self.span_t == size_t and self.last > size_t)


class Batch:
    """A part, the run seated in it if any, and the ranges chosen (several only if it was cut)."""

    def __init__(self, part: Part, run: Run | None, rivals: Sequence[Part]) -> None:
        self.part = part
        self.run = run
        self.rivals = rivals  # parts of the same triple in which the run would have fitted too
        self.ranges: tuple[Range, ...] = ((1, part.size_t),)

    def id(self, piece: int) -> str:
        row, suffix = self.part.row, f"-p{piece + 1}" if piece else ""
        if self.run is not None:
            return self.run.prefix + suffix
        made = f"{row.project}-{row.vintage}-{row.issued_on:%Y%m%d}-made-{self.part.number}"
        return made + ("b" if self.part.is_buffer else "")


def _size(serials: Range) -> int:
    return serials[1] - serials[0] + 1


def _parts(issued: Sequence[IssuanceRow]) -> dict[Triple, list[Part]]:
    """Parts per triple: project parts before buffer parts, larger rows first."""
    rows: defaultdict[Triple, list[IssuanceRow]] = defaultdict(list)
    for row in issued:
        rows[row.project, row.vintage, row.issued_on].append(row)
    parts: dict[Triple, list[Part]] = {}
    for triple, of_triple in rows.items():
        of_triple.sort(key=lambda row: (-row.total_t, row.digest, row.ordinal))
        numbered = list(enumerate(of_triple, start=1))
        both = [Part(row, number, False, row.project_t) for number, row in numbered]
        both += [Part(row, number, True, row.buffer_t) for number, row in numbered]
        parts[triple] = [part for part in both if part.size_t > 0]
    return parts


def _runs(
    retired: Sequence[RetirementRow],
    parts: dict[Triple, list[Part]],
    refused: list[RefusedRow],
) -> dict[Triple, list[Run]]:
    """Group retirements by prefix; refuse those without an issuance before them."""
    by_prefix: defaultdict[str, list[RetirementRow]] = defaultdict(list)
    for row in retired:
        if _triple(row) not in parts:
            wanted = f"{row.project} {row.vintage} issued on {row.issued_on}"
            refused.append(
                _no(row, "UNKNOWN_ISSUANCE", f"expected an issuance of {wanted}, got none")
            )
        elif row.retired_on < row.issued_on:
            message = f"expected a day from {row.issued_on} on, got {row.retired_on}"
            refused.append(_no(row, "RETIRED_BEFORE_ISSUED", message))
        else:
            by_prefix[row.prefix].append(row)

    runs: defaultdict[Triple, list[Run]] = defaultdict(list)
    for prefix, rows in by_prefix.items():
        votes = Counter(_triple(row) for row in rows)
        owner = min(votes, key=lambda triple: (-votes[triple], triple))
        for row in rows:
            if _triple(row) != owner:
                message = f"expected {prefix} issued on {owner[2]} as most say, got {row.issued_on}"
                refused.append(_no(row, "BATCH_OF_TWO_ISSUANCES", message))
        kept = sorted((row for row in rows if _triple(row) == owner), key=_content)
        runs[owner].append(Run(kept))
    _measure_rooms([run for of_triple in runs.values() for run in of_triple])
    return runs


def _measure_rooms(runs: list[Run]) -> None:
    """How long a range around each run may be before it touches retired serials of another."""
    runs.sort(key=lambda run: (run.first, run.prefix))
    before = 0
    starts = [run.first for run in runs[1:]] + [MAX_INTEGER + 1]
    for run, after in zip(runs, starts, strict=False):  # no run at all still has the last start
        run.room_t = after - before - 1
        before = max(before, run.last)


def _seat_all(runs: list[Run], parts: list[Part], refused: list[RefusedRow]) -> Iterator[Batch]:
    """Give each run of a triple a part of its own, and each part at most one run.

    Runs that fill a part to its last serial come first, then lower batch numbers; as many runs as
    possible are seated whole. A run left over takes the largest free part and is cut there.
    """
    seats: dict[int, Run] = {}
    runs = sorted(
        runs,
        key=lambda run: (
            not any(run.fills(part.size_t) for part in parts),
            run.batch_number,
            run.prefix,
        ),
    )
    for run in [run for run in runs if not _seat(run, parts, seats)]:
        free = [index for index in range(len(parts)) if index not in seats]
        if not free:
            message = f"expected a batch for {run.prefix}, got {len(parts)} all taken by others"
            refused.extend(_no(row, "NO_BATCH_LEFT", message) for row in run.rows)
            continue
        index = min(free, key=lambda each: _loss(run, parts[each].size_t))
        _trim(run, parts[index].size_t, refused)
        if run.rows:
            seats[index] = run
    for index, part in enumerate(parts):
        seated = seats.get(index)
        rivals = [
            other
            for other in parts
            if seated is not None and other is not part and seated.fits(other.size_t)
        ]
        yield Batch(part, seated, rivals)


def _seat(run: Run, parts: list[Part], seats: dict[int, Run]) -> bool:
    """One step of bipartite matching: seat the run, moving others if that makes room."""
    seat_of = {seated.prefix: index for index, seated in seats.items()}
    asked_by: dict[int, Run] = {}
    queue = deque([run])
    while queue:
        seeker = queue.popleft()
        wishes = [index for index, part in enumerate(parts) if seeker.fits(part.size_t)]
        wishes.sort(key=lambda index: not seeker.fills(parts[index].size_t))
        for index in wishes:
            if index in asked_by:
                continue
            asked_by[index] = seeker
            if index in seats:
                queue.append(seats[index])
                continue
            free: int | None = index
            while free is not None:  # everybody on the chain moves one seat on
                mover = asked_by[free]
                seats[free] = mover
                free = seat_of.get(mover.prefix)
            return True
    return False


def _loss(run: Run, size_t: int) -> tuple[bool, bool, int]:
    return run.span_t > size_t, run.cover.size_t > size_t, -size_t


def _trim(run: Run, size_t: int, refused: list[RefusedRow]) -> None:
    """Keep the retirements, by date, that together name no more serials than were issued."""
    if run.cover.size_t <= size_t:
        return
    kept: list[RetirementRow] = []
    cover = _Cover()
    for row in run.rows:
        needed_t = cover.size_t + cover.growth_t(row.first, row.last)
        if needed_t <= size_t:
            cover.add(row.first, row.last)
            kept.append(row)
        else:
            message = f"expected at most {size_t} serials of {run.prefix}, got {needed_t}"
            refused.append(_no(row, "SERIALS_EXCEED_ISSUANCE", message))
    run.keep(kept)


def _place(batches: Iterable[Batch]) -> list[str]:
    """Choose the ranges of seated batches; return prefixes whose range had to overlap the next.

    From the highest serial down: a range begins at its lowest retired serial, or as much lower as
    the batch above it in the running numbering requires.
    """
    edge = MAX_INTEGER + 1
    overlapping: list[str] = []
    seated = [(batch.run, batch) for batch in batches if batch.run is not None]
    for run, batch in sorted(seated, key=lambda pair: (-pair[0].first, pair[0].prefix)):
        size_t = batch.part.size_t
        if run.last <= size_t:
            continue  # numbered from 1, which is what a batch starts with
        if run.span_t > size_t:
            batch.ranges = _pieces(run.cover.ranges, size_t)
        else:
            first = max(run.last - size_t + 1, min(run.first, edge - size_t))
            batch.ranges = ((first, first + size_t - 1),)
        if batch.ranges[-1][1] >= edge:
            overlapping.append(run.prefix)
        edge = min(edge, batch.ranges[0][0])
    return overlapping


def _pieces(covered: Sequence[Range], size_t: int) -> tuple[Range, ...]:
    """Cut the widest holes out of the covered span until the rest is `size_t` serials.

    What the last cut took too much stays with the piece below it. Needs covered <= size_t < span.
    """
    over_t = covered[-1][1] - covered[0][0] + 1 - size_t
    holes = [(high[0] - low[1] - 1, -index) for index, (low, high) in _neighbours(covered)]
    cuts: dict[int, int] = {}  # index of the range below the hole -> how far that range is extended
    for width, negative_index in sorted(holes, reverse=True):
        if over_t <= 0:
            break
        cuts[-negative_index] = max(0, width - over_t)
        over_t -= width
    pieces: list[Range] = []
    first = covered[0][0]
    for index, (low, high) in _neighbours(covered):
        if index in cuts:
            pieces.append((first, low[1] + cuts[index]))
            first = high[0]
    return (*pieces, (first, covered[-1][1]))


def _neighbours(ranges: Sequence[Range]) -> Iterator[tuple[int, tuple[Range, Range]]]:
    return enumerate(pairwise(ranges))


def _triple(row: RetirementRow) -> Triple:
    return row.project, row.vintage, row.issued_on


def _content(row: RetirementRow) -> tuple[dt.date, str, int]:
    return row.retired_on, row.digest, row.ordinal


def _no(row: RetirementRow, reason: str, message: str) -> RefusedRow:
    return RefusedRow(RETIREMENTS_FILE, row.row, reason, message)
