"""The plan of `tanzhang replay vrod`: two ACR tables become an ordered list of instructions.

Pure: no network, no clock, no service. Issuances carry no serial numbers and retirements do, so the
plan chooses a batch and a range for every issued tonne such that the retired serials fall inside;
each choice is said in `Plan.choices`, what stays unknown in `Plan.unchecked`. Whether a serial is
retired twice is not judged here: such rows are passed on, and refusing them is the service's work.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from cli.replay.tables import RefusedRow
from cli.replay.vrod_batches import Batch, Run, assign_batches
from cli.replay.vrod_rows import (
    RETIREMENTS_FILE,
    IssuanceRow,
    RetirementRow,
    read_issuances,
    read_retirements,
)
from kernel.errors import InvariantBroken

DATASET = "vrod-2021"
BUFFER_NAME = "ACR buffer pool"

Row = TypeVar("Row", IssuanceRow, RetirementRow)


class DefineHolder(msgspec.Struct, frozen=True, tag=True):
    """An account holder. `key` is both the instruction's id and what legs and retirements name."""

    key: str
    name: str
    row: int


class DefineAsset(msgspec.Struct, frozen=True, tag=True):
    """Credits of one project and vintage, in whole tonnes, with serial numbers."""

    key: str
    asset: str
    project: str
    vintage: int
    name: str
    row: int
    programme: str = "ACR"
    asset_class: str = "credit"
    unit: str = "t"
    decimals: int = 0
    serialised: bool = True


class Leg(msgspec.Struct, frozen=True):
    """Serials first..last of a new batch go to `holder` (a DefineHolder's key)."""

    holder: str
    quantity_t: int
    first: int
    last: int


class Issue(msgspec.Struct, frozen=True, tag=True):
    """One batch with its one contiguous range; the legs cover it exactly."""

    key: str
    row: int
    on: dt.date
    asset: str
    batch: str
    first: int
    last: int
    legs: tuple[Leg, ...]


class Retire(msgspec.Struct, frozen=True, tag=True):
    """Serials first..last leave `holder` for the claim the source words in the last three fields.

    Any of the three may be empty where the source says nothing.
    """

    key: str
    row: int
    on: dt.date
    asset: str
    batch: str
    first: int
    last: int
    quantity_t: int
    holder: str
    account_holder: str
    reason: str
    details: str


Instruction = DefineHolder | DefineAsset | Issue | Retire


class Counts(msgspec.Struct, frozen=True):
    """How many of each; rows read = rows planned + rows refused, per file."""

    issuance_rows: int
    retirement_rows: int
    refused_issuance_rows: int
    refused_retirement_rows: int
    holders: int
    assets: int
    batches: int
    """= with a published id + with a made id + cut off."""
    batches_with_published_id: int
    batches_with_made_id: int
    batches_cut_off: int
    """Second and further pieces of a part whose retired serials span more than was issued."""
    buffer_batches: int
    retirements: int


class Plan(msgspec.Struct, frozen=True):
    """What will be asked of the services, and what was not asked and why.

    Definitions come first, then issues and retirements by date, issues before retirements of the
    same day, then file order. `issued_t` and `retired_t` are tonnes per project over the rows the
    plan carries, as the source says them: what the services' answers are compared with. `choices`
    are sentences that say what the plan decided; each of `unchecked` goes on from "not known: ".
    """

    instructions: tuple[Instruction, ...]
    refused: tuple[RefusedRow, ...]
    choices: tuple[str, ...]
    unchecked: tuple[str, ...]
    counts: Counts
    issued_t: dict[str, int]
    retired_t: dict[str, int]


def plan_directory(directory: Path, dataset: str = DATASET) -> Plan:
    """Read both tables of `directory` and plan them. Raises Refused as the readers do."""
    return plan_rows(read_issuances(directory), read_retirements(directory), dataset)


def plan_rows(
    issuances: Iterable[IssuanceRow | RefusedRow],
    retirements: Iterable[RetirementRow | RefusedRow],
    dataset: str = DATASET,
) -> Plan:
    """Plan rows that were read. The same rows in any order give the same keys, batches and ranges.

    `dataset` is part of every key: two data sets never share an id.
    """
    refused: list[RefusedRow] = []
    issued = _kept(issuances, refused, IssuanceRow)
    issuance_rows = len(issued) + len(refused)
    retired = _kept(retirements, refused, RetirementRow)
    retirement_rows = len(issued) + len(retired) + len(refused) - issuance_rows

    assignment = assign_batches(issued, retired)
    refused += assignment.refused
    batches = sorted(assignment.batches, key=lambda each: (each.part.row.row, each.part.is_buffer))

    holders = list(_holders(issued, batches, dataset))
    assets = list(_assets(issued, dataset))
    issues = [issue for batch in batches for issue in _issues(batch, dataset)]
    retires = [retire for batch in batches for retire in _retires(batch, dataset)]
    dated: list[Issue | Retire] = [*issues, *retires]
    dated.sort(key=lambda each: (each.on, isinstance(each, Retire), each.row))

    _check_complete(issued, issues, retirement_rows, retires, refused)
    published = sum(batch.run is not None for batch in batches)
    return Plan(
        instructions=(*holders, *assets, *dated),
        refused=tuple(sorted(refused, key=lambda row: (row.file, row.row))),
        choices=tuple(_choices(issued, retired, batches)),
        unchecked=tuple(_unchecked(batches, retires, assignment.overlapping)),
        counts=Counts(
            issuance_rows=issuance_rows,
            retirement_rows=retirement_rows,
            refused_issuance_rows=issuance_rows - len(issued),
            refused_retirement_rows=retirement_rows - len(retires),
            holders=len(holders),
            assets=len(assets),
            batches=len(issues),
            batches_with_published_id=published,
            batches_with_made_id=len(batches) - published,
            batches_cut_off=len(issues) - len(batches),
            buffer_batches=sum(len(batch.ranges) for batch in batches if batch.part.is_buffer),
            retirements=len(retires),
        ),
        issued_t=_tonnes((row.project, row.total_t) for row in issued),
        retired_t=_tonnes(
            (row.project, row.quantity_t)
            for batch in batches
            if batch.run is not None
            for row in batch.run.rows
        ),
    )


def _check_complete(
    issued: Sequence[IssuanceRow],
    issues: Sequence[Issue],
    retirement_rows: int,
    retires: Sequence[Retire],
    refused: Sequence[RefusedRow],
) -> None:
    """Every issued tonne is in a batch, every retirement row is planned or refused, once."""
    source_t = sum(row.total_t for row in issued)
    planned_t = sum(issue.last - issue.first + 1 for issue in issues)
    if planned_t != source_t:
        raise InvariantBroken(f"plan of issuances: expected {source_t} t, got {planned_t} t")
    ends = len(retires) + sum(row.file == RETIREMENTS_FILE for row in refused)
    if ends != retirement_rows:
        raise InvariantBroken(f"plan of retirements: expected {retirement_rows} rows, got {ends}")


def _kept(
    rows: Iterable[Row | RefusedRow], refused: list[RefusedRow], wanted: type[Row]
) -> list[Row]:
    kept = []
    for row in rows:
        if isinstance(row, RefusedRow):
            refused.append(row)
        elif isinstance(row, wanted):
            kept.append(row)
    return kept


# ---- instructions ------------------------------------------------------------------------------


def _holders(
    issued: Sequence[IssuanceRow], batches: Sequence[Batch], dataset: str
) -> Iterator[DefineHolder]:
    """One holder per project, named by its earliest issuance, and the buffer pool if it is used."""
    named: dict[str, IssuanceRow] = {}
    for row in sorted(issued, key=lambda row: (row.issued_on, row.digest, row.ordinal)):
        named.setdefault(row.project, row)
    for row in sorted(named.values(), key=lambda row: _number(row.project)):
        name = f"{row.project_name} ({row.project})"
        yield DefineHolder(_holder(row.project, dataset), name, row.row)
    buffered = [batch.part.row.row for batch in batches if batch.part.is_buffer]
    if buffered:
        yield DefineHolder(_buffer_holder(dataset), BUFFER_NAME, min(buffered))


def _assets(issued: Sequence[IssuanceRow], dataset: str) -> Iterator[DefineAsset]:
    first: dict[tuple[str, int], IssuanceRow] = {}
    for row in sorted(issued, key=lambda row: (row.issued_on, row.digest, row.ordinal)):
        first.setdefault((row.project, row.vintage), row)
    for row in sorted(first.values(), key=lambda row: (_number(row.project), row.vintage)):
        asset = _asset(row.project, row.vintage)
        yield DefineAsset(
            key=f"{dataset}/asset/{asset}",
            asset=asset,
            project=row.project,
            vintage=row.vintage,
            name=f"{row.project_name} {row.vintage}",
            row=row.row,
        )


def _issues(batch: Batch, dataset: str) -> Iterator[Issue]:
    row = batch.part.row
    word = "buffer" if batch.part.is_buffer else "project"
    holder = _batch_holder(batch, dataset)
    for piece, (first, last) in enumerate(batch.ranges):
        suffix = f"-{piece + 1}" if piece else ""
        yield Issue(
            key=f"{dataset}/issue/{row.digest[:32]}-{row.ordinal}/{word}{suffix}",
            row=row.row,
            on=row.issued_on,
            asset=_asset(row.project, row.vintage),
            batch=batch.id(piece),
            first=first,
            last=last,
            legs=(Leg(holder, last - first + 1, first, last),),
        )


def _retires(batch: Batch, dataset: str) -> Iterator[Retire]:
    if batch.run is None:
        return
    holder = _batch_holder(batch, dataset)
    for row in batch.run.rows:
        # every retired range lies in one piece: pieces are only cut where nothing is retired
        piece = bisect_left(batch.ranges, row.last, key=lambda each: each[1])
        yield Retire(
            key=f"{dataset}/retire/{row.digest[:32]}-{row.ordinal}",
            row=row.row,
            on=row.retired_on,
            asset=_asset(row.project, row.vintage),
            batch=batch.id(piece),
            first=row.first,
            last=row.last,
            quantity_t=row.quantity_t,
            holder=holder,
            account_holder=row.account_holder,
            reason=row.reason,
            details=row.details,
        )


def _batch_holder(batch: Batch, dataset: str) -> str:
    if batch.part.is_buffer:
        return _buffer_holder(dataset)
    return _holder(batch.part.row.project, dataset)


def _holder(project: str, dataset: str) -> str:
    return f"{dataset}/holder/{project}"


def _buffer_holder(dataset: str) -> str:
    return f"{dataset}/holder/buffer-pool"


def _asset(project: str, vintage: int) -> str:
    return f"ACR-{project.removeprefix('ACR')}-{vintage}"


def _number(project: str) -> tuple[int, str]:
    return int(project.removeprefix("ACR")), project


def _tonnes(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    total_t: Counter[str] = Counter()
    for project, quantity_t in amounts:
        total_t[project] += quantity_t
    return {project: total_t[project] for project in sorted(total_t, key=_number)}


# ---- what was chosen and what is not known, in sentences ---------------------------------------


def _choices(
    issued: Sequence[IssuanceRow], retired: Sequence[RetirementRow], batches: Sequence[Batch]
) -> Iterator[str]:
    seated = [(batch.run, batch) for batch in batches if batch.run is not None]
    from_one = sum(run.last <= batch.part.size_t for run, batch in seated)
    moved = sum(
        run.last > batch.part.size_t and batch.ranges[0][0] < run.first for run, batch in seated
    )
    yield (
        "each project has one account, units are issued to it and retired from it: transfers are"
        " not in the source, so who retired is kept as the retirement's claim, not as a holder"
    )
    yield (
        f"{len(seated)} batches have the id the registry shows in their retired serials, the other"
        f" {len(batches) - len(seated)} an id made of project, vintage, date of issue and"
        " 'made', with serials from 1"
    )
    yield (
        f"{from_one} of the batches with retired serials are numbered 1 to their size because all"
        f" of these lie within; {len(seated) - from_one} continue an older running numbering and"
        f" begin at their lowest retired serial, {moved} of them lower so as to end before the next"
        " batch begins"
    )
    buffered = [batch for batch in batches if batch.part.is_buffer]
    if buffered:
        yield from _buffer_choices(seated, buffered)
    for run, batch in seated:
        row = batch.part.row
        if len(batch.ranges) > 1:
            ranges = ", ".join(f"{first} to {last}" for first, last in batch.ranges)
            yield (
                f"issuance row {row.row} ({run.prefix}, {batch.part.size_t:,} t) is cut in"
                f" {len(batch.ranges)} batches, {ranges}: its retired serials span {run.span_t}"
            )
        others = sorted({part.row.row for part in batch.rivals} - {row.row})
        if others and not run.fills(batch.part.size_t):
            yield (
                f"{run.prefix} is taken as issuance row {row.row} ({batch.part.size_t:,} t); it"
                f" would fit row {', '.join(map(str, others))} of the same day too"
            )
    yield from _repeats("issuance", issued, "taken as another issuance")
    yield from _repeats("retirement", retired, "passed on to be refused as a double retirement")


def _buffer_choices(
    seated: Sequence[tuple[Run, Batch]], buffered: Sequence[Batch]
) -> Iterator[str]:
    shown = [batch for _, batch in seated if batch.part.is_buffer]
    yield (
        f"the buffer part of {len(buffered)} issuance rows is a batch of its own with its own"
        f" serials, held by the {BUFFER_NAME}, as the registry shows for {len(shown)} of them"
    )
    taken = [row for run, batch in seated if batch.part.is_buffer for row in run.rows]
    if taken:
        yield (
            f"{len(taken)} retirements ({sum(row.quantity_t for row in taken):,} t) name serials of"
            f" a buffer batch and are retired from the {BUFFER_NAME}: the source does not say when"
            " these units were given back to their project"
        )


def _repeats(word: str, rows: Sequence[IssuanceRow | RetirementRow], what: str) -> Iterator[str]:
    first = {row.digest: row.row for row in reversed(rows)}
    for row in rows:
        if row.ordinal > 1:
            yield f"{word} row {row.row} equals row {first[row.digest]} in every column: {what}"


def _unchecked(
    batches: Sequence[Batch], retires: Sequence[Retire], overlapping: Sequence[str]
) -> Iterator[str]:
    seated = [(batch.run, batch) for batch in batches if batch.run is not None]
    made_t = sum(batch.part.size_t for batch in batches if batch.run is None)
    yield (
        f"the serial numbers of {len(batches) - len(seated)} batches ({made_t} t) of which nothing"
        " was retired: the source does not show them"
    )
    loose = sum(
        run.last > batch.part.size_t > run.span_t and len(batch.ranges) == 1
        for run, batch in seated
    )
    yield f"where exactly the ranges of {loose} batches of the running numbering begin and end"
    twofold = sum(
        any(part.row is batch.part.row for part in batch.rivals)
        and not run.fills(batch.part.size_t)
        for run, batch in seated
    )
    if twofold:
        yield (
            f"whether {twofold} batches are the project part of their issuance row, as assumed, or"
            " its buffer part: their retired serials fit both"
        )
    if overlapping:
        yield (
            "the true ranges of these batches of the running numbering, for those chosen reach into"
            f" the next batch's: {', '.join(overlapping)}"
        )
    nameless = [str(retire.row) for retire in retires if not retire.account_holder]
    if nameless:
        yield f"who retired in retirement rows {', '.join(nameless)}: the account holder is empty"
    yield (
        "transfers between account holders, cancellations, reversals and units moved to another"
        " programme: they are not in these tables, so what is left in an account is an upper bound"
    )
    yield "the century of two-digit years beyond the year column beside each date"
