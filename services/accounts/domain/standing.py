"""What a holder's status lets happen to its units, and what terms of a programme forbid.

                          active   restricted  suspended  frozen  closed
    receive                 yes       yes         yes       no      no
    retire, surrender       yes       yes         no        no      no
    transfer, hold, pay     yes       no          no        no      no
    trade: allocate, buy    yes       no          no        no      no
    pledge                  yes       no          no        no      no
    come back to its own    yes       yes         yes       yes      -

What comes back (a hold's rest, a release from trading or from a lien) leaves nobody and is never in
the way: so no unit can escape by it, and no timer be stopped. Two layers: what two registrars have
set, and what each authority (for units of its programme) or court (for everything) has ordered; the
strictest counts, and each is lifted by who set it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from kernel.errors import Refused
from kernel.values import Context
from services.accounts.domain import openings, required
from services.accounts.domain.changes import Status
from services.accounts.domain.events import (
    EntryPosted,
    HoldPlaced,
    HoldPosted,
    Leg,
    Purpose,
    Unit,
)
from services.accounts.domain.state import DatedTerms, State


class Flow(StrEnum):
    """What a leg is for one of its two holders."""

    RECEIVE = "receive"
    RETIRE = "retire"
    TRANSFER = "transfer"
    TRADE = "trade"
    PLEDGE = "pledge"


ALLOWED: Final[dict[Status, frozenset[Flow]]] = {
    Status.ACTIVE: frozenset(Flow),
    Status.RESTRICTED: frozenset({Flow.RECEIVE, Flow.RETIRE}),
    Status.SUSPENDED: frozenset({Flow.RECEIVE}),
    Status.FROZEN: frozenset(),
    Status.CLOSED: frozenset(),
}

# From purpose to purpose: what it is for who is debited, and for who is credited.
Flows = tuple[Flow | None, Flow | None]
_FLOWS: Final[dict[tuple[Purpose, Purpose], Flows]] = {
    (Purpose.ISSUED, Purpose.AVAILABLE): (None, Flow.RECEIVE),
    (Purpose.EXTERNAL, Purpose.AVAILABLE): (None, Flow.RECEIVE),
    (Purpose.AVAILABLE, Purpose.AVAILABLE): (Flow.TRANSFER, Flow.RECEIVE),
    (Purpose.AVAILABLE, Purpose.HELD): (Flow.TRANSFER, None),
    (Purpose.HELD, Purpose.AVAILABLE): (Flow.TRANSFER, Flow.RECEIVE),
    (Purpose.AVAILABLE, Purpose.TRADING): (Flow.TRADE, None),
    (Purpose.TRADING, Purpose.TRADING): (Flow.TRADE, Flow.TRADE),
    (Purpose.AVAILABLE, Purpose.RETIRED): (Flow.RETIRE, None),
    (Purpose.AVAILABLE, Purpose.SURRENDERED): (Flow.RETIRE, None),
    (Purpose.AVAILABLE, Purpose.PLEDGED): (Flow.PLEDGE, None),
}
_OTHER: Final[Flows] = (Flow.TRANSFER, Flow.RECEIVE)
# What holders and venues move. What an authority orders and what a timer ends is not theirs.
JUDGED: Final = (EntryPosted, HoldPlaced, HoldPosted)
_COMES_BACK: Final[Flows] = (None, None)
_SET_ASIDE: Final = frozenset({Purpose.HELD, Purpose.TRADING, Purpose.PLEDGED})


def check_events(state: State, events: Sequence[msgspec.Struct], context: Context) -> None:
    """The gate behind every rule; a rule may ask check_moves before, to say no sooner."""
    for event in events:
        if isinstance(event, JUDGED):
            mandate = event.mandate
            agent = None if mandate is None else state.mandates[mandate].agent
            check_moves(state, event.legs, context, agent)


def check_moves(
    state: State, legs: Sequence[Leg], context: Context, agent: str | None = None
) -> None:
    """Both sides of every leg may do this, and so may who acts for them."""
    for leg in legs:
        if agent is not None or _is_judged(state, leg):
            _check_leg(state, leg, context, agent)


def _is_judged(state: State, leg: Leg) -> bool:
    """Is anything said of either holder or of the programme? For most there is not."""
    debited, credited = leg.debit.holder, leg.credit.holder
    standings, controls = state.standings, state.controls
    return (
        debited in standings
        or credited in standings
        or debited in controls
        or credited in controls
        or state.assets[leg.asset].programme in state.account_terms
    )


def flows_of(leg: Leg) -> Flows:
    own = leg.debit.holder == leg.credit.holder
    if own and leg.credit.purpose == Purpose.AVAILABLE and leg.debit.purpose in _SET_ASIDE:
        return _COMES_BACK
    return _FLOWS.get((leg.debit.purpose, leg.credit.purpose), _OTHER)


def _check_leg(state: State, leg: Leg, context: Context, agent: str | None) -> None:
    programme = state.assets[leg.asset].programme
    dated = openings.terms_at(state, programme, context.on_ms)
    out, into = flows_of(leg)
    if out is not None:
        for party in _parties(state, leg.debit.holder, agent):
            _check_party(state, party, out, dated, programme)
    if into is not None:
        for party in _parties(state, leg.credit.holder, None):
            _check_party(state, party, into, dated, programme)
    if dated is None:
        return
    if dated.terms.opening_required:
        _check_opened(state, leg, dated, programme)
    if dated.terms.safeguards is not None and required.leaves(leg):
        required.check_guarded(state, leg, dated.terms.safeguards, context.at_ms)


def _parties(state: State, holder: str, agent: str | None) -> Iterable[str]:
    """The holder, a fund's manager behind it, and the agent who acts for it."""
    yield holder
    control = state.controls.get(holder)
    if control is not None and control.manager:
        yield control.manager
    if agent is not None and agent != holder:
        yield agent


def _check_party(
    state: State, holder: str, flow: Flow, dated: DatedTerms | None, programme: str
) -> None:
    standing = state.standings.get(holder)
    status = Status.ACTIVE if standing is None else standing.status(programme)
    if flow not in ALLOWED[status]:
        raise Refused(
            "STATUS_FORBIDS",
            f"{holder} is {status}: it may not {flow}",
            holder=holder,
            status=status.value,
            flow=flow.value,
        )
    if flow == Flow.TRADE and dated is not None:
        openings.check_not_barred(state, dated, holder, programme)


def _check_opened(state: State, leg: Leg, dated: DatedTerms, programme: str) -> None:
    if state.assets[leg.asset].unit == Unit.FEN and not dated.terms.money_too:
        return
    to = leg.credit
    if to.purpose == Purpose.AVAILABLE and to.holder != leg.debit.holder:
        openings.check_open(state, to.holder, programme, None)
    elif to.purpose == Purpose.TRADING:
        openings.check_open(state, to.holder, programme, to.ref)
