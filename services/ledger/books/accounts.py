"""Checks the accounts book: conservation, sufficiency, terminal states, serials in one place, what
each purpose may be debited for, holds, and the institutions' own signatures.

Units under a lien are in liens.py; what other books have asked for is in asking.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from kernel.record import EventTypes, RawRecord
from kernel.values import MAX_INTEGER, Actor
from services.ledger.books.accounts_events import (
    Account,
    AssetDefined,
    EntryPosted,
    FreezeExpired,
    HolderRegistered,
    HoldExpired,
    HoldPlaced,
    HoldPosted,
    HoldReleased,
    Leg,
    SessionClosed,
    SettlementReceived,
    TradeUnsettled,
    TransferApproved,
    TransferFiled,
    TransferPosted,
    TransferProposed,
    TransferRefused,
    TransferWithdrawn,
    UnitsFrozen,
    UnitsUnfrozen,
    moves,
    places,
)
from services.ledger.books.acting import Acting
from services.ledger.books.asking import Desk
from services.ledger.books.banks import CHECKS as BANK_CHECKS
from services.ledger.books.banks import Banks
from services.ledger.books.banks_events import (
    BANK_EVENTS,
    ReserveMoved,
    ReserveMoveProposed,
    WithdrawalConfirmed,
    WithdrawalInstructed,
)
from services.ledger.books.crossings import Crossings, Place, delivery_and_payment
from services.ledger.books.destinations import SAFEGUARD_EVENTS, Destinations
from services.ledger.books.directory import check_no_acts, require_no_acts
from services.ledger.books.freezes import FREEZE_EVENTS, Accounts, Freezes
from services.ledger.books.holders import Holders
from services.ledger.books.holders_events import (
    HOLDER_EVENTS,
    BankAccountChanged,
    ChangeProposed,
    HolderStatusSet,
    ProposalWithdrawn,
)
from services.ledger.books.keys import KEY_EVENTS, AdmittedKeys, KeyAdmitted, KeyWithdrawn
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.liens import Liens
from services.ledger.books.moved import Moved
from services.ledger.books.port import (
    Checker,
    RuleBroken,
    Step,
    instant_ms,
    require,
    require_holds,
    require_no_cause,
    require_text,
)
from services.ledger.books.serials import BatchMap, Range, count, require_ranges
from services.ledger.books.settlements import Settlements
from services.ledger.books.statements import integer, rows_of, trades_of
from services.ledger.books.transfers import TRANSFER_EVENTS, Transfers, overridden

TERMINAL: Final = frozenset({"surrendered", "retired", "cancelled", "expired", "carried_over"})
PURPOSES: Final = TERMINAL | {
    "available",
    "trading",
    "held",
    "pledged",
    "custody",
    "issued",
    "external",
    "buffer",
    "immobilised",
    "clearing",
    "fees",
}
DAY_MS: Final = 86_400_000
# The holder's own word was given before: a bank that has paid is booked whatever came between.
DECIDED_BEFORE: Final = (WithdrawalConfirmed, ReserveMoved)
# Their causes are checked where they are: of keys, of parts, and of what follows in its turn.
CAUSED: Final = (*KEY_EVENTS, SettlementReceived, TradeUnsettled)
# Whatever else is without a signed statement says so itself, among what it rests on.
UNSIGNED: Final = (
    *(HolderRegistered, AssetDefined, HoldPlaced, HoldPosted, HoldReleased, HoldExpired),
    *(TransferProposed, TransferApproved, TransferRefused, TransferWithdrawn),
    *KEY_EVENTS,
)


@dataclass(slots=True)
class LiveHold:
    leg: Leg
    to: Account
    expires_at_ms: int | None
    proposer: Actor | None = None  # of a transfer that waits for another operator


class AccountsBook(Checker):
    """The accounts book again, by other means."""

    types = EventTypes(
        HolderRegistered,
        AssetDefined,
        EntryPosted,
        HoldPlaced,
        HoldPosted,
        HoldReleased,
        HoldExpired,
        *FREEZE_EVENTS,
        *TRANSFER_EVENTS,
        *SAFEGUARD_EVENTS,
        TransferProposed,
        TransferApproved,
        TransferRefused,
        SettlementReceived,
        TradeUnsettled,
        SessionClosed,
        *BANK_EVENTS,
        *KEY_EVENTS,
        *HOLDER_EVENTS,
    )

    def __init__(self, ledger: LedgerBook, crossings: Crossings | None = None) -> None:
        self._keys = AdmittedKeys(ledger)
        self._holders: dict[str, str] = {}
        self._usccs: set[str] = set()
        self._assets: dict[str, AssetDefined] = {}
        self.balances: dict[Place, int] = {}
        self._batches: dict[tuple[str, str], BatchMap[Place]] = {}
        self.moved = Moved()
        self._holds: dict[str, LiveHold] = {}
        self._liens = Liens(self._keys)
        seen = Accounts(self.balances, self._assets, self._batches, self._holders, self._liens)
        self._freezes = Freezes(self._keys, seen)
        self._transfers = Transfers(self._keys, seen)
        self._destinations = Destinations(self._holders)
        self._settlements = Settlements(self._keys, self.balances)
        self._banks = Banks(self._keys, self.balances, self._assets, self._holders)
        self.crossings = crossings or Crossings()
        self._desk = Desk(self.crossings)
        self._done: set[tuple[str, str, str]] = set()  # (what, institution, its number)
        self._rules = Holders(
            self._keys, self._holders, self.balances, self._holds, self._liens, self._assets
        )
        self._acting = Acting(self._rules, self._assets, self._destinations)

    @property
    def batches(self) -> Mapping[tuple[str, str], BatchMap[Place]]:
        """By asset and batch: where its serials lie."""
        return self._batches

    @property
    def liens(self) -> Liens:
        return self._liens

    # ---- checking -------------------------------------------------------------------------------

    def steps(self, kind: type[msgspec.Struct]) -> list[Step]:
        if kind in HOLDER_EVENTS:
            return [require_no_cause, self._check_change]
        groups: list[Step] = [self._settlements.check_turn]
        check = _CHECKS.get(kind)
        if check is not None:
            groups.append(partial(check, self))
        if kind in BANK_CHECKS:
            groups.append(self._check_bank)
        # Whatever else two persons accept, nobody pays out what is not there without being told.
        if "legs" in kind.__struct_fields__:
            groups.append(self._check_expiry_time if kind is HoldExpired else self._check_legs_time)
            if kind is not HoldExpired and kind not in DECIDED_BEFORE:
                groups.append(self._check_acting)
            groups.append(self._check_sufficient)
            groups.append(self._check_frozen)
        if kind is EntryPosted:
            groups.append(self._desk.check)
        elif kind not in CAUSED:
            groups.append(require_no_cause)
        if kind in UNSIGNED:
            groups.append(check_no_acts)
        return groups

    def _check_change(self, raw: RawRecord, event: msgspec.Struct) -> None:
        """What is proposed about holders, and what came of it; bank accounts are the banks' too."""
        if isinstance(event, ProposalWithdrawn):
            whose = self._banks.bindings.whose_waits(event.proposal, instant_ms(raw.at))
            if whose is not None:  # agreed, and stopped by its holder before it counts
                require_no_acts(raw)
                self._acting.check_right(raw, whose, {"administer"})
                return
        self._rules.check(raw, event)
        if isinstance(event, ChangeProposed) and event.change.rebinding is not None:
            self._banks.bindings.check_proposed(raw, event.change.rebinding)
        elif isinstance(event, BankAccountChanged):
            whose = event.rebinding.holder
            delay_ms = self._destinations.delay_ms(whose, instant_ms(raw.at))
            self._banks.bindings.check_changed(raw, event, delay_ms)

    def _check_frozen(self, raw: RawRecord, event: Any) -> None:
        if self._freezes.live and event.legs:
            yielding = overridden(event) if isinstance(event, TransferPosted) else ()
            self._freezes.check_legs(event.legs, yielding)

    def _check_legs_time(self, raw: RawRecord, event: Any) -> None:
        if event.legs:
            self._check_business_time(raw, event.legs)

    def _check_acting(self, raw: RawRecord, event: Any) -> None:
        legs: list[Leg] = event.legs
        if not legs:
            return
        if isinstance(event, TransferPosted):
            if not event.authority:  # an order does not ask what the parties may
                self._acting.check_statuses(raw, legs)
            return
        payee = event.to if isinstance(event, HoldPlaced) else None
        if isinstance(event, HoldPosted | HoldReleased):
            payee = self._live(event.hold).to
        self._acting.check(raw, legs, getattr(event, "mandate", None), payee)

    def _check_holder(self, raw: RawRecord, event: HolderRegistered) -> None:
        require("HOLDER_NEW", False, event.holder in self._holders)
        require("USCC_NEW", False, bool(event.uscc) and event.uscc in self._usccs)

    def _check_asset(self, raw: RawRecord, event: AssetDefined) -> None:
        require("ASSET_NEW", False, event.asset in self._assets)
        if event.programme:
            require("PROGRAMME", "programme", self._holders.get(event.programme))

    def _check_entry(self, raw: RawRecord, event: EntryPosted) -> None:
        self._check_legs(event.legs)
        purpose = event.legs[0].debit.purpose
        for leg in event.legs:
            if leg.debit.purpose != purpose:
                raise RuleBroken("ONE_PURPOSE", f"one purpose, {purpose}", leg.debit.purpose)
        basis = _BASIS.get(purpose)
        if basis is None:
            raise RuleBroken("DEBITABLE", f"one of {sorted(_BASIS)}", purpose)
        self._check_cited(event, purpose)
        basis(self, raw, event)
        self._destinations.check_entry(raw, event)

    def _check_cited(self, event: EntryPosted, purpose: str) -> None:
        """A statement line, trades or a claim stand only where the rule of the debit reads them."""
        if event.bank_line is not None and purpose != "external":
            raise RuleBroken("CITED", f"no bank line in a debit of {purpose}", event.bank_line)
        if event.bank_day is not None and purpose != "external":
            raise RuleBroken("CITED", f"no bank day in a debit of {purpose}", event.bank_day)
        if event.trades and purpose != "trading":
            raise RuleBroken("CITED", f"no trades in a debit of {purpose}", event.trades)
        if event.session is not None and purpose != "trading":
            raise RuleBroken("CITED", f"no session in a debit of {purpose}", event.session)
        if event.claim is None and event.pledge is None:
            return
        credits = {leg.credit.purpose for leg in event.legs}
        if event.claim is not None and "retired" not in credits:
            raise RuleBroken("CITED", "no claim without a retirement", event.claim.beneficiary)
        if event.pledge is not None and "pledged" not in (purpose, *credits):
            raise RuleBroken("CITED", "no lien without units pledged", event.pledge.lien)

    def _check_bank(self, raw: RawRecord, event: msgspec.Struct) -> None:
        legs = getattr(event, "legs", None)
        if legs is None:
            self._check_business_time(raw, [])
        else:
            self._check_legs(legs)
        if isinstance(event, ReserveMoveProposed) and not event.draw:
            self._acting.check(raw, [self._banks.reserve_leg(event)], None, None)
        BANK_CHECKS[type(event)](self._banks, raw, event)
        if isinstance(event, WithdrawalInstructed):
            self._check_may_leave(raw, event)

    def _check_may_leave(self, raw: RawRecord, event: WithdrawalInstructed) -> None:
        """What lies still, or may not be sent, is not asked of a bank either: it would pay."""
        held = Account(event.holder, "held", event.withdrawal)
        payee = Account(event.bank, "available", "")
        paying = [Leg(event.amount_fen, event.asset, payee, held, [])]
        self._freezes.check_legs(paying)
        self._acting.check_statuses(raw, paying)

    def _check_legs(self, legs: list[Leg]) -> None:
        if not legs:
            raise RuleBroken("LEGS", "at least one leg", "none")
        for leg in legs:
            asset = self._assets.get(leg.asset)
            if asset is None:
                raise RuleBroken("ASSET_KNOWN", "a defined asset", leg.asset)
            if not 0 < leg.amount <= MAX_INTEGER:
                raise RuleBroken("AMOUNT", f"1..{MAX_INTEGER}", leg.amount)
            for account in (leg.debit, leg.credit):
                if account.holder not in self._holders:
                    raise RuleBroken("HOLDER_KNOWN", "a registered holder", account.holder)
                if account.purpose not in PURPOSES:
                    raise RuleBroken("PURPOSE_KNOWN", sorted(PURPOSES), account.purpose)
            if leg.debit.purpose in TERMINAL:
                raise RuleBroken("TERMINAL", "units that may move", f"{leg.debit.purpose} units")
            if leg.debit == leg.credit:
                raise RuleBroken("SAME_ACCOUNT", "two different accounts", leg.debit)
            if leg.serials or asset.serialised:
                require_ranges(leg.serials)
                require("SERIALS_COUNT", leg.amount if asset.serialised else 0, count(leg.serials))

    def _check_business_time(self, raw: RawRecord, legs: list[Leg]) -> None:
        if raw.on == raw.at:
            return
        at_ms, on_ms = instant_ms(raw.at), instant_ms(raw.on)
        if on_ms > at_ms:
            raise RuleBroken("ON_AFTER_AT", f"at most {raw.at}", raw.on)
        for leg in legs:
            asset = self._assets.get(leg.asset)
            limit_days = 0 if asset is None else asset.backdating_days
            if at_ms - on_ms > limit_days * DAY_MS:
                raise RuleBroken("ON_TOO_OLD", f"at most {limit_days} days before {raw.at}", raw.on)

    def _check_expiry_time(self, raw: RawRecord, event: HoldExpired) -> None:
        """An expiry is of the moment that was agreed, however late the timer came to record it."""
        if not event.legs:
            return
        expires_at_ms = self._live(event.hold).expires_at_ms
        if expires_at_ms is None or not expires_at_ms <= instant_ms(raw.on) <= instant_ms(raw.at):
            raise RuleBroken("EXPIRY_TIME", f"from {expires_at_ms} to {raw.at}", raw.on)

    def _check_sufficient(self, raw: RawRecord, event: Any) -> None:
        """Balances leg after leg; serials must lie where they are taken from, leg after leg."""
        balances: dict[Place, int] = {}
        moved: list[tuple[str, Range, Place]] = []
        for leg in event.legs:
            source, target = places(leg)
            before = balances.get(source, self.balances.get(source, 0))
            if leg.debit.purpose not in ("issued", "external") and before < leg.amount:
                raise RuleBroken(
                    "SUFFICIENCY", f"at least {leg.amount} {leg.asset} in {source}", before
                )
            balances[source] = before - leg.amount
            after = balances.get(target, self.balances.get(target, 0)) + leg.amount
            if after > MAX_INTEGER or balances[source] < -MAX_INTEGER:
                raise RuleBroken("BALANCE_RANGE", f"at most {MAX_INTEGER}", after)
            balances[target] = after
            for block in leg.serials:
                if leg.debit.purpose != "issued":
                    self._check_place(leg.asset, block, source, moved)
                moved.append((leg.asset, block, target))

    def _check_place(
        self, asset: str, block: Range, source: Place, moved: list[tuple[str, Range, Place]]
    ) -> None:
        """Each serial lies where an earlier leg of this entry left it, else where the map says.

        One range may be part here and part there: what the latest leg decided is cut off, and the
        rest is asked of the legs before it.
        """
        open_ranges = [(block.first, block.last)]
        for other_asset, other, place in reversed(moved):
            if other_asset != asset or other.batch != block.batch:
                continue
            undecided = []
            for first, last in open_ranges:
                if other.last < first or last < other.first:
                    undecided.append((first, last))
                    continue
                self._require_place(block.batch, max(first, other.first), source, place)
                undecided.extend(
                    (low, high)
                    for low, high in ((first, other.first - 1), (other.last + 1, last))
                    if low <= high
                )
            open_ranges = undecided
        batch = self._batches.get((asset, block.batch))
        for first, last in open_ranges:
            found = None if batch is None else batch.holder_of(first, last)
            self._require_place(block.batch, first, source, found)

    def _require_place(self, batch: str, serial: int, source: Place, found: Place | None) -> None:
        if found != source:
            where = "elsewhere" if found is None else found
            raise RuleBroken("SERIALS_PLACE", f"{batch} from {serial} on in {source}", where)

    # ---- what each purpose may be debited for ---------------------------------------------------

    def _from_available(self, raw: RawRecord, event: EntryPosted) -> None:
        for leg in event.legs:
            if leg.credit.purpose == "pledged":
                self._liens.check_pledged(raw, event, self._assets[event.legs[0].asset])
                return
        require_no_acts(raw)
        for leg in event.legs:
            kind = leg.credit.purpose
            if kind == "available" and not leg.credit.ref:
                continue
            own = leg.credit.holder == leg.debit.holder
            if kind == "retired" and own:
                if event.claim is None:
                    raise RuleBroken("CLAIM", "a claim with the retirement", "none")
                require_text("CLAIM", [event.claim.beneficiary, event.claim.purpose])
            elif not (kind == "trading" and own and leg.credit.ref):
                raise RuleBroken("CREDIT", "available, own trading or own retired", leg.credit)

    def _from_trading(self, raw: RawRecord, event: EntryPosted) -> None:
        venues = sorted({leg.debit.ref for leg in event.legs})
        require("ONE_VENUE", 1, len(venues))
        if event.session is not None:
            self._settlements.check_entry(raw, event, venues[0])
            self._require_once("trade", venues[0], event.trades[0])
            return
        if not event.trades:
            for leg in event.legs:
                own = Account(leg.debit.holder, "available", "")
                require("RELEASE", own, leg.credit)
            require_no_acts(raw)
            return
        statement = self._keys.statement(raw, [f"venue:{venues[0]}"], "settlement")
        require("SETTLEMENT_VENUE", statement.get("venue"), venues[0])
        trades = trades_of(statement)
        expected = delivery_and_payment(trades, venues[0])
        require("SETTLEMENT_LEGS", expected, moves(event.legs))
        names = [trade["trade"] for trade in trades]
        require("SETTLEMENT_TRADES", names, event.trades)
        for i, name in enumerate(names):
            if name in names[:i]:
                raise RuleBroken("ONCE", "every trade once in a statement", name)
            self._require_once("trade", venues[0], str(name))
        self._settlements.check_beside(venues[0], event.trades)

    def _from_external(self, raw: RawRecord, event: EntryPosted) -> None:
        require("ADVICE_LEGS", 1, len(event.legs))
        leg = event.legs[0]
        bank = leg.debit.ref
        require("BANK", "settlement_bank", self._holders.get(bank))
        require("MONEY", "fen", self._assets[leg.asset].unit)
        statement = self._keys.statement(raw, [f"bank:{bank}"], "bank-advice")
        expected = {
            "amount_fen": leg.amount,
            "asset": leg.asset,
            "bank": bank,
            "clearing_house": leg.debit.holder,
            "holder": leg.credit.holder,
            "kind": "bank-advice",
            "line": event.bank_line,
        }
        require("ADVICE", expected, statement)
        require("ADVICE_CREDIT", ("available", ""), (leg.credit.purpose, leg.credit.ref))
        self._banks.require_new_line(bank, str(event.bank_line))
        self._banks.require_day_of(raw, event)

    def _from_issued(self, raw: RawRecord, event: EntryPosted) -> None:
        asset = self._assets[event.legs[0].asset]
        authority = f"authority:{asset.programme}"
        statement = self._keys.statement(raw, [authority], "issuance-approval")
        require("APPROVAL_ASSET", statement.get("asset"), asset.asset)
        require("APPROVAL_PROGRAMME", statement.get("programme"), asset.programme)
        require("ISSUED_SERIALISED", True, asset.serialised)  # or nothing would tell it was issued
        if statement.get("checker") == raw.actor.sub:
            raise RuleBroken("TWO_PERSONS", f"a checker other than {raw.actor.sub}", raw.actor.sub)
        owners = [
            (row.get("holder"), row.get("quantity_t")) for row in rows_of(statement, "owners")
        ]
        require("APPROVAL_OWNERS", owners, [(g.credit.holder, g.amount) for g in event.legs])
        next_serial = statement.get("first")
        for leg in event.legs:
            require("ISSUED_FROM", Account(asset.programme, "issued", ""), leg.debit)
            require("ISSUED_ASSET", asset.asset, leg.asset)
            require("ISSUED_TO", ("available", ""), (leg.credit.purpose, leg.credit.ref))
            for block in leg.serials:
                require("APPROVAL_BATCH", statement.get("batch"), block.batch)
                require("APPROVAL_SERIALS", next_serial, block.first)
                next_serial = block.last + 1
        require("APPROVAL_LAST", statement.get("last"), integer(next_serial) - 1)
        batch = (asset.asset, str(statement.get("batch")))
        require("BATCH_NEW", False, batch in self._batches)

    def _from_pledged(self, raw: RawRecord, event: EntryPosted) -> None:
        self._liens.check_released(raw, event)

    def _require_once(self, what: str, institution: str, number: str) -> None:
        if (what, institution, number) in self._done:
            raise RuleBroken("ONCE", f"a new {what} of {institution}", number)

    # ---- holds ----------------------------------------------------------------------------------

    def _check_hold_placed(self, raw: RawRecord, event: HoldPlaced | TransferProposed) -> None:
        require("HOLD_NEW", False, event.hold in self._holds or event.hold in self._banks.open)
        require("HOLD_LEGS", 1, len(event.legs))
        self._check_legs(event.legs)
        leg = event.legs[0]
        require("HOLD_FROM", ("available", ""), (leg.debit.purpose, leg.debit.ref))
        require("HOLD_TO", Account(leg.debit.holder, "held", event.hold), leg.credit)
        require("HOLD_PAYEE", ("available", ""), (event.to.purpose, event.to.ref))
        if isinstance(event, TransferProposed):
            self._destinations.check_proposed(raw, event)
            self._acting.check_promised(raw, leg, event.to)
        else:
            self._destinations.check_hold(raw, event)

    def _check_hold_posted(self, raw: RawRecord, event: HoldPosted) -> None:
        hold = self._live(event.hold)
        if hold.expires_at_ms is not None and instant_ms(raw.at) >= hold.expires_at_ms:
            raise RuleBroken("HOLD_EXPIRED", f"a post before {hold.expires_at_ms}", raw.at)
        if not event.legs:
            raise RuleBroken("HOLD_LEGS", "one or two legs", "none")
        require("HOLD_PAID_TO", hold.to, event.legs[0].credit)
        require("HOLD_APPROVAL", None, hold.proposer)
        if event.rest_held:
            require_holds("HOLD_REST", event.rest_held > 0, "more than 0", event.rest_held)
            require("HOLD_LEGS", 1, len(event.legs))  # what goes back does not stay held
        self._check_hold_end(hold, event.legs, event.legs[1:], event.rest_held)

    def _check_approved(self, raw: RawRecord, event: TransferApproved) -> None:
        hold = self._live(event.hold)
        if hold.expires_at_ms is not None and instant_ms(raw.at) >= hold.expires_at_ms:
            raise RuleBroken("HOLD_EXPIRED", f"an approval before {hold.expires_at_ms}", raw.at)
        require("HOLD_LEGS", 1, len(event.legs))
        require("HOLD_PAID_TO", hold.to, event.legs[0].credit)
        self._destinations.check_approved(raw, event, hold.proposer, hold.to)
        self._acting.check_right(raw, hold.leg.debit.holder, {"approve"})
        self._check_hold_end(hold, event.legs, [])

    def _check_refused(self, raw: RawRecord, event: TransferRefused) -> None:
        hold = self._live(event.hold)
        require_holds("TRANSFER_PROPOSED", hold.proposer is not None, "a proposal", event.hold)
        self._acting.check_right(raw, hold.leg.debit.holder, set())
        self._check_hold_end(hold, event.legs, event.legs)

    def _check_hold_released(self, raw: RawRecord, event: HoldReleased) -> None:
        hold = self._live(event.hold)
        require("HOLD_APPROVAL", None, hold.proposer)
        self._check_hold_end(hold, event.legs, event.legs)

    def _check_hold_expired(self, raw: RawRecord, event: HoldExpired) -> None:
        hold = self._live(event.hold)
        if hold.expires_at_ms is None or instant_ms(raw.at) < hold.expires_at_ms:
            raise RuleBroken("HOLD_NOT_DUE", f"not before {hold.expires_at_ms}", raw.at)
        self._check_hold_end(hold, event.legs, event.legs)

    def _live(self, id: str) -> LiveHold:
        hold = self._holds.get(id)
        if hold is None:
            raise RuleBroken("HOLD_LIVE", "a live hold", id)
        return hold

    def _check_hold_end(
        self, hold: LiveHold, legs: list[Leg], back: list[Leg], rest_held: int = 0
    ) -> None:
        """All but what stays held leaves the hold; what is not paid out goes back to its place."""
        self._check_legs(legs)
        for leg in legs:
            require("HOLD_ACCOUNT", hold.leg.credit, leg.debit)
            require("HOLD_ASSET", hold.leg.asset, leg.asset)
        for leg in back:
            require("HOLD_BACK", hold.leg.debit, leg.credit)
        require("HOLD_WHOLE", hold.leg.amount, sum(leg.amount for leg in legs) + rest_held)

    # ---- settlement files -----------------------------------------------------------------------

    def _check_received(self, raw: RawRecord, event: SettlementReceived) -> None:
        trades = self._settlements.check_received(raw, event)
        self._desk.check_part(raw, event, trades)

    def _check_unsettled(self, raw: RawRecord, event: TradeUnsettled) -> None:
        self._settlements.check_unsettled(raw, event)
        if event.reason == "TRADE_SETTLED":
            known = ("trade", event.venue, event.trade.trade) in self._done
            require_holds("UNSETTLED_KNOWN", known, "a trade that an entry settled", event.trade)

    def _check_closed(self, raw: RawRecord, event: SessionClosed) -> None:
        self._settlements.check_closed(raw, event)

    def _check_key(self, raw: RawRecord, event: KeyAdmitted | KeyWithdrawn) -> None:
        self._keys.check(raw, event)

    def _check_freeze(
        self, raw: RawRecord, event: UnitsFrozen | UnitsUnfrozen | FreezeExpired
    ) -> None:
        self._freezes.check(raw, event)

    def _check_safeguards(self, raw: RawRecord, event: Any) -> None:
        self._destinations.check(raw, event)
        self._acting.check_right(raw, event.holder, {"administer"})

    def _check_filed(self, raw: RawRecord, event: TransferFiled) -> None:
        self._transfers.check_filed(raw, event)

    def _check_transferred(self, raw: RawRecord, event: TransferPosted) -> None:
        self._check_legs(event.legs)
        self._transfers.check_posted(raw, event)

    def _check_withdrawn(self, raw: RawRecord, event: TransferWithdrawn) -> None:
        self._transfers.check_withdrawn(raw, event)

    # ---- applying -------------------------------------------------------------------------------

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        match event:
            case EntryPosted():
                self._move_all(event.legs)
                if event.session is not None:
                    self._settlements.take_entry(event)
                elif event.trades or event.bank_line is not None:
                    self._note_done(event)
                if event.pledge is not None:
                    self._liens.follow(raw.position, event.pledge, event.legs)
                if event.spent_on is not None:
                    self._destinations.spend(raw, event)
                self._desk.take(raw, event)
            case HoldPlaced() | TransferProposed():
                self._move_all(event.legs)
                if event.legs:  # none only where two persons have accepted that
                    by = event.proposer if isinstance(event, TransferProposed) else None
                    self._holds[event.hold] = LiveHold(
                        event.legs[0], event.to, event.expires_at_ms, by
                    )
            case HoldPosted() if event.rest_held and event.hold in self._holds:
                self._move_all(event.legs)
                hold = self._holds[event.hold]
                hold.leg = msgspec.structs.replace(hold.leg, amount=event.rest_held)
            case (
                HoldPosted()
                | HoldReleased()
                | HoldExpired()
                | TransferApproved()
                | TransferRefused()
            ):
                self._move_all(event.legs)
                self._holds.pop(event.hold, None)
            case HolderRegistered():
                self._holders[event.holder] = event.kind
                if event.kind == "fund":
                    self._rules.ruled.add(event.holder)
                self._usccs.add(event.uscc)
                self._banks.registered(event)
            case AssetDefined():
                self._assets[event.asset] = event
            case KeyAdmitted() | KeyWithdrawn():
                self._keys.apply(event)
            case UnitsFrozen() | UnitsUnfrozen() | FreezeExpired():
                self._freezes.apply(event)
            case TransferPosted():
                for name in overridden(event):
                    self._freezes.give_way(name, event.legs)
                self._move_all(event.legs)
                self._transfers.apply(event)
                self._desk.take_order(raw.position, event)
            case TransferFiled() | TransferWithdrawn():
                self._transfers.apply(event)
            case _ if isinstance(event, SAFEGUARD_EVENTS):
                self._destinations.apply(event)
            case _ if isinstance(event, HOLDER_EVENTS):
                self._rules.apply(raw, event)
                if isinstance(event, BankAccountChanged | ProposalWithdrawn):
                    self._banks.bindings.take(event)
                elif isinstance(event, HolderStatusSet):
                    self._desk.take_status(raw.position, event)
            case SettlementReceived():
                self._settlements.take_received(raw, event)
            case TradeUnsettled():
                self._settlements.take_unsettled(event)
                self.crossings.take_told(
                    event.venue, event.trade.trade, raw.position, settled=False
                )
            case SessionClosed():
                self._settlements.take_closed(event)
            case _ if self._banks.apply(raw, event):
                self._move_all(getattr(event, "legs", []))
            case _:
                raise TypeError(f"not an event of the accounts book: {event!r}")

    def _note_done(self, event: EntryPosted) -> None:
        refs = {leg.debit.ref for leg in event.legs}  # one, unless accepted as it is
        self._done.update(("trade", ref, trade) for ref in refs for trade in event.trades)
        if event.bank_line is not None:
            for leg in event.legs:
                self._banks.booked(leg, leg.debit, event.bank_line, event.bank_day)

    def _move_all(self, legs: list[Leg]) -> None:
        noted = self.moved.places
        for leg in legs:
            source, target = places(leg)
            self._add(source, -leg.amount)
            self._add(target, leg.amount)
            if noted is not None:
                noted.add(source)
                noted.add(target)
            for block in leg.serials:
                key = (leg.asset, block.batch)
                if noted is not None:
                    self.moved.serials.setdefault(key, []).append((block.first, block.last))
                batch = self._batches.get(key)
                if batch is None:
                    self._batches[key] = BatchMap.of(block.first, block.last, target)
                else:
                    batch.extend_to(block.last)
                    batch.move(block.first, block.last, target)

    def _add(self, place: Place, amount: int) -> None:
        balance = self.balances.get(place, 0) + amount
        if balance:
            self.balances[place] = balance
        else:
            self.balances.pop(place, None)


_CHECKS: dict[type[msgspec.Struct], Callable[[AccountsBook, RawRecord, Any], None]] = {
    HolderRegistered: AccountsBook._check_holder,
    AssetDefined: AccountsBook._check_asset,
    EntryPosted: AccountsBook._check_entry,
    HoldPlaced: AccountsBook._check_hold_placed,
    HoldPosted: AccountsBook._check_hold_posted,
    HoldReleased: AccountsBook._check_hold_released,
    HoldExpired: AccountsBook._check_hold_expired,
    SettlementReceived: AccountsBook._check_received,
    TradeUnsettled: AccountsBook._check_unsettled,
    SessionClosed: AccountsBook._check_closed,
    KeyAdmitted: AccountsBook._check_key,
    KeyWithdrawn: AccountsBook._check_key,
    **dict.fromkeys(FREEZE_EVENTS, AccountsBook._check_freeze),
    **dict.fromkeys(SAFEGUARD_EVENTS, AccountsBook._check_safeguards),
    TransferProposed: AccountsBook._check_hold_placed,
    TransferApproved: AccountsBook._check_approved,
    TransferRefused: AccountsBook._check_refused,
    TransferFiled: AccountsBook._check_filed,
    TransferPosted: AccountsBook._check_transferred,
    TransferWithdrawn: AccountsBook._check_withdrawn,
}

_BASIS: dict[str, Callable[[AccountsBook, RawRecord, EntryPosted], None]] = {
    "available": AccountsBook._from_available,
    "trading": AccountsBook._from_trading,
    "external": AccountsBook._from_external,
    "issued": AccountsBook._from_issued,
    "pledged": AccountsBook._from_pledged,
}
