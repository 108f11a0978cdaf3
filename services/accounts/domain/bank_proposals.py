"""What two persons decide about money: the rest of a break, and the default reserve.

The reserve (结算风险准备金) is an account of the clearing house: `clearing`, ref default-reserve.
No entry may debit or credit it: it moves here alone, proposed by one and approved by another.
"""

from __future__ import annotations

from typing import Final

from kernel.errors import Kind, Refused
from kernel.keyring import check_none
from kernel.values import Actor, Context, check_on, check_role, check_text
from services.accounts.domain import operators, rules, standing
from services.accounts.domain.commands import (
    ApproveBankProposal,
    ProposeBreakResolution,
    ProposeReserveMove,
    WithdrawBankProposal,
)
from services.accounts.domain.events import (
    Account,
    BankBreakResolutionProposed,
    BankBreakResolved,
    BankProposalWithdrawn,
    Leg,
    Purpose,
    ReserveMoved,
    ReserveMoveProposed,
    Unit,
)
from services.accounts.domain.state import State
from services.accounts.domain.withdrawals import Move, find_bank_account

RESERVE_REF: Final = "default-reserve"
MAX_OPEN: Final = 1000  # proposals nobody has decided; each is looked at by people


def propose_break_resolution(
    state: State, command: ProposeBreakResolution, context: Context, move: Move
) -> list[BankBreakResolutionProposed]:
    _check_staff(context, command.clearing_house)
    _check_proposal(state, context)
    check_text(command.reason, "reason", 1000)
    _check_break_open(state, command.clearing_house, command.asset, command.bank, command.day)
    return [
        BankBreakResolutionProposed(
            command.asset,
            command.bank,
            context.caller.actor,
            command.clearing_house,
            command.day,
            context.id,
            command.reason,
        )
    ]


def propose_reserve_move(
    state: State, command: ProposeReserveMove, context: Context, move: Move
) -> list[ReserveMoveProposed]:
    """Who pays in proposes it themselves; a draw is proposed by the clearing house."""
    if command.draw:
        _check_staff(context, command.clearing_house)
    _check_proposal(state, context)
    check_text(command.document, "document", 200)
    proposed = ReserveMoveProposed(
        command.amount_fen,
        command.asset,
        context.caller.actor,
        command.clearing_house,
        command.document,
        command.draw,
        command.holder,
        context.id,
    )
    leg = _leg(proposed)
    rules.check_leg(state, leg)
    if not command.draw:
        operators.check_movers(state, [leg], None, context)
        standing.check_moves(state, [leg], context)
    if state.assets[command.asset].unit != Unit.FEN:
        raise Refused("NOT_MONEY", f"a default reserve is money, got {command.asset}")
    move([leg])  # what is not there now is not worth a second person's time
    return [proposed]


def approve_bank_proposal(
    state: State, command: ApproveBankProposal, context: Context, move: Move
) -> list[BankBreakResolved | ReserveMoved]:
    check_none(context)
    resolution = state.break_resolutions.get(command.proposal)
    if resolution is not None:
        check_on(context)
        _check_other_person(resolution.by, resolution.clearing_house, context)
        _check_break_open(
            state, resolution.clearing_house, resolution.asset, resolution.bank, resolution.day
        )
        return [
            BankBreakResolved(
                asset=resolution.asset,
                bank=resolution.bank,
                clearing_house=resolution.clearing_house,
                day=resolution.day,
                proposal=command.proposal,
            )
        ]
    proposed = state.reserve_moves.get(command.proposal)
    if proposed is None:
        raise _unknown(command.proposal)
    _check_other_person(proposed.by, proposed.clearing_house, context)
    rules.check_business_time(state.assets[proposed.asset], context)
    leg = _leg(proposed)
    standing.check_moves(state, [leg], context)
    return [ReserveMoved(proposed.document, move([leg]), command.proposal)]


def withdraw_bank_proposal(
    state: State, command: WithdrawBankProposal, context: Context, move: Move
) -> list[BankProposalWithdrawn]:
    """By who made it, or by the clearing house."""
    check_none(context)
    check_on(context)
    found = state.break_resolutions.get(command.proposal) or state.reserve_moves.get(
        command.proposal
    )
    if found is None:
        raise _unknown(command.proposal)
    if found.by != context.caller.actor:
        _check_staff(context, found.clearing_house)
    return [BankProposalWithdrawn(command.proposal)]


def _leg(proposed: ReserveMoveProposed) -> Leg:
    reserve = Account(proposed.clearing_house, Purpose.CLEARING, RESERVE_REF)
    holder = Account(proposed.holder, Purpose.AVAILABLE, "")
    if proposed.draw:
        return Leg(proposed.amount_fen, proposed.asset, holder, reserve, [])
    return Leg(proposed.amount_fen, proposed.asset, reserve, holder, [])


def _check_proposal(state: State, context: Context) -> None:
    check_none(context)
    check_on(context)
    if context.id in state.break_resolutions or context.id in state.reserve_moves:
        raise Refused("PROPOSAL_EXISTS", f"proposal {context.id} is open", proposal=context.id)
    if len(state.break_resolutions) + len(state.reserve_moves) >= MAX_OPEN:
        raise Refused("TOO_MANY_PROPOSALS", f"expected at most {MAX_OPEN} open proposals")


def _check_break_open(state: State, clearing_house: str, asset: str, bank: str, day: str) -> None:
    account = find_bank_account(state, clearing_house, asset, bank)
    if day not in account.breaks:
        raise Refused(
            "UNKNOWN_BREAK", f"no open break of {day[:40]!r} with {bank}", Kind.UNKNOWN, bank=bank
        )


def _check_staff(context: Context, clearing_house: str) -> None:
    """The clearing house's own persons: what is another's they neither propose nor approve."""
    check_role(context, f"clearing:{clearing_house}")


def _check_other_person(by: Actor, clearing_house: str, context: Context) -> None:
    """By name alone: whoever has two issuers' tokens is still one person."""
    _check_staff(context, clearing_house)
    if by.sub == context.caller.actor.sub:
        raise Refused(
            "MAKER_IS_CHECKER", f"{by.sub} proposed this and may not approve it", Kind.FORBIDDEN
        )


def _unknown(id: str) -> Refused:
    return Refused("UNKNOWN_PROPOSAL", f"no open proposal {id[:60]!r}", Kind.UNKNOWN)
