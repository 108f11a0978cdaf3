"""What an authority or a court has frozen in the accounts book, and that it lies still.

Every leg of every event is held against every live freeze, by where each serial lies and what each
account keeps, whoever asked for it. What is frozen may go home to its own holder's `available` when
the freeze reaches it there too; everything else about it needs another order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple, TypeAlias

import msgspec

from kernel.record import RawRecord
from kernel.values import DAY_MS, day_start_ms
from services.ledger.books.accounts_events import (
    AssetDefined,
    FreezeExpired,
    Leg,
    Pledge,
    UnitsFrozen,
    UnitsUnfrozen,
    places,
)
from services.ledger.books.crossings import Place, canonical
from services.ledger.books.days import parse_day
from services.ledger.books.directory import require_no_acts
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.liens import Liens
from services.ledger.books.port import RuleBroken, instant_ms, require, require_holds
from services.ledger.books.serials import BatchMap, Range, require_ranges

FREEZE_EVENTS: Final = (UnitsFrozen, UnitsUnfrozen, FreezeExpired)
CIRCULATING: Final = frozenset({"available", "trading", "held", "pledged", "custody"})
ONE_ACCOUNT: Final = frozenset({"available", "trading", "pledged"})

Name: TypeAlias = tuple[str, str]  # whose order, and its own name of it


class Accounts(NamedTuple):
    """What the checker of the accounts book keeps, to be read here and never changed."""

    balances: dict[Place, int]
    assets: dict[str, AssetDefined]
    batches: dict[tuple[str, str], BatchMap[Place]]
    holders: dict[str, str]
    liens: Liens


class Freezes:
    def __init__(self, keys: AdmittedKeys, accounts: Accounts) -> None:
        self._keys = keys
        self._accounts = accounts
        self.live: dict[Name, UnitsFrozen] = {}
        self._booked: set[Name] = set()
        self._holders: dict[str, set[Name]] = {}
        self._serials: dict[tuple[str, str], set[Name]] = {}  # by asset and batch

    # ---- movements ------------------------------------------------------------------------------

    def check_legs(self, legs: list[Leg], yielding: Collection[Name] = ()) -> None:
        """Nothing frozen leaves; `yielding` are the freezes that an order makes way for itself."""
        kept: dict[Place, int] = {}
        for leg in legs:
            source, target = places(leg)
            balances = self._accounts.balances
            left = kept.get(source, balances.get(source, 0)) - leg.amount
            kept[source] = left
            kept[target] = kept.get(target, balances.get(target, 0)) + leg.amount
            if leg.credit.purpose == "external":
                continue  # a bank has paid, on its own signed word
            floor = self._accounts_floor(leg, yielding)
            if not self._home(leg):
                self._check_serials(leg, yielding)
                # Frozen serials do not leave, so they alone are always there: amounts come on top.
                floor += self._still_in(source, yielding) if floor else 0
            if floor and left < floor:
                raise RuleBroken("FROZEN", f"at least {floor} {leg.asset} left in {source}", left)

    def _accounts_floor(self, leg: Leg, yielding: Collection[Name]) -> int:
        """What amounts must stay where this leg takes from; wholly frozen accounts stop it here."""
        source, target = places(leg)
        floor = 0
        for name in self._holders.get(source[0], set()).difference(yielding):
            freeze = self.live[name]
            if not self._reaches(freeze, source):
                continue
            if freeze.amount is not None:
                floor += freeze.amount
            elif not (self._home(leg) and self._reaches(freeze, target)):
                raise RuleBroken("FROZEN", f"all of {source} to lie still", f"{leg.amount} moved")
        return floor

    def _check_serials(self, leg: Leg, yielding: Collection[Name]) -> None:
        for block in leg.serials:
            for one in self._frozen_ranges(leg.asset, block.batch, yielding):
                if one.first <= block.last and block.first <= one.last:
                    still = f"{one.batch} {one.first}..{one.last} to lie still"
                    raise RuleBroken("FROZEN_SERIALS", still, f"{block.first}..{block.last} moved")

    def _still_in(self, place: Place, yielding: Collection[Name]) -> int:
        """How many units of an account lie still by their serials."""
        if place[2] not in CIRCULATING:
            return 0
        asset, count = place[1], 0
        for frozen_asset, batch in self._serials:
            known = self._accounts.batches.get((frozen_asset, batch))
            if frozen_asset != asset or known is None:
                continue
            for first, last in joined(self._frozen_ranges(asset, batch, yielding)):
                pieces = known.pieces_of(place, first, last)
                count += sum(end - begin + 1 for begin, end in pieces)
        return count

    def _frozen_ranges(self, asset: str, batch: str, yielding: Collection[Name]) -> Iterator[Range]:
        for name in self._serials.get((asset, batch), set()).difference(yielding):
            yield from (one for one in self.live[name].serials if one.batch == batch)

    @staticmethod
    def _home(leg: Leg) -> bool:
        credit = leg.credit
        return (credit.holder, credit.purpose, credit.ref) == (leg.debit.holder, "available", "")

    def _reaches(self, freeze: UnitsFrozen, place: Place) -> bool:
        holder, asset, purpose, ref = place
        programme = programme_of(freeze.authority)
        return (
            purpose in CIRCULATING
            and freeze.holder == holder
            and (not freeze.asset or freeze.asset == asset)
            and (not freeze.purpose or freeze.purpose == purpose)
            and (not freeze.ref or freeze.ref == ref)
            and (programme is None or self._programme(asset) == programme)
        )

    def _programme(self, asset: str) -> str:
        known = self._accounts.assets.get(asset)
        return "" if known is None else known.programme

    # ---- orders ---------------------------------------------------------------------------------

    def check(self, raw: RawRecord, event: UnitsFrozen | UnitsUnfrozen | FreezeExpired) -> None:
        if isinstance(event, UnitsFrozen):
            self._check_frozen(raw, event)
            return
        freeze = self.live.get((event.authority, event.freeze))
        if freeze is None:
            raise RuleBroken("FREEZE_LIVE", f"a live freeze of {event.authority}", event.freeze)
        require("FREEZE_HOLDER", freeze.holder, event.holder)
        require("FREEZE_LIENS", self._liens_under(freeze), event.liens)
        if isinstance(event, FreezeExpired):
            require_no_acts(raw)
            over = bool(freeze.until) and end_ms(freeze.until) <= instant_ms(raw.at)
            require_holds("FREEZE_OVER", over, f"after {freeze.until or 'an order'}", raw.at)
            return
        statement: dict[str, object] = {
            "authority": event.authority,
            "document": event.document,
            "freeze": event.freeze,
            "kind": "unfreeze",
            "reason": event.reason,
        }
        self._require_signed(raw, event.authority, statement)

    def _check_frozen(self, raw: RawRecord, event: UnitsFrozen) -> None:
        if (event.authority, event.freeze) in self._booked:
            raise RuleBroken("ONCE", f"a new freeze of {event.authority}", event.freeze)
        if event.until and end_ms(event.until) <= instant_ms(raw.at):
            raise RuleBroken("FREEZE_OVER", f"a last day after {raw.at}", event.until)
        self._check_reach(event)
        body = msgspec.to_builtins(event)
        del body["liens"]
        self._require_signed(raw, event.authority, {**body, "kind": "freeze"})
        require("FREEZE_LIENS", self._liens_under(event), event.liens)

    def _check_reach(self, event: UnitsFrozen) -> None:
        require_holds(
            "FREEZE_WHAT", bool(event.holder) != bool(event.serials), "a holder or serials", event
        )
        if event.asset or event.serials:
            asset = self._accounts.assets.get(event.asset)
            if asset is None:
                raise RuleBroken("ASSET_KNOWN", "a defined asset", event.asset)
            programme = programme_of(event.authority)
            if programme is not None:
                require("FREEZE_PROGRAMME", programme, asset.programme)
        if event.serials:
            require_ranges(event.serials)
            alone = not (event.purpose or event.ref) and event.amount is None
            require_holds("FREEZE_WHAT", alone, "serials alone", event)
            return
        if event.holder not in self._accounts.holders:
            raise RuleBroken("HOLDER_KNOWN", "a registered holder", event.holder)
        known = {"", *ONE_ACCOUNT}
        require_holds("FREEZE_WHAT", event.purpose in known, sorted(known), event.purpose)
        if event.amount is not None:
            one = bool(event.ref) == (event.purpose != "available")
            whole = bool(event.asset and event.purpose) and one and event.amount > 0
            require_holds("FREEZE_WHAT", whole, "an amount of one account", event)

    def _require_signed(self, raw: RawRecord, authority: str, expected: dict[str, object]) -> None:
        if not authority.startswith(("authority:", "court:")):
            raise RuleBroken("FREEZE_AUTHORITY", "an authority or a court", authority)
        signed = self._keys.statement(raw, [authority], str(expected["kind"]))
        require("FREEZE_STATEMENT", canonical(signed), canonical(expected))

    def _liens_under(self, freeze: UnitsFrozen) -> list[Pledge]:
        """The liens with units that the freeze lies over, by name."""
        liens = self._accounts.liens
        return [
            Pledge(lien=lien, pledgee=liens.pledgee(lien))
            for lien, place in sorted(liens.places.items())
            if place in self._accounts.balances
            and (self._reaches(freeze, place) if freeze.holder else self._lie_in(freeze, place))
        ]

    def _lie_in(self, freeze: UnitsFrozen, place: Place) -> bool:
        for one in freeze.serials:
            known = self._accounts.batches.get((freeze.asset, one.batch))
            if place[1] != freeze.asset or known is None:
                continue
            if any(known.pieces_of(place, one.first, one.last)):
                return True
        return False

    # ---- applying -------------------------------------------------------------------------------

    def apply(self, event: UnitsFrozen | UnitsUnfrozen | FreezeExpired) -> None:
        name = (event.authority, event.freeze)
        if isinstance(event, UnitsFrozen):
            self._end(name)  # there is none, unless two persons have accepted that
            self._booked.add(name)
            self._begin(name, event)
        else:
            self._end(name)

    def give_way(self, name: Name, legs: list[Leg]) -> None:
        """An order has moved these out from under it: an amount shrinks, serials leave it."""
        freeze = self.live.get(name)
        if freeze is None or (freeze.amount is None and not freeze.serials):
            return
        self._end(name)
        if freeze.amount is not None:
            moved_out = sum(leg.amount for leg in legs if self._reaches(freeze, places(leg)[0]))
            if moved_out < freeze.amount:
                rest = msgspec.structs.replace(freeze, amount=freeze.amount - moved_out)
                self._begin(name, rest)
            return
        moved = [block for leg in legs if leg.asset == freeze.asset for block in leg.serials]
        left = apart(freeze.serials, moved)
        if left:
            self._begin(name, msgspec.structs.replace(freeze, serials=left))

    def _begin(self, name: Name, event: UnitsFrozen) -> None:
        self.live[name] = event
        if event.holder:
            self._holders.setdefault(event.holder, set()).add(name)
        for one in event.serials:
            self._serials.setdefault((event.asset, one.batch), set()).add(name)

    def _end(self, name: Name) -> None:
        freeze = self.live.pop(name, None)
        if freeze is None:
            return
        self._holders.get(freeze.holder, set()).discard(name)
        for one in freeze.serials:
            found = self._serials.get((freeze.asset, one.batch), set())
            found.discard(name)
            if not found:
                self._serials.pop((freeze.asset, one.batch), None)


def programme_of(authority: str) -> str | None:
    """An authority's own; a court has none, and reaches everything."""
    kind, _, programme = authority.partition(":")
    return programme if kind == "authority" else None


def end_ms(until: str) -> int:
    return day_start_ms(str(parse_day(until))) + DAY_MS


def apart(ranges: list[Range], moved: list[Range]) -> list[Range]:
    """The serials of these ranges that are not among the moved ones."""
    left: list[Range] = []
    for one in ranges:
        first = one.first
        for gone in sorted((m for m in moved if m.batch == one.batch), key=lambda m: m.first):
            if gone.last < first or one.last < gone.first:
                continue
            if first < gone.first:
                left.append(Range(one.batch, first, gone.first - 1))
            first = gone.last + 1
        if first <= one.last:
            left.append(Range(one.batch, first, one.last))
    return left


def joined(ranges: Iterator[Range]) -> list[tuple[int, int]]:
    """Ranges of one batch as they lie, what overlaps counted once."""
    whole: list[tuple[int, int]] = []
    for first, last in sorted((one.first, one.last) for one in ranges):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(last, whole[-1][1]))
        else:
            whole.append((first, last))
    return whole
