"""How a holder's status is set: by two registrars, or by a signed order of an authority or a court.

An authority's order reaches the units of its own programme, a court's everything, money too. Each
layer is its own: registrars cannot lift what was ordered, nor one authority what another has.
Closed is for ever, and only for who has nothing left and binds nobody.
"""

from __future__ import annotations

from typing import Final

from kernel.errors import Kind, Refused
from kernel.keyring import check_same, signed_statement
from kernel.values import Context, check_on, check_role, check_text
from services.accounts.domain.acts import HolderStatusOrder, check_once
from services.accounts.domain.changes import HolderStatusSet, Status, StatusChange
from services.accounts.domain.commands import OrderStatus
from services.accounts.domain.events import Purpose
from services.accounts.domain.openings import check_document, check_known
from services.accounts.domain.state import COURT, Standing, State

ORDERING: Final = ("authority:", COURT)


def check_status(state: State, asked: StatusChange) -> None:
    """By registrars: when proposed and again when approved."""
    _check_words(state, asked)
    if asked.status == Status.CLOSED:
        check_nothing_left(state, asked.holder)


def _check_words(state: State, asked: StatusChange) -> None:
    check_known(state, asked.holder)
    check_text(asked.reason, "reason", 500)
    check_document(asked.document)
    standing = state.standings.get(asked.holder, Standing())
    if standing.own == Status.CLOSED:
        raise Refused("HOLDER_CLOSED", f"{asked.holder} is closed for ever", holder=asked.holder)


def check_nothing_left(state: State, holder: str) -> None:
    """No balance of any purpose (so no hold, no lien), and nothing that others have bound to it."""
    left = [
        *(f"{key[1]} in {key[2]}" for key in state.keys_by_holder.get(holder, ())),
        *(f"hold {id}" for id, hold in state.holds.items() if hold.to.holder == holder),
        *(f"lien {lien}" for lien in _live_liens(state, holder)),
        *(f"mandate {id}" for id in state.mandates_by_holder.get(holder, ())),
        *(f"fund {fund}" for fund, one in state.controls.items() if one.manager == holder),
    ]
    if left:
        raise Refused(
            "HOLDER_NOT_EMPTY",
            f"{holder} cannot be closed: expected nothing left, got {len(left)}, one is"
            f" {min(left)[:200]}",
            holder=holder,
            actual=len(left),
        )


def _live_liens(state: State, pledgee: str) -> set[str]:
    """Liens in favour of a holder under which something still lies."""
    own = {lien for lien, one in state.liens.items() if one.pledgee == pledgee}
    if not own:
        return own
    pledged = {ref for _, _, purpose, ref in state.accounts if purpose == Purpose.PLEDGED}
    return own & pledged


def order_status(state: State, command: OrderStatus, context: Context) -> list[HolderStatusSet]:
    """An order, handed in by a registrar; the signature of who ordered is what makes it right."""
    check_role(context, "registrar")
    check_on(context)
    asked = command.status
    _check_words(state, asked)
    if asked.status == Status.CLOSED:
        raise Refused("ORDER_CANNOT_CLOSE", "a holder is closed by two registrars")
    check_text(command.authority, "authority", 80)
    check_text(command.number, "number", 80)
    if not command.authority.startswith(ORDERING):
        raise Refused(
            "ORDERS_NOTHING",
            f"expected an authority: or a court:, got {command.authority[:40]!r}",
            Kind.INVALID,
        )
    signed = signed_statement(state.keyring, context, HolderStatusOrder, command.authority)
    for what, expected, actual in (
        ("authority", signed.authority, command.authority),
        ("document", signed.document, asked.document.digest),
        ("holder", signed.holder, asked.holder),
        ("number", signed.number, command.number),
        ("reason", signed.reason, asked.reason),
        ("status", signed.status, asked.status.value),
    ):
        check_same(what, expected, actual)
    known = (command.authority, command.number) in state.status_orders
    check_once(known, "ORDER_BOOKED", f"order {command.number} of {command.authority}")
    return [HolderStatusSet(authority=command.authority, number=command.number, status=asked)]
