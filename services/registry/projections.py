"""Events of the registry book into the read model that queries.py reads: the public retirements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from kernel.errors import InvariantBroken
from kernel.projection import Recorded
from kernel.record import RawRecord
from services.registry.domain.events import UnitsRetired
from services.registry.tables import retired_serials, retirements

READER = "registry.retirements"


def project_retirements(connection: sa.Connection, recorded: Sequence[Recorded]) -> None:
    """One row per retirement and one per serial range of it."""
    rows: list[dict[str, Any]] = []
    ranges: list[dict[str, Any]] = []
    for raw, event in recorded:
        if not isinstance(event, UnitsRetired):
            continue
        rows.append(_row(raw, event))
        ranges.extend(
            {
                "position": raw.position,
                "range_no": n,
                "batch": block.batch,
                "first": block.first,
                "last": block.last,
            }
            for n, block in enumerate(event.serials)
        )
    if rows:
        connection.execute(sa.insert(retirements), rows)
    if ranges:
        connection.execute(sa.insert(retired_serials), ranges)


def _row(raw: RawRecord, event: UnitsRetired) -> dict[str, Any]:
    if raw.cause is None:
        raise InvariantBroken(f"position {raw.position}: expected the entry that retired as cause")
    return {
        "position": raw.position,
        "entry_position": raw.cause[1],
        "on": raw.on,
        "holder": event.holder,
        "asset": event.asset,
        "quantity_t": event.quantity_t,
        "beneficiary": event.beneficiary,
        "purpose": event.purpose,
        "details": event.details,
    }
