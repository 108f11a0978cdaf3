"""The feeders of all logs, and what comes of a witness that disagrees: an event, or a halt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path

from kernel.asks import Ask
from kernel.clock import Clock, SystemClock
from kernel.host import Job
from kernel.ids import derived_id
from kernel.tlog.policy import Policy
from kernel.values import DAY_MS, Caller
from kernel.writer import Writer
from services.ledger.clients import WitnessClient
from services.ledger.domain.commands import NoteDisagreement
from services.ledger.domain.state import State
from services.ledger.log import Halt
from services.ledger.queries import TileStore
from services.ledger.sealing import Sealer
from services.ledger.witnessed import WitnessedLog, peers_of
from services.ledger.witnessing import AHEAD, Disagreement, Doubt, Feeder


class Feeding:
    """Of one ledger process: give it each log, then run its jobs."""

    def __init__(
        self,
        policy: Policy,
        authority: Path | None,
        writer: Writer[State],
        ourselves: Caller,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._peers = peers_of(policy)
        self._client = WitnessClient(authority) if self._peers else None
        self._writer = writer
        self._ourselves = ourselves
        self._clock = clock
        self._sealers: dict[str, Sealer] = {}
        self.doubts: dict[str, Doubt] = {}
        self.jobs: list[Job] = []

    def feeders(self, sealer: Sealer, shown: WitnessedLog, tiles: TileStore) -> Sequence[Feeder]:
        """Those of one log, one for each witness."""
        self._sealers[shown.book] = sealer
        self.doubts[shown.book] = Doubt(self._accepted)
        if self._client is None:
            return ()
        keys, read_tile = sealer.keys_in_force, tiles.read_tile
        # In development ours may have been moved: our own witnesses move along, others do not.
        clocks = (self._clock, SystemClock())
        feeders = [
            Feeder(shown, peer, keys, read_tile, self._client, self._tell, self._prove, clocks)
            for peer in self._peers
        ]
        self.jobs += [partial(shown.run, self._peers), *(one.run for one in feeders)]
        return feeders

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _accepted(self, halt: Halt) -> bool:
        """Whether two persons have taken a halt as it is."""
        place = (halt.book, halt.position, halt.rule)
        return place in self._writer.state.overrides

    async def _tell(self, found: Disagreement) -> None:
        """An event of the ledger's own book, once a day."""
        writer = self._writer
        who = (found.book, found.witness, found.rule)
        if writer.state.disagreed.get(who) == self._clock.now_ms() // DAY_MS:
            return
        named = astuple(found)
        id = derived_id(0, writer.progress.book_id.hex(), *named, writer.committed_next)
        await writer.submit([Ask(id, self._ourselves, NoteDisagreement(*named))])

    async def _prove(self, halt: Halt, note: bytes) -> None:
        """The log halts, and never signs less than what came back under its own key."""
        sealer = self._sealers[halt.book]
        if not self._accepted(halt):
            sealer.paused = True  # at once: the halt itself waits for its turn
            self.doubts[halt.book].tell(halt)
        if halt.rule == AHEAD:
            await asyncio.to_thread(sealer.adopt, note)
