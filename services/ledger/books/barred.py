"""Who may trade at a market, by what the accounts book has said of holders' statuses.

A market tells of a status as the accounts book has it. From then on who is barred trades nothing
and places no order; orders it had are cancelled for that reason, and for no other holder's.
"""

from __future__ import annotations

from typing import Final

from kernel.record import RawRecord
from services.ledger.books.crossings import ACCOUNTS, Crossings
from services.ledger.books.market_events import OrderCancelled, StandingHeard
from services.ledger.books.port import RuleBroken, require, require_holds

ACTIVE: Final = "active"
REASON: Final = "STATUS_FORBIDS"


class Barred:
    def __init__(self, book: str, crossings: Crossings) -> None:
        self._book = book
        self._crossings = crossings
        self._layers: dict[str, dict[str, str]] = {}  # by holder and who has set it: a status
        self._heard_last: dict[str, int] = {}  # by barred holder: where its last status stands

    def check_heard(self, raw: RawRecord, event: StandingHeard) -> None:
        waiting = self._crossings.statuses.get(self._book, {})
        cause = raw.cause
        if cause is None or cause[0] != ACCOUNTS or cause[1] not in waiting:
            raise RuleBroken("STANDING_TOLD", "a status to tell of", cause)
        said = (event.authority, event.holder, event.status)
        require("STANDING_TOLD", waiting[cause[1]], said)

    def require_may_trade(self, holder: str, units_of: str) -> None:
        barred = self._by(holder, units_of)
        require_holds("BARRED_TRADER", not barred, f"who may trade {units_of or 'here'}", holder)

    def check_cancelled(
        self, raw: RawRecord, event: OrderCancelled, holder: str, units_of: str
    ) -> None:
        """By somebody's command; or because its holder was barred, in one with what barred it."""
        if not event.reason:
            require("CAUSE_NONE", None, raw.cause)
            return
        require("CANCELLED_FOR", REASON, event.reason)
        barred = bool(self._by(holder, units_of))
        require_holds("CANCELLED_FOR", barred, "a holder who may not trade", holder)
        require("CANCELLED_WITH", (ACCOUNTS, self._heard_last.get(holder)), raw.cause)

    def _by(self, holder: str, units_of: str) -> list[str]:
        """Who keeps a holder from trading these units; the registrars are "" here."""
        own = f"authority:{units_of}"
        return [
            who
            for who in self._layers.get(holder, {})
            if not who.startswith("authority:") or not units_of or who == own
        ]

    def take(self, raw: RawRecord, event: StandingHeard) -> None:
        if raw.cause is not None:
            self._crossings.statuses.get(self._book, {}).pop(raw.cause[1], None)
            self._heard_last[event.holder] = raw.cause[1]
        layers = self._layers.setdefault(event.holder, {})
        if event.status == ACTIVE:
            layers.pop(event.authority, None)
        else:
            layers[event.authority] = event.status
        if not layers:
            del self._layers[event.holder]
            self._heard_last.pop(event.holder, None)
