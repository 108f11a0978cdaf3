"""Mandates: a group company acts for its plants, an operator for its tenants.

The caller names the mandate it acts under, and the event repeats it. It counts on its Shanghai days
by business time, and by the time of recording not after its last: back-dating revives nothing. A
revocation takes effect at once. What an agent may do is the mandate's right and its operator's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import Context, check_day, shanghai_day
from services.accounts.domain.changes import HolderKind, Mandate, Right, Status
from services.accounts.domain.openings import (
    check_count,
    check_different,
    check_document,
    check_known,
    check_programme,
)
from services.accounts.domain.state import State

MAX_SCOPE: Final = 200  # assets, programmes of one mandate
MAX_MANDATES: Final = 1000  # live ones of one principal


def find(state: State, mandate: str) -> Mandate:
    found = state.mandates.get(mandate)
    if found is None:
        raise Refused(
            "UNKNOWN_MANDATE",
            f"no live mandate {mandate[:60]!r}: it never was, or is revoked",
            Kind.UNKNOWN,
        )
    return found


def check_scope(
    state: State,
    mandate: Mandate,
    rights: Collection[Right],
    assets: Collection[str],
    context: Context,
) -> None:
    """The mandate is of these days and covers all of this."""
    on, at = shanghai_day(context.on_ms), shanghai_day(context.at_ms)
    if not (mandate.first_day <= on <= mandate.last_day and at <= mandate.last_day):
        raise Refused(
            "MANDATE_NOT_IN_FORCE",
            f"expected business time in {mandate.first_day}..{mandate.last_day} and a recording"
            f" until then, got {on} recorded on {at}",
            first_day=mandate.first_day,
            last_day=mandate.last_day,
            on=on,
            at=at,
        )
    outside = [str(right) for right in rights if right not in mandate.rights]
    outside += [asset for asset in assets if not _in_scope(state, mandate, asset)]
    if outside:
        raise Refused(
            "MANDATE_SCOPE",
            f"{mandate.agent} has no mandate of {mandate.principal} for {' '.join(outside)[:200]}",
            Kind.FORBIDDEN,
            principal=mandate.principal,
            outside=" ".join(outside)[:200],
        )


def _in_scope(state: State, mandate: Mandate, asset: str) -> bool:
    if not mandate.assets and not mandate.programmes:
        return True
    return asset in mandate.assets or state.assets[asset].programme in mandate.programmes


def covers(state: State, mandate: Mandate, right: Right, asset: str, on_ms: int) -> bool:
    """For reads: without an asset only a mandate for all of them does."""
    if right not in mandate.rights:
        return False
    if not mandate.first_day <= shanghai_day(on_ms) <= mandate.last_day:
        return False
    if not asset:
        return not mandate.assets and not mandate.programmes
    return asset in state.assets and _in_scope(state, mandate, asset)


def given_by(state: State, holder: str) -> Iterator[Mandate]:
    for id in state.mandates_by_holder.get(holder, ()):
        mandate = state.mandates[id]
        if mandate.principal == holder:
            yield mandate


def check_mandate(state: State, asked: Mandate, context: Context) -> None:
    """What makes a mandate right, when offered and again when accepted."""
    for holder in (asked.principal, asked.agent):
        _check_party(state, holder)
    if asked.principal == asked.agent:
        raise Refused("SAME_HOLDER", "expected two different holders", Kind.INVALID)
    check_document(asked.document)
    check_count("rights", len(asked.rights), len(Right), least=1)
    if Right.ADMINISTER in asked.rights:
        raise Refused("RIGHT_NOT_GIVEN_ON", "no mandate gives the right to administer")
    check_day(asked.first_day, "first_day")
    check_day(asked.last_day, "last_day")
    if not max(asked.first_day, shanghai_day(context.at_ms)) <= asked.last_day:
        raise Refused(
            "PERIOD_REVERSED",
            f"expected a last day from {asked.first_day} on that is not over, got {asked.last_day}",
            Kind.INVALID,
        )
    _check_extent(state, asked)
    given = len(state.mandates_by_holder.get(asked.principal, ()))
    check_count("mandates", given + 1, MAX_MANDATES)


def _check_party(state: State, holder: str) -> None:
    check_known(state, holder)
    if state.holders[holder] == HolderKind.FUND:
        raise Refused("FUND_UNDER_MANDATE", f"{holder} is a fund: only its manager moves it")
    check_not_closed(state, holder)


def check_not_closed(state: State, holder: str) -> None:
    standing = state.standings.get(holder)
    if standing is not None and standing.own == Status.CLOSED:
        raise Refused(
            "STATUS_FORBIDS", f"{holder} is closed", holder=holder, status=Status.CLOSED.value
        )


def _check_extent(state: State, asked: Mandate) -> None:
    for what, words in (("assets", asked.assets), ("programmes", asked.programmes)):
        check_count(what, len(words), MAX_SCOPE)
        check_different(what, words)
    check_different("rights", list(map(str, asked.rights)))
    for asset in asked.assets:
        if asset not in state.assets:
            raise Refused(
                "UNKNOWN_ASSET", f"no asset {asset[:60]!r}", Kind.UNKNOWN, asset=asset[:60]
            )
    for programme in asked.programmes:
        check_programme(state, programme)
