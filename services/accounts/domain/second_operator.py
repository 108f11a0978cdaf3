"""Transfers that need a second operator: proposed by one, carried out when another approves.

Beyond a holder's own limit, or to whom it does not trust where it allows that at all. Until then
the units lie in a hold, as any other; it ends by itself when nobody has approved in time. The payee
can neither post nor release it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import msgspec

from kernel.errors import Kind, Refused
from kernel.values import Context, check_text
from services.accounts.domain import destinations, operators, required, rules, standing
from services.accounts.domain.changes import Right
from services.accounts.domain.commands import ApproveTransfer, ProposeTransfer, RefuseTransfer
from services.accounts.domain.events import (
    Account,
    Leg,
    Purpose,
    TransferApproved,
    TransferProposed,
    TransferRefused,
)
from services.accounts.domain.state import FreezeKey, Hold, State

MoveAll = Callable[[State, Sequence[Leg], Collection[FreezeKey]], list[Leg]]


def propose_transfer(
    move_all: MoveAll, state: State, command: ProposeTransfer, context: Context
) -> list[TransferProposed]:
    kept = state.safeguards.get(command.holder)
    rule = destinations.in_force(kept, context.at_ms)
    if kept is None or rule is None:
        operators.check_right(state, context, command.holder, Right.TRANSFER)
        raise Refused("NO_SAFEGUARDS", f"{command.holder[:40]} has not opted in")
    if context.id in state.holds:
        raise Refused("HOLD_EXISTS", f"hold {context.id} is live", hold=context.id)
    held = Account(command.holder, Purpose.HELD, context.id)
    source = Account(command.holder, Purpose.AVAILABLE, "")
    leg = Leg(command.amount, command.asset, held, source, command.serials)
    rules.check_leg(state, leg)
    rules.check_holder(state, command.to)
    rules.check_business_time(state.assets[command.asset], context)
    operators.check_movers(state, [leg], None, context)
    to = Account(command.to, Purpose.AVAILABLE, "")
    standing.check_moves(state, [leg], context)
    required.check_promised(state, msgspec.structs.replace(leg, credit=to), context)
    if command.to == command.holder:
        raise Refused("SAME_ACCOUNT", "expected two different holders", Kind.INVALID)
    if not rule.unlisted:
        destinations.check_trusted(state, command.holder, command.to, context.at_ms)
    return [
        TransferProposed(
            context.at_ms + rule.approve_within_ms,
            context.id,
            move_all(state, [leg], ()),
            context.caller.actor,
            to,
        )
    ]


def approve_transfer(
    move_all: MoveAll, state: State, command: ApproveTransfer, context: Context
) -> list[TransferApproved]:
    hold = _proposed(state, command.hold, context)
    operators.check_right(state, context, hold.holder, Right.APPROVE)
    destinations.check_another(hold.proposer, context.caller.actor)
    kept = state.safeguards.get(hold.holder)
    rule = destinations.in_force(kept, context.at_ms)
    if rule is not None and not rule.unlisted:  # it may have left the list since
        destinations.check_trusted(state, hold.holder, hold.to.holder, context.at_ms)
    leg = _leg(command.hold, hold, hold.to)
    standing.check_moves(state, [leg], context)
    return [TransferApproved(command.hold, move_all(state, [leg], ()))]


def refuse_transfer(
    move_all: MoveAll, state: State, command: RefuseTransfer, context: Context
) -> list[TransferRefused]:
    """By any operator of the holder, the proposer too."""
    hold = _proposed(state, command.hold, context)
    operators.check_acts(state, context, hold.holder, operators.Wanted(set()))
    check_text(command.reason, "reason", 300)
    home = _leg(command.hold, hold, Account(hold.holder, Purpose.AVAILABLE, ""))
    return [TransferRefused(command.hold, move_all(state, [home], ()), command.reason)]


def _proposed(state: State, id: str, context: Context) -> Hold:
    hold = state.holds.get(id)
    if hold is None or hold.proposer is None:
        raise Refused("UNKNOWN_TRANSFER", f"no proposed transfer {id[:60]!r} waits", Kind.UNKNOWN)
    rules.check_business_time(state.assets[hold.asset], context)
    if hold.expires_at_ms is not None and hold.expires_at_ms <= context.at_ms:
        raise Refused("HOLD_EXPIRED", f"hold {id} has expired", hold=id)
    return hold


def _leg(id: str, hold: Hold, to: Account) -> Leg:
    return Leg(hold.amount, hold.asset, to, Account(hold.holder, Purpose.HELD, id), [])


def deciders(
    move_all: MoveAll,
) -> dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]]:
    return {
        ProposeTransfer: partial(propose_transfer, move_all),
        ApproveTransfer: partial(approve_transfer, move_all),
        RefuseTransfer: partial(refuse_transfer, move_all),
    }
