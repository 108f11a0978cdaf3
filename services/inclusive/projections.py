"""Events of the citizens' book into the read model that queries.py reads."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kernel.journal.database import copy_rows
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
    copy_rows(connection, trips, rows)
