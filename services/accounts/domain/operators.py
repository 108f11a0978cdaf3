"""Who may act for a holder: the token says for whom, the book says who and what.

A token's `holders` claim is always needed. For a holder with a register its subject must stand in
it too, with the right and within its limits. A fund is moved by operators of its manager alone.
Under a mandate, operators of the agent act for the principal, within its scope (mandates.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import MAX_INTEGER, Caller, Context, check_operates, check_text
from services.accounts.domain import mandates
from services.accounts.domain.changes import Operator, Right
from services.accounts.domain.events import Leg, Unit
from services.accounts.domain.openings import check_count, check_different, check_known
from services.accounts.domain.standing import Flow, flows_of
from services.accounts.domain.state import Control, State

MAX_OPERATORS: Final = 200  # of one holder

_NEEDS: Final[Mapping[Flow | None, Right]] = {
    Flow.TRANSFER: Right.TRANSFER,
    Flow.TRADE: Right.TRADE,
    Flow.RETIRE: Right.RETIRE,
}


@dataclass(slots=True)
class Wanted:
    """What somebody wants to do for one holder in one command."""

    rights: set[Right]
    assets: set[str] = field(default_factory=set)
    units: int = 0
    fen: int = 0


def check_movers(
    state: State, legs: Sequence[Leg], mandate: str | None, context: Context
) -> str | None:
    """The caller may debit every holder that is debited. Answers the agent, under a mandate."""
    controls, own = state.controls, context.caller.holders
    if mandate is None:
        for leg in legs:
            holder = leg.debit.holder
            if holder not in own or holder in controls or leg.credit.holder in controls:
                break
        else:  # tokens decide alone: the common case, and a quick one
            return None
    wanted: dict[str, Wanted] = {}
    for leg in legs:
        right = _NEEDS.get(flows_of(leg)[0], Right.TRANSFER)
        one = wanted.setdefault(leg.debit.holder, Wanted(set()))
        one.rights.add(right)
        _add(state, one, leg)
    _check_no_mixing(state, legs)
    return check_all(state, wanted, mandate, context)


def _add(state: State, wanted: Wanted, leg: Leg) -> None:
    wanted.assets.add(leg.asset)
    if state.assets[leg.asset].unit == Unit.FEN:
        wanted.fen += leg.amount
    else:
        wanted.units += leg.amount


def check_holding(
    state: State, holder: str, leg: Leg, mandate: str | None, context: Context
) -> str | None:
    """The caller may place, take or let go a hold for this holder."""
    if mandate is None and holder not in state.controls:
        check_operates(context, holder)
        return None
    wanted = Wanted({Right.HOLD})
    wanted.assets.add(leg.asset)
    if leg.debit.holder == holder:  # what is taken in is nobody's to limit
        _add(state, wanted, leg)
    return check_all(state, {holder: wanted}, mandate, context)


def check_all(
    state: State, wanted: Mapping[str, Wanted], mandate: str | None, context: Context
) -> str | None:
    under = None if mandate is None else mandates.find(state, mandate)
    if under is not None and under.principal not in wanted:
        raise Refused(
            "MANDATE_UNUSED",
            f"nothing here is done for {under.principal}",
            Kind.INVALID,
            mandate=mandate or "",
        )
    for holder, one in wanted.items():
        acting = holder
        if under is not None and holder == under.principal:
            mandates.check_scope(state, under, one.rights, one.assets, context)
            acting = under.agent
        check_acts(state, context, acting, one)
    return None if under is None else under.agent


def check_acts(state: State, context: Context, holder: str, wanted: Wanted) -> None:
    """The caller operates for this holder, or for the manager of this fund, with these rights."""
    acting = acting_for(state, holder)
    check_operates(context, acting)
    control = state.controls.get(acting)
    if control is None or control.operators is None:
        return
    operator = control.operators.get(context.caller.principal)
    missing = wanted.rights.difference(() if operator is None else operator.rights)
    if operator is None or missing:
        raise _no_right(context, acting, missing)
    for what, most, asked in (
        ("max_units", operator.max_units, wanted.units),
        ("max_fen", operator.max_fen, wanted.fen),
    ):
        if most is not None and asked > most:
            raise Refused(
                "OPERATOR_LIMIT",
                f"{what} of {context.caller.actor.sub} for {acting}: limit {most}, got {asked}",
                Kind.FORBIDDEN,
                holder=acting,
                limit=most,
                actual=asked,
            )


def _no_right(context: Context, holder: str, missing: set[Right]) -> Refused:
    words = " ".join(sorted(missing))
    return Refused(
        "OPERATOR_RIGHT",
        f"{context.caller.actor.sub} is no operator of {holder} with the right to {words}",
        Kind.FORBIDDEN,
        holder=holder,
        needed=words,
    )


def acting_for(state: State, holder: str) -> str:
    """The holder itself, or the manager of a fund; a fund without one is moved by nobody."""
    control = state.controls.get(holder)
    if control is None or control.manager is None:
        return holder
    if not control.manager:
        raise Refused("FUND_WITHOUT_MANAGER", f"{holder} has no manager", holder=holder)
    return control.manager


def check_right(state: State, context: Context, holder: str, right: Right) -> None:
    """One right, without an amount."""
    check_acts(state, context, holder, Wanted({right}))


def is_named(context: Context, holder: str) -> bool:
    """Does the token say that its subject acts for this holder? That alone lets nothing happen."""
    return holder in context.caller.holders


def check_administers(state: State, context: Context, holder: str) -> None:
    """An administrator who stands in the holder's register: a token alone makes nobody one."""
    control = state.controls.get(holder)
    if control is None or control.operators is None:
        raise Refused(
            "NO_REGISTER",
            f"{holder} has no operators yet: two registrars set the first",
            holder=holder,
        )
    check_right(state, context, holder, Right.ADMINISTER)


def check_operator(state: State, asked: Operator) -> None:
    """What makes an operator's row right, when proposed and again when approved."""
    check_known(state, asked.holder)
    control = state.controls.get(asked.holder, Control())
    if control.manager is not None:
        raise Refused(
            "FUND_HAS_NO_OPERATORS",
            f"{asked.holder} is a fund: operators of its manager act for it",
            holder=asked.holder,
        )
    check_text(asked.person.iss, "person.iss", 200)
    check_text(asked.person.sub, "person.sub", 200)
    check_different("rights", list(map(str, asked.rights)))
    for what, most in (("max_units", asked.max_units), ("max_fen", asked.max_fen)):
        if most is not None:
            check_count(what, most, MAX_INTEGER)
    check_count("operators", len(control.operators or ()) + 1, MAX_OPERATORS + 1)


def _check_no_mixing(state: State, legs: Iterable[Leg]) -> None:
    """What a fund and its manager do is never one entry, unless every leg is between the two."""
    pairs = [(leg.debit.holder, leg.credit.holder) for leg in legs]
    touched = {holder for pair in pairs for holder in pair}
    for fund in touched:
        control = state.controls.get(fund)
        if control is None or not control.manager or control.manager not in touched:
            continue
        if any(set(pair) != {fund, control.manager} for pair in pairs):
            raise Refused(
                "FUND_MIXED",
                f"{fund} and its manager {control.manager} in one entry: every leg must be between"
                " the two",
                fund=fund,
                manager=control.manager,
            )


def may_view(state: State, caller: Caller, holder: str, asset: str, on_ms: int) -> bool:
    """By token and register, for a fund by its manager's, or by a mandate to view."""
    control = state.controls.get(holder)
    acting = control.manager if control is not None and control.manager is not None else holder
    if _views(state, caller, acting):
        return True
    return any(
        _views(state, caller, one.agent) and mandates.covers(state, one, Right.VIEW, asset, on_ms)
        for one in mandates.given_by(state, holder)
    )


def _views(state: State, caller: Caller, holder: str) -> bool:
    if holder not in caller.holders:
        return False
    control = state.controls.get(holder)
    if control is None or control.operators is None:
        return True
    operator = control.operators.get(caller.principal)
    return operator is not None and Right.VIEW in operator.rights
