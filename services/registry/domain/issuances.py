"""Issuances: proposed by one person, approved by another with the authority's own signature.

Both times the lots must fit into what is verified and neither issued nor on its way; from the
approval on they are taken. The accounts book then says yes, or no: then they are free again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from kernel.errors import Kind, Refused
from kernel.keyring import check_same, signed_statement
from kernel.values import Context, check_on, check_role, check_text
from services.registry.domain import rules
from services.registry.domain.acts import IssuanceApproval
from services.registry.domain.commands import (
    ApproveIssuance,
    CompleteIssuance,
    ProposeIssuance,
    RefuseIssuance,
)
from services.registry.domain.events import (
    IssuanceApproved,
    IssuanceCompleted,
    IssuanceProposed,
    IssuanceRefused,
    Lot,
    Owner,
)
from services.registry.domain.state import Issuance, Reduction, Stage, State

MAX_LOTS: Final = 64  # a leg each: as many as the accounts book takes in one entry


def propose_issuance(
    state: State, command: ProposeIssuance, context: Context
) -> list[IssuanceProposed]:
    """The event names the serials the batch would get, and the owner of each lot."""
    check_on(context)
    rules.check_name(command.issuance, "issuance")
    rules.check_once(
        command.issuance in state.issuances, "ISSUANCE_EXISTS", f"issuance {command.issuance}"
    )
    rules.check_asset(command.asset)
    rules.check_name(command.batch, "batch")
    rules.check_once(
        (command.asset, command.batch) in state.batches, "BATCH_EXISTS", f"batch {command.batch}"
    )
    check_text(command.document, "document", rules.MAX_TEXT_CHARS)
    _check_lots(state, command.lots)
    total_t = sum(lot.quantity_t for lot in command.lots)
    rules.check_amount(total_t, "quantity_t of all lots")
    return [
        IssuanceProposed(
            asset=command.asset,
            batch=command.batch,
            document=command.document,
            first=1,
            issuance=command.issuance,
            last=total_t,
            lots=command.lots,
            owners=[Owner(_owner(state, lot), lot.quantity_t) for lot in command.lots],
            programme=_programme(state, command.lots),
        )
    ]


def _check_lots(state: State, lots: list[Lot]) -> None:
    if not 1 <= len(lots) <= MAX_LOTS:
        raise Refused(
            "LOTS_COUNT",
            f"expected 1 to {MAX_LOTS} lots, got {len(lots)}",
            Kind.INVALID,
            limit=MAX_LOTS,
            actual=len(lots),
        )
    for lot in lots:
        rules.check_amount(lot.quantity_t, "quantity_t")
        find_reduction(state, lot.verification)
    check_left(state, lots)


def find_reduction(state: State, verification: str) -> Reduction:
    found = state.reductions.get(verification)
    if found is None:
        raise Refused(
            "UNKNOWN_VERIFICATION",
            f"no verification {verification[:80]!r}",
            Kind.UNKNOWN,
            verification=verification[:80],
        )
    return found


def check_left(state: State, lots: Iterable[Lot]) -> None:
    """No more is issued than was verified (domain 2.5); a reduction may stand in several lots."""
    wanted: Counter[str] = Counter()
    for lot in lots:
        wanted[lot.verification] += lot.quantity_t
    for verification, quantity_t in wanted.items():
        left_t = state.reductions[verification].left_t
        if quantity_t > left_t:
            raise Refused(
                "ISSUANCE_EXCEEDS_VERIFIED",
                f"{verification}: needed {quantity_t} t, available {left_t} t",
                needed=quantity_t,
                available=left_t,
                verification=verification,
            )


def _owner(state: State, lot: Lot) -> str:
    return state.projects[state.reductions[lot.verification].verified.project].filed.owner


def _programme(state: State, lots: list[Lot]) -> str:
    """The one programme of all lots."""
    projects = [state.reductions[lot.verification].verified.project for lot in lots]
    programmes = {state.projects[project].filed.programme for project in projects}
    if len(programmes) > 1:
        raise Refused(
            "MIXED_PROGRAMMES",
            f"expected lots of one programme, got {', '.join(sorted(programmes))}",
            actual=" ".join(sorted(programmes)),
        )
    return programmes.pop()


def approve_issuance(
    state: State, command: ApproveIssuance, context: Context
) -> list[IssuanceApproved]:
    check_on(context)
    issuance = _in_stage(state, command.issuance, Stage.PROPOSED)
    checker = context.caller.actor
    # By name alone, as the statement names the checker: its signer cannot tell issuers apart.
    if checker.sub == issuance.envelope.actor.sub:
        raise Refused(
            "MAKER_IS_CHECKER",
            f"{checker.sub} proposed {command.issuance} and may not approve it",
            Kind.FORBIDDEN,
        )
    proposed = issuance.proposed
    signed = signed_statement(
        state.keyring, context, IssuanceApproval, f"authority:{proposed.programme}"
    )
    check_same("checker", signed.checker, checker.sub)
    for what in ("asset", "batch", "document", "first", "last", "owners", "programme"):
        check_same(what, getattr(signed, what), getattr(proposed, what))
    check_left(state, proposed.lots)  # others may have been approved since it was proposed
    return [IssuanceApproved(command.issuance)]


def _in_stage(state: State, name: str, stage: Stage) -> Issuance:
    issuance = state.issuances.get(name)
    if issuance is None:
        raise Refused(
            "UNKNOWN_ISSUANCE", f"no issuance {name[:80]!r}", Kind.UNKNOWN, issuance=name[:80]
        )
    if issuance.process.stage != stage:
        raise Refused(
            "ISSUANCE_STAGE",
            f"{name}: expected it {stage}, it is {issuance.process.stage}",
            expected=stage.value,
            actual=issuance.process.stage.value,
        )
    return issuance


def complete_issuance(
    state: State, command: CompleteIssuance, context: Context
) -> list[IssuanceCompleted]:
    check_role(context, "system")
    _in_stage(state, command.issuance, Stage.REQUESTED)
    return [IssuanceCompleted(command.issuance)]


def refuse_issuance(
    state: State, command: RefuseIssuance, context: Context
) -> list[IssuanceRefused]:
    check_role(context, "system")
    _in_stage(state, command.issuance, Stage.REQUESTED)
    return [IssuanceRefused(command.details, command.issuance, command.message, command.reason)]
