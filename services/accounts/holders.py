"""Reads about holders from the state: status, openings, operators, mandates, open proposals.

Who sees them: registrars, auditors, and who may view for the holder. An answer is made before
anything is awaited: what stands in the state is the state's own.
"""

from __future__ import annotations

from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import Caller
from services.accounts.domain.changes import AccountKind, Change, ChangeProposed, Mandate, Operator
from services.accounts.domain.openings import check_known
from services.accounts.domain.operators import may_view
from services.accounts.domain.state import Control, DatedTerms, Standing, State

STAFF: Final = frozenset({"registrar", "auditor"})


def check_may_view(state: State, caller: Caller, holder: str, asset: str, on_ms: int) -> None:
    """What is a holder's is shown to who may view for it, and to auditors."""
    if "auditor" not in caller.roles and not may_view(state, caller, holder, asset, on_ms):
        raise Refused(
            "NOT_YOUR_ACCOUNT",
            f"{caller.actor.sub} does not view for {holder[:40]}",
            Kind.FORBIDDEN,
            holder=holder[:40],
        )


def check_may_ask(state: State, caller: Caller, holder: str, on_ms: int) -> None:
    """The same, and registrars: they keep the register of holders, not of balances."""
    if "registrar" not in caller.roles:
        check_may_view(state, caller, holder, "", on_ms)
    check_known(state, holder)


def standing_of(state: State, holder: str) -> Standing:
    return state.standings.get(holder, Standing())


def control_of(state: State, holder: str) -> Control:
    return state.controls.get(holder, Control())


def openings_of(state: State, holder: str) -> list[tuple[str, AccountKind, str]]:
    """Programme, account and venue of everything it has open."""
    found: list[tuple[str, AccountKind, str]] = []
    for programme in state.programmes:
        venue = state.openings.get((holder, programme))
        if venue is not None:
            found.append((programme, AccountKind.REGISTRATION, ""))
        if venue:
            found.append((programme, AccountKind.TRADING, venue))
    return found


def operators_of(state: State, holder: str) -> list[Operator]:
    return list((control_of(state, holder).operators or {}).values())


def mandates_of(state: State, holder: str) -> list[tuple[str, Mandate]]:
    return [(id, state.mandates[id]) for id in state.mandates_by_holder.get(holder, ())]


def terms_of(state: State, programme: str) -> list[DatedTerms]:
    return list(state.account_terms.get(programme, ()))


def proposals(
    state: State, caller: Caller, holder: str, after: str, limit: int, on_ms: int
) -> list[ChangeProposed]:
    """Open ones the caller may see, in the order of their ids, from just after one."""
    found: list[ChangeProposed] = []
    for id in sorted(state.proposals):
        one = state.proposals[id]
        concerned = holders_in(one.change)
        if id <= after or (holder and holder not in concerned):
            continue
        if (
            STAFF & caller.roles
            or one.proposed_by == caller.actor
            or any(may_view(state, caller, who, "", on_ms) for who in concerned)
        ):
            found.append(one)
            if len(found) == limit:
                break
    return found


def holders_in(change: Change) -> list[str]:
    """Whom a change is about."""
    found: list[str] = []
    if change.closing is not None:
        found.append(change.closing.holder)
    if change.rebinding is not None:
        found.append(change.rebinding.holder)
    if change.opening is not None:
        found.append(change.opening.holder)
    if change.operator is not None:
        found.append(change.operator.holder)
    if change.status is not None:
        found.append(change.status.holder)
    if change.mandate is not None:
        found += [change.mandate.principal, change.mandate.agent]
    if change.fund is not None:
        found += [change.fund.fund, change.fund.manager]
    return found
