"""How the tools tell what they do: steps with a spinner on a terminal, plain lines elsewhere.

`expect` is how a step holds itself to what it announced: it raises Unexpected with what was
expected and what came. Says nothing on its own.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

MARGIN = "   "
_COMMAND = "tanzhang"


class Unexpected(Exception):
    """A step did not come out as told."""

    def __init__(self, what: str, expected: object, actual: object) -> None:
        super().__init__(f"{what}: expected {expected}, got {actual}")
        self.what = what
        self.expected = expected
        self.actual = actual


def expect(what: str, expected: object, actual: object) -> None:
    """Raises Unexpected unless both are equal."""
    if expected != actual:
        raise Unexpected(what, expected, actual)


def our_command() -> str:
    """How the reader calls this tool: as it was called, so that what is told can be typed."""
    called = Path(sys.argv[0])
    if called.name != _COMMAND or shutil.which(_COMMAND) == str(called):
        return _COMMAND
    return shown_path(called)


def shown_path(path: str | Path) -> str:
    """Seen from where the reader stands, if it lies there or below; quoted for a shell."""
    whole = Path(path).absolute()
    here = Path.cwd()
    return shlex.quote(str(whole.relative_to(here) if whole.is_relative_to(here) else whole))


class Teller:
    """Numbers the steps and prints what is said in them; remembers all of it for a report."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.steps: list[dict[str, object]] = []
        self._said: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Everything said inside belongs to this step."""
        self._said = []
        self.steps.append({"step": title, "said": self._said})
        self.console.print(f"\n{len(self.steps)}. {title}", markup=False, soft_wrap=True)
        with self.console.status("…"):  # shows nothing where there is no terminal
            yield

    def say(self, line: str) -> None:
        self._said.append(line)
        for shown in self._fitted(line):
            self.console.print(f"{MARGIN}{shown}", markup=False, soft_wrap=True)

    def _fitted(self, line: str) -> list[str]:
        """A line as wide as the terminal, what goes on set in; whole where there is no terminal."""
        width = self.console.width - 2 * len(MARGIN)
        if not self.console.is_terminal or cell_len(line) <= width + len(MARGIN):
            return [line]
        first, *rest = (part.plain.rstrip() for part in Text(line).wrap(self.console, width))
        return [first, *(f"{MARGIN}{part}" for part in rest)]
