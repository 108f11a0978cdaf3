"""The clock and its development offset, durations as people write them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kernel.clock import (
    FixedClock,
    SystemClock,
    advance_offset,
    monotonic_ms,
    parse_duration,
)
from kernel.errors import Refused

DAY_MS = 86_400_000


def test_without_an_offset_the_clock_is_the_machines() -> None:
    before = time.time_ns() // 1_000_000
    now = SystemClock().now_ms()
    assert before <= now <= time.time_ns() // 1_000_000


def test_advancing_moves_every_clock_that_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    assert advance_offset(path, 2 * DAY_MS) == 2 * DAY_MS
    clocks = [SystemClock(path), SystemClock(path)]
    assert all(clock.now_ms() > SystemClock().now_ms() + DAY_MS for clock in clocks)
    assert advance_offset(path, DAY_MS) == 3 * DAY_MS
    assert SystemClock(path).now_ms() > SystemClock().now_ms() + 2 * DAY_MS


def test_a_running_clock_notices_an_offset_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clock"
    clock = SystemClock(path)
    before = clock.now_ms()
    advance_offset(path, DAY_MS)
    later = monotonic_ms() + 1000
    monkeypatch.setattr("kernel.clock.monotonic_ms", lambda: later)
    assert clock.now_ms() >= before + DAY_MS


def test_an_offset_that_only_changed_its_content_is_noticed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clock"
    advance_offset(path, DAY_MS)
    clock = SystemClock(path)
    assert clock.now_ms() > SystemClock().now_ms() + DAY_MS // 2
    stat = path.stat()
    path.write_text("0\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    later = monotonic_ms() + 1000
    monkeypatch.setattr("kernel.clock.monotonic_ms", lambda: later)
    assert clock.now_ms() < SystemClock().now_ms() + DAY_MS // 2


def test_a_fixed_clock_moves_only_by_hand() -> None:
    clock = FixedClock(7)
    assert clock.now_ms() == clock.now_ms() == 7
    clock.at_ms = 9
    assert clock.now_ms() == 9


@pytest.mark.parametrize(
    ("text", "ms"),
    [("2d", 2 * DAY_MS), ("3h", 10_800_000), ("90m", 5_400_000), ("10s", 10_000), ("250ms", 250)],
)
def test_durations_are_read_as_people_write_them(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "2", "d", "-2d", "2 d", "1.5h", "2w", "2d3h", "9999999999s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="expected a duration"):
        parse_duration(text)
