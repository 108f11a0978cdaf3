"""Events of the citizens' book into the read model that queries.py reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from kernel.projection import Recorded
from services.inclusive.domain.events import TripCredited, TripRefused
from services.inclusive.tables import trips

READER = "inclusive.trips"


def project_trips(connection: sa.Connection, recorded: Sequence[Recorded]) -> None:
    """One row per trip of a known citizen, by COPY."""
    rows = [
        (event.citizen, raw.position, event.day, isinstance(event, TripCredited))
        for raw, event in recorded
        if isinstance(event, TripCredited | TripRefused) and event.citizen
    ]
    if not rows:
        return
    columns = ", ".join(f'"{column.name}"' for column in trips.columns)
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {trips.name} ({columns}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)
