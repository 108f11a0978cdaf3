"""Safeguards that a programme asks of its holders, by its dated terms (safeguards.py has them).

Units of the programme leave a holder for somebody else only under safeguards of its own that are in
force and at least as strict: a list of trusted destinations with a delay, and a limit above which a
second operator approves. What an authority orders or a holder's own key signs is not held up.
"""

from __future__ import annotations

from kernel.errors import Refused
from kernel.values import Context
from services.accounts.domain import destinations, openings
from services.accounts.domain.changes import RequiredSafeguards
from services.accounts.domain.events import Leg, Purpose
from services.accounts.domain.state import State


def leaves(leg: Leg) -> bool:
    """Out of what its holder has available, to what somebody else has."""
    debit, credit = leg.debit, leg.credit
    available = debit.purpose == credit.purpose == Purpose.AVAILABLE
    return available and debit.holder != credit.holder


def check_promised(state: State, leg: Leg, context: Context) -> None:
    """What is only set aside for now: as if it went where it is meant to."""
    dated = openings.terms_at(state, state.assets[leg.asset].programme, context.on_ms)
    if dated is not None and dated.terms.safeguards is not None and leaves(leg):
        check_guarded(state, leg, dated.terms.safeguards, context.at_ms)


def check_guarded(state: State, leg: Leg, required: RequiredSafeguards, at_ms: int) -> None:
    holder = leg.debit.holder
    rules = destinations.in_force(state.safeguards.get(holder), at_ms)
    missing = ""
    if rules is None:
        missing = "safeguards in force"
    elif rules.delay_ms < required.delay_ms:
        missing = f"a delay of {required.delay_ms} ms or more"
    else:
        limit = destinations.limit_of(rules, leg.asset)
        if limit is None or limit > required.max_units:
            missing = f"a limit of {required.max_units} or less for {leg.asset}"
    if missing:
        raise Refused(
            "SAFEGUARDS_REQUIRED",
            f"the programme asks {holder} for {missing} before it sends {leg.asset} to others",
            holder=holder,
            asset=leg.asset,
            needed=missing,
        )
