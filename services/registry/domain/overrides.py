"""What an order of an authority or a court takes out from under a lien (domain 2.6).

The order is carried out in the accounts book, on its signature alone; here the pledge ends with it,
as far as it reached. The answer may come while the pledge or a release of it is still on its way:
what was taken stays noted on the lien, and the release of what is not there any more is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.values import Context, check_role
from services.registry.domain.commands import OverridePledges
from services.registry.domain.events import PledgeOverridden, SerialRange
from services.registry.domain.serials import uncover, without
from services.registry.domain.state import Lien, Override, Stage, State


def override_pledges(
    state: State, command: OverridePledges, context: Context
) -> list[PledgeOverridden]:
    """Whatever lien the accounts book names: it has happened there."""
    check_role(context, "system")
    return [
        PledgeOverridden(
            command.authority,
            command.document,
            taken.lien,
            taken.quantity_t,
            taken.serials,
            command.transfer,
        )
        for taken in command.taken
    ]


def on_pledge_overridden(state: State, event: PledgeOverridden) -> None:
    lien = state.liens.get(event.lien)
    if lien is None:
        return  # pledged there without this registry
    cause = state.envelope.cause
    lien.overrides.append(Override(event, 0 if cause is None else cause[1]))
    if lien.process.stage == Stage.COMPLETED:
        take_out(state, lien, event.quantity_t, event.serials)


def take_overridden(state: State, lien: Lien) -> None:
    """It is registered only now, and the order was faster."""
    for one in lien.overrides:
        take_out(state, lien, one.said.quantity_t, one.said.serials)


def take_out(state: State, lien: Lien, quantity_t: int, serials: Sequence[SerialRange]) -> None:
    lien.pledged_t -= quantity_t
    lien.serials = without(lien.serials, serials)
    for block in serials:
        pledged = state.serial_liens.get((lien.asked.asset, block.batch), [])
        uncover(pledged, block)
        if not pledged:
            state.serial_liens.pop((lien.asked.asset, block.batch), None)
