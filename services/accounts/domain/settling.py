"""SettleTrades: a part of a settlement file into one entry per trade, decided trade by trade.

The hot path of every venue: of exchanges that match elsewhere, and of our own markets. The venue's
signature is checked once for the whole part. A trade that cannot be settled leaves no trace in
balances and does not hold up the others: it becomes a TradeUnsettled, and may come again in a later
part. What cannot be told of in an event at all (numbers out of range, a name twice) refuses the
part as a whole.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kernel.errors import Kind, Refused
from kernel.keyring import check_same, signed_statement
from kernel.values import MAX_INTEGER, Context, check_on, check_role, check_text
from services.accounts.domain import blocks, freezes, rules, standing
from services.accounts.domain.acts import SettlementFile, unique
from services.accounts.domain.commands import SettleTrades
from services.accounts.domain.events import (
    Account,
    AssetDefined,
    EntryPosted,
    FileTrade,
    Leg,
    Purpose,
    SerialRange,
    SettlementReceived,
    TradeUnsettled,
    Unit,
)
from services.accounts.domain.rules import MONEY
from services.accounts.domain.sessions import fingerprint_of, session_of
from services.accounts.domain.state import AccountKey, State, account_key

MAX_PART_TRADES: Final = 250  # the signed statement has to fit into one record
MAX_NAME_CHARS: Final = 60  # of sessions, files and trades


def settle_trades(state: State, command: SettleTrades, context: Context) -> list[msgspec.Struct]:
    """SettlementReceived, then an event for each trade that was not settled before."""
    venue = command.venue
    check_role(context, f"venue:{venue}")
    check_on(context)
    part = signed_statement(state.keyring, context, SettlementFile, f"venue:{venue}")
    check_same("venue", part.venue, venue)
    _check_shape(part)
    session = session_of(state, part, context)
    return PartDraft(state, part, context).settle_all(session.settled, session.unsettled)


def _check_shape(part: SettlementFile) -> None:
    if not 1 <= len(part.trades) <= MAX_PART_TRADES:
        raise Refused(
            "TRADES_COUNT",
            f"expected 1 to {MAX_PART_TRADES} trades in a part, got {len(part.trades)}",
            Kind.INVALID,
            limit=MAX_PART_TRADES,
            actual=len(part.trades),
        )
    check_text(part.session, "session", MAX_NAME_CHARS)
    check_text(part.file, "file", MAX_NAME_CHARS)
    rules.check_amount(part.part)
    if not unique([trade.trade for trade in part.trades]):
        raise Refused("TRADE_DOUBLED", "a trade stands twice in the part", Kind.INVALID)
    for trade in part.trades:
        _check_numbers(trade)


def _check_numbers(trade: FileTrade) -> None:
    """What could not even be recorded as unsettled: numbers that no record may hold."""
    check_text(trade.trade, "trade", MAX_NAME_CHARS)
    rules.check_amount(trade.quantity_t)
    rules.check_amount(trade.price_fen_per_t)
    value_fen = trade.quantity_t * trade.price_fen_per_t
    fees = (trade.buyer_fee_fen, trade.seller_fee_fen)
    if min(fees) < 0 or value_fen + sum(fees) > MAX_INTEGER:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"trade {trade.trade}: expected fees of 0 or more and {MAX_INTEGER} fen in all,"
            f" got {fees} and a value of {value_fen}",
            Kind.INVALID,
        )


class PartDraft:
    """Balances and blocks as they would be, trade after trade, without touching the state."""

    def __init__(self, state: State, part: SettlementFile, context: Context) -> None:
        self._state = state
        self._part = part
        self._context = context
        self._balances: dict[AccountKey, int] = {}
        self._blocks: dict[AccountKey, list[SerialRange]] = {}
        self._assets: dict[str, AssetDefined] = {}  # found tradable at this business time
        self._trading: dict[str, Account] = {}
        self._fees = Account(part.fee_holder, Purpose.AVAILABLE, "")

    def settle_all(
        self, settled: dict[str, bytes], unsettled: dict[str, bytes]
    ) -> list[msgspec.Struct]:
        part = self._part
        received = SettlementReceived(
            closes_at_ms=part.closes_at_ms,
            fee_holder=part.fee_holder,
            file=part.file,
            files_alone=True,
            known=[],
            part=part.part,
            session=part.session,
            trades=len(part.trades),
            unsettled=[],
            venue=part.venue,
        )
        events: list[msgspec.Struct] = [received]
        for place, trade in enumerate(part.trades):
            try:
                before = settled.get(trade.trade) or unsettled.get(trade.trade)
                if before is not None and before != fingerprint_of(trade):
                    raise Refused("TRADE_DIFFERS", f"{trade.trade} came with another content")
                if before is not None and trade.trade in settled:
                    received.known.append(place)
                    continue
                rules.check_unsettled(self._state, part.venue, trade.trade)
                events.append(self._settle(trade))
            except Refused as refused:
                received.unsettled.append(place)
                events.append(self._told(trade, refused))
        return events

    def _told(self, trade: FileTrade, refused: Refused) -> TradeUnsettled:
        said = refused.details
        return TradeUnsettled(
            asset=_text(said.get("asset")),
            available=_number(said.get("available")),
            holder=_text(said.get("holder")),
            needed=_number(said.get("needed")),
            reason=refused.reason,
            session=self._part.session,
            trade=trade,
            venue=self._part.venue,
        )

    def _settle(self, trade: FileTrade) -> EntryPosted:
        """Everything is checked before anything is moved: a refusal leaves the draft as it was."""
        seller, buyer = self._account(trade.seller), self._account(trade.buyer)
        if trade.seller == trade.buyer:
            raise Refused("SELF_TRADE", f"{trade.buyer} on both sides", holder=trade.buyer)
        asset = self._tradable(trade.asset)
        self._tradable(MONEY)
        value_fen = trade.quantity_t * trade.price_fen_per_t
        self._check_fees(trade, value_fen)
        self._check_means(trade, value_fen)
        if self._state.standings or self._state.account_terms:
            self._check_standing(trade, seller, buyer, value_fen)
        delivery = Leg(trade.quantity_t, trade.asset, buyer, seller, [])
        if self._state.frozen.live:
            self._check_frozen(trade, delivery, value_fen)
        serials = self._oldest(delivery) if asset.serialised else []
        legs = [
            self._move(trade.asset, trade.quantity_t, seller, buyer, serials),
            self._move(MONEY, value_fen, buyer, seller, []),
        ]
        if trade.buyer_fee_fen:
            legs.append(self._move(MONEY, trade.buyer_fee_fen, buyer, self._fees, []))
        if trade.seller_fee_fen:
            legs.append(self._move(MONEY, trade.seller_fee_fen, seller, self._fees, []))
        return EntryPosted(legs=legs, session=self._part.session, trades=[trade.trade])

    def _account(self, holder: str) -> Account:
        """The member's trading account at this venue, and nothing else of theirs."""
        known = self._trading.get(holder)
        if known is None:
            rules.check_holder(self._state, holder)
            known = self._trading[holder] = Account(holder, Purpose.TRADING, self._part.venue)
        return known

    def _tradable(self, name: str) -> AssetDefined:
        known = self._assets.get(name)
        if known is None:
            known = self._state.assets.get(name)
            if known is None:
                raise Refused(
                    "UNKNOWN_ASSET", f"no asset {name[:60]!r}", Kind.UNKNOWN, asset=name[:60]
                )
            if known.unit == Unit.FEN and name != MONEY:
                raise Refused("NOT_TRADABLE", f"{name} is money", asset=name)
            rules.check_business_time(known, self._context)
            self._assets[name] = known
        return known

    def _check_fees(self, trade: FileTrade, value_fen: int) -> None:
        """A venue that took more than the trade is worth would be taking its members' money."""
        dearest = max(trade.buyer_fee_fen, trade.seller_fee_fen)
        if dearest > value_fen:
            raise Refused(
                "FEE_TOO_LARGE",
                f"expected a fee of at most {value_fen} fen, got {dearest}",
                needed=dearest,
                available=value_fen,
            )
        if dearest and not self._fees.holder:
            raise Refused("FEE_HOLDER_MISSING", "fees, and nobody named who gets them")
        if trade.asset == MONEY:
            raise Refused("NOT_TRADABLE", "money is what trades are paid with", asset=MONEY)

    def _check_standing(
        self, trade: FileTrade, seller: Account, buyer: Account, value_fen: int
    ) -> None:
        """What is said of holders and programmes counts here as for every entry."""
        legs = [
            Leg(trade.quantity_t, trade.asset, buyer, seller, []),
            Leg(value_fen, MONEY, seller, buyer, []),
        ]
        if trade.buyer_fee_fen:
            legs.append(Leg(trade.buyer_fee_fen, MONEY, self._fees, buyer, []))
        if trade.seller_fee_fen:
            legs.append(Leg(trade.seller_fee_fen, MONEY, self._fees, seller, []))
        standing.check_moves(self._state, legs, self._context)

    def _check_means(self, trade: FileTrade, value_fen: int) -> None:
        """The seller's fee is paid out of the proceeds, so only these two can be too little."""
        self._require(trade.seller, trade.asset, trade.quantity_t)
        self._require(trade.buyer, MONEY, value_fen + trade.buyer_fee_fen)
        for holder, asset, amount, purpose in (
            (trade.buyer, trade.asset, trade.quantity_t, Purpose.TRADING),
            (trade.seller, MONEY, value_fen, Purpose.TRADING),
            (self._fees.holder, MONEY, value_fen + value_fen, Purpose.AVAILABLE),
        ):
            ref = self._part.venue if purpose is Purpose.TRADING else ""
            if self._balance((holder, asset, purpose, ref)) + amount > MAX_INTEGER:
                raise Refused(
                    "BALANCE_TOO_LARGE",
                    f"expected at most {MAX_INTEGER}",
                    holder=holder,
                    asset=asset,
                )

    def _require(self, holder: str, asset: str, needed: int) -> None:
        available = self._balance((holder, asset, Purpose.TRADING, self._part.venue))
        if available < needed:
            raise Refused(
                "INSUFFICIENT_BALANCE",
                f"{asset} in trading of {holder}: needed {needed}, available {available}",
                needed=needed,
                available=available,
                asset=asset,
                holder=holder,
            )

    def _check_frozen(self, trade: FileTrade, delivery: Leg, value_fen: int) -> None:
        """What lies still is not sold, and no fee is taken from it: each leg as it would be."""
        seller, buyer = delivery.debit, delivery.credit
        money = self._balance(account_key(buyer, MONEY)) - value_fen
        proceeds = self._balance(account_key(seller, MONEY)) + value_fen
        kept = self._balance(account_key(seller, trade.asset)) - trade.quantity_t
        legs = [(delivery, kept), (Leg(value_fen, MONEY, seller, buyer, []), money)]
        for fee_fen, payer, left in (
            (trade.buyer_fee_fen, buyer, money - trade.buyer_fee_fen),
            (trade.seller_fee_fen, seller, proceeds - trade.seller_fee_fen),
        ):
            if fee_fen:
                legs.append((Leg(fee_fen, MONEY, self._fees, payer, []), left))
        for leg, left in legs:
            freezes.check_leg(self._state, leg, left)

    def _oldest(self, delivery: Leg) -> list[SerialRange]:
        """Counted before they are taken: if it would be too many ranges, nothing is."""
        key = account_key(delivery.debit, delivery.asset)
        held = self._held(key)
        if delivery.asset not in self._state.frozen.by_batch:
            left, ranges = delivery.amount, 0
            while left > 0:
                left -= held[ranges].amount
                ranges += 1
            _refuse_ranges(ranges)
            return blocks.take_oldest(held, delivery.amount)
        held = list(held)  # some of it lies still: which is left shows only by taking
        taken = freezes.take_oldest(self._state, held, delivery)
        _refuse_ranges(len(taken))
        self._blocks[key] = held
        return taken

    def _move(
        self, asset: str, amount: int, debit: Account, credit: Account, serials: list[SerialRange]
    ) -> Leg:
        source = (debit.holder, asset, debit.purpose, debit.ref)
        target = (credit.holder, asset, credit.purpose, credit.ref)
        self._balances[source] = self._balance(source) - amount
        self._balances[target] = self._balance(target) + amount
        if serials:
            blocks.put(self._held(target), serials)
        return Leg(amount, asset, credit, debit, serials)

    def _balance(self, key: AccountKey) -> int:
        known = self._balances.get(key)
        if known is not None:
            return known
        holding = self._state.accounts.get(key)
        return holding.balance if holding is not None else 0

    def _held(self, key: AccountKey) -> list[SerialRange]:
        """A copy, made once per account and part."""
        if key not in self._blocks:
            holding = self._state.accounts.get(key)
            self._blocks[key] = list(holding.blocks) if holding is not None else []
        return self._blocks[key]


def _refuse_ranges(count: int) -> None:
    if count > rules.MAX_RANGES:
        raise Refused(
            "TOO_MANY_RANGES",
            f"expected at most {rules.MAX_RANGES} ranges, it would take {count}",
            needed=count,
            available=rules.MAX_RANGES,
        )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
