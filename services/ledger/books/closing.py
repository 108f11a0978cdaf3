"""Closing one account of a programme in the accounts book: nothing of the programme is left in it.

`balances`, `holds` and `assets` are the accounts book's own: only looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Protocol

from services.ledger.books.accounts_events import Account, AssetDefined, Leg
from services.ledger.books.crossings import Place
from services.ledger.books.holders_events import Closing
from services.ledger.books.port import RuleBroken, require, require_text

Opened = Mapping[tuple[str, str], Set[str]]  # by holder and programme: "", and a trading venue


class Promise(Protocol):
    """A live hold, as far as it is looked at here."""

    @property
    def to(self) -> Account: ...

    @property
    def leg(self) -> Leg: ...


class Closings:
    def __init__(
        self,
        balances: Mapping[Place, int],
        holds: Mapping[str, Promise],
        assets: Mapping[str, AssetDefined],
        opened: Opened,
    ) -> None:
        self._balances = balances
        self._holds = holds
        self._assets = assets
        self._opened = opened

    def check(self, said: Closing) -> None:
        require_text("REASON", [said.reason])
        own = self._opened.get((said.holder, said.programme), frozenset())
        if (said.account, bool(said.venue)) not in (("registration", False), ("trading", True)):
            raise RuleBroken("CLOSING_ACCOUNT", "registration, or trading at a venue", said)
        require("CLOSING_OPEN", {"", said.venue}, set(own))
        left: list[object] = [place for place in self._balances if self._lies_in(said, place)]
        if not said.venue:
            left += [id for id, hold in self._holds.items() if self._promised(said, hold)]
        require("CLOSING_EMPTY", [], left)

    def _lies_in(self, said: Closing, place: Place) -> bool:
        holder, asset, purpose, ref = place
        if holder != said.holder or (said.venue and (purpose, ref) != ("trading", said.venue)):
            return False
        known = self._assets.get(asset)
        if known is None or known.programme == said.programme:
            return True
        return bool(said.venue) and known.unit == "fen" and not self._elsewhere(said)

    def _elsewhere(self, said: Closing) -> bool:
        """Does it trade units of another programme at the same venue, with the same money?"""
        return any(
            holder == said.holder and programme != said.programme and said.venue in own
            for (holder, programme), own in self._opened.items()
        )

    def _promised(self, said: Closing, hold: Promise) -> bool:
        asset = self._assets.get(hold.leg.asset)
        programme = None if asset is None else asset.programme
        return hold.to.holder == said.holder and programme == said.programme
