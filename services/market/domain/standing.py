"""Who may trade: what the accounts book says of a holder's status, of which only `active` may.

Two layers as there: what registrars have set, and what each authority or court has ordered. An
authority's order reaches the units of its own programme: an instrument that says whose units it is
about is out of reach of every other authority, and one that does not is in reach of all. Heard of
after the fact: what was matched before is settled or refused by the accounts book.
"""

from __future__ import annotations

from typing import Final

from kernel.errors import Refused
from kernel.values import Context, check_role
from services.market.domain.commands import HearStanding
from services.market.domain.events import OrderCancelled, StandingHeard
from services.market.domain.state import Instrument, State

ACTIVE: Final = "active"
FORBIDDEN: Final = "STATUS_FORBIDS"
_AUTHORITY: Final = "authority:"


def hear_standing(
    state: State, command: HearStanding, context: Context
) -> list[StandingHeard | OrderCancelled]:
    """From the reaction alone. Who may not trade any more has no order in the book either."""
    check_role(context, "system")
    heard = StandingHeard(command.authority, command.holder, command.status)
    if command.status == ACTIVE:
        return [heard]
    ended = [
        OrderCancelled(order.order, FORBIDDEN)
        for order in state.orders.values()
        if order.holder == command.holder
        and _reaches(command.authority, state.instruments[order.instrument])
    ]
    return [heard, *ended]


def check_may_trade(state: State, holder: str, instrument: Instrument) -> None:
    """For most nothing is known that forbids it: one look-up."""
    for authority, status in state.barred.get(holder, {}).items():
        if _reaches(authority, instrument):
            by = f" by {authority}" if authority else ""
            raise Refused(
                "STATUS_FORBIDS",
                f"{holder} is {status}{by}: it may not trade",
                holder=holder,
                status=status,
                flow="trade",
            )


def _reaches(authority: str, instrument: Instrument) -> bool:
    if not authority.startswith(_AUTHORITY) or not instrument.defined.units_of:
        return True
    return authority == _AUTHORITY + instrument.defined.units_of


def on_standing_heard(state: State, event: StandingHeard) -> None:
    layers = state.barred.setdefault(event.holder, {})
    layers[event.authority] = event.status
    if event.status == ACTIVE:
        del layers[event.authority]
    if not layers:
        del state.barred[event.holder]
