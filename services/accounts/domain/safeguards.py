"""A holder's own safeguards: opting in and out, limits, trusted destinations.

One operator asks, another confirms, and from then on a delay runs, the one in force; opting out and
raising a limit take the same way, so that one stolen token changes nothing and two are noticed.
What makes things tighter at once, removing a destination or giving a change up, takes one person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from kernel.errors import Kind, Refused
from kernel.values import DAY_MS, MAX_INTEGER, Context, check_on
from services.accounts.domain import operators
from services.accounts.domain.changes import Right
from services.accounts.domain.commands import (
    AddDestination,
    ConfirmDestination,
    ConfirmSafeguards,
    ProposeSafeguards,
    RemoveDestination,
    WithdrawSafeguards,
)
from services.accounts.domain.destinations import VENUE, check_another, in_force
from services.accounts.domain.events import (
    DestinationAdded,
    DestinationConfirmed,
    DestinationRemoved,
    SafeguardRules,
    SafeguardsConfirmed,
    SafeguardsProposed,
    SafeguardsWithdrawn,
)
from services.accounts.domain.openings import MAX_DELAY_MS
from services.accounts.domain.state import Safeguards, State

DELAY_MS: Final = 4 * DAY_MS  # where the holder names none, as the EU registry has it
APPROVE_MS: Final = DAY_MS
MAX_APPROVAL_MS: Final = 30 * DAY_MS
MAX_LIMITS: Final = 50
MAX_DESTINATIONS: Final = 1000


def propose_safeguards(
    state: State, command: ProposeSafeguards, context: Context
) -> list[SafeguardsProposed]:
    """Rules None: opting out."""
    _check_asks(state, command.holder, context)
    if command.rules is not None:
        _check_rules(state, command.rules)
    elif in_force(state.safeguards.get(command.holder), context.at_ms) is None:
        raise Refused("NO_SAFEGUARDS", f"{command.holder} has not opted in")
    return [SafeguardsProposed(command.holder, context.id, context.caller.actor, command.rules)]


def _check_rules(state: State, rules: SafeguardRules) -> None:
    _check_range("delay_ms", rules.delay_ms, 0, MAX_DELAY_MS)
    _check_range("approve_within_ms", rules.approve_within_ms, 1, MAX_APPROVAL_MS)
    names = [limit.asset for limit in rules.limits]
    if names != sorted(set(names)) or len(names) > MAX_LIMITS:
        raise Refused(
            "LIMITS_MALFORMED",
            f"expected at most {MAX_LIMITS} limits, one per asset, in their order",
            Kind.INVALID,
        )
    for limit in rules.limits:
        _check_range("limit", limit.amount, 0, MAX_INTEGER)
        if limit.asset not in state.assets:
            asset = limit.asset[:60]
            raise Refused("UNKNOWN_ASSET", f"no asset {asset!r}", Kind.UNKNOWN, asset=asset)


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Refused(
            "SAFEGUARD_OUT_OF_RANGE",
            f"{what}: expected {low}..{high}, got {value}",
            Kind.INVALID,
            field=what,
            actual=value,
        )


def confirm_safeguards(
    state: State, command: ConfirmSafeguards, context: Context
) -> list[SafeguardsConfirmed]:
    """Names the proposal: what was put in its place meanwhile is not confirmed with it."""
    _check_asks(state, command.holder, context)
    kept = state.safeguards.get(command.holder)
    asked = None if kept is None else kept.asked
    if kept is None or asked is None or asked.proposal != command.proposal:
        raise Refused(
            "UNKNOWN_PROPOSAL", f"no proposal {command.proposal[:60]!r} waits", Kind.UNKNOWN
        )
    check_another(asked.proposer, context.caller.actor)
    if kept.next_ms is not None and kept.next_ms > context.at_ms:
        raise Refused("CHANGE_WAITING", "an earlier change has yet to come into force")
    effective_ms = context.at_ms + _delay_ms(kept, context)
    return [SafeguardsConfirmed(effective_ms, command.holder, command.proposal, asked.rules)]


def _delay_ms(kept: Safeguards, context: Context) -> int:
    rules = in_force(kept, context.at_ms)
    return 0 if rules is None else rules.delay_ms


def withdraw_safeguards(
    state: State, command: WithdrawSafeguards, context: Context
) -> list[SafeguardsWithdrawn]:
    """What was proposed, and what was confirmed and has not come into force."""
    _check_asks(state, command.holder, context)
    kept = state.safeguards.get(command.holder, Safeguards())
    waiting = kept.next_ms is not None and kept.next_ms > context.at_ms
    if kept.asked is None and not waiting:
        raise Refused("UNKNOWN_PROPOSAL", "nothing waits that could be given up", Kind.UNKNOWN)
    return [SafeguardsWithdrawn(command.holder, waiting)]


def add_destination(
    state: State, command: AddDestination, context: Context
) -> list[DestinationAdded]:
    holder, to = command.holder, command.destination
    _check_asks(state, holder, context)
    known = state.keyring.has_subject(to) if to.startswith(VENUE) else to in state.holders
    if not known or to == holder:
        raise Refused(
            "UNKNOWN_DESTINATION",
            f"expected another holder or venue:<name>, got {to[:80]!r}",
            Kind.UNKNOWN,
            destination=to[:80],
        )
    kept = state.safeguards.get(holder, Safeguards())
    if to in kept.destinations or to in kept.added:
        raise Refused("DESTINATION_EXISTS", f"{to} is on the list", destination=to)
    if len(kept.destinations) + len(kept.added) >= MAX_DESTINATIONS:
        raise Refused("TOO_MANY_DESTINATIONS", f"expected at most {MAX_DESTINATIONS}")
    return [DestinationAdded(to, holder, context.caller.actor)]


def confirm_destination(
    state: State, command: ConfirmDestination, context: Context
) -> list[DestinationConfirmed]:
    holder, to = command.holder, command.destination
    _check_asks(state, holder, context)
    kept = state.safeguards.get(holder)
    if kept is None or to not in kept.added:
        raise _not_listed(holder, to)
    check_another(kept.added[to], context.caller.actor)
    return [DestinationConfirmed(to, context.at_ms + _delay_ms(kept, context), holder)]


def remove_destination(
    state: State, command: RemoveDestination, context: Context
) -> list[DestinationRemoved]:
    holder, to = command.holder, command.destination
    _check_asks(state, holder, context)
    kept = state.safeguards.get(holder)
    if kept is None or (to not in kept.added and to not in kept.destinations):
        raise _not_listed(holder, to)
    return [DestinationRemoved(to, holder)]


def _not_listed(holder: str, to: str) -> Refused:
    return Refused(
        "UNKNOWN_DESTINATION",
        f"{to[:80]!r} is not on the list of {holder}",
        Kind.UNKNOWN,
        destination=to[:80],
    )


def _check_asks(state: State, holder: str, context: Context) -> None:
    operators.check_right(state, context, holder, Right.ADMINISTER)
    check_on(context)
    if holder not in state.holders:
        raise Refused(
            "UNKNOWN_HOLDER", f"no holder {holder[:40]!r}", Kind.UNKNOWN, holder=holder[:40]
        )


DECIDE: dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]] = {
    ProposeSafeguards: propose_safeguards,
    ConfirmSafeguards: confirm_safeguards,
    WithdrawSafeguards: withdraw_safeguards,
    AddDestination: add_destination,
    ConfirmDestination: confirm_destination,
    RemoveDestination: remove_destination,
}


def on_safeguards_proposed(state: State, event: SafeguardsProposed) -> None:
    _kept(state, event.holder).asked = event


def on_safeguards_confirmed(state: State, event: SafeguardsConfirmed) -> None:
    kept = _kept(state, event.holder)
    if kept.next_ms is not None:  # it has come into force: no second one waits beside it
        kept.rules = kept.next_rules
    kept.next_rules, kept.next_ms = event.rules, event.effective_ms
    kept.asked = None


def on_safeguards_withdrawn(state: State, event: SafeguardsWithdrawn) -> None:
    kept = _kept(state, event.holder)
    kept.asked = None
    if event.waiting:
        kept.next_rules, kept.next_ms = None, None


def on_destination_added(state: State, event: DestinationAdded) -> None:
    _kept(state, event.holder).added[event.destination] = event.proposer


def on_destination_confirmed(state: State, event: DestinationConfirmed) -> None:
    kept = _kept(state, event.holder)
    del kept.added[event.destination]
    kept.destinations[event.destination] = event.effective_ms


def on_destination_removed(state: State, event: DestinationRemoved) -> None:
    kept = _kept(state, event.holder)
    kept.added.pop(event.destination, None)
    kept.destinations.pop(event.destination, None)


def _kept(state: State, holder: str) -> Safeguards:
    return state.safeguards.setdefault(holder, Safeguards())


EVOLVE: dict[type[msgspec.Struct], Callable[[State, Any], None]] = {
    SafeguardsProposed: on_safeguards_proposed,
    SafeguardsConfirmed: on_safeguards_confirmed,
    SafeguardsWithdrawn: on_safeguards_withdrawn,
    DestinationAdded: on_destination_added,
    DestinationConfirmed: on_destination_confirmed,
    DestinationRemoved: on_destination_removed,
}
