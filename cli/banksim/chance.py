"""What becomes of a message on its way: from a seed, and so the same in every run.

Each sending of a message has its own draw, named by message and number of the sending: a restart
changes nothing of what is still to come.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Fate:
    """`lost`: never sent, though the bank believes so. `doubled`: sent twice, under two ids."""

    lost: bool
    doubled: bool
    delay_ms: int


@dataclass(frozen=True)
class Chance:
    """Probabilities between 0 and 1; `longest_ms` is the longest delay of a delayed message."""

    seed: int
    lose: float = 0.0
    delay: float = 0.0
    double: float = 0.0
    give_back: float = 0.0
    longest_ms: int = 2000

    def fate(self, message: str, sending: int) -> Fate:
        draw = _drawing(f"{self.seed} {message} {sending}")
        lost, doubled, delayed = (draw.random() for _ in range(3))
        delay_ms = draw.randrange(self.longest_ms) if delayed < self.delay else 0
        return Fate(lost < self.lose, doubled < self.double, delay_ms)

    def returns(self, withdrawal: str) -> bool:
        """Whether the bank will not pay this one."""
        return _drawing(f"{self.seed} returns {withdrawal}").random() < self.give_back


def _drawing(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable on purpose, and no secret
