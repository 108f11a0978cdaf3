"""Identifiers: UUIDv7 by RFC 9562, derived ids, opaque holder ids."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Refused
from kernel.ids import (
    check_uuid7,
    derived_holder_id,
    derived_id,
    new_holder_id,
    uuid7,
    uuid7_ms,
)

HOLDER = re.compile(r"h-[a-z2-7]{16}")
instants = st.integers(0, 2**48 - 1)


def test_the_example_of_rfc_9562_comes_out() -> None:
    # Appendix A.6: unix_ts_ms 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    random_80 = 0xCC3 << 62 | 0x18C4DC0C0C07398F
    made = uuid7(0x017F22E279B0, lambda n: random_80.to_bytes(n, "big"))
    assert made == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(instants, st.binary(min_size=10, max_size=10))
def test_a_uuid7_is_one_by_the_standard_librarys_reading(at_ms: int, chance: bytes) -> None:
    text = uuid7(at_ms, lambda _: chance)
    read = uuid.UUID(text)
    assert str(read) == text == check_uuid7(text)
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert read.int >> 80 == at_ms == uuid7_ms(text)


@given(instants, instants)
def test_ids_sort_by_their_instants(one_ms: int, other_ms: int) -> None:
    if one_ms < other_ms:
        assert uuid7(one_ms, lambda n: b"\xff" * n) < uuid7(other_ms, bytes)


@pytest.mark.parametrize("at_ms", [-1, 2**48])
def test_an_instant_that_does_not_fit_is_refused(at_ms: int) -> None:
    with pytest.raises(ValueError, match=str(at_ms)):
        uuid7(at_ms)


def test_two_ids_of_one_millisecond_differ() -> None:
    assert len({uuid7(1_795_163_400_007) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",  # upper case: a second spelling of one id
        "017f22e279b07cc398c4dc0c0c07398f",
        "{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}",
        "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",  # version 4
        "017f22e2-79b0-7cc3-c8c4-dc0c0c07398f",  # another variant
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n",
        "０17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
    ],
)
def test_what_is_no_canonical_uuid7_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        check_uuid7(text, "hold")
    assert caught.value.reason == "ID_MALFORMED"
    assert caught.value.details["field"] == "hold"


def test_a_derived_id_is_the_same_for_the_same_cause_for_ever() -> None:
    made = derived_id(1_795_163_400_007, "accounts", "ledger", 7)
    assert made == derived_id(1_795_163_400_007, "accounts", "ledger", 7)
    assert check_uuid7(made)
    assert uuid7_ms(made) == 1_795_163_400_007
    others: list[tuple[str | int, ...]] = [
        ("accounts", "ledger", 8),
        ("accounts", "ledge", "r7"),
        ("accountsledger", 7),
    ]
    assert made not in {derived_id(1_795_163_400_007, *parts) for parts in others}


def test_a_derived_id_never_changes_between_versions() -> None:
    # Were this to change, every reaction in flight during the upgrade would happen twice.
    assert derived_id(0, "accounts", 3) == "00000000-0000-79c4-a274-45f77f7fa498"


def test_a_cause_before_1970_still_has_an_id() -> None:
    assert uuid7_ms(derived_id(-5, "accounts")) == 0


def test_holder_ids_say_nothing_and_do_not_repeat() -> None:
    made = {new_holder_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(HOLDER.fullmatch(one) for one in made)


def test_the_same_name_in_a_data_set_has_the_same_holder_id() -> None:
    one = derived_holder_id("ACR", "Meishan wind farm")
    assert HOLDER.fullmatch(one)
    assert one == derived_holder_id("ACR", "Meishan wind farm")
    assert one != derived_holder_id("VCS", "Meishan wind farm")
