"""Ranges of serials: well formed, taken away from others, and found again by serial."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import MAX_INTEGER, check_text
from services.registry.domain.events import SerialRange
from services.registry.domain.state import SerialLien

MAX_RANGES: Final = 256  # as many as the accounts book takes in one leg


def check_ranges(quantity_t: int, ranges: Sequence[SerialRange]) -> None:
    """Named ranges: inside bounds, disjoint, as many as the quantity. None: the oldest units."""
    if not ranges:
        return
    if len(ranges) > MAX_RANGES:
        raise Refused(
            "TOO_MANY_RANGES", f"expected at most {MAX_RANGES}, got {len(ranges)}", Kind.INVALID
        )
    for block in ranges:
        check_text(block.batch, "batch", 80)
        if not 1 <= block.first <= block.last <= MAX_INTEGER:
            raise Refused(
                "RANGE_MALFORMED",
                f"{block.batch}: expected 1 <= first <= last, got {block.first}..{block.last}",
                Kind.INVALID,
            )
    _check_disjoint(ranges)
    check_amount(quantity_t, ranges)


def _check_disjoint(ranges: Sequence[SerialRange]) -> None:
    ordered = sorted(ranges, key=lambda block: (block.batch, block.first))
    for one, next_one in pairwise(ordered):
        if one.batch == next_one.batch and next_one.first <= one.last:
            raise Refused(
                "SERIALS_OVERLAP",
                f"{one.batch}: {one.first}..{one.last} and {next_one.first}..{next_one.last}"
                " overlap",
                Kind.INVALID,
                batch=one.batch,
            )


def check_amount(quantity_t: int, ranges: Sequence[SerialRange]) -> None:
    total = sum(block.amount for block in ranges)
    if total != quantity_t:
        raise Refused(
            "SERIALS_DISAGREE",
            f"expected serials for {quantity_t}, the ranges hold {total}",
            Kind.INVALID,
            expected=quantity_t,
            actual=total,
        )


def without(ranges: Sequence[SerialRange], taken: Sequence[SerialRange]) -> list[SerialRange]:
    """What is left of some ranges, in their order, when others are taken out of them."""
    left = list(ranges)
    for cut in taken:
        left = [part for block in left for part in _around(block, cut)]
    return left


def _around(block: SerialRange, cut: SerialRange) -> list[SerialRange]:
    if block.batch != cut.batch or cut.last < block.first or block.last < cut.first:
        return [block]
    parts = [(block.first, cut.first - 1), (cut.last + 1, block.last)]
    return [SerialRange(block.batch, first, last) for first, last in parts if first <= last]


def cover(pledged: list[SerialLien], block: SerialRange, lien: str) -> None:
    """Enters a range under a lien; `pledged` stays in order of serials."""
    insort(pledged, (block.first, block.last, lien))


def uncover(pledged: list[SerialLien], block: SerialRange) -> None:
    """Takes a range out from under whatever lien it is."""
    i = _first_reaching(pledged, block.first)
    while i < len(pledged) and pledged[i][0] <= block.last:
        first, last, lien = pledged.pop(i)
        if first < block.first:
            pledged.insert(i, (first, block.first - 1, lien))
            i += 1
        if block.last < last:
            pledged.insert(i, (block.last + 1, last, lien))


def covering(pledged: Sequence[SerialLien], serial: int) -> SerialLien | None:
    """The range that holds a serial, if it is pledged."""
    i = _first_reaching(pledged, serial)
    return pledged[i] if i < len(pledged) and pledged[i][0] <= serial else None


def _first_reaching(pledged: Sequence[SerialLien], serial: int) -> int:
    """Where the first range stands whose last serial is this one or a later one."""
    return bisect_left(pledged, serial, key=lambda one: one[1])
