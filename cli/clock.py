"""`tanzhang clock`: the development clock of every process of a data folder, moved together.

Forward only: a book's time never goes back. In production there is no such clock.
"""

from __future__ import annotations

from pathlib import Path

from cli.errors import NOT_TRIED, CliError
from cli.stack.provision import clock_file
from kernel.clock import advance_offset, parse_duration
from kernel.config import Environment

MAX_STEP_MS = 10 * 366 * 86_400_000  # ten years: a slip of the keyboard cannot be taken back


def advance(directory: Path, duration: str) -> int:
    """Move the clock by `2d`, `3h`, ...; answers the new offset in milliseconds.

    Raises Refused for anything but a positive duration, CliError in production, without a data
    folder, and for a clock file that holds no number.
    """
    if Environment().text("MODE", "development") == "production":
        raise CliError("TANZHANG_MODE is production: its clock is the machine's", NOT_TRIED)
    by_ms = parse_duration(duration)
    if not 0 < by_ms <= MAX_STEP_MS:
        raise CliError(f"expected more than nothing and at most 3660d, got {duration}", NOT_TRIED)
    if not directory.is_dir():
        raise CliError(f"{directory}: no such folder; tanzhang up makes it", NOT_TRIED)
    file = clock_file(directory)
    try:
        return advance_offset(file, by_ms)
    except ValueError as error:
        raise CliError(f"{file}: expected a whole number: {error}", NOT_TRIED) from error


def format_duration(duration_ms: int) -> str:
    """`2d`, `1d 3h`, `90s` as `1m 30s`: what `advance` takes, in its largest units."""
    parts, left = [], duration_ms
    for unit, size_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        count, left = divmod(left, size_ms)
        parts += [f"{count:,}{unit}"] * bool(count)
    parts += [f"{left}ms"] * bool(left)
    return " ".join(parts) or "0ms"
