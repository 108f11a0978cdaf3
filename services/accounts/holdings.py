"""What one holder has in all its accounts after a position: folded from moves, kept as an anchor.

The same rules as the book's own state (domain/evolve.py:move), for one holder at a time: a range
leaves the account that it is in, joins the last one of the account it reaches, and what is at zero
is left out. So at the head of the book it is what the state holds, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from kernel.errors import InvariantBroken, Refused
from services.accounts.domain import blocks
from services.accounts.domain.events import Purpose, SerialRange

Place = tuple[str, str, str]  # asset, purpose, ref


class Held(msgspec.Struct):
    """One account's balance, in the asset's unit, and its serial ranges, oldest first."""

    amount: int = 0
    serials: list[SerialRange] = msgspec.field(default_factory=list)


@dataclass
class Holdings:
    """By place; only the business-time view of a holder has accounts below zero for a while."""

    accounts: dict[Place, Held] = field(default_factory=dict)

    def add(self, place: Place, amount: int) -> None:
        self.accounts.setdefault(place, Held()).amount += amount

    def move_serials(self, place: Place, block: SerialRange, *, comes: bool) -> None:
        held = self.accounts.setdefault(place, Held()).serials
        if comes:
            blocks.put(held, [block])
        elif place[1] != Purpose.ISSUED:  # out of nothing: no account held it before
            try:
                blocks.take_named(held, [block])
            except Refused as refused:
                raise InvariantBroken(f"the read model of moves differs: {refused}") from refused

    def settled(self) -> Holdings:
        """Without the accounts at zero, sorted: one set of holdings, one form."""
        kept = {
            place: held
            for place, held in sorted(self.accounts.items())
            if held.amount or held.serials
        }
        return Holdings(kept)

    @property
    def size(self) -> int:
        """Accounts and serial ranges: what an anchor of this costs."""
        return len(self.accounts) + sum(len(held.serials) for held in self.accounts.values())


_decoder = msgspec.json.Decoder(list[tuple[str, str, str, Held]])


def encode_holdings(holdings: Holdings) -> bytes:
    return msgspec.json.encode([(*place, held) for place, held in holdings.accounts.items()])


def decode_holdings(data: bytes) -> Holdings:
    """The inverse; raises InvariantBroken for what is no anchor."""
    try:
        rows = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvariantBroken(f"expected holdings, got {data[:80]!r}: {error}") from error
    return Holdings({(asset, purpose, ref): held for asset, purpose, ref, held in rows})
