"""Runs the benchmarks: `python -m benchmarks [name ...] [--json FILE]`; all of them by default."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from pathlib import Path
from typing import Any, Final

NAMES: Final = ("entries", "latency", "replay")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"expected names out of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    figures: dict[str, Any] = {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "system": platform.platform(),
        }
    }
    print(figures["machine"], flush=True)
    for name in arguments.names or NAMES:
        print(f"== {name}", flush=True)
        figures[name] = importlib.import_module(f"benchmarks.{name}").run()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
