"""What every holder has at a market: one number for what is free, one for what is bound.

Bound is whatever an order reserves, a trade has on its way or a release has set aside; each of
those says how much. So nothing can be spent twice, and free below zero is the one thing to look
for.
"""

from __future__ import annotations

from services.ledger.books.port import RuleBroken

Key = tuple[str, str]  # holder, asset


class Means:
    def __init__(self) -> None:
        self.free: dict[Key, int] = {}
        self.bound: dict[Key, int] = {}

    def require_free(self, holder: str, asset: str, amount: int) -> None:
        free = self.free.get((holder, asset), 0)
        if amount > free:
            raise RuleBroken("FREE", f"at most {free} {asset} of {holder}", amount)

    def receive(self, holder: str, asset: str, amount: int) -> None:
        _add(self.free, (holder, asset), amount)

    def bind(self, holder: str, asset: str, amount: int) -> None:
        _add(self.free, (holder, asset), -amount)
        _add(self.bound, (holder, asset), amount)

    def unbind(self, holder: str, asset: str, amount: int) -> None:
        self.bind(holder, asset, -amount)

    def leave(self, holder: str, asset: str, amount: int) -> None:
        """What was bound is gone."""
        _add(self.bound, (holder, asset), -amount)


def _add(amounts: dict[Key, int], key: Key, amount: int) -> None:
    total = amounts.get(key, 0) + amount
    if total:
        amounts[key] = total
    else:
        amounts.pop(key, None)
