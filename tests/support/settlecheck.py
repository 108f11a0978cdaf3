"""Does a journal contradict what a venue was told of its trades, parts, sessions and reports?

A trade that was called settled stands at that position, with delivery, payment and fees as the
venue has signed them; one that was settled before was settled before; one that could not be settled
left its reason, and the numbers in it were true right there. A session is closed once, with what
its entries add up to, and nothing is settled in it afterwards. Adds up for itself, leg by leg.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tests.support.history import Command, Move, Said, Seen, TradeTold, commands_of, trades_of
from tests.support.historycheck import Finding, Raw, Sums, moves_of

MONEY = "CNY"
Key = tuple[str, str]  # session, trade


class Report(NamedTuple):
    """A session as the service reports it: settled where, not settled why, and the sums."""

    session: str
    settled: Mapping[str, int]
    unsettled: Mapping[str, str]
    totals: Sequence[dict[str, Any]]
    left: int  # unsettled, as the sums have it


class Journal(NamedTuple):
    """What a venue's sessions are in the journal."""

    records: Sequence[Raw]
    settled: Mapping[Key, list[Raw]]
    unsettled: Mapping[Key, list[Raw]]
    closed: Mapping[str, list[Raw]]


def check_settlements(
    venue: str,
    fee_holder: str,
    seen: Sequence[Seen],
    records: Sequence[Raw],
    reports: Iterable[Report],
) -> list[Finding]:
    """All contradictions between a venue's histories and the whole journal, from position 0."""
    journal = journal_of(venue, records)
    return [
        *check_told(venue, fee_holder, seen, journal),
        *check_once(journal),
        *check_closes(journal),
        *check_reports(journal, reports),
    ]


def journal_of(venue: str, records: Sequence[Raw]) -> Journal:
    settled: dict[Key, list[Raw]] = defaultdict(list)
    unsettled: dict[Key, list[Raw]] = defaultdict(list)
    closed: dict[str, list[Raw]] = defaultdict(list)
    for raw in records:
        body = raw["body"]
        if raw["type"] == "TradeUnsettled" and body["venue"] == venue:
            unsettled[body["session"], body["trade"]["trade"]].append(raw)
        elif raw["type"] == "SessionClosed" and body["venue"] == venue:
            closed[body["session"]].append(raw)
        elif body.get("session") and body.get("legs") and body["legs"][0]["debit"]["ref"] == venue:
            settled[body["session"], body["trades"][0]].append(raw)
    return Journal(records, settled, unsettled, closed)


# ---- trade by trade -----------------------------------------------------------------------------


def check_told(
    venue: str, fee_holder: str, seen: Sequence[Seen], journal: Journal
) -> Iterator[Finding]:
    """Every word that was said of a trade, as often as it was said."""
    parts = {one.id: one for one in commands_of(seen)}
    sums = Sums()
    for raw in journal.records:
        for _ in sums.add(raw["position"], moves_of(raw)):
            pass  # what is overdrawn is told of by historycheck.py
    for told in trades_of(seen):
        moves = moves_of_trade(venue, fee_holder, told.trade)
        if told.said is Said.SETTLED:
            yield from _check_settled(told, moves, journal)
        elif told.said is Said.BEFORE:
            yield from _check_before(told, moves, parts.get(told.part), journal)
        else:
            yield from _check_unsettled(told, venue, sums, journal)


def moves_of_trade(venue: str, fee_holder: str, trade: Mapping[str, Any]) -> tuple[Move, ...]:
    """Delivery, payment, the buyer's fee, the seller's."""

    def at(holder: str, asset: str) -> tuple[str, str, str, str]:
        return holder, asset, "trading", venue

    seller, buyer, asset = trade["seller"], trade["buyer"], trade["asset"]
    value_fen = trade["quantity_t"] * trade["price_fen_per_t"]
    fees_to = (fee_holder, MONEY, "available", "")
    moves = (
        (at(seller, asset), at(buyer, asset), trade["quantity_t"]),
        (at(buyer, MONEY), at(seller, MONEY), value_fen),
        (at(buyer, MONEY), fees_to, trade["buyer_fee_fen"]),
        (at(seller, MONEY), fees_to, trade["seller_fee_fen"]),
    )
    return tuple(move for move in moves if move[2])


def _check_settled(told: TradeTold, moves: tuple[Move, ...], journal: Journal) -> Iterator[Finding]:
    name = told.trade["trade"]
    there = journal.settled.get((told.session, name), [])
    if [raw["position"] for raw in there] != [told.position]:
        positions = [raw["position"] for raw in there]
        yield Finding("TRADE_LOST", name, f"settled at {told.position}, found at {positions}")
    elif moves_of(there[0]) != moves:
        yield Finding("TRADE_CHANGED", name, f"signed {moves}, recorded {moves_of(there[0])}")


def _check_before(
    told: TradeTold, moves: tuple[Move, ...], part: Command | None, journal: Journal
) -> Iterator[Finding]:
    name = told.trade["trade"]
    there = journal.settled.get((told.session, name), [])
    position = None if part is None else part.position if part.found is None else part.found
    if not there or position is None or there[0]["position"] >= position:
        words = f"settled before the part at {position}, found at"
        yield Finding("TRADE_LOST", name, f"{words} {[raw['position'] for raw in there]}")
    elif moves_of(there[0]) != moves:
        yield Finding("TRADE_CHANGED", name, f"signed {moves}, recorded {moves_of(there[0])}")


def _check_unsettled(
    told: TradeTold, venue: str, sums: Sums, journal: Journal
) -> Iterator[Finding]:
    name = told.trade["trade"]
    there = {
        raw["position"]: raw["body"]["reason"]
        for raw in journal.unsettled.get((told.session, name), ())
    }
    if there.get(told.position) != told.reason:
        words = f"{told.reason} at {told.position}, found {there}"
        yield Finding("TRADE_LOST", name, words)
    if told.reason == "INSUFFICIENT_BALANCE":
        place = (told.holder, told.asset, "trading", venue)
        (had,) = sums.between(place, told.position, told.position)
        if told.available != had or told.needed <= had:
            words = f"needed {told.needed}, said {told.available}, was {had} in {place}"
            yield Finding("WRONG_REASON", name, words)


def check_once(journal: Journal) -> Iterator[Finding]:
    for (session, name), there in journal.settled.items():
        if len(there) > 1:
            positions = [raw["position"] for raw in there]
            yield Finding("TRADE_TWICE", name, f"settled in {session} at {positions}")


# ---- sessions -----------------------------------------------------------------------------------


def check_closes(journal: Journal) -> Iterator[Finding]:
    """Once, with what is settled and what is not; after it comes nothing more."""
    for session, closes in journal.closed.items():
        last = closes[0]
        if len(closes) > 1:
            yield Finding("CLOSED_TWICE", session, f"at {[raw['position'] for raw in closes]}")
        late = [
            raw["position"]
            for kind in (journal.settled, journal.unsettled)
            for (of, _), there in kind.items()
            for raw in there
            if of == session and raw["position"] > last["position"]
        ]
        if late:
            words = f"closed at {last['position']}, and then {late}"
            yield Finding("SETTLED_AFTER_CLOSE", session, words)
        wanted = (totals_of(session, journal), len(left_of(session, journal)))
        said = (list(last["body"]["totals"]), last["body"]["unsettled"])
        if said != wanted:
            yield Finding("CLOSE_WRONG", session, f"said {said}, adds up to {wanted}")


def totals_of(session: str, journal: Journal) -> list[dict[str, Any]]:
    """By asset, as the entries of a session add up."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for (of, _), (raw, *_) in journal.settled.items():
        if of != session:
            continue
        delivery, payment, *fees = raw["body"]["legs"]
        sums[delivery["asset"]].update(
            fees_fen=sum(leg["amount"] for leg in fees),
            quantity_t=delivery["amount"],
            trades=1,
            turnover_fen=payment["amount"],
        )
    return [{"asset": asset, **of_one} for asset, of_one in sorted(sums.items())]


def left_of(session: str, journal: Journal) -> dict[str, str]:
    """Trades that were never settled, with the reason of the last time."""
    return {
        name: there[-1]["body"]["reason"]
        for (of, name), there in journal.unsettled.items()
        if of == session and (of, name) not in journal.settled
    }


def check_reports(journal: Journal, reports: Iterable[Report]) -> Iterator[Finding]:
    """A report says of each trade of a session what became of it, and the sums."""
    for one in reports:
        settled = {
            name: there[0]["position"]
            for (of, name), there in journal.settled.items()
            if of == one.session
        }
        left = left_of(one.session, journal)
        wanted = (settled, left, totals_of(one.session, journal), len(left))
        said = (dict(one.settled), dict(one.unsettled), list(one.totals), one.left)
        for what, there, answered in zip(
            ("settled", "not settled", "sums", "left"), wanted, said, strict=True
        ):
            if there != answered:
                words = f"{what}: reported {answered}, is {there}"
                yield Finding("REPORT_WRONG", one.session, words)
