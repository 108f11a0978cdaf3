"""Runs the benchmarks: `python -m benchmarks [name ...] [--json FILE]`; all of them by default.

`tanzhang bench <name>` runs one of them with its options.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.suite import NAMES, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"expected names out of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    run({name: {} for name in arguments.names or NAMES}, arguments.json)


if __name__ == "__main__":
    main()
