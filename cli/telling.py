"""How the tools tell what they do: steps with a spinner on a terminal, plain lines elsewhere.

`expect` is how a step holds itself to what it announced: it raises Unexpected with what was
expected and what came. Says nothing on its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


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
        self.console.print(f"   {line}", markup=False, soft_wrap=True)
