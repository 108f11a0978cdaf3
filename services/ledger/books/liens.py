"""Units under a lien in the accounts book: in by both parties' word, out by the pledgee's alone."""

from __future__ import annotations

from kernel.record import RawRecord
from services.ledger.books.accounts_events import (
    Account,
    AssetDefined,
    EntryPosted,
    Leg,
    Pledge,
    places,
)
from services.ledger.books.crossings import Place, canonical
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.port import RuleBroken, require, require_holds
from services.ledger.books.serials import merged
from services.ledger.books.statements import integer, ranges_of


class Liens:
    """Every lien there ever was, its pledgee, and the releases that have been booked."""

    def __init__(self, keys: AdmittedKeys) -> None:
        self._keys = keys
        self._pledgees: dict[str, str] = {}
        self._released: set[tuple[str, str]] = set()  # (lien, release)
        self.pledged_at: dict[str, int] = {}  # the position of the entry that made each
        self.places: dict[str, Place] = {}  # where the units of each lie

    def check_pledged(self, raw: RawRecord, event: EntryPosted, asset: AssetDefined) -> None:
        require("PLEDGE_LEGS", 1, len(event.legs))
        leg, pledge = event.legs[0], event.pledge
        if pledge is None or pledge.release is not None:
            raise RuleBroken("PLEDGE_NAMED", "the lien and its pledgee alone", pledge)
        pledgor = leg.debit.holder
        require("PLEDGE_TO", Account(pledgor, "pledged", pledge.lien), leg.credit)
        require_holds("PLEDGE_UNITS", asset.unit != "fen", "units", leg.asset)
        require_holds("PLEDGE_PARTIES", pledge.pledgee != pledgor, "two holders", pledgor)
        require("LIEN_NEW", False, pledge.lien in self._pledgees)
        self._check_signed(raw, leg, pledge, asset)

    def _check_signed(self, raw: RawRecord, leg: Leg, pledge: Pledge, asset: AssetDefined) -> None:
        pledgor = leg.debit.holder
        parties = [f"holder:{pledgor}", f"holder:{pledge.pledgee}"]
        statement = self._keys.statement(raw, parties, "pledge")
        expected = {
            "asset": leg.asset,
            # What is not about these units is the registry's log to hold against its pledge.
            **{name: statement.get(name) for name in ("levels", "notice", "rate_bp")},
            **{name: statement.get(name) for name in ("serials", "valuation")},
            "kind": "pledge",
            "lien": pledge.lien,
            "loan_fen": integer(statement.get("loan_fen")),
            "matures_on": str(statement.get("matures_on")),
            "pledgee": pledge.pledgee,
            "pledgor": pledgor,
            "programme": asset.programme,
            "quantity_t": leg.amount,
        }
        require("PLEDGE_STATEMENT", canonical(expected), canonical(statement))
        named = ranges_of(statement)
        if named:  # else the oldest that the pledgor holds
            require("PLEDGE_SERIALS", merged(named), merged(leg.serials))

    def check_released(self, raw: RawRecord, event: EntryPosted) -> None:
        require("PLEDGE_LEGS", 1, len(event.legs))
        leg, pledge = event.legs[0], event.pledge
        if pledge is None or not pledge.release:
            raise RuleBroken("PLEDGE_NAMED", "the lien, its pledgee and a release", pledge)
        require("LIEN_KNOWN", self._pledgees.get(leg.debit.ref), pledge.pledgee)
        require("PLEDGE_NAMED", leg.debit.ref, pledge.lien)
        require("PLEDGE_BACK", Account(leg.debit.holder, "available", ""), leg.credit)
        statement = self._keys.statement(raw, [f"holder:{pledge.pledgee}"], "pledge-release")
        expected = {
            "kind": "pledge-release",
            "lien": pledge.lien,
            "pledgee": pledge.pledgee,
            "quantity_t": leg.amount,
            "release": pledge.release,
        }
        require("RELEASE_STATEMENT", canonical(expected), canonical(statement))
        if (pledge.lien, pledge.release) in self._released:
            raise RuleBroken("ONCE", f"a new release of {pledge.lien}", pledge.release)

    def of(self, pledgee: str) -> set[str]:
        """Every lien there ever was in its favour."""
        return {lien for lien, holder in self._pledgees.items() if holder == pledgee}

    def pledgee(self, lien: str) -> str:
        return self._pledgees[lien]

    def follow(self, position: int, pledge: Pledge, legs: list[Leg]) -> None:
        """An entry has named a lien."""
        if pledge.release is None:
            self._pledgees[pledge.lien] = pledge.pledgee
            self.pledged_at[pledge.lien] = position
            if legs:  # none only where two persons have accepted that
                self.places[pledge.lien] = places(legs[0])[1]
        else:
            self._released.add((pledge.lien, pledge.release))
