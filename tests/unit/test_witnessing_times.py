"""Which time a ledger believes a witness to have cosigned at."""

from __future__ import annotations

import pytest

from kernel.tlog.note import COSIGNATURE, VerifiedSignature
from services.ledger.witnessing import MAX_SKEW_S, NotCosigned, refuse_other_times

NOW_S = 1_764_500_400
DAY_S = 86_400
NO_DATE_S = 253_402_300_800  # the first second of the year 10000


def signed(at_s: int | None) -> VerifiedSignature:
    return VerifiedSignature("witness.lzbank.example/w1", 1, COSIGNATURE, bytes(32), at_s)


@pytest.mark.parametrize("at_s", [NOW_S, NOW_S - MAX_SKEW_S, NOW_S + MAX_SKEW_S + 2])
def test_a_time_within_five_minutes_of_asking_and_answering_is_believed(at_s: int) -> None:
    refuse_other_times([signed(at_s)], [NOW_S], [NOW_S + 2])


@pytest.mark.parametrize(
    "at_s",
    [None, 1, NOW_S - MAX_SKEW_S - 1, NOW_S + MAX_SKEW_S + 3, NO_DATE_S, 2**63 - 1, 2**64 - 1],
)
def test_any_other_time_is_not_cosigned_even_beside_a_true_one(at_s: int | None) -> None:
    with pytest.raises(NotCosigned, match=f"within 300 s of ours, {NOW_S + 2}, got {at_s or 0}"):
        refuse_other_times([signed(NOW_S), signed(at_s)], [NOW_S], [NOW_S + 2])


def test_where_our_clock_was_moved_a_witness_may_have_moved_along_or_not() -> None:
    moved, real = NOW_S + 2 * DAY_S, NOW_S
    refuse_other_times([signed(moved), signed(real)], [moved, real], [moved, real])
    refuse_other_times([signed(real + 5)], [real], [moved])  # moved while we waited
    with pytest.raises(NotCosigned):
        refuse_other_times([signed(real + DAY_S)], [moved, real], [moved, real])
