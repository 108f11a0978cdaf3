"""Reads of the inclusive service: sums from the state, trips from the read model, the vault's rows.

The vault's few writes stand here too, beside what reads them; services/inclusive/vault.py says what
they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError

from kernel.errors import Conflict
from services.inclusive.tables import trips, vault_keys, vault_persons, vault_riders

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 500
DESTROY_AT_ONCE: Final = 5000  # citizens in one statement

Person = tuple[str, str]  # issuer and subject of a token
Rider = tuple[str, str]  # operator and its own name for a rider
CitizenDay = tuple[str, str]


# ---- trips --------------------------------------------------------------------------------------


def trip_positions(engine: sa.Engine, citizen: str, before: int, limit: int) -> list[int]:
    """Positions of a citizen's trips, newest first, below `before`."""
    query = (
        sa.select(trips.c.position)
        .where(trips.c.citizen == citizen, trips.c.position < before)
        .order_by(trips.c.position.desc())
        .limit(limit)
    )
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def credited_positions(engine: sa.Engine, wanted: Iterable[CitizenDay]) -> list[int]:
    """Positions of what these citizens were credited for trips of these days."""
    pairs = list(wanted)
    asked = (
        sa.func.unnest(
            sa.bindparam("citizens", [citizen for citizen, _ in pairs], type_=ARRAY(sa.Text)),
            sa.bindparam("days", [day for _, day in pairs], type_=ARRAY(sa.Text)),
        )
        .table_valued("citizen", "day")
        .render_derived()
    )
    query = (
        sa.select(trips.c.position)
        .join(asked, sa.and_(trips.c.citizen == asked.c.citizen, trips.c.day == asked.c.day))
        .where(trips.c.credited)
    )
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


# ---- the vault ----------------------------------------------------------------------------------


class Known(NamedTuple):
    """A citizen as the vault knows her."""

    citizen: str
    key: bytes


class Wish(NamedTuple):
    """An enrolment before it is one: who it is, under which names, and what she would be called."""

    person: Person | None
    riders: Sequence[Rider]
    fresh: Known
    links: bool  # False: only look, this was carried out before


class Linked(NamedTuple):
    """Whose the wish is (None: a rider of it is somebody else's), and which riders it added."""

    citizen: str | None
    added: Sequence[Rider]


def find_person(engine: sa.Engine, person: Person) -> str | None:
    """The pseudonym of a person."""
    query = sa.select(vault_persons.c.citizen).where(
        vault_persons.c.iss == person[0], vault_persons.c.sub == person[1]
    )
    with engine.connect() as connection:
        return connection.execute(query).scalar()


def find_riders(engine: sa.Engine, operator: str, refs: Sequence[str]) -> dict[str, Known]:
    """Citizens and their keys by the operator's name for them: one query for a batch of trips."""
    wanted = sa.bindparam("refs", list(refs), type_=ARRAY(sa.Text))
    query = (
        sa.select(vault_riders.c.rider_ref, vault_riders.c.citizen, vault_keys.c.key)
        .join(vault_keys, vault_keys.c.citizen == vault_riders.c.citizen)
        .where(vault_riders.c.operator == operator, vault_riders.c.rider_ref == sa.any_(wanted))
    )
    with engine.connect() as connection:
        return {ref: Known(citizen, bytes(key)) for ref, citizen, key in connection.execute(query)}


def find_keys(engine: sa.Engine, citizens: Sequence[str]) -> dict[str, bytes]:
    """Keys that still exist."""
    wanted = sa.bindparam("citizens", list(citizens), type_=ARRAY(sa.Text))
    query = sa.select(vault_keys).where(vault_keys.c.citizen == sa.any_(wanted))
    with engine.connect() as connection:
        return {citizen: bytes(key) for citizen, key in connection.execute(query)}


class _Links:
    """Whose persons and riders are, as far as some wishes ask, and what they add."""

    def __init__(self, persons: dict[Person, str], riders: dict[Rider, str]) -> None:
        self._persons = persons
        self._riders = riders
        self.new_keys: list[Known] = []
        self.new_persons: dict[Person, str] = {}
        self.new_riders: dict[Rider, str] = {}

    def link(self, wish: Wish) -> Linked:
        citizen = self._persons.get(wish.person) if wish.person else None
        owners = {self._riders[rider] for rider in wish.riders if rider in self._riders}
        if wish.person is None and len(owners) == 1:
            return Linked(owners.pop(), ())
        if owners - {citizen}:
            return Linked(None, ())
        if not wish.links:
            return Linked(citizen, ())
        if citizen is None:
            citizen = wish.fresh.citizen
            self.new_keys.append(wish.fresh)
        if wish.person and wish.person not in self._persons:
            self.new_persons[wish.person] = self._persons[wish.person] = citizen
        added = [rider for rider in dict.fromkeys(wish.riders) if rider not in self._riders]
        for rider in added:
            self.new_riders[rider] = self._riders[rider] = citizen
        return Linked(citizen, added)


def link_citizens(engine: sa.Engine, wishes: Sequence[Wish]) -> list[Linked]:
    """The pseudonym of each wish, known or new, all in one transaction.

    Nobody's rider is taken over by another person. Staff adds nothing to a known citizen.
    """
    try:
        with engine.begin() as connection:
            links = _Links(
                _persons(connection, [one.person for one in wishes if one.person]),
                _riders(connection, [rider for one in wishes for rider in one.riders]),
            )
            linked = [links.link(one) for one in wishes]
            _insert(connection, links)
            return linked
    except IntegrityError as error:  # another process of ours, in the middle of a takeover
        raise Conflict("VAULT_BUSY", "somebody enrols the same person or rider") from error


def _persons(connection: sa.Connection, wanted: Sequence[Person]) -> dict[Person, str]:
    place = sa.tuple_(vault_persons.c.iss, vault_persons.c.sub)
    query = sa.select(vault_persons).where(place.in_(wanted))
    found = connection.execute(query) if wanted else ()
    return {(iss, sub): citizen for iss, sub, citizen in found}


def _riders(connection: sa.Connection, wanted: Sequence[Rider]) -> dict[Rider, str]:
    asked = (
        sa.func.unnest(
            sa.bindparam("operators", [operator for operator, _ in wanted], type_=ARRAY(sa.Text)),
            sa.bindparam("refs", [ref for _, ref in wanted], type_=ARRAY(sa.Text)),
        )
        .table_valued("operator", "rider_ref")
        .render_derived()
    )
    query = sa.select(vault_riders).join(
        asked,
        sa.and_(
            vault_riders.c.operator == asked.c.operator,
            vault_riders.c.rider_ref == asked.c.rider_ref,
        ),
    )
    found = connection.execute(query) if wanted else ()
    return {(operator, ref): citizen for operator, ref, citizen in found}


def _insert(connection: sa.Connection, links: _Links) -> None:
    rows: tuple[tuple[sa.Table, list[dict[str, object]]], ...] = (
        (vault_keys, [{"citizen": one.citizen, "key": one.key} for one in links.new_keys]),
        (
            vault_persons,
            [{"iss": i, "sub": s, "citizen": c} for (i, s), c in links.new_persons.items()],
        ),
        (
            vault_riders,
            [
                {"operator": o, "rider_ref": r, "citizen": c}
                for (o, r), c in links.new_riders.items()
            ],
        ),
    )
    for table, values in rows:
        if values:
            connection.execute(sa.insert(table), values)


def unlink_riders(engine: sa.Engine, riders: Sequence[Rider]) -> None:
    """Riders of an enrolment that came to nothing."""
    place = sa.tuple_(vault_riders.c.operator, vault_riders.c.rider_ref)
    with engine.begin() as connection:
        connection.execute(sa.delete(vault_riders).where(place.in_(riders)))


def destroy_citizens(engine: sa.Engine, citizens: Sequence[str]) -> None:
    """Keys and links, for ever; what is gone already stays gone."""
    for first in range(0, len(citizens), DESTROY_AT_ONCE):
        some = sa.bindparam(
            "citizens", list(citizens[first : first + DESTROY_AT_ONCE]), type_=ARRAY(sa.Text)
        )
        with engine.begin() as connection:
            for table in (vault_keys, vault_persons, vault_riders):
                connection.execute(sa.delete(table).where(table.c.citizen == sa.any_(some)))
