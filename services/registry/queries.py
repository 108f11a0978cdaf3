"""Reads of the registry service: what stands from the state, retirements from the read model.

What a function here answers from the state is still the state's own: it is turned into an answer
before anything is awaited.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from kernel.errors import Kind, Refused
from kernel.values import Caller
from services.registry.domain.events import SerialRange
from services.registry.domain.serials import covering
from services.registry.domain.state import (
    Issuance,
    Lien,
    Programme,
    Project,
    SerialLien,
    Stage,
    State,
)
from services.registry.tables import retired_serials, retirements

MAX_NAMED: Final = 1000  # issuances, liens in one answer
MAX_LIENS_OF_BATCH: Final = 50_000  # ranges of some 80 bytes: half of what a message may hold

RetirementRow: TypeAlias = "sa.Row[Any]"  # a row of the retirements table


def programmes(state: State, programme: str) -> list[Programme]:
    """One, if it is there, or all in the order they were opened."""
    if not programme:
        return list(state.programmes.values())
    found = state.programmes.get(programme)
    return [] if found is None else [found]


def projects(state: State, programme: str, after: int, limit: int) -> list[Project]:
    """In the order of their filing, from just after a position."""
    filings = state.filings.get(programme, [])
    place = bisect_right(filings, after, key=lambda one: one[0])
    return [state.projects[project] for _, project in filings[place : place + limit]]


def issuances(state: State, names: Sequence[str]) -> list[Issuance]:
    """Those named; nobody named: all that wait for their checker or are on their way."""
    _check_count(len(names))
    if not names:
        waiting = [*state.waiting_issuances.values(), *state.open_issuances.values()]
        return waiting[:MAX_NAMED]
    unknown = [name for name in names if name not in state.issuances]
    if unknown:
        raise Refused(
            "UNKNOWN_ISSUANCE",
            f"no issuance {unknown[0][:80]!r}",
            Kind.UNKNOWN,
            issuance=unknown[0][:80],
        )
    return [state.issuances[name] for name in names]


def pledges(state: State, caller: Caller, names: Sequence[str], holder: str) -> list[Lien]:
    """Liens the caller may see whole: as pledgor, pledgee or auditor."""
    if not names:
        _check_holder(caller, holder)
        names = state.liens_by_holder.get(holder, [])
    _check_count(len(names))
    return [_visible(state, caller, name) for name in names]


def _check_count(count: int) -> None:
    if count > MAX_NAMED:
        raise Refused(
            "TOO_MANY_ITEMS", f"expected at most {MAX_NAMED}, got {count}: name them", Kind.INVALID
        )


def _check_holder(caller: Caller, holder: str) -> None:
    if holder not in caller.holders and "auditor" not in caller.roles:
        raise Refused(
            "NOT_YOUR_ACCOUNT",
            f"{caller.actor.sub} does not operate for {holder[:40]}",
            Kind.FORBIDDEN,
            holder=holder[:40],
        )


def _visible(state: State, caller: Caller, name: str) -> Lien:
    lien = state.liens.get(name)
    if lien is None:
        raise Refused("UNKNOWN_LIEN", f"no lien {name[:40]!r}", Kind.UNKNOWN, lien=name[:40])
    if not is_party(caller, lien):
        raise Refused(
            "NOT_YOUR_LIEN",
            f"{caller.actor.sub} operates for neither pledgor nor pledgee of {name}",
            Kind.FORBIDDEN,
            lien=name,
        )
    return lien


def is_party(caller: Caller, lien: Lien) -> bool:
    parties = {lien.asked.pledgor, lien.asked.pledgee}
    return "auditor" in caller.roles or bool(parties & caller.holders)


def is_settled(lien: Lien) -> bool:
    """Neither the pledge nor a release of it is on its way."""
    return lien.process.stage != Stage.REQUESTED and all(
        release.process.stage != Stage.REQUESTED for release in lien.releases.values()
    )


def serial_liens(state: State, asset: str, batch: str, serial: int | None) -> list[SerialLien]:
    """Pledged ranges of a batch, or the one that holds a serial."""
    pledged = state.serial_liens.get((asset, batch), [])
    if serial is not None:
        found = covering(pledged, serial)
        return [] if found is None else [found]
    if len(pledged) > MAX_LIENS_OF_BATCH:
        raise Refused(
            "TOO_MANY_ITEMS",
            f"{batch}: expected at most {MAX_LIENS_OF_BATCH} ranges, there are {len(pledged)}:"
            " ask for a serial",
            Kind.INVALID,
        )
    return list(pledged)


def list_retirements(
    engine: sa.Engine, asset: str, holder: str, after: int, limit: int
) -> list[RetirementRow]:
    """Oldest first, from just after a position; empty asset or holder: any."""
    query = (
        sa.select(retirements)
        .where(retirements.c.position > after)
        .order_by(retirements.c.position)
        .limit(limit)
    )
    if asset:
        query = query.where(retirements.c.asset == asset)
    if holder:
        query = query.where(retirements.c.holder == holder)
    with engine.connect() as connection:
        return list(connection.execute(query))


def serials_of(engine: sa.Engine, positions: Sequence[int]) -> dict[int, list[SerialRange]]:
    """The serial ranges of some retirements."""
    if not positions:
        return {}
    query = (
        sa.select(retired_serials)
        .where(retired_serials.c.position.in_(positions))
        .order_by(retired_serials.c.position, retired_serials.c.range_no)
    )
    found: dict[int, list[SerialRange]] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            block = SerialRange(row.batch, row.first, row.last)
            found.setdefault(row.position, []).append(block)
    return found
