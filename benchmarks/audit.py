"""Claim: an auditor checks a million entries in minutes, in memory that does not grow with them.

`tanzhang audit` as a process of its own against a host in another, over HTTP on this machine: every
tile and entry, every event opened and folded, with an auditor's token. Then once more with nothing
new, and once with a quarter of the entries, to see what memory depends on. The host's CPU is on the
same cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.audited_log import BOOK, make_log
from benchmarks.tables import say, table

KIB_PER_MB: Final = 1024
CHECKOUT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Options:
    entries: int = 200_000
    holders: int = 1_000
    parts: tuple[int, ...] = (4, 1)  # a quarter of the entries, then all of them


def run(options: Options) -> dict[str, Any]:
    rows = [_measure(options.entries // part, options.holders) for part in options.parts]
    columns = ["entries", "made_s", "audit_s", "entries_per_s", "peak_mb", "again_s", "again_mb"]
    table(columns, [[row[name] for name in columns] for row in rows])
    return {"rows": rows}


def _measure(entries: int, holders: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tanzhang-audit-") as name:
        folder = Path(name)
        started_s = time.perf_counter()
        policy = make_log(folder, entries, holders)
        made_s = time.perf_counter() - started_s
        (folder / "policy.txt").write_bytes(policy.encode())
        (folder / "token").write_text("an-auditor")
        with _host(folder) as url:
            audit_s, peak_mb, report = _audit(folder, url)
            again_s, again_mb, _ = _audit(folder, url)
    opened = {one["book"]: one["opened"] for one in report["books"]}
    if not report["ok"] or opened != {BOOK: entries}:
        raise RuntimeError(f"expected {entries} opened and no difference: {report['differences']}")
    row = {
        "entries": entries,
        "made_s": round(made_s, 1),
        "audit_s": round(audit_s, 1),
        "entries_per_s": round(entries / audit_s),
        "peak_mb": round(peak_mb),
        "again_s": round(again_s, 1),
        "again_mb": round(again_mb),
    }
    say(str(row))
    return row


def _audit(folder: Path, url: str) -> tuple[float, float, dict[str, Any]]:
    """Seconds, memory at most, and the report of one run."""
    options = ["--policy", "policy.txt", "--token", "token", "--state", "state", "--json"]
    started_s = time.perf_counter()
    with (folder / "report.json").open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "cli", "audit", url, *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'proto'}"},
            stdout=out,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    elapsed_s = time.perf_counter() - started_s
    report = json.loads((folder / "report.json").read_bytes())
    return elapsed_s, usage.ru_maxrss / KIB_PER_MB, report


@contextmanager
def _host(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.audited_log", str(folder)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as host:
        if host.stdout is None:
            raise RuntimeError("expected the host to say its port")
        try:
            yield f"http://127.0.0.1:{int(host.stdout.readline())}"
        finally:
            host.terminate()
