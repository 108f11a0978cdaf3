"""Events of the accounts book into the read models that queries.py reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from kernel.journal.database import copy_rows
from kernel.projection import Recorded
from services.accounts.domain.events import (
    EntryPosted,
    HoldExpired,
    HoldPlaced,
    HoldPosted,
    HoldReleased,
    Leg,
)
from services.accounts.tables import movements, serial_moves

READER = "accounts.movements"

MOVING: tuple[type[msgspec.Struct], ...] = (
    EntryPosted,
    HoldPlaced,
    HoldPosted,
    HoldReleased,
    HoldExpired,
)


def project_movements(connection: sa.Connection, recorded: Sequence[Recorded]) -> None:
    """One row per leg and one per serial range, by COPY."""
    rows: list[tuple[Any, ...]] = []
    ranges: list[tuple[Any, ...]] = []
    for raw, event in recorded:
        if not isinstance(event, MOVING):
            continue
        for leg_no, leg in enumerate(event.legs):  # type: ignore[attr-defined]
            rows.append((raw.position, leg_no, raw.at, raw.on, raw.type, *_leg_columns(leg)))
            ranges.extend(
                (raw.position, leg_no, n, leg.asset, block.batch, block.first, block.last)
                for n, block in enumerate(leg.serials)
            )
    copy_rows(connection, movements, rows)
    copy_rows(connection, serial_moves, ranges)


def _leg_columns(leg: Leg) -> tuple[Any, ...]:
    debit, credit = leg.debit, leg.credit
    return (
        leg.asset,
        leg.amount,
        debit.holder,
        debit.purpose.value,
        debit.ref,
        credit.holder,
        credit.purpose.value,
        credit.ref,
    )
