"""Closing one account of a programme, by two registrars: its holder and its other accounts go on.

A trading account closes when nothing of the programme is left at its venue, a registration account
when no trading account is left and nothing of the programme anywhere. What an order could be about
lies in trading, so none is live. Opened again it is as it was opened first: by two persons, with
its papers.
"""

from __future__ import annotations

from collections.abc import Iterator

from kernel.errors import Kind, Refused
from kernel.values import Context, check_text
from services.accounts.domain.changes import AccountKind, Closing
from services.accounts.domain.events import Purpose, Unit
from services.accounts.domain.openings import (
    account_not_open,
    check_document,
    check_known,
    check_programme,
)
from services.accounts.domain.state import AccountKey, State


def check_closing(state: State, asked: Closing, context: Context) -> None:
    """When proposed and again when approved."""
    check_known(state, asked.holder)
    check_programme(state, asked.programme)
    check_document(asked.document)
    check_text(asked.reason, "reason", 500)
    _check_opened(state, asked)
    left = sorted(_left(state, asked))
    if left:
        raise Refused(
            "ACCOUNT_NOT_EMPTY",
            f"the {asked.account} account of {asked.holder} in {asked.programme} cannot be closed:"
            f" expected nothing left, got {len(left)}, one is {left[0][:200]}",
            holder=asked.holder,
            actual=len(left),
        )


def _check_opened(state: State, asked: Closing) -> None:
    venue = state.openings.get((asked.holder, asked.programme))
    if asked.account == AccountKind.TRADING:
        if not asked.venue or venue != asked.venue:
            raise account_not_open(asked.holder, asked.programme, f"trading at {asked.venue[:40]}")
        return
    if asked.venue:
        raise Refused("VENUE_UNEXPECTED", "a registration account has no venue", Kind.INVALID)
    if venue is None:
        raise account_not_open(asked.holder, asked.programme, "registration")
    if venue:
        raise Refused(
            "TRADING_ACCOUNT_OPEN",
            f"{asked.holder} still has its trading account of {asked.programme} at {venue}",
            holder=asked.holder,
            venue=venue,
        )


def _left(state: State, asked: Closing) -> Iterator[str]:
    for key in state.keys_by_holder.get(asked.holder, ()):
        if _belongs(state, asked, key):
            yield f"{key[1]} in {key[2]} {key[3]}"
    if asked.account == AccountKind.REGISTRATION:
        for id, hold in state.holds.items():
            promised = hold.to.holder == asked.holder
            if promised and state.assets[hold.asset].programme == asked.programme:
                yield f"hold {id}"


def _belongs(state: State, asked: Closing, key: AccountKey) -> bool:
    _, asset, purpose, ref = key
    own = state.assets[asset].programme == asked.programme
    if asked.account == AccountKind.REGISTRATION:
        return own
    if purpose != Purpose.TRADING or ref != asked.venue:
        return False
    return own or (state.assets[asset].unit == Unit.FEN and not _trades_elsewhere(state, asked))


def _trades_elsewhere(state: State, asked: Closing) -> bool:
    """Money at a venue may be there for the units of another programme."""
    return any(
        state.openings.get((asked.holder, programme)) == asked.venue
        for programme in state.programmes
        if programme != asked.programme
    )
