"""Where every serial is: the map of ranges against a dictionary of single serials."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.books.serials import BatchMap
from tests.support.lanzhou import CITY_GROUP, QINWANGCHUAN, ZHONGCHUAN

HOLDERS = (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP)
FIRST = 1001  # a batch need not begin at 1
LAST = 1040

ranges = st.tuples(st.integers(FIRST, LAST), st.integers(FIRST, LAST)).map(sorted)
moves = st.lists(st.tuples(ranges, st.sampled_from(HOLDERS)), max_size=30)


class Naive:
    """One entry per serial: slow, and beyond doubt."""

    def __init__(self, first: int, last: int, holder: str) -> None:
        self.holders = dict.fromkeys(range(first, last + 1), holder)

    def holder_of(self, first: int, last: int) -> str | None:
        found = {self.holders.get(serial) for serial in range(first, last + 1)}
        return found.pop() if len(found) == 1 else None

    def move(self, first: int, last: int, holder: str) -> None:
        self.holders.update(dict.fromkeys(range(first, last + 1), holder))

    def extend_to(self, last: int, holder: str) -> None:
        for serial in range(max(self.holders) + 1, last + 1):
            self.holders[serial] = holder


def check_same(batch: BatchMap[str], naive: Naive) -> None:
    """The same holder for every serial and for every range, also outside of the batch."""
    low, high = min(naive.holders), max(naive.holders)
    assert batch.last == high
    for first in range(low - 2, high + 3):
        for last in range(first, min(first + 9, high + 3)):
            assert batch.holder_of(first, last) == naive.holder_of(first, last), (first, last)
    assert batch.holder_of(low, high) == naive.holder_of(low, high)
    assert len(batch.firsts) == len(batch.holders)
    assert all(one < other for one, other in pairwise(batch.firsts))


@given(moves)
def test_a_batch_after_any_moves_is_what_a_list_of_single_serials_says(
    made: list[tuple[list[int], str]],
) -> None:
    batch, naive = BatchMap.of(FIRST, LAST, QINWANGCHUAN), Naive(FIRST, LAST, QINWANGCHUAN)
    for (first, last), holder in made:
        batch.move(first, last, holder)
        naive.move(first, last, holder)
    check_same(batch, naive)


@given(st.lists(st.tuples(st.integers(1, 12), st.sampled_from(HOLDERS)), min_size=1, max_size=8))
def test_a_batch_grows_owner_after_owner_while_it_is_issued(
    owners: list[tuple[int, str]],
) -> None:
    (amount, holder), *others = owners
    batch, naive = BatchMap.of(1, amount, holder), Naive(1, amount, holder)
    first = amount + 1
    for amount, holder in others:
        last = first + amount - 1
        batch.extend_to(last)
        batch.move(first, last, holder)
        naive.move(first, last, holder)
        first = last + 1
    check_same(batch, naive)


@given(moves, moves)
def test_giving_everything_back_makes_one_range_again(
    made: list[tuple[list[int], str]], more: list[tuple[list[int], str]]
) -> None:
    batch = BatchMap.of(FIRST, LAST, QINWANGCHUAN)
    for (first, last), holder in (*made, *more):
        batch.move(first, last, holder)
    batch.move(FIRST, LAST, CITY_GROUP)
    assert (batch.firsts, batch.holders) == ([FIRST], [CITY_GROUP])


@pytest.mark.parametrize("last", [FIRST, LAST - 1, LAST])
def test_growing_to_where_it_reaches_already_changes_nothing(last: int) -> None:
    batch = BatchMap.of(FIRST, LAST, QINWANGCHUAN)
    batch.extend_to(last)
    check_same(batch, Naive(FIRST, LAST, QINWANGCHUAN))


@pytest.mark.parametrize(
    ("first", "last"),
    [(FIRST - 1, FIRST), (LAST, LAST + 1), (FIRST - 5, FIRST - 1), (LAST + 1, LAST + 5)],
)
def test_serials_outside_the_batch_are_nobodys(first: int, last: int) -> None:
    assert BatchMap.of(FIRST, LAST, QINWANGCHUAN).holder_of(first, last) is None


def test_a_large_batch_costs_as_many_ranges_as_it_has_pieces() -> None:
    batch = BatchMap.of(1, 2**53 - 1, QINWANGCHUAN)
    batch.move(2**40, 2**50, CITY_GROUP)
    assert batch.firsts == [1, 2**40, 2**50 + 1]
    assert batch.holder_of(2**40, 2**50) == CITY_GROUP
    assert batch.holder_of(2**40 - 1, 2**40) is None
