"""Where a holder's units may go: its trusted destinations, and what one operator may send alone.

A holder that has opted in names whom it trusts (a holder, or `venue:<name>` for its own trading
account there) and, per asset, how much one operator may send in a day (Shanghai) by itself. Beyond
that, or to whom it does not trust, a transfer is proposed and a second operator approves it
(proposals.py). The sum of a day is one pair per asset; around midnight two days' worth may go. A
holder that has not opted in costs one lookup. What a holder's own key signs, a pledge or a merger,
is not held up here, nor are retirements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import Actor, shanghai_day
from services.accounts.domain.events import Account, Leg, Purpose, SafeguardRules
from services.accounts.domain.state import Safeguards, State

VENUE: Final = "venue:"


def check_entry(state: State, legs: Sequence[Leg], at_ms: int) -> str | None:
    """May one operator post these? The day they count on, where a limit counts; or Refused."""
    if not state.safeguards:
        return None
    day: str | None = None
    sent: dict[tuple[str, str], int] = {}
    for leg in legs:
        holder, to = leg.debit.holder, destination_of(leg)
        rules = in_force(state.safeguards.get(holder), at_ms)
        if rules is None or to is None:
            continue
        check_trusted(state, holder, to, at_ms)
        limit = limit_of(rules, leg.asset)
        if limit is None or to.startswith(VENUE):  # in a trading account it is still the holder's
            continue
        day = shanghai_day(at_ms)
        total = sent.get((holder, leg.asset), 0) + leg.amount
        sent[holder, leg.asset] = total
        before = spent(state.safeguards[holder], leg.asset, day)
        if before + total > limit:
            raise _needs_approval(leg, limit, before + total)
    return day


def check_hold(state: State, holder: str, to: Account, asset: str, at_ms: int) -> None:
    """A hold lets its payee take the units: no more than an entry could give."""
    rules = in_force(state.safeguards.get(holder), at_ms)
    if rules is None or to.holder == holder:
        return
    check_trusted(state, holder, to.holder, at_ms)
    if limit_of(rules, asset) is not None:
        raise Refused(
            "APPROVAL_NEEDED",
            f"{holder} has a limit for {asset}: propose the transfer instead of a hold",
            holder=holder,
            asset=asset,
        )


def check_trusted(state: State, holder: str, to: str, at_ms: int) -> None:
    if not trusted(state.safeguards[holder], to, at_ms):
        raise Refused(
            "DESTINATION_NOT_TRUSTED",
            f"{to} is not on the list of {holder}, or not yet",
            holder=holder,
            destination=to,
        )


def trusted(kept: Safeguards, to: str, at_ms: int) -> bool:
    since_ms = kept.destinations.get(to)
    return since_ms is not None and since_ms <= at_ms


def in_force(kept: Safeguards | None, at_ms: int) -> SafeguardRules | None:
    """The rules at an instant; a confirmed change counts from its own."""
    if kept is None:
        return None
    if kept.next_ms is not None and kept.next_ms <= at_ms:
        return kept.next_rules
    return kept.rules


def limit_of(rules: SafeguardRules, asset: str) -> int | None:
    return next((limit.amount for limit in rules.limits if limit.asset == asset), None)


def destination_of(leg: Leg) -> str | None:
    """Whom a leg out of `available` reaches; None when it stays or ends with its own holder."""
    if leg.credit.purpose == Purpose.TRADING:
        return VENUE + leg.credit.ref
    if leg.credit.purpose == Purpose.AVAILABLE and leg.credit.holder != leg.debit.holder:
        return leg.credit.holder
    return None


def spent(kept: Safeguards, asset: str, day: str) -> int:
    on, amount = kept.spent.get(asset, (day, 0))
    return amount if on == day else 0


def spend(state: State, legs: Sequence[Leg], day: str) -> None:
    """An entry that counts: what it sent to others is added to the day."""
    for leg in legs:
        kept = state.safeguards.get(leg.debit.holder)
        to = destination_of(leg)
        if kept is not None and to is not None and not to.startswith(VENUE):
            kept.spent[leg.asset] = (day, spent(kept, leg.asset, day) + leg.amount)


def _needs_approval(leg: Leg, limit: int, total: int) -> Refused:
    return Refused(
        "APPROVAL_NEEDED",
        f"{leg.asset} of {leg.debit.holder}: expected at most {limit} a day by one operator,"
        f" got {total}: propose the transfer",
        holder=leg.debit.holder,
        asset=leg.asset,
        limit=limit,
        actual=total,
    )


def check_another(maker: Actor | None, checker: Actor) -> None:
    """The second person is another one: one subject is one person, whichever issuer names it."""
    if maker is not None and maker.sub == checker.sub:
        raise Refused(
            "MAKER_IS_CHECKER",
            f"{maker.sub} asked for it and may not also approve it",
            Kind.FORBIDDEN,
        )
