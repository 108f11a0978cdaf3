"""On what a figure was measured: the machine, the versions, and what the disk takes to be sure."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from cli.stack.postgres import wheel_binaries
from cli.stack.provision import PROJECT

SYNCS: Final = 50
PROMISES: Final = ("fsync", "synchronous_commit", "full_page_writes")
TUNING: Final = ("shared_buffers", "max_wal_size", "wal_compression", "wal_level")


def machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgres": _said([str(wheel_binaries() / "postgres"), "--version"]),
        "fdatasync_ms": fdatasync_ms(Path(tempfile.gettempdir())),
        "revision": _said(["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def fdatasync_ms(folder: Path) -> dict[str, float]:
    """What one small write takes to be on disk: the floor of every durable commit."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            started_s = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started_s) * 1000)
    return spread(times)


def postgres_settings(urls: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What each of these connections is promised; raises RuntimeError unless all are durable."""
    found = {}
    for who, url in urls.items():
        with psycopg.connect(plain_url(url)) as connection:
            rows = [(name, connection.execute(f"SHOW {name}").fetchone()) for name in _asked(who)]
        found[who] = {name: str(row[0]) for name, row in rows if row is not None}
        require_durable(who, found[who])
    return found


def require_durable(who: str, settings: Mapping[str, str]) -> None:
    """Raises RuntimeError unless a commit of this connection is on disk when it is answered."""
    if any(settings[name] != "on" for name in PROMISES):
        raise RuntimeError(f"expected {', '.join(PROMISES)} on for {who}, got {settings}")


def _asked(who: str) -> tuple[str, ...]:
    return (*PROMISES, *TUNING) if who == "tanzhang" else PROMISES


def plain_url(url: str, database: str | None = None) -> str:
    """As libpq wants it, for a driver of its own."""
    plain = sa.make_url(url).set(drivername="postgresql")
    if database is not None:
        plain = plain.set(database=database)
    return plain.render_as_string(hide_password=False)


def spread(times_ms: list[float]) -> dict[str, float]:
    """p50, p99 and the worst; zeros when nothing was timed."""
    ordered = sorted(times_ms) or [0.0]
    return {
        "p50": round(ordered[len(ordered) // 2], 3),
        "p99": round(ordered[int(len(ordered) * 0.99)], 3),
        "max": round(ordered[-1], 3),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
