"""What the demo invents is well formed, and how it counts."""

from __future__ import annotations

import pytest

from cli.story import invented_uscc, percentile
from cli.telling import Unexpected, expect
from cli.verify import amount, event_lines
from kernel.ids import new_holder_id
from kernel.values import check_uscc
from tests.support.small_log import sale_body


def test_invented_credit_codes_are_valid_and_differ() -> None:
    codes = {check_uscc(invented_uscc(new_holder_id())) for _ in range(200)}
    assert len(codes) == 200
    assert all(code.startswith("Y1620100") for code in codes)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert [percentile([3], percent) for percent in (1, 50, 99)] == [3, 3, 3]
    assert percentile(list(range(1, 101)), 99) == 99
    assert percentile([1, 2, 3, 4, 5, 100], 99) == 100


def test_an_unmet_expectation_says_both_sides() -> None:
    expect("tonnes issued", 12_000, 12_000)
    with pytest.raises(Unexpected, match="tonnes issued: expected 12000, got 11999"):
        expect("tonnes issued", 12_000, 11_999)


def test_money_is_shown_in_yuan_and_units_whole() -> None:
    assert amount("CNY", 50_328_000) == "503,280.00 CNY"
    assert amount("TICKET-LZXQ-1", 12_000) == "12,000 TICKET-LZXQ-1"


def test_an_event_is_told_with_its_legs_and_serials() -> None:
    record = {
        "type": "EntryPosted",
        "at": "2026-11-20T08:30:00.000Z",
        "on": "2026-11-20T08:30:00.000Z",
        "actor": {"iss": "tanzhang.local/issuer", "sub": "sun.venue"},
        "body": sale_body(),
    }
    text = "\n".join(event_lines(record))
    assert "7,000 TICKET-LZXQ-1" in text
    assert "293,580.00 CNY" in text
    assert "serials 1 to 7,000 of LZXQ-1" in text
    assert "sun.venue" in text
