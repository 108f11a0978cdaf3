"""Who may move what: the rules an entry must satisfy, one per debited purpose (design section 4).

available   its holder, to anyone's available, to own trading, to own retired with a claim
trading     that venue: back to the holder's available, or trades the venue has signed
external    a cashier or the bank, on the settlement bank's signed advice, once per statement line
issued      the registry, on the authority's signed approval, once per batch
pledged     the registry, back to its pledgor, on the pledgee's signed release; and into it the
            registry, out of the pledgor's available, on a pledge that both have signed
held        nobody here: holds are posted, released or expire
surrendered, retired, cancelled, expired, carried_over      nobody: terminal means terminal
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from kernel.errors import Kind, Refused
from kernel.keyring import check_none, check_same, signed_by_all, signed_statement
from kernel.values import (
    DAY_MS,
    MAX_INTEGER,
    Context,
    check_on,
    check_role,
    check_text,
    format_instant,
)
from services.accounts.domain import destinations, operators, sessions
from services.accounts.domain.acts import (
    BankAdvice,
    IssuanceApproval,
    PledgedRange,
    PledgeRelease,
    PledgeStatement,
    Settlement,
    check_once,
    unique,
)
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import (
    Account,
    AssetDefined,
    HolderKind,
    Leg,
    Pledge,
    Purpose,
    SerialRange,
    Unit,
)
from services.accounts.domain.state import State

MAX_LEGS: Final = 64  # an entry is one event of at most 64 KiB
MAX_RANGES: Final = 256
MONEY: Final = "CNY"

TERMINAL: Final = frozenset(
    {
        Purpose.SURRENDERED,
        Purpose.RETIRED,
        Purpose.CANCELLED,
        Purpose.EXPIRED,
        Purpose.CARRIED_OVER,
    }
)


class Basis(NamedTuple):
    """What an entry rests on besides its legs, as the event will name it."""

    bank_day: str | None = None
    bank_line: str | None = None
    pledge: Pledge | None = None
    spent_on: str | None = None
    trades: tuple[str, ...] = ()


ITS_HOLDER: Final = Basis()  # nothing but the holder's own word


def check_entry(state: State, entry: PostEntry, context: Context) -> Basis:
    """Everything but sufficiency. All legs of an entry debit one purpose, under one rule."""
    check_count(entry.legs)
    purpose = entry.legs[0].debit.purpose
    mixed = False
    for leg in entry.legs:
        check_business_time(check_leg(state, leg), context)
        mixed = mixed or leg.debit.purpose is not purpose
    if mixed:
        raise _mixed_debits(entry)
    rule = _RULES.get(purpose)
    if rule is None:
        raise _not_debitable(purpose)
    return rule(state, entry, context)


def _mixed_debits(entry: PostEntry) -> Refused:
    purposes = sorted({leg.debit.purpose for leg in entry.legs})
    return Refused(
        "MIXED_DEBITS",
        f"expected legs that debit one purpose, got {purposes}",
        actual=" ".join(purposes),
    )


def _not_debitable(purpose: Purpose) -> Refused:
    if purpose in TERMINAL:
        return Refused("TERMINAL", f"{purpose} units never move again", purpose=purpose.value)
    return Refused("PURPOSE_NOT_DEBITABLE", f"no entry may debit {purpose}", purpose=purpose.value)


def check_count(legs: Sequence[Leg]) -> None:
    if not 1 <= len(legs) <= MAX_LEGS:
        raise Refused(
            "LEGS_COUNT",
            f"expected 1 to {MAX_LEGS} legs, got {len(legs)}",
            Kind.INVALID,
            limit=MAX_LEGS,
            actual=len(legs),
        )


def check_leg(state: State, leg: Leg) -> AssetDefined:
    """Shape: known asset and holders, a positive amount, sane ranges, two different accounts."""
    asset = state.assets.get(leg.asset)
    if asset is None:
        raise Refused("UNKNOWN_ASSET", f"no asset {leg.asset!r}", Kind.UNKNOWN, asset=leg.asset)
    check_amount(leg.amount)
    debit, credit = leg.debit, leg.credit
    for account in (debit, credit):
        check_holder(state, account.holder)
        if account.ref:
            check_text(account.ref, "ref", 80)
    if debit.holder == credit.holder and debit == credit:
        raise Refused("SAME_ACCOUNT", "expected two different accounts", Kind.INVALID)
    if leg.serials:
        check_ranges(asset, leg.amount, leg.serials)
    return asset


def check_amount(amount: int) -> None:
    if not 1 <= amount <= MAX_INTEGER:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"expected an amount in 1..{MAX_INTEGER}, got {amount}",
            Kind.INVALID,
            actual=amount,
        )


def check_holder(state: State, holder: str) -> None:
    if holder not in state.holders:
        raise Refused(
            "UNKNOWN_HOLDER", f"no holder {holder[:40]!r}", Kind.UNKNOWN, holder=holder[:40]
        )


def check_ranges(asset: AssetDefined, amount: int, ranges: list[SerialRange]) -> None:
    """Named ranges: only for serialised assets, inside bounds, disjoint, as many as the amount."""
    if not asset.serialised:
        raise Refused("NOT_SERIALISED", f"{asset.asset} has no serials", Kind.INVALID)
    if len(ranges) > MAX_RANGES:
        raise Refused(
            "TOO_MANY_RANGES", f"expected at most {MAX_RANGES}, got {len(ranges)}", Kind.INVALID
        )
    for block in ranges:
        check_text(block.batch, "batch", 80)
        if not 1 <= block.first <= block.last <= MAX_INTEGER:
            raise Refused(
                "RANGE_MALFORMED",
                f"{block.batch}: expected 1 <= first <= last, got {block.first}..{block.last}",
                Kind.INVALID,
            )
    ordered = sorted(ranges, key=lambda block: (block.batch, block.first))
    for one, next_one in pairwise(ordered):
        if one.batch == next_one.batch and next_one.first <= one.last:
            raise Refused(
                "SERIALS_OVERLAP",
                f"{one.batch}: {one.first}..{one.last} and {next_one.first}..{next_one.last}"
                " overlap",
                Kind.INVALID,
                batch=one.batch,
            )
    total = sum(block.amount for block in ranges)
    if total != amount:
        raise Refused(
            "SERIALS_DISAGREE",
            f"expected serials for {amount}, the ranges hold {total}",
            Kind.INVALID,
            expected=amount,
            actual=total,
        )


def check_business_time(asset: AssetDefined, context: Context) -> None:
    """`on` is never later than the recording, nor further back than the asset allows."""
    if context.on_ms == context.at_ms:
        return
    check_on(context)
    if context.at_ms - context.on_ms > asset.backdating_days * DAY_MS:
        raise Refused(
            "ON_TOO_OLD",
            f"{asset.asset}: expected business time at most {asset.backdating_days} days back,"
            f" got {format_instant(context.on_ms)}",
            limit_days=asset.backdating_days,
        )


def debit_available(state: State, entry: PostEntry, context: Context) -> Basis:
    for leg in entry.legs:
        if leg.credit.purpose is Purpose.PLEDGED:
            return pledge_units(state, entry, context)
    check_none(context)
    operators.check_movers(state, entry.legs, entry.mandate or None, context)
    for leg in entry.legs:
        debit, credit = leg.debit, leg.credit
        if credit.purpose is Purpose.AVAILABLE and not credit.ref:
            continue
        own = credit.holder == debit.holder
        if credit.purpose is Purpose.RETIRED and own:
            _check_claim(state.assets[leg.asset], entry)
        elif credit.purpose is Purpose.TRADING and own and credit.ref:
            _check_venue(state, credit.ref)
        else:
            raise _bad_credit(leg)
    if entry.claim is not None and all(leg.credit.purpose != Purpose.RETIRED for leg in entry.legs):
        raise Refused("CLAIM_WITHOUT_RETIREMENT", "a claim goes with units retired", Kind.INVALID)
    day = destinations.check_entry(state, entry.legs, context.at_ms)
    return ITS_HOLDER if day is None else Basis(spent_on=day)


def pledge_units(state: State, entry: PostEntry, context: Context) -> Basis:
    """Asked by the registry; what makes it right is that pledgor and pledgee have both signed."""
    leg = _one_registry_leg(entry, context)
    pledgor, lien = leg.debit.holder, leg.credit.ref
    if leg.credit.holder != pledgor or not lien:
        raise _bad_credit(leg)
    asset = state.assets[leg.asset]
    if asset.unit == Unit.FEN:
        raise Refused("MONEY_NOT_PLEDGEABLE", "money cannot be pledged", Kind.INVALID)
    # Who the pledgee is only the statement says; that it is its own key is checked against it.
    pledgee = _other_subject(state, context, f"holder:{pledgor}")
    check_holder(state, pledgee)
    signed = signed_by_all(
        state.keyring, context, PledgeStatement, [f"holder:{pledgor}", f"holder:{pledgee}"]
    )
    check_same("asset", signed.asset, leg.asset)
    check_same("lien", signed.lien, lien)
    check_same("pledgee", signed.pledgee, pledgee)
    check_same("pledgor", signed.pledgor, pledgor)
    check_same("programme", signed.programme, asset.programme)
    check_same("quantity_t", signed.quantity_t, leg.amount)
    ranges = [PledgedRange(block.batch, block.first, block.last) for block in leg.serials]
    check_same("serials", signed.serials, ranges)
    check_once(lien in state.liens, "LIEN_EXISTS", f"lien {lien}")
    return Basis(pledge=Pledge(lien=lien, pledgee=pledgee))


def _other_subject(state: State, context: Context, own: str) -> str:
    """The holder, other than `own`, whose key stands under the pledge."""
    for act in context.acts:
        if act.key_id not in state.keyring.keys:  # it may yet come from the directory
            raise Refused("ACT_KEY_UNKNOWN", f"no key {act.key_id[:40]} in the directory")
    found = {
        key.subject.removeprefix("holder:")
        for act in context.acts
        if (key := state.keyring.keys.get(act.key_id)) is not None
        and key.subject.startswith("holder:")
        and key.subject != own
    }
    if len(found) == 1:
        return found.pop()
    raise Refused(
        "ACT_MISSING",
        f"expected one pledge signed by {own} and one other holder, got {len(context.acts)} acts"
        f" of {len(found)} other holders",
        needed=f"pledge of {own} and the pledgee",
    )


def debit_pledged(state: State, entry: PostEntry, context: Context) -> Basis:
    leg = _one_registry_leg(entry, context)
    lien = state.liens.get(leg.debit.ref)
    if lien is None:
        raise Refused("UNKNOWN_LIEN", f"no lien {leg.debit.ref[:40]!r}", Kind.UNKNOWN)
    if leg.credit != Account(leg.debit.holder, Purpose.AVAILABLE, ""):
        raise _bad_credit(leg)
    signed = signed_statement(state.keyring, context, PledgeRelease, f"holder:{lien.pledgee}")
    check_same("lien", signed.lien, leg.debit.ref)
    check_same("pledgee", signed.pledgee, lien.pledgee)
    check_same("quantity_t", signed.quantity_t, leg.amount)
    check_text(signed.release, "release", 80)
    check_once(signed.release in lien.releases, "RELEASE_BOOKED", f"release {signed.release}")
    pledge = Pledge(lien=leg.debit.ref, pledgee=lien.pledgee, release=signed.release)
    return Basis(pledge=pledge)


def _one_registry_leg(entry: PostEntry, context: Context) -> Leg:
    check_role(context, "registry")
    _refuse_extras(entry)
    if len(entry.legs) != 1:
        raise Refused(
            "LEGS_COUNT", f"expected one leg per pledge or release, got {len(entry.legs)}"
        )
    return entry.legs[0]


def _check_venue(state: State, ref: str) -> None:
    """What is allocated to a venue nobody speaks for could never be released again."""
    if not state.keyring.has_subject(f"venue:{ref}"):
        raise Refused("UNKNOWN_VENUE", f"no venue {ref!r} has a key", Kind.UNKNOWN, venue=ref)


def _check_claim(asset: AssetDefined, entry: PostEntry) -> None:
    if asset.unit == Unit.FEN:
        raise Refused("MONEY_NOT_RETIRABLE", "money cannot be retired", Kind.INVALID)
    if entry.claim is None:
        raise Refused(
            "CLAIM_MISSING", "a retirement names its beneficiary and purpose", Kind.INVALID
        )
    check_text(entry.claim.beneficiary, "claim.beneficiary", 300)
    check_text(entry.claim.purpose, "claim.purpose", 300)
    check_text(entry.claim.details, "claim.details", 2000, required=False)


def debit_trading(state: State, entry: PostEntry, context: Context) -> Basis:
    venues = {leg.debit.ref for leg in entry.legs}
    if len(venues) != 1:
        raise Refused("MIXED_DEBITS", f"expected one venue, got {sorted(venues)}")
    (venue,) = venues
    check_role(context, f"venue:{venue}")
    _refuse_extras(entry)
    if all(leg.credit == Account(leg.debit.holder, Purpose.AVAILABLE, "") for leg in entry.legs):
        check_none(context)
        return ITS_HOLDER  # a release: each holder's own, out of the market
    sessions.refuse_entries(state, venue)
    settled = signed_statement(state.keyring, context, Settlement, f"venue:{venue}")
    check_same("venue", settled.venue, venue)
    names = [trade.trade for trade in settled.trades]
    if not unique(names):
        raise Refused("TRADE_DOUBLED", "a trade stands twice in the statement", Kind.INVALID)
    for name in names:
        check_text(name, "trade", 80)
        check_unsettled(state, venue, name)
    # Summed per pair of accounts: many small ranges may take several legs of one delivery.
    actual: Counter[Move] = Counter()
    for leg in entry.legs:
        actual[leg.debit, leg.credit, leg.asset] += leg.amount
    check_same("legs", _legs_of(settled), actual)
    return Basis(trades=tuple(names))


def check_unsettled(state: State, venue: str, trade: str) -> None:
    """By an entry of its own, before the venue sent its first file. In files: see sessions.py."""
    check_once((venue, trade) in state.trades, "TRADE_SETTLED", f"trade {trade}")


Move = tuple[Account, Account, str]


def _legs_of(settled: Settlement) -> Counter[Move]:
    """Delivery and payment of every trade: the entry must move exactly this."""
    legs: Counter[Move] = Counter()
    for trade in settled.trades:
        check_amount(trade.quantity_t)
        check_amount(trade.price_fen_per_t)
        seller = Account(trade.seller, Purpose.TRADING, settled.venue)
        buyer = Account(trade.buyer, Purpose.TRADING, settled.venue)
        legs[seller, buyer, trade.asset] += trade.quantity_t
        legs[buyer, seller, MONEY] += trade.quantity_t * trade.price_fen_per_t
    return legs


def debit_external(state: State, entry: PostEntry, context: Context) -> Basis:
    _refuse_extras(entry)
    if len(entry.legs) != 1:
        raise Refused("LEGS_COUNT", f"expected one leg per advice, got {len(entry.legs)}")
    (leg,) = entry.legs
    bank = leg.debit.ref
    check_role(context, "cashier", f"bank:{bank}")
    if state.holders.get(bank) != HolderKind.SETTLEMENT_BANK:
        raise Refused("NOT_A_SETTLEMENT_BANK", f"{bank[:40]!r} is no settlement bank")
    if state.assets[leg.asset].unit != Unit.FEN:
        raise Refused("NOT_MONEY", f"only money comes in from a bank, got {leg.asset}")
    if leg.credit.purpose != Purpose.AVAILABLE or leg.credit.ref:
        raise _bad_credit(leg)
    advice = signed_statement(state.keyring, context, BankAdvice, f"bank:{bank}")
    check_same("bank", advice.bank, bank)
    check_same("clearing_house", advice.clearing_house, leg.debit.holder)
    check_same("asset", advice.asset, leg.asset)
    check_same("holder", advice.holder, leg.credit.holder)
    check_same("amount_fen", advice.amount_fen, leg.amount)
    check_text(advice.line, "line", 80)
    check_once((bank, advice.line) in state.bank_lines, "LINE_BOOKED", f"line {advice.line}")
    account = state.bank_accounts.get((leg.debit.holder, leg.asset, bank))
    day = None if account is None else account.day_of(context.on_ms)
    return Basis(bank_day=day, bank_line=advice.line)


def debit_issued(state: State, entry: PostEntry, context: Context) -> Basis:
    check_role(context, "registry")
    _refuse_extras(entry)
    asset = state.assets[entry.legs[0].asset]
    approval = signed_statement(
        state.keyring, context, IssuanceApproval, f"authority:{asset.programme}"
    )
    check_same("asset", approval.asset, asset.asset)
    check_same("programme", approval.programme, asset.programme)
    if approval.checker == context.caller.actor.sub:
        raise Refused(
            "MAKER_IS_CHECKER",
            f"{approval.checker} approved this issuance and may not also ask for it",
            Kind.FORBIDDEN,
        )
    for leg in entry.legs:
        if leg.debit != Account(asset.programme, Purpose.ISSUED, "") or leg.asset != asset.asset:
            raise Refused(
                "NOT_THE_PROGRAMME", "every leg issues the one asset, out of its own programme"
            )
        if leg.credit.purpose != Purpose.AVAILABLE or leg.credit.ref:
            raise _bad_credit(leg)
    owners = [Account(owner.holder, Purpose.AVAILABLE, "") for owner in approval.owners]
    approved = [(o, owner.quantity_t) for o, owner in zip(owners, approval.owners, strict=True)]
    check_same("owners", approved, [(leg.credit, leg.amount) for leg in entry.legs])
    _check_batch(state, asset, approval, entry)
    return Basis()


def _check_batch(
    state: State, asset: AssetDefined, approval: IssuanceApproval, entry: PostEntry
) -> None:
    """A batch is one contiguous range, issued once; the legs take it in order, without a hole."""
    if not asset.serialised:
        raise Refused("NOT_SERIALISED", f"{asset.asset}: only serialised units are issued")
    check_once(
        (asset.asset, approval.batch) in state.batches, "BATCH_EXISTS", f"batch {approval.batch}"
    )
    next_serial = approval.first
    for leg in entry.legs:
        expected = [SerialRange(approval.batch, next_serial, next_serial + leg.amount - 1)]
        check_same("serials", expected, leg.serials)
        next_serial += leg.amount
    check_same("last", approval.last, next_serial - 1)


def _refuse_extras(entry: PostEntry) -> None:
    """A claim or a mandate that nobody looks at would pass, in the log, for one that counts."""
    if entry.claim is not None:
        raise Refused("CLAIM_WITHOUT_RETIREMENT", "a claim goes with units retired", Kind.INVALID)
    if entry.mandate:
        raise Refused("MANDATE_UNUSED", "a mandate is for what its principal may do", Kind.INVALID)


def _bad_credit(leg: Leg) -> Refused:
    return Refused(
        "CREDIT_NOT_ALLOWED",
        f"from {leg.debit.purpose} of {leg.debit.holder} nothing goes to"
        f" {leg.credit.purpose} {leg.credit.ref} of {leg.credit.holder}",
        debit=leg.debit.purpose.value,
        credit=leg.credit.purpose.value,
    )


_RULES: Final = {
    Purpose.AVAILABLE: debit_available,
    Purpose.TRADING: debit_trading,
    Purpose.EXTERNAL: debit_external,
    Purpose.ISSUED: debit_issued,
    Purpose.PLEDGED: debit_pledged,
}
