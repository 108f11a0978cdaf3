"""Checks the accounts book: conservation, sufficiency, terminal states, serials in one place, what
each purpose may be debited for, holds, and the institutions' own signatures.

The fields of the events are declared here again, in this service's own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from kernel.record import EventTypes, RawRecord
from kernel.values import MAX_INTEGER
from services.ledger.books.directory import Directory
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.port import Checker, RuleBroken, Step, instant_ms, require, require_text
from services.ledger.books.serials import BatchMap


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    holder: str
    purpose: str
    ref: str


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    batch: str
    first: int
    last: int


class Leg(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int
    asset: str
    credit: Account
    debit: Account
    serials: list[Range]


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    beneficiary: str
    details: str
    purpose: str


class HolderRegistered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    kind: str
    name: str
    uscc: str


class AssetDefined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: str
    backdating_days: int
    name: str
    programme: str
    serialised: bool
    unit: str


class EntryPosted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    bank_line: str | None = None
    claim: Claim | None = None
    legs: list[Leg]
    trades: list[str] = []


class HoldPlaced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    expires_at_ms: int | None
    hold: str
    legs: list[Leg]
    to: Account


class HoldPosted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]


class HoldReleased(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]


class HoldExpired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hold: str
    legs: list[Leg]


class KeyAdmitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_id: str
    public_key: str
    subject: str
    suite: str


class KeyWithdrawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_id: str


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
MONEY: Final = "CNY"
DAY_MS: Final = 86_400_000
# How long after a key was ended a book may still record its acts: two hops, and clocks apart.
REVOCATION_GRACE_MS: Final = 60_000

Place = tuple[str, str, str, str]  # holder, asset, purpose, ref


@dataclass(slots=True)
class LiveHold:
    leg: Leg
    to: Account
    expires_at_ms: int | None


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
        KeyAdmitted,
        KeyWithdrawn,
    )

    def __init__(self, ledger: LedgerBook) -> None:
        self._ledger = ledger
        # Keys as this book has admitted them: an act is judged by the keys of its own moment.
        self._keys = Directory()
        self._admitted: set[str] = set()
        self._holders: dict[str, str] = {}
        self._usccs: set[str] = set()
        self._assets: dict[str, AssetDefined] = {}
        self.balances: dict[Place, int] = {}
        self._batches: dict[tuple[str, str], BatchMap[Place]] = {}
        self._holds: dict[str, LiveHold] = {}
        self._done: set[tuple[str, str, str]] = set()  # (what, institution, its number)

    # ---- checking -------------------------------------------------------------------------------

    def steps(self, raw: RawRecord, event: msgspec.Struct) -> list[Step]:
        check = _CHECKS.get(type(event))
        groups: list[Step] = [] if check is None else [lambda: check(self, raw, event)]
        # Whatever else two persons accept, nobody pays out what is not there without being told.
        legs = getattr(event, "legs", None)
        if legs:
            groups.append(lambda: self._check_business_time(raw, legs))
            groups.append(lambda: self._check_sufficient(legs))
        return groups

    def _check_holder(self, raw: RawRecord, event: HolderRegistered) -> None:
        require("HOLDER_NEW", False, event.holder in self._holders)
        require("USCC_NEW", False, bool(event.uscc) and event.uscc in self._usccs)

    def _check_asset(self, raw: RawRecord, event: AssetDefined) -> None:
        require("ASSET_NEW", False, event.asset in self._assets)
        if event.programme:
            require("PROGRAMME", "programme", self._holders.get(event.programme))

    def _check_entry(self, raw: RawRecord, event: EntryPosted) -> None:
        self._check_legs(event.legs)
        purposes = sorted({leg.debit.purpose for leg in event.legs})
        if len(purposes) != 1:
            raise RuleBroken("ONE_PURPOSE", "legs that debit one purpose", purposes)
        basis = _BASIS.get(purposes[0])
        if basis is None:
            raise RuleBroken("DEBITABLE", f"one of {sorted(_BASIS)}", purposes[0])
        self._check_cited(event, purposes[0])
        basis(self, raw, event)

    def _check_cited(self, event: EntryPosted, purpose: str) -> None:
        """A statement line, trades or a claim stand only where the rule of the debit reads them."""
        if event.bank_line is not None and purpose != "external":
            raise RuleBroken("CITED", f"no bank line in a debit of {purpose}", event.bank_line)
        if event.trades and purpose != "trading":
            raise RuleBroken("CITED", f"no trades in a debit of {purpose}", event.trades)
        if event.claim is not None and all(leg.credit.purpose != "retired" for leg in event.legs):
            raise RuleBroken("CITED", "no claim without a retirement", event.claim.beneficiary)

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
            for block in leg.serials:  # one that runs backwards would count as less than nothing
                if not 1 <= block.first <= block.last <= MAX_INTEGER:
                    raise RuleBroken(
                        "SERIALS_RANGE", f"1..{MAX_INTEGER}", f"{block.first}..{block.last}"
                    )
            moved = sum(block.last - block.first + 1 for block in leg.serials)
            require("SERIALS_COUNT", leg.amount if asset.serialised else 0, moved)

    def _check_business_time(self, raw: RawRecord, legs: list[Leg]) -> None:
        at_ms, on_ms = instant_ms(raw.at), instant_ms(raw.on)
        if on_ms > at_ms:
            raise RuleBroken("ON_AFTER_AT", f"at most {raw.at}", raw.on)
        for leg in legs:
            asset = self._assets.get(leg.asset)
            limit_days = 0 if asset is None else asset.backdating_days
            if at_ms - on_ms > limit_days * DAY_MS:
                raise RuleBroken("ON_TOO_OLD", f"at most {limit_days} days before {raw.at}", raw.on)

    def _check_sufficient(self, legs: list[Leg]) -> None:
        """Balances leg after leg; serials must lie where they are taken from, leg after leg."""
        balances: dict[Place, int] = {}
        moved: list[tuple[str, Range, Place]] = []
        for leg in legs:
            source, target = _places(leg)
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
        _require_no_acts(raw)
        for leg in event.legs:
            own = leg.credit.holder == leg.debit.holder
            kind = leg.credit.purpose
            if kind == "retired" and own:
                if event.claim is None:
                    raise RuleBroken("CLAIM", "a claim with the retirement", "none")
                require_text("CLAIM", [event.claim.beneficiary, event.claim.purpose])
            elif not (
                (kind == "available" and not leg.credit.ref)
                or (kind == "trading" and own and leg.credit.ref)
            ):
                raise RuleBroken("CREDIT", "available, own trading or own retired", leg.credit)

    def _from_trading(self, raw: RawRecord, event: EntryPosted) -> None:
        venues = sorted({leg.debit.ref for leg in event.legs})
        require("ONE_VENUE", 1, len(venues))
        if not event.trades:
            for leg in event.legs:
                own = Account(leg.debit.holder, "available", "")
                require("RELEASE", own, leg.credit)
            _require_no_acts(raw)
            return
        statement = self._statement(raw, f"venue:{venues[0]}", "settlement")
        require("SETTLEMENT_VENUE", statement.get("venue"), venues[0])
        expected = _settlement_legs(statement, venues[0])
        actual = _sums((*_places(leg), leg.amount) for leg in event.legs)
        require("SETTLEMENT_LEGS", expected, actual)
        names = [trade.get("trade") for trade in _rows(statement, "trades")]
        require("SETTLEMENT_TRADES", names, event.trades)
        for i, name in enumerate(names):
            if name in names[:i]:
                raise RuleBroken("ONCE", "every trade once in a statement", name)
            self._require_once("trade", venues[0], str(name))

    def _from_external(self, raw: RawRecord, event: EntryPosted) -> None:
        require("ADVICE_LEGS", 1, len(event.legs))
        leg = event.legs[0]
        bank = leg.debit.ref
        require("BANK", "settlement_bank", self._holders.get(bank))
        require("MONEY", "fen", self._assets[leg.asset].unit)
        statement = self._statement(raw, f"bank:{bank}", "bank-advice")
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
        self._require_once("line", bank, str(event.bank_line))

    def _from_issued(self, raw: RawRecord, event: EntryPosted) -> None:
        asset = self._assets[event.legs[0].asset]
        statement = self._statement(raw, f"authority:{asset.programme}", "issuance-approval")
        require("APPROVAL_ASSET", statement.get("asset"), asset.asset)
        require("APPROVAL_PROGRAMME", statement.get("programme"), asset.programme)
        require("ISSUED_SERIALISED", True, asset.serialised)  # or nothing would tell it was issued
        if statement.get("checker") == raw.actor.sub:
            raise RuleBroken("TWO_PERSONS", f"a checker other than {raw.actor.sub}", raw.actor.sub)
        owners = [(row.get("holder"), row.get("quantity_t")) for row in _rows(statement, "owners")]
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
        require("APPROVAL_LAST", statement.get("last"), _integer(next_serial) - 1)
        batch = (asset.asset, str(statement.get("batch")))
        require("BATCH_NEW", False, batch in self._batches)

    def _statement(self, raw: RawRecord, subject: str, kind: str) -> dict[str, object]:
        """As `Directory.statement`, and not by a key that the ledger's book ended before.

        A service that keeps back the withdrawal of a key gains a moment, not the key.
        """
        statement = self._keys.statement(raw, subject, kind)
        for act in raw.acts if isinstance(raw.acts, list) else ():
            ended_ms = self._ledger.revoked_at_ms.get(act.key_id)
            if ended_ms is not None and instant_ms(raw.at) > ended_ms + REVOCATION_GRACE_MS:
                raise RuleBroken("ACT_KEY_ENDED", f"a live key of {subject}", act.key_id)
        return statement

    def _require_once(self, what: str, institution: str, number: str) -> None:
        if (what, institution, number) in self._done:
            raise RuleBroken("ONCE", f"a new {what} of {institution}", number)

    # ---- holds ----------------------------------------------------------------------------------

    def _check_hold_placed(self, raw: RawRecord, event: HoldPlaced) -> None:
        require("HOLD_NEW", False, event.hold in self._holds)
        require("HOLD_LEGS", 1, len(event.legs))
        self._check_legs(event.legs)
        leg = event.legs[0]
        require("HOLD_FROM", ("available", ""), (leg.debit.purpose, leg.debit.ref))
        require("HOLD_TO", Account(leg.debit.holder, "held", event.hold), leg.credit)
        require("HOLD_PAYEE", ("available", ""), (event.to.purpose, event.to.ref))

    def _check_hold_posted(self, raw: RawRecord, event: HoldPosted) -> None:
        hold = self._live(event.hold)
        if hold.expires_at_ms is not None and instant_ms(raw.at) >= hold.expires_at_ms:
            raise RuleBroken("HOLD_EXPIRED", f"a post before {hold.expires_at_ms}", raw.at)
        if not event.legs:
            raise RuleBroken("HOLD_LEGS", "one or two legs", "none")
        require("HOLD_PAID_TO", hold.to, event.legs[0].credit)
        self._check_hold_end(hold, event.legs, event.legs[1:])

    def _check_hold_released(self, raw: RawRecord, event: HoldReleased) -> None:
        hold = self._live(event.hold)
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

    def _check_hold_end(self, hold: LiveHold, legs: list[Leg], back: list[Leg]) -> None:
        """All of the hold leaves it, and what is not paid out goes back where it came from."""
        self._check_legs(legs)
        for leg in legs:
            require("HOLD_ACCOUNT", hold.leg.credit, leg.debit)
            require("HOLD_ASSET", hold.leg.asset, leg.asset)
        for leg in back:
            require("HOLD_BACK", hold.leg.debit, leg.credit)
        require("HOLD_WHOLE", hold.leg.amount, sum(leg.amount for leg in legs))

    # ---- keys -----------------------------------------------------------------------------------

    def _check_key_admitted(self, raw: RawRecord, event: KeyAdmitted) -> None:
        known = self._ledger.registered.get(event.key_id)
        if known is None:
            raise RuleBroken("KEY_REGISTERED", "a key of the directory", event.key_id)
        require(
            "KEY_AS_REGISTERED",
            (known.public_key, known.subject, known.suite),
            (event.public_key, event.subject, event.suite),
        )
        # The directory registers a key once: one that comes back here has been revoked there.
        require("KEY_ONCE", False, event.key_id in self._admitted)

    def _check_key_withdrawn(self, raw: RawRecord, event: KeyWithdrawn) -> None:
        if event.key_id in self._ledger.directory.keys:
            raise RuleBroken("KEY_REVOKED", "a key the directory has ended", event.key_id)

    # ---- applying -------------------------------------------------------------------------------

    def apply(self, raw: RawRecord, event: msgspec.Struct) -> None:
        match event:
            case EntryPosted():
                self._move_all(event.legs)
                refs = {leg.debit.ref for leg in event.legs}  # one, unless accepted as it is
                self._done.update(("trade", ref, trade) for ref in refs for trade in event.trades)
                if event.bank_line is not None:
                    self._done.update(("line", ref, event.bank_line) for ref in refs)
            case HoldPlaced():
                self._move_all(event.legs)
                if event.legs:  # none only where two persons have accepted that
                    self._holds[event.hold] = LiveHold(event.legs[0], event.to, event.expires_at_ms)
            case HoldPosted() | HoldReleased() | HoldExpired():
                self._move_all(event.legs)
                self._holds.pop(event.hold, None)
            case HolderRegistered():
                self._holders[event.holder] = event.kind
                self._usccs.add(event.uscc)
            case AssetDefined():
                self._assets[event.asset] = event
            case KeyAdmitted():
                self._admitted.add(event.key_id)
                self._keys.add(event.key_id, event.subject, event.public_key)
            case KeyWithdrawn():
                self._keys.remove(event.key_id)
            case _:
                raise TypeError(f"not an event of the accounts book: {event!r}")

    def _move_all(self, legs: list[Leg]) -> None:
        for leg in legs:
            source, target = _places(leg)
            self._add(source, -leg.amount)
            self._add(target, leg.amount)
            for block in leg.serials:
                key = (leg.asset, block.batch)
                batch = self._batches.get(key)
                if batch is None:
                    self._batches[key] = BatchMap(block.first, block.last, target)
                else:
                    batch.extend_to(block.last)
                    batch.move(block.first, block.last, target)

    def _add(self, place: Place, amount: int) -> None:
        balance = self.balances.get(place, 0) + amount
        if balance:
            self.balances[place] = balance
        else:
            self.balances.pop(place, None)


def _places(leg: Leg) -> tuple[Place, Place]:
    debit, credit = leg.debit, leg.credit
    return (
        (debit.holder, leg.asset, debit.purpose, debit.ref),
        (credit.holder, leg.asset, credit.purpose, credit.ref),
    )


def _require_no_acts(raw: RawRecord) -> None:
    """A signature that no rule looks at would pass, in the log, for one that holds."""
    if isinstance(raw.acts, list):
        raise RuleBroken("ACT_UNEXPECTED", "no signed statement", f"{len(raw.acts)} acts")


def _rows(statement: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = statement.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RuleBroken("STATEMENT", f"a list of {name}", rows)
    return rows


def _integer(value: object) -> int:
    if type(value) is not int:
        raise RuleBroken("STATEMENT", "a whole number", value)
    return value


def _settlement_legs(statement: dict[str, Any], venue: str) -> list[tuple[Place, Place, int]]:
    """Delivery and payment of every trade in the venue's statement."""
    legs: list[tuple[Place, Place, int]] = []
    for row in _rows(statement, "trades"):
        quantity, price = _integer(row.get("quantity_t")), _integer(row.get("price_fen_per_t"))
        seller, buyer, asset = row.get("seller"), row.get("buyer"), row.get("asset")
        for source, target, what, amount in (
            (seller, buyer, asset, quantity),
            (buyer, seller, MONEY, quantity * price),
        ):
            legs.append(
                (
                    (str(source), str(what), "trading", venue),
                    (str(target), str(what), "trading", venue),
                    amount,
                )
            )
    return _sums(legs)


def _sums(legs: Iterable[tuple[Place, Place, int]]) -> list[tuple[Place, Place, int]]:
    """Per pair of accounts: many small ranges may take several legs of one delivery."""
    sums: dict[tuple[Place, Place], int] = {}
    for source, target, amount in legs:
        sums[source, target] = sums.get((source, target), 0) + amount
    return sorted((source, target, amount) for (source, target), amount in sums.items())


_CHECKS: dict[type[msgspec.Struct], Callable[[AccountsBook, RawRecord, Any], None]] = {
    HolderRegistered: AccountsBook._check_holder,
    AssetDefined: AccountsBook._check_asset,
    EntryPosted: AccountsBook._check_entry,
    HoldPlaced: AccountsBook._check_hold_placed,
    HoldPosted: AccountsBook._check_hold_posted,
    HoldReleased: AccountsBook._check_hold_released,
    HoldExpired: AccountsBook._check_hold_expired,
    KeyAdmitted: AccountsBook._check_key_admitted,
    KeyWithdrawn: AccountsBook._check_key_withdrawn,
}

_BASIS: dict[str, Callable[[AccountsBook, RawRecord, EntryPosted], None]] = {
    "available": AccountsBook._from_available,
    "trading": AccountsBook._from_trading,
    "external": AccountsBook._from_external,
    "issued": AccountsBook._from_issued,
}
