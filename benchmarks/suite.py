"""The benchmarks by name, and one way to run them: for `tanzhang bench` and `python -m benchmarks`.

Nothing here asserts a time. Each module has `Options`, whose defaults take a minute or two, and
`run`, which prints figures as they come and answers all of them.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import machine
from benchmarks.tables import say

NAMES: Final = (
    *("settlement", "unary", "proven", "replay", "memory", "trades", "failover", "recovery"),
    *("projection", "history", "audit", "states"),
)


def run(wanted: Mapping[str, Mapping[str, Any]], json_file: Path | None) -> dict[str, Any]:
    """By name, with those options that are not to be the default; the figures, also as JSON."""
    figures: dict[str, Any] = {"machine": machine()}
    for name, value in figures["machine"].items():
        say(f"{name}: {value}")
    for name, options in wanted.items():
        say(f"== {name}")
        module = importlib.import_module(f"benchmarks.{name}")
        figures[name] = module.run(module.Options(**options))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return figures
