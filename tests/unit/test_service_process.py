"""What a process of ours says of itself while it is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.stack.process import ServiceProcess

REPLAYING = '{"book": "accounts", "done": 120000, "event": "book.replaying", "total": 240000}'


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (REPLAYING, " (120,000 of 240,000 events replayed)"),
        ('{"book": "accounts", "event": "book.open"}', ""),
        ("Killed", ""),
        ("7", ""),
        ("", ""),
    ],
)
def test_it_is_told_how_far_a_process_has_replayed(tmp_path: Path, last: str, told: str) -> None:
    process = ServiceProcess("accounts", "accounts", 1, {}, tmp_path)
    process.log.parent.mkdir()
    process.log.write_text(f"{REPLAYING}\n{last}\n", encoding="utf-8")
    assert process.progress() == told


def test_one_that_has_said_nothing_yet_is_waited_for_as_well(tmp_path: Path) -> None:
    assert ServiceProcess("accounts", "accounts", 1, {}, tmp_path).progress() == ""
