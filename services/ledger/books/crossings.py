"""What the books ask of one another, and what answered it (design section 3, "Between books").

An event of the registry or of a market asks for an entry of the accounts book; the entry names it
as its cause; the event that tells of the outcome names the entry. Allocations and retirements go
the other way. Everything here is open: it is taken out when it is answered. Nothing is checked
here; each book checks its own events against it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final, TypeAlias

import msgspec

from services.ledger.books.port import RuleBroken, require
from services.ledger.books.serials import Range

ACCOUNTS: Final = "accounts"
REGISTRY: Final = "registry"
MONEY: Final = "CNY"

Place: TypeAlias = tuple[str, str, str, str]  # holder, asset, purpose, ref
Move: TypeAlias = tuple[Place, Place, int]
At: TypeAlias = tuple[str, int]  # book and position


class Asked(msgspec.Struct, frozen=True):
    """An entry as the event that asks for it describes it."""

    moves: list[Move]  # one row per pair of accounts, sorted
    statements: list[str]  # what institutions have signed about it; none where none is needed
    serials: list[Range] | None = None  # None: whichever lie there
    trades: list[str] = []
    lien: tuple[str, str, str | None] | None = None  # lien, pledgee, release


class DealRow(msgspec.Struct, frozen=True):
    """A trade as its market made it, in the order in which a statement spells it."""

    asset: str
    buyer: str
    price_fen_per_t: int
    quantity_t: int
    seller: str
    trade: str


class Deal(msgspec.Struct):
    """A trade that its market has asked for and not yet told the end of.

    `told_at`: the event of the accounts book that speaks of it, by which it is settled or not.
    """

    day: str
    row: DealRow
    told_at: int | None = None
    settled: bool = False


class Done(msgspec.Struct, frozen=True):
    """An entry that carried out what was asked at `asked_at`, and not yet told of there."""

    asked_at: At
    serials: list[Range]


class Retirement(msgspec.Struct, frozen=True):
    """An entry with a claim: by holder and asset, what was retired and not yet made public."""

    claim: tuple[str, str, str]  # beneficiary, details, purpose
    lots: dict[tuple[str, str], tuple[int, list[Range]]]


class Overridden(msgspec.Struct, frozen=True):
    """An order that took units out from under liens: by lien, what the registry has yet to tell."""

    order: tuple[str, str, str]  # authority, document, transfer
    lots: dict[str, tuple[int, list[Range]]]


class Crossings:
    """`followed`: the books this ledger folds; of others nothing is kept, nothing asked."""

    def __init__(self, followed: Collection[str] = ()) -> None:
        self.followed = frozenset(followed)
        self.asked: dict[At, Asked] = {}
        self.traded: dict[At, list[Deal]] = {}  # by the event that made them
        self.made_at: dict[str, dict[str, At]] = {}  # which that is, by market and trade
        self.done: dict[int, Done] = {}  # by the entry's position
        # In the accounts book's order, in which they have to be answered.
        self.retirements: dict[int, Retirement] = {}
        self.overridden: dict[int, Overridden] = {}
        # By market: holders' statuses that it has not heard of (who has set it, whose, which).
        self.statuses: dict[str, dict[int, tuple[str, str, str]]] = {}
        self.allocations: dict[str, dict[int, list[tuple[str, str, int]]]] = {}  # by market

    def ask_deals(self, market: str, at: At, day: str, rows: Iterable[DealRow]) -> None:
        deals = self.traded[at] = [Deal(day, row) for row in rows]
        self.made_at.setdefault(market, {}).update((deal.row.trade, at) for deal in deals)

    def deal(self, market: str, trade: str) -> tuple[At, Deal] | None:
        """A trade without an end, and where it was made."""
        at = self.made_at.get(market, {}).get(trade)
        if at is None:
            return None
        return at, next(deal for deal in self.traded[at] if deal.row.trade == trade)

    def entry_asked(self, cause: At) -> Asked | None:
        """What one entry has to be that does all of what an event asks for."""
        deals = self.traded.get(cause)
        if deals is None:
            return self.asked.get(cause)
        if any(deal.settled for deal in deals):
            return None
        rows = [msgspec.to_builtins(deal.row) for deal in deals]
        statement = canonical({"kind": "settlement", "trades": rows, "venue": cause[0]})
        names = [deal.row.trade for deal in deals]
        return Asked(delivery_and_payment(rows, cause[0]), [statement], trades=names)

    def take_entry(self, cause: At, position: int, serials: list[Range]) -> None:
        self.asked.pop(cause, None)
        for deal in self.traded.get(cause, ()):
            deal.told_at, deal.settled = position, True
        self.done[position] = Done(cause, serials)

    def take_told(self, market: str, trade: str, position: int, *, settled: bool) -> None:
        """An event of a part has told of a trade; what is settled stays so."""
        found = self.deal(market, trade)
        if found is not None and not found[1].settled:
            found[1].told_at, found[1].settled = position, settled

    def carried_out(self, asked_at: At, cause: At | None) -> Done:
        """The entry that an event names as the one that did what was asked; or RuleBroken."""
        if cause is None or cause[0] != ACCOUNTS:
            raise RuleBroken("OUTCOME_ENTRY", "an entry of the accounts book as cause", cause)
        done = self.done.get(cause[1])
        if done is None:
            raise RuleBroken("OUTCOME_ENTRY", f"an entry for {asked_at}, not told of yet", cause)
        require("OUTCOME_ENTRY", asked_at, done.asked_at)
        return done

    def check_refused(self, asked_at: At, cause: At | None) -> None:
        """What was carried out was not refused; and a refusal is an answer, which no event is."""
        require("CAUSE_NONE", None, cause)
        if self.entry_asked(asked_at) is None:
            raise RuleBroken("OUTCOME_REFUSED", f"no entry for {asked_at}", "one that did it")

    def end(self, asked_at: At, cause: At | None) -> None:
        """Told of: nothing may be done for it any more."""
        self.asked.pop(asked_at, None)
        for deal in self.traded.pop(asked_at, ()):
            self.made_at.get(asked_at[0], {}).pop(deal.row.trade, None)
        if cause is not None and cause[0] == ACCOUNTS:
            self.done.pop(cause[1], None)


def told_of(waiting: dict[int, Any], cause: At | None, *, whole: bool = True) -> None:
    """An entry is told of, wholly or in part. What was passed over before it is given up.

    Only two persons let something be passed over: it must not stop what comes after it for ever.
    """
    if cause is None or cause[0] != ACCOUNTS:
        return
    for position in [one for one in waiting if one < cause[1]]:
        del waiting[position]
    if whole:
        waiting.pop(cause[1], None)


def sums(moves: Iterable[Move]) -> list[Move]:
    """Per pair of accounts: many small ranges may take several legs of one delivery."""
    found: dict[tuple[Place, Place], int] = {}
    for source, target, amount in moves:
        found[source, target] = found.get((source, target), 0) + amount
    return sorted((source, target, amount) for (source, target), amount in found.items())


def delivery_and_payment(rows: Iterable[dict[str, Any]], venue: str) -> list[Move]:
    """Both legs of every trade, within the accounts of one venue. Numbers must be checked."""
    moves: list[Move] = []
    for row in rows:
        seller, buyer, asset = str(row["seller"]), str(row["buyer"]), str(row["asset"])
        quantity, price = row["quantity_t"], row["price_fen_per_t"]
        for source, target, what, amount in (
            (seller, buyer, asset, quantity),
            (buyer, seller, MONEY, quantity * price),
        ):
            places = ((source, what, "trading", venue), (target, what, "trading", venue))
            moves.append((*places, amount))
    return sums(moves)


def canonical(statement: object) -> str:
    """The one spelling of a statement."""
    return msgspec.json.encode(statement, order="sorted").decode()
