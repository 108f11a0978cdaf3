"""Checks who acts and what their status and a programme's terms allow, entry by entry.

How strict a status may be for each thing one does is a number here: nothing is sent on from rank 1
(restricted), nothing retired from rank 2 (suspended), nothing received from rank 3 (frozen). What
comes back to its own holder is always in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from kernel.record import RawRecord
from services.ledger.books.accounts_events import Account, AssetDefined, Leg
from services.ledger.books.days import day_of, parse_day
from services.ledger.books.destinations import Destinations
from services.ledger.books.holders import Holders
from services.ledger.books.holders_events import Mandate, RequiredSafeguards
from services.ledger.books.port import RuleBroken, instant_ms, require, require_holds

STRICTEST: Final = {"receive": 2, "retire": 1, "send": 0, "trade": 0}
RIGHT_TO: Final = {"retired": "retire", "surrendered": "retire", "trading": "trade"}


class Acting:
    def __init__(
        self, holders: Holders, assets: Mapping[str, AssetDefined], destinations: Destinations
    ) -> None:
        self._holders = holders
        self._assets = assets
        self._destinations = destinations

    def check(
        self, raw: RawRecord, legs: list[Leg], mandate: str | None, payee: Account | None
    ) -> None:
        """`payee`: whom a hold is promised to, where the event is of a hold."""
        if mandate is None and not self._is_ruled(legs, payee):
            return
        found = None if mandate is None else self._holders.mandate(mandate)
        self._check_persons(raw, legs, found, payee)
        agent = None if found is None else found.agent
        for leg in legs:
            self._check_leg(raw, leg, agent)
        if payee is not None and legs[0].credit.purpose == "held":  # what is promised on placing
            self._check_leg(raw, _promised(legs[0], payee), agent)
            self.check_promised(raw, legs[0], payee)

    def check_right(self, raw: RawRecord, holder: str, rights: set[str]) -> None:
        """Who asked may do this for the holder, where it has a register."""
        self._holders.check_operator(raw.actor, self._behind(holder), rights)

    def check_statuses(self, raw: RawRecord, legs: list[Leg]) -> None:
        """What both sides may do, whoever acts for them."""
        if self._is_ruled(legs, None):
            for leg in legs:
                self._check_leg(raw, leg, None)

    def _is_ruled(self, legs: list[Leg], payee: Account | None) -> bool:
        """Is anything said of these holders or programmes? For most there is not."""
        ruled, terms, assets = self._holders.ruled, self._holders.terms, self._assets
        if payee is not None and payee.holder in ruled:
            return True
        for leg in legs:
            if leg.debit.holder in ruled or leg.credit.holder in ruled:
                return True
            asset = assets.get(leg.asset)
            if asset is None or asset.programme in terms:
                return True
        return False

    def _asset(self, asset: str) -> AssetDefined:
        found = self._assets.get(asset)
        if found is None:
            raise RuleBroken("ASSET_KNOWN", "a defined asset", asset)
        return found

    # ---- persons --------------------------------------------------------------------------------

    def _check_persons(
        self, raw: RawRecord, legs: list[Leg], mandate: Mandate | None, payee: Account | None
    ) -> None:
        acted_for = set(self._acted_for(legs, payee))
        if mandate is not None:
            require_holds(
                "MANDATE_USED", mandate.principal in acted_for, sorted(acted_for), mandate.principal
            )
        for holder in sorted(acted_for):
            rights, assets, units, fen = self._wanted(legs, holder, payee)
            acting = self._behind(holder)
            if mandate is not None and holder == mandate.principal:
                self._check_scope(raw, mandate, rights, assets)
                acting = mandate.agent
            self._holders.check_operator(raw.actor, acting, rights, units, fen)
        if payee is None:
            self._check_apart(legs)

    def _acted_for(self, legs: list[Leg], payee: Account | None) -> Iterator[str]:
        """Whose word moves it: who is debited, or who takes a hold or lets it go."""
        if payee is not None and legs[0].debit.purpose == "held":
            yield payee.holder
            return
        for leg in legs:
            if leg.debit.purpose == "available" and leg.credit.purpose != "pledged":
                yield leg.debit.holder

    def _wanted(
        self, legs: list[Leg], holder: str, payee: Account | None
    ) -> tuple[set[str], set[str], int, int]:
        rights, assets, units, fen = set(), set(), 0, 0
        for leg in legs if payee is None else legs[:1]:
            own = leg.debit.holder == holder
            if not own and payee is None:
                continue
            rights.add(
                "hold" if payee is not None else RIGHT_TO.get(leg.credit.purpose, "transfer")
            )
            assets.add(leg.asset)
            if own and self._asset(leg.asset).unit == "fen":
                fen += leg.amount
            elif own:
                units += leg.amount
        return rights, assets, units, fen

    def _behind(self, holder: str) -> str:
        """The holder, or who manages it if it is a fund."""
        if self._holders.kinds.get(holder) != "fund":
            return holder
        manager = self._holders.managers.get(holder)
        if manager is None:
            raise RuleBroken("FUND_MANAGER", "a fund with its manager", holder)
        return manager

    def _check_scope(
        self, raw: RawRecord, mandate: Mandate, rights: set[str], assets: set[str]
    ) -> None:
        first, last = parse_day(mandate.first_day), parse_day(mandate.last_day)
        if not first <= day_of(raw.on) <= last or day_of(raw.at) > last:
            raise RuleBroken("MANDATE_DAYS", f"{first} to {last}", f"{raw.on}, {raw.at}")
        outside = rights - set(mandate.rights)
        if mandate.assets or mandate.programmes:
            outside |= {
                asset
                for asset in assets
                if asset not in mandate.assets
                and self._asset(asset).programme not in mandate.programmes
            }
        require("MANDATE_SCOPE", set(), outside)

    def _check_apart(self, legs: list[Leg]) -> None:
        """What a fund has and what its manager has meet only in legs between the two."""
        if not any(leg.debit.purpose == "available" for leg in legs):
            return  # each owner or trade is signed for by name
        sides = [{leg.debit.holder, leg.credit.holder} for leg in legs]
        everybody = set[str]().union(*sides)
        managers = self._holders.managers
        for fund, manager in ((one, managers[one]) for one in everybody & managers.keys()):
            if {fund, manager} <= everybody and any(side != {fund, manager} for side in sides):
                raise RuleBroken("FUND_APART", f"legs between {fund} and its manager", manager)

    # ---- statuses and terms ---------------------------------------------------------------------

    def _check_leg(self, raw: RawRecord, leg: Leg, agent: str | None) -> None:
        own = leg.debit.holder == leg.credit.holder
        if own and leg.credit.purpose == "available":
            return  # it comes back
        asset = self._asset(leg.asset)
        terms = self._holders.terms_at(asset.programme, instant_ms(raw.on))
        for holder, what in self._doing(leg, own, agent):
            limit = STRICTEST[what]
            if self._holders.rank(holder, asset.programme) > limit:
                raise RuleBroken("STATUS", f"rank {limit} or less to {what}", holder)
            if what == "trade" and terms is not None and self._holders.is_barred(terms, holder):
                raise RuleBroken("BARRED", f"who may trade {leg.asset}", holder)
        if terms is None:
            return
        self._check_guarded(raw, leg, terms.safeguards)
        if not terms.opening_required:
            return
        if asset.unit == "fen" and not terms.money_too:
            return
        self._check_reached(leg, asset.programme, own)

    def _doing(self, leg: Leg, own: bool, agent: str | None) -> Iterator[tuple[str, str]]:
        """Every party of a leg, those who stand behind it too, and what it does."""
        source, target = leg.debit.purpose, leg.credit.purpose
        if source not in ("issued", "external"):
            what = RIGHT_TO.get(target, "send")
            for holder in self._with_manager(leg.debit.holder):
                yield holder, what
            if agent is not None:
                yield agent, what
        if not own:
            for holder in self._with_manager(leg.credit.holder):
                yield holder, "trade" if target == "trading" else "receive"

    def _with_manager(self, holder: str) -> Iterator[str]:
        yield holder
        manager = self._holders.managers.get(holder)
        if manager is not None:
            yield manager

    def check_promised(self, raw: RawRecord, leg: Leg, payee: Account) -> None:
        """What is set aside for a transfer: the programme asks of it what it asks of transfers."""
        terms = self._holders.terms_at(self._asset(leg.asset).programme, instant_ms(raw.on))
        if terms is not None:
            going = msgspec.structs.replace(leg, credit=payee)
            self._check_guarded(raw, going, terms.safeguards)

    def _check_guarded(self, raw: RawRecord, leg: Leg, asked: RequiredSafeguards | None) -> None:
        """Units go to others only under safeguards as strict as the programme's terms."""
        ways = (leg.debit.purpose, leg.credit.purpose)
        if asked is None or ways != ("available", "available"):
            return
        holder = leg.debit.holder
        if holder == leg.credit.holder:
            return
        delay_ms, most = self._destinations.strictness(holder, leg.asset, instant_ms(raw.at))
        strict = delay_ms >= asked.delay_ms and most is not None and most <= asked.max_units
        require_holds("SAFEGUARDS_STRICT", strict, asked, (holder, delay_ms, most))

    def _check_reached(self, leg: Leg, programme: str, own: bool) -> None:
        to = leg.credit
        opened = self._holders.opened.get((to.holder, programme), set())
        if to.purpose == "trading":
            require("OPENED", True, to.ref in opened)
        elif to.purpose == "available" and not own:
            require("OPENED", True, "" in opened)


def _promised(leg: Leg, payee: Account) -> Leg:
    return msgspec.structs.replace(leg, debit=leg.credit, credit=payee)
