"""How figures are shown: lines as they come, and one table at the end."""

from __future__ import annotations

from collections.abc import Sequence


def say(line: str) -> None:
    """At once, also into a file: a benchmark takes minutes."""
    print(line, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be, numbers to the right."""
    cells = [list(map(str, row)) for row in rows]
    widths = [max(len(line[i]) for line in (head, *cells)) for i in range(len(head))]
    for line in (head, *cells):
        say("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
