"""Serials have one place each: the auditor's ranges against a dictionary of single serials."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cli.audit.places import Account, Places
from cli.audit.registry import joined, without

ACCOUNTS: list[Account] = [(f"h-{name}", "available", "") for name in "abc"]
MOST = 24

moves = st.lists(
    st.tuples(
        st.integers(1, MOST),
        st.integers(0, 9),
        st.sampled_from([None, *ACCOUNTS]),
        st.sampled_from(ACCOUNTS),
    ),
    max_size=30,
)


@given(moves)
def test_ranges_say_of_every_serial_where_it_is_and_what_was_wrong_with_a_move(
    said: list[tuple[int, int, Account | None, Account]],
) -> None:
    places, known = Places(), dict[int, Account]()
    for first, more, source, target in said:
        last = first + more
        wrong = places.move(first, last, source, target)
        expected = {n: known.get(n) for n in range(first, last + 1) if known.get(n) != source}
        assert expected == {n: where for low, high, where in wrong for n in range(low, high + 1)}
        known |= dict.fromkeys(range(first, last + 1), target)
        found = {n: account for low, high, account in places.all() for n in range(low, high + 1)}
        assert found == known
        for left, right in pairwise(places.all()):
            assert left[1] < right[0]
            assert left[1] + 1 < right[0] or left[2] != right[2]  # else they were one range


@given(moves, moves)
def test_what_is_left_of_ranges_is_what_was_not_taken(
    had: list[tuple[int, int, Account | None, Account]],
    gone: list[tuple[int, int, Account | None, Account]],
) -> None:
    places, taken = Places(), [("B-1", first, first + more) for first, more, _, _ in gone]
    for first, more, _, target in had:
        places.move(first, first + more, None, target)
    ranges = [("B-1", low, high) for low, high, _ in places.all()]
    serials = {n for _, low, high in ranges for n in range(low, high + 1)}
    left = joined(without(ranges, taken))
    expected = serials - {n for _, low, high in taken for n in range(low, high + 1)}
    assert expected == {n for _, low, high in left for n in range(low, high + 1)}
