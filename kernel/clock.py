"""The clock, passed in wherever time matters; nothing else in the product reads the time of day.

In development all processes add the offset of one small file to the system's clock, so that
`tanzhang clock advance 2d` moves them together. In production the file is not read.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Protocol

from kernel.errors import Kind, Refused

OFFSET_CHECK_MS = 50  # how stale the development offset may be

_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock, plus the development offset when a file for it is given."""

    def __init__(self, offset_file: Path | None = None) -> None:
        self._offset_file = offset_file
        self._offset_ms = 0
        self._stamp: tuple[int, int] = (0, 0)
        self._checked_ms = -OFFSET_CHECK_MS

    def now_ms(self) -> int:
        if self._offset_file is not None:
            self._refresh_offset(self._offset_file)
        return time.time_ns() // 1_000_000 + self._offset_ms

    def _refresh_offset(self, path: Path) -> None:
        now_ms = monotonic_ms()
        if now_ms - self._checked_ms < OFFSET_CHECK_MS:
            return
        self._checked_ms = now_ms
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._offset_ms = int(path.read_text())
            self._stamp = stamp


class FixedClock:
    """A clock that tests move by hand."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms


def monotonic_ms() -> int:
    """For deadlines and freshness: never goes back, goes on while the process is stopped."""
    return time.monotonic_ns() // 1_000_000


def parse_duration(text: str) -> int:
    """`2d`, `90m`, `250ms` to milliseconds."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise Refused(
            "DURATION_MALFORMED",
            f"expected a duration like 2d, 3h, 90m, 10s or 250ms, got {text!r}",
            Kind.INVALID,
            actual=text[:40],
        )
    return int(found[1]) * _UNIT_MS[found[2]]


def advance_offset(path: Path, by_ms: int) -> int:
    """Moves the development clock of everything that reads this file; answers the new offset."""
    offset_ms = by_ms + (int(path.read_text()) if path.exists() else 0)
    temporary = path.with_suffix(".new")
    temporary.write_text(f"{offset_ms}\n")
    os.replace(temporary, path)
    return offset_ms
