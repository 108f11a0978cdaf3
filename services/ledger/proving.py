"""Proofs under the published checkpoint of a log: for receipts, states, and whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from kernel.errors import Conflict
from services.ledger.log import BookLog
from services.ledger.queries import TileStore, make_proofs
from services.ledger.reactions import LogReader
from services.ledger.sealing import Sealer
from services.ledger.states.log import StateLog
from services.ledger.witnessed import WitnessedLog
from services.ledger.witnessing import Feeder

L = TypeVar("L", BookLog, StateLog)


class ServedLog(NamedTuple, Generic[L]):
    """Everything of one log that is shown; only a book has a reader."""

    log: L
    sealer: Sealer
    tiles: TileStore
    shown: WitnessedLog  # what of it others are shown
    reader: LogReader | None = None
    witnesses: Sequence[Feeder] = ()

    @property
    def handler(self) -> LogReader:
        if self.reader is None:
            raise TypeError(f"{self.log.book}: expected the reader of a book, got none")
        return self.reader


async def prove(served: ServedLog[Any], positions: Sequence[int]) -> list[bytes]:
    """A tlog-proof for each position, all under one checkpoint; waits, bounded, for one."""
    await served.shown.proven(max(positions))
    size, note = served.shown.published.size, published_note(served)
    return await asyncio.to_thread(make_proofs, served.tiles, positions, size, note)


def published_note(served: ServedLog[Any]) -> bytes:
    if served.sealer.note is None:
        raise Conflict("NOT_PROVEN_YET", f"{served.log.book}: nothing has been signed yet")
    if served.shown.note is None:
        raise served.shown.not_witnessed_yet("anything")
    return served.shown.note
