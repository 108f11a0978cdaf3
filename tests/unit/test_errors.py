"""Three families of errors, and what each carries."""

from __future__ import annotations

import pytest

from kernel.errors import Conflict, Fault, InvariantBroken, Kind, Refused, TanzhangError
from kernel.journal.port import Fenced, Refusal

FAMILIES = (Refused, Conflict, Fault)


@pytest.mark.parametrize(
    "error",
    [
        Refused("INSUFFICIENT_BALANCE", "needed 500, available 480", needed=500, available=480),
        Conflict("QUEUE_FULL", "come back"),
        Fault("the disk is gone"),
        InvariantBroken("expected 3, got 4"),
        Fenced("accounts", 3, 4),
    ],
)
def test_every_error_is_of_exactly_one_family(error: TanzhangError) -> None:
    assert sum(isinstance(error, family) for family in FAMILIES) == 1


def test_a_broken_invariant_is_a_fault_and_a_fence_a_conflict() -> None:
    assert isinstance(InvariantBroken("x"), Fault)
    assert isinstance(Fenced("accounts", 3, 4), Conflict)
    assert str(Fenced("accounts", 3, 4)) == "accounts: expected epoch 3, the book is at 4"


def test_a_refusal_tells_programs_the_reason_and_people_the_numbers() -> None:
    refused = Refused("INSUFFICIENT_BALANCE", "needed 500 t", needed=500, available=480)
    assert refused.reason == "INSUFFICIENT_BALANCE"
    assert refused.kind is Kind.RULE
    assert refused.details == {"needed": 500, "available": 480}
    assert str(refused) == "needed 500 t"


def test_a_recorded_refusal_comes_back_in_the_same_words() -> None:
    refused = Refused("UNKNOWN_HOLDER", "no holder 'h-2'", Kind.UNKNOWN, holder="h-2")
    again = Refusal.of(refused).to_error()
    assert (again.reason, again.message, again.kind) == (
        refused.reason,
        refused.message,
        refused.kind,
    )
    assert again.details == refused.details


def test_a_conflict_says_when_to_come_back() -> None:
    assert Conflict("QUEUE_FULL", "full", retry_after_ms=50).retry_after_ms == 50
    assert Conflict("QUEUE_FULL", "full").retry_after_ms > 0
