"""Non-trade transfers in the accounts book: nothing changes hands but as it was signed.

By an order of an authority or a court, which ends the liens it takes from and makes way through the
freezes it names and may override; or by the agreement of both holders, filed by one registrar and
confirmed by another, of what the source could have given itself.
"""

from __future__ import annotations

from typing import Any, Final

from kernel.record import RawRecord
from services.ledger.books.accounts_events import (
    Account,
    Leg,
    Pledge,
    TransferFiled,
    TransferPosted,
    TransferWithdrawn,
)
from services.ledger.books.crossings import canonical
from services.ledger.books.directory import require_no_acts
from services.ledger.books.freezes import Accounts, Name, programme_of
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.port import RuleBroken, require, require_holds
from services.ledger.books.serials import merged
from services.ledger.books.statements import ranges_of, rows_of

TRANSFER_EVENTS: Final = (TransferFiled, TransferPosted, TransferWithdrawn)
NATURES: Final = frozenset({"court", "merger", "split", "succession"})


class Transfers:
    def __init__(self, keys: AdmittedKeys, accounts: Accounts) -> None:
        self._keys = keys
        self._accounts = accounts
        self._booked: set[tuple[str, str]] = set()  # whose, and its name
        self._filed: dict[str, TransferFiled] = {}

    # ---- checking -------------------------------------------------------------------------------

    def check_filed(self, raw: RawRecord, event: TransferFiled) -> None:
        self._require_new("", event.transfer)
        require("TRANSFER_FILER", raw.actor, event.filer)
        known = event.nature in ("merger", "split")
        require_holds("TRANSFER_NATURE", known, "merger or split", event.nature)
        parties = [f"holder:{event.source}", f"holder:{event.target}"]
        statement = self._keys.statement(raw, parties, "transfer-agreement")
        expected = {
            "document": event.document,
            "kind": "transfer-agreement",
            "moves": [
                {"amount": leg.amount, "asset": leg.asset, "serials": leg.serials}
                for leg in event.moves
            ],
            "nature": event.nature,
            "source": event.source,
            "target": event.target,
            "transfer": event.transfer,
        }
        require("TRANSFER_STATEMENT", canonical(statement), canonical(expected))
        self._require_ways(event.source, event.target, event.moves)
        for leg in event.moves:
            require("TRANSFER_FROM", "available", leg.debit.purpose)

    def check_posted(self, raw: RawRecord, event: TransferPosted) -> None:
        self._require_ways(event.source, event.target, event.legs)
        if not event.authority:
            self._check_confirmed(raw, event)
            return
        if not event.authority.startswith(("authority:", "court:")):
            raise RuleBroken("TRANSFER_AUTHORITY", "an authority or a court", event.authority)
        self._require_new(event.authority, event.transfer)
        known = event.nature in NATURES - (set() if _court(event.authority) else {"court"})
        require_holds("TRANSFER_NATURE", known, f"a kind of {event.authority}", event.nature)
        programme = programme_of(event.authority)
        for leg in event.legs:
            asset = self._accounts.assets.get(leg.asset)
            if asset is not None and programme not in (None, asset.programme):
                raise RuleBroken("TRANSFER_PROGRAMME", programme, asset.programme)
        self._check_ordered(raw, event)
        self._check_overridden(event)
        self._check_liens(event)

    def _check_ordered(self, raw: RawRecord, event: TransferPosted) -> None:
        statement = self._keys.statement(raw, [event.authority], "transfer-order")
        rows = rows_of(statement, "moves")
        require("TRANSFER_MOVES", len(rows), len(event.legs))
        expected = {
            "authority": event.authority,
            "document": event.document,
            "freezes": event.freezes,
            "kind": "transfer-order",
            "moves": [_ordered(leg, row) for leg, row in zip(event.legs, rows, strict=True)],
            "nature": event.nature,
            "source": event.source,
            "target": event.target,
            "transfer": event.transfer,
        }
        require("TRANSFER_STATEMENT", canonical(statement), canonical(expected))
        for leg, row in zip(event.legs, rows, strict=True):
            _require_named(leg, row)

    def _check_overridden(self, event: TransferPosted) -> None:
        """Its own freezes; a court also those of an authority, and nobody another court's."""
        for name in event.freezes:
            own = name.authority == event.authority
            lower = _court(event.authority) and not _court(name.authority)
            mine = f"a freeze that {event.authority} may override"
            require_holds("TRANSFER_FREEZE", own or lower, mine, name.authority)

    def _check_liens(self, event: TransferPosted) -> None:
        taken = sorted({leg.debit.ref for leg in event.legs if leg.debit.purpose == "pledged"})
        for lien in taken:
            if lien not in self._accounts.liens.places:
                raise RuleBroken("LIEN_KNOWN", "a lien there is", lien)
        pledgees = [Pledge(lien=one, pledgee=self._accounts.liens.pledgee(one)) for one in taken]
        require("TRANSFER_LIENS", pledgees, event.liens)

    def _check_confirmed(self, raw: RawRecord, event: TransferPosted) -> None:
        filed = self._filed.get(event.transfer)
        if filed is None:
            raise RuleBroken("TRANSFER_FILED", "a transfer that waits", event.transfer)
        require_no_acts(raw)
        if raw.actor.sub == filed.filer.sub:
            raise RuleBroken("TWO_PERSONS", f"another than {filed.filer.sub}", raw.actor.sub)
        said = (event.document, event.nature, event.source, event.target)
        require("AS_FILED", (filed.document, filed.nature, filed.source, filed.target), said)
        require("AS_FILED", ([], []), (event.freezes, event.liens))
        require("TRANSFER_MOVES", len(filed.moves), len(event.legs))
        for was, leg in zip(filed.moves, event.legs, strict=True):
            require("AS_FILED", (was.amount, was.asset), (leg.amount, leg.asset))
            require("AS_FILED", (was.debit, was.credit), (leg.debit, leg.credit))
            if was.serials:
                require("TRANSFER_SERIALS", merged(was.serials), merged(leg.serials))

    def check_withdrawn(self, raw: RawRecord, event: TransferWithdrawn) -> None:
        filed = self._filed.get(event.transfer)
        if filed is None:
            raise RuleBroken("TRANSFER_FILED", "a transfer that waits", event.transfer)
        require("AS_FILED", (filed.source, filed.target), (event.source, event.target))

    def _require_new(self, whose: str, name: str) -> None:
        if (whose, name) in self._booked:
            raise RuleBroken("ONCE", f"a new transfer of {whose or 'two holders'}", name)

    def _require_ways(self, source: str, target: str, legs: list[Leg]) -> None:
        require_holds("TRANSFER_PARTIES", source != target, "two holders", source)
        for leg in legs:
            require("TRANSFER_TO", Account(target, "available", ""), leg.credit)
            require("TRANSFER_FROM", source, leg.debit.holder)
            within = leg.debit.purpose == "pledged" or (
                (leg.debit.purpose, leg.debit.ref) == ("available", "")
            )
            require_holds("TRANSFER_FROM", within, "available or pledged", leg.debit)

    # ---- applying -------------------------------------------------------------------------------

    def apply(self, event: TransferFiled | TransferPosted | TransferWithdrawn) -> None:
        if isinstance(event, TransferFiled):
            self._booked.add(("", event.transfer))
            self._filed[event.transfer] = event
        elif isinstance(event, TransferPosted) and event.authority:
            self._booked.add((event.authority, event.transfer))
        else:
            self._filed.pop(event.transfer, None)


def overridden(event: TransferPosted) -> set[Name]:
    """The freezes that make way for an order."""
    return {(name.authority, name.freeze) for name in event.freezes}


def _court(authority: str) -> bool:
    return authority.startswith("court:")


def _ordered(leg: Leg, row: dict[str, Any]) -> dict[str, object]:
    """The row that this leg carries out; which serials, the statement may leave open."""
    lien = leg.debit.ref if leg.debit.purpose == "pledged" else ""
    return {
        "amount": leg.amount,
        "asset": leg.asset,
        "lien": lien,
        "serials": row.get("serials"),
    }


def _require_named(leg: Leg, row: dict[str, Any]) -> None:
    named = ranges_of(row)
    if named:
        require("TRANSFER_SERIALS", merged(named), merged(leg.serials))
