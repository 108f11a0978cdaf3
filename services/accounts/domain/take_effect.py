"""Events about holders into state: see changes.py. Part of evolve.py, and like it never refuses."""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Callable
from typing import Any, Final

import msgspec

from services.accounts.domain.changes import (
    AccountClosed,
    AccountKind,
    AccountOpened,
    AccountTermsSet,
    BankAccountChanged,
    ChangeProposed,
    FundEntrusted,
    HolderStatusSet,
    MandateGranted,
    MandateRevoked,
    OperatorSet,
    ProposalRefused,
    ProposalWithdrawn,
    Status,
)
from services.accounts.domain.rebindings import on_bank_account_changed, on_stopped
from services.accounts.domain.state import Control, DatedTerms, Standing, State


def on_change_proposed(state: State, event: ChangeProposed) -> None:
    state.proposals[event.proposal] = event


def on_proposal_refused(state: State, event: ProposalRefused) -> None:
    state.proposals.pop(event.proposal, None)


def on_proposal_withdrawn(state: State, event: ProposalWithdrawn) -> None:
    if state.proposals.pop(event.proposal, None) is None:
        on_stopped(state, event.proposal)


def on_account_terms_set(state: State, event: AccountTermsSet) -> None:
    state.proposals.pop(event.proposal, None)
    asked = event.terms
    barred = {one.holder for one in asked.terms.parts if one.part in asked.terms.barred_parts}
    dated = DatedTerms(asked.effective_from_ms, asked.terms, barred)
    # Of two from one instant the later set counts: it goes behind.
    insort_right(state.account_terms.setdefault(asked.programme, []), dated, key=_from_ms)


def _from_ms(dated: DatedTerms) -> int:
    return dated.from_ms


def on_account_opened(state: State, event: AccountOpened) -> None:
    state.proposals.pop(event.proposal, None)
    opening = event.opening
    venue = opening.venue if opening.account == AccountKind.TRADING else ""
    state.openings[opening.holder, opening.programme] = venue


def on_account_closed(state: State, event: AccountClosed) -> None:
    state.proposals.pop(event.proposal, None)
    closing = event.closing
    key = (closing.holder, closing.programme)
    if closing.account == AccountKind.TRADING:
        state.openings[key] = ""
    else:
        del state.openings[key]


def on_operator_set(state: State, event: OperatorSet) -> None:
    if event.proposal is not None:
        state.proposals.pop(event.proposal, None)
    operator = event.operator
    control = state.controls.setdefault(operator.holder, Control())
    if control.operators is None:
        control.operators = {}
    person = f"{operator.person.iss} {operator.person.sub}"
    if operator.rights:
        control.operators[person] = operator
    else:  # an empty register lets nobody act: it is not the same as none
        control.operators.pop(person, None)


def on_fund_entrusted(state: State, event: FundEntrusted) -> None:
    state.proposals.pop(event.proposal, None)
    state.controls[event.fund.fund].manager = event.fund.manager


def on_mandate_granted(state: State, event: MandateGranted) -> None:
    state.proposals.pop(event.proposal, None)
    state.mandates[event.proposal] = event.mandate
    for holder in (event.mandate.principal, event.mandate.agent):
        state.mandates_by_holder.setdefault(holder, []).append(event.proposal)


def on_mandate_revoked(state: State, event: MandateRevoked) -> None:
    mandate = state.mandates.pop(event.mandate)
    for holder in (mandate.principal, mandate.agent):
        left = state.mandates_by_holder[holder]
        left.remove(event.mandate)
        if not left:
            del state.mandates_by_holder[holder]


def on_holder_status_set(state: State, event: HolderStatusSet) -> None:
    if event.proposal is not None:
        state.proposals.pop(event.proposal, None)
    change = event.status
    standing = state.standings.setdefault(change.holder, Standing())
    if event.authority is None:
        standing.own = change.status
    else:
        state.status_orders.add((event.authority, event.number or ""))
        standing.orders[event.authority] = change.status
        if change.status == Status.ACTIVE:
            del standing.orders[event.authority]
    if standing == Standing():  # nothing is kept of who is free again
        del state.standings[change.holder]


EVOLVE_CHANGES: Final[dict[type[msgspec.Struct], Callable[[State, Any], None]]] = {
    ChangeProposed: on_change_proposed,
    ProposalRefused: on_proposal_refused,
    ProposalWithdrawn: on_proposal_withdrawn,
    AccountTermsSet: on_account_terms_set,
    AccountOpened: on_account_opened,
    AccountClosed: on_account_closed,
    BankAccountChanged: on_bank_account_changed,
    OperatorSet: on_operator_set,
    FundEntrusted: on_fund_entrusted,
    MandateGranted: on_mandate_granted,
    MandateRevoked: on_mandate_revoked,
    HolderStatusSet: on_holder_status_set,
}
