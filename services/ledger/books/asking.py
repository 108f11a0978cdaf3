"""The accounts book's side of what the books ask of one another (crossings.py).

An entry with a cause is exactly what its cause asks for, and what may not move without another
book's event names one. What entries have brought and retired is kept for the books that tell of it.
"""

from __future__ import annotations

from kernel.record import RawRecord
from services.ledger.books.accounts_events import (
    EntryPosted,
    FileTrade,
    Leg,
    SettlementReceived,
    TransferPosted,
    moves,
    serials,
)
from services.ledger.books.crossings import REGISTRY, Crossings, DealRow, Overridden, Retirement
from services.ledger.books.directory import acts_of
from services.ledger.books.holders_events import HolderStatusSet
from services.ledger.books.port import RuleBroken, require
from services.ledger.books.serials import Range, merged


class Desk:
    def __init__(self, crossings: Crossings) -> None:
        self.crossings = crossings

    def check(self, raw: RawRecord, event: EntryPosted) -> None:
        owner = self._asking_book(event.legs)
        if owner and (raw.cause is None or raw.cause[0] != owner):
            raise RuleBroken("CAUSE_NEEDED", f"a cause in {owner}", raw.cause)
        if raw.cause is None or event.session is not None:  # of a part: asked for with it
            return
        asked = self.crossings.entry_asked(raw.cause)
        if asked is None:
            raise RuleBroken("CAUSE_OPEN", "what another book asks for and nobody did", raw.cause)
        pledge = event.pledge
        require("ASKED_MOVES", asked.moves, moves(event.legs))
        if asked.serials is not None:
            require("ASKED_SERIALS", asked.serials, serials(event.legs))
        require("ASKED_TRADES", asked.trades, event.trades)
        lien = None if pledge is None else (pledge.lien, pledge.pledgee, pledge.release)
        require("ASKED_LIEN", asked.lien, lien)
        signed = sorted({act.statement for act in acts_of(raw)})
        require("ASKED_STATEMENT", asked.statements, signed)

    def check_part(
        self, raw: RawRecord, event: SettlementReceived, trades: list[FileTrade]
    ) -> None:
        """What a followed market has settled is what it has traded: each trade, to the fen."""
        venue, last = event.venue, None
        if venue not in self.crossings.followed:
            require("CAUSE_NONE", None, raw.cause)
            return
        for place, trade in enumerate(trades):
            found = self.crossings.deal(venue, trade.trade)
            if found is None and place in event.known:
                continue  # its market has told the end of it: it comes once more, and too late
            if found is None:
                raise RuleBroken("PART_ASKED", "a trade without an end at its market", trade.trade)
            last, deal = found
            require("PART_ASKED", (deal.row, 0, 0), (_row_of(trade), *_fees(trade)))
            require("PART_DAY", deal.day, event.session)
        if last is not None:
            require("PART_CAUSE", last, raw.cause)

    def _asking_book(self, legs: list[Leg]) -> str:
        """The followed book without whose event such legs may not be; "" when there is none."""
        followed = self.crossings.followed
        for leg in legs:
            if leg.debit.purpose == "trading" and leg.debit.ref in followed:
                return leg.debit.ref
            if REGISTRY in followed and "pledged" in (leg.debit.purpose, leg.credit.purpose):
                return REGISTRY
        return ""

    def take(self, raw: RawRecord, event: EntryPosted) -> None:
        """What the other books now have to tell of."""
        if event.session is not None:
            market = event.legs[0].debit.ref if event.legs else ""
            for trade in event.trades:
                self.crossings.take_told(market, trade, raw.position, settled=True)
            return
        if raw.cause is not None:
            self.crossings.take_entry(raw.cause, raw.position, serials(event.legs))
        self._take_allocations(raw.position, event)
        if event.claim is not None and REGISTRY in self.crossings.followed:
            self._take_retirement(raw.position, event)

    def take_order(self, position: int, event: TransferPosted) -> None:
        """An order that reaches into liens is told of in the registry."""
        lots: dict[str, tuple[int, list[Range]]] = {}
        for leg in event.legs:
            if leg.debit.purpose == "pledged":
                amount, ranges = lots.get(leg.debit.ref, (0, []))
                lots[leg.debit.ref] = (amount + leg.amount, merged([*ranges, *leg.serials]))
        if lots and REGISTRY in self.crossings.followed:
            order = (event.authority, event.document, event.transfer)
            self.crossings.overridden[position] = Overridden(order, lots)

    def take_status(self, position: int, event: HolderStatusSet) -> None:
        """Every market hears of it: who may not trade makes no trade there either."""
        said = (event.authority or "", event.status.holder, event.status.status)
        for book in self.crossings.followed:
            if book.partition("-")[0] == "market":
                self.crossings.statuses.setdefault(book, {})[position] = said

    def _take_allocations(self, position: int, event: EntryPosted) -> None:
        found: dict[str, dict[tuple[str, str], int]] = {}
        for leg in event.legs:
            to = leg.credit
            brought = leg.debit.purpose == "available" and to.purpose == "trading"
            if brought and to.ref in self.crossings.followed:
                rows = found.setdefault(to.ref, {})
                rows[to.holder, leg.asset] = rows.get((to.holder, leg.asset), 0) + leg.amount
        for market, rows in found.items():
            open_ones = self.crossings.allocations.setdefault(market, {})
            open_ones[position] = sorted((*key, amount) for key, amount in rows.items())

    def _take_retirement(self, position: int, event: EntryPosted) -> None:
        lots: dict[tuple[str, str], tuple[int, list[Range]]] = {}
        for leg in event.legs:
            if leg.credit.purpose == "retired":
                key = (leg.credit.holder, leg.asset)
                amount, ranges = lots.get(key, (0, []))
                lots[key] = (amount + leg.amount, merged([*ranges, *leg.serials]))
        if lots and event.claim is not None:
            claim = (event.claim.beneficiary, event.claim.details, event.claim.purpose)
            self.crossings.retirements[position] = Retirement(claim, lots)


def _row_of(trade: FileTrade) -> DealRow:
    return DealRow(
        trade.asset,
        trade.buyer,
        trade.price_fen_per_t,
        trade.quantity_t,
        trade.seller,
        trade.trade,
    )


def _fees(trade: FileTrade) -> tuple[int, int]:
    return trade.buyer_fee_fen, trade.seller_fee_fen
