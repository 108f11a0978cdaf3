"""Proposals: what one person asks for and another makes so (domain section 3, "Opening").

A registrar proposes and another registrar agrees; a mandate may also be offered by its principal
and accepted by its agent. One subject is one person, whichever issuer and roles a token names: a
maker with a second token is still the maker. What was right when proposed is checked again when
approved, so a checker agrees to what is true then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from kernel.errors import Kind, Refused
from kernel.keyring import check_none
from kernel.values import Actor, Context, check_on, check_role, check_text
from services.accounts.domain import closings, mandates, openings, operators, rebindings, statuses
from services.accounts.domain.changes import (
    AccountClosed,
    AccountOpened,
    AccountTermsSet,
    Change,
    ChangeProposed,
    Closing,
    Fund,
    FundEntrusted,
    HolderKind,
    HolderStatusSet,
    Mandate,
    MandateGranted,
    MandateRevoked,
    Opening,
    Operator,
    OperatorSet,
    ProposalRefused,
    ProposalWithdrawn,
    Rebinding,
    Right,
    StatusChange,
    TermsChange,
)
from services.accounts.domain.commands import (
    ApproveProposal,
    ProposeChange,
    RefuseProposal,
    RevokeMandate,
    SetOperator,
    WithdrawProposal,
)
from services.accounts.domain.state import State

MAX_OPEN: Final = 10_000  # of all; each waits in memory
MAX_OPEN_OF_ONE: Final = 200  # of one person: nobody fills the desk of all others


def propose_change(state: State, command: ProposeChange, context: Context) -> list[ChangeProposed]:
    asked = the_one(command.change)
    check_on(context)
    if isinstance(asked, Rebinding):
        rebindings.check_vouched(state, asked, context)
    else:
        check_none(context)
    maker = context.caller.actor
    _check_may_propose(state, command, asked, context)
    if context.id in state.proposals or context.id in state.mandates:  # named for everyone
        raise Refused("PROPOSAL_EXISTS", f"proposal {context.id} is there", proposal=context.id)
    own = sum(one.proposed_by.sub == maker.sub for one in state.proposals.values())
    openings.check_count("open proposals", len(state.proposals) + 1, MAX_OPEN)
    openings.check_count("your open proposals", own + 1, MAX_OPEN_OF_ONE)
    _CHECKS[type(asked)](state, asked, context)
    return [
        ChangeProposed(
            change=command.change,
            for_holder=command.for_holder or None,
            proposal=context.id,
            proposed_by=maker,
        )
    ]


def the_one(change: Change) -> msgspec.Struct:
    """What a change asks for, of all it could."""
    found = [one for one in msgspec.structs.astuple(change) if one is not None]
    if len(found) != 1:
        raise Refused(
            "CHANGE_NOT_ONE", f"expected exactly one change, got {len(found)}", Kind.INVALID
        )
    asked: msgspec.Struct = found[0]
    return asked


def _check_may_propose(
    state: State, command: ProposeChange, asked: msgspec.Struct, context: Context
) -> None:
    if not command.for_holder:
        check_role(context, "registrar")
        return
    if not isinstance(asked, Mandate) or asked.principal != command.for_holder:
        raise Refused("NOT_ITS_OFFER", "a holder offers a mandate as its principal, no more")
    operators.check_right(state, context, command.for_holder, Right.ADMINISTER)


def approve_proposal(
    state: State, command: ApproveProposal, context: Context
) -> list[msgspec.Struct]:
    _check_plain(context)
    found = _decided_by_another(state, command.proposal, context)
    asked = the_one(found.change)
    _CHECKS[type(asked)](state, asked, context)
    if isinstance(asked, Rebinding):
        return [rebindings.changed(state, found, asked, context)]
    return [_EFFECTS[type(asked)](found, asked)]


def refuse_proposal(
    state: State, command: RefuseProposal, context: Context
) -> list[ProposalRefused]:
    _check_plain(context)
    found = _decided_by_another(state, command.proposal, context)
    check_text(command.reason, "reason", 500)
    return [ProposalRefused(found.proposal, found.proposed_by, command.reason)]


def withdraw_proposal(
    state: State, command: WithdrawProposal, context: Context
) -> list[ProposalWithdrawn]:
    _check_plain(context)
    if command.proposal not in state.proposals:
        stopped = rebindings.stop(state, command.proposal, context)
        if stopped is not None:
            return stopped
    found = _open_proposal(state, command.proposal)
    if found.proposed_by != context.caller.actor:
        raise Refused("NOT_YOUR_PROPOSAL", "a proposal is withdrawn by who made it", Kind.FORBIDDEN)
    return [ProposalWithdrawn(found.proposal)]


def _open_proposal(state: State, proposal: str) -> ChangeProposed:
    found = state.proposals.get(proposal)
    if found is None:
        raise Refused("UNKNOWN_PROPOSAL", f"no open proposal {proposal[:60]!r}", Kind.UNKNOWN)
    return found


def _decided_by_another(state: State, proposal: str, context: Context) -> ChangeProposed:
    """Another person than the maker, of those who may decide this one."""
    found = _open_proposal(state, proposal)
    if found.for_holder is None:
        check_role(context, "registrar")
    elif found.change.mandate is not None:
        operators.check_right(state, context, found.change.mandate.agent, Right.ADMINISTER)
    if same_person(found.proposed_by, context.caller.actor):
        raise Refused(
            "MAKER_IS_CHECKER",
            f"{found.proposed_by.sub} proposed this and may not decide it",
            Kind.FORBIDDEN,
        )
    return found


def same_person(one: Actor, other: Actor) -> bool:
    return one.sub == other.sub


def set_operator(state: State, command: SetOperator, context: Context) -> list[OperatorSet]:
    """By the holder's own administrator."""
    _check_plain(context)
    operators.check_operator(state, command.operator)
    operators.check_administers(state, context, command.operator.holder)
    return [OperatorSet(operator=command.operator)]


def revoke_mandate(state: State, command: RevokeMandate, context: Context) -> list[MandateRevoked]:
    """By either side or by a registrar alone: it only takes power away, and at once."""
    _check_plain(context)
    found = mandates.find(state, command.mandate)
    if not command.for_holder:
        check_role(context, "registrar")
    elif command.for_holder not in (found.principal, found.agent):
        raise Refused(
            "NOT_A_PARTY",
            f"{command.for_holder[:40]} is neither principal nor agent",
            Kind.FORBIDDEN,
        )
    else:
        operators.check_right(state, context, command.for_holder, Right.ADMINISTER)
    return [MandateRevoked(command.for_holder, command.mandate)]


def _check_plain(context: Context) -> None:
    check_none(context)
    check_on(context)


def _check_fund(state: State, asked: Fund, context: Context) -> None:
    openings.check_known(state, asked.manager)
    if state.holders.get(asked.fund) != HolderKind.FUND:
        raise Refused("NOT_A_FUND", f"{asked.fund[:40]!r} is no fund", Kind.UNKNOWN)
    if state.holders[asked.manager] in (HolderKind.FUND, HolderKind.PERSON):
        raise Refused("NOT_A_MANAGER", f"{asked.manager} cannot manage a fund")
    openings.check_document(asked.document)
    mandates.check_not_closed(state, asked.manager)


# Each is asked when proposed and again when approved.
_CHECKS: Final[dict[type[msgspec.Struct], Callable[[State, Any, Context], None]]] = {
    Closing: closings.check_closing,
    Fund: _check_fund,
    Mandate: mandates.check_mandate,
    Opening: openings.check_opening,
    Operator: lambda state, asked, context: operators.check_operator(state, asked),
    Rebinding: rebindings.check_rebinding,
    StatusChange: lambda state, asked, context: statuses.check_status(state, asked),
    TermsChange: openings.check_terms,
}

_EFFECTS: Final[dict[type[msgspec.Struct], Callable[[ChangeProposed, Any], msgspec.Struct]]] = {
    Closing: lambda made, asked: AccountClosed(asked, made.proposal, made.proposed_by),
    Fund: lambda made, asked: FundEntrusted(asked, made.proposal, made.proposed_by),
    Mandate: lambda made, asked: MandateGranted(
        for_holder=made.for_holder,
        mandate=asked,
        proposal=made.proposal,
        proposed_by=made.proposed_by,
    ),
    Opening: lambda made, asked: AccountOpened(asked, made.proposal, made.proposed_by),
    Operator: lambda made, asked: OperatorSet(
        operator=asked, proposal=made.proposal, proposed_by=made.proposed_by
    ),
    StatusChange: lambda made, asked: HolderStatusSet(
        proposal=made.proposal, proposed_by=made.proposed_by, status=asked
    ),
    TermsChange: lambda made, asked: AccountTermsSet(made.proposal, made.proposed_by, asked),
}

DECIDE_CHANGES: Final[dict[type[msgspec.Struct], Callable[[State, Any, Context], Any]]] = {
    ProposeChange: propose_change,
    ApproveProposal: approve_proposal,
    RefuseProposal: refuse_proposal,
    WithdrawProposal: withdraw_proposal,
    SetOperator: set_operator,
    RevokeMandate: revoke_mandate,
}
