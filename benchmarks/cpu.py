"""What processes use: seconds of CPU and bytes of memory, out of Linux's /proc.

A process counts with all its descendants: the ones that live, and those that have ended and were
waited for. So PostgreSQL is its postmaster with every backend, whenever it came and went.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11  # of the fields behind the name: utime, stime, cutime, cstime stand here
MB: Final = 1024 * 1024


def cpu_s(pid: int) -> float:
    """Seconds of CPU of a process and its descendants, in steps of a clock tick; 0.0 if gone."""
    try:
        # The name stands in brackets and may hold blanks and brackets: split after the last.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = sum(int(field) for field in fields[_UTIME : _UTIME + 4]) * _TICK_S
    return own + sum(cpu_s(child) for thread in threads for child in _children(thread))


def _children(thread: Path) -> list[int]:
    try:
        return [int(pid) for pid in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def memory_mb(pid: int) -> tuple[float, float]:
    """(resident now, resident at most so far) of one process, in MiB."""
    said = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":" in line
    )
    now, most = (int(said[name].split()[0]) * 1024 / MB for name in ("VmRSS", "VmHWM"))
    return round(now, 1), round(most, 1)


class CpuMeter:
    """Seconds of CPU by name, from the making of the meter to each `read`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = {name: cpu_s(pid) for name, pid in self._pids.items()}

    def read(self) -> dict[str, float]:
        return {name: cpu_s(pid) - self._before[name] for name, pid in self._pids.items()}


def us_per_entry(seconds: Mapping[str, float], entries: int) -> dict[str, float]:
    """Microseconds of CPU by name, and their total."""
    each = {name: round(used * 1e6 / entries, 1) for name, used in seconds.items()}
    return {**each, "total": round(sum(seconds.values()) * 1e6 / entries, 1)}
