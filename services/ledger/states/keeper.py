"""Commits to a state every few seconds: cuts the accounts book, makes the maps, appends the entry.

A cut is taken between two events, without a pause; the maps are made from it a turn at a time while
the book goes on. A state is shown once its entry is signed, and only of what is signed itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, NamedTuple

from kernel import metrics
from kernel.clock import Clock, monotonic_ms
from kernel.errors import Conflict
from kernel.logs import get_logger
from kernel.tlog.states import StateEntry
from kernel.values import format_instant
from services.ledger.books.accounts import AccountsBook
from services.ledger.log import BookLog
from services.ledger.sealing import Sealer
from services.ledger.states.log import StateLog
from services.ledger.states.maps import Cut, Frozen, StateMaps, statuses

LOOK_EVERY_S: Final = 0.1
# Whatever the maps cost, nine tenths of the time are for the books: with a million accounts that
# all move, states come less often than asked for.
REST_PER_WORK: Final = 9
AT_MOST_EVERY_S: Final = 1.0  # however many ask
WAIT_S: Final = 8.0  # for a state that is asked for: the gateway waits ten seconds in all

log = get_logger(__name__)


class Committed(NamedTuple):
    """The newest state whose entry is signed."""

    entry: StateEntry
    maps: Frozen


class StateKeeper:
    def __init__(
        self,
        accounts: BookLog,
        checker: AccountsBook,
        accounts_sealer: Sealer,
        own: StateLog,
        own_sealer: Sealer,
        maps: StateMaps,
        clock: Clock,
        every_s: float,
    ) -> None:
        self._accounts = accounts
        self._checker = checker
        self._accounts_sealer = accounts_sealer
        self._log = own
        self._sealer = own_sealer
        self.maps = maps
        self._clock = clock
        self._every_s = every_s
        self._whole = False  # everything has been looked at once
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self.committed: Committed | None = None

    async def run(self) -> None:
        while True:
            if not self._may_cut():
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            self._wanted.clear()
            begun_ms = monotonic_ms()
            spent_ms = await self._commit()
            await asyncio.sleep(max(AT_MOST_EVERY_S, REST_PER_WORK * spent_ms / 1000))
            left_s = self._every_s - (monotonic_ms() - begun_ms) / 1000
            with suppress(TimeoutError):
                async with asyncio.timeout(max(left_s, 0)):
                    await self._wanted.wait()

    async def reach(self, size: int) -> Committed:
        """The newest state, once one has so many events of the book. Waits, bounded.

        Who waits for one has it committed to before its time.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                while self.committed is None or self.committed.entry.size < size:
                    if self._accounts.next_position >= size:
                        self._wanted.set()
                    await self._changed.wait()
        except TimeoutError:
            known = 0 if self.committed is None else self.committed.entry.size
            raise Conflict(
                "NO_STATE_YET", f"expected a state of {size} events, the last one has {known}"
            ) from None
        return self.committed

    def _may_cut(self) -> bool:
        """Of a book in order that stands where its tree ends; and this log can go on."""
        own, book = self._sealer, self._accounts
        ready = book.halt is None and book.next_position >= max(book.known, 1)
        return ready and self._log.halt is None and not own.behind

    async def _commit(self) -> int:
        """One state; how many ms the maps took of this process."""
        begun_ms = monotonic_ms()
        at_ms, cut = self._clock.now_ms(), self._cut()
        try:
            frozen = await self.maps.take(cut)
        except BaseException:  # ended in the middle: what it had taken is not noted any more
            self._whole = False
            raise
        spent_ms = monotonic_ms() - begun_ms
        metrics.state_seconds.observe(spent_ms / 1000)
        try:
            await self._accounts_sealer.proven(cut.size - 1)
            entry = self._entry(at_ms, cut, frozen)
            self._log.append(entry.encode())
            await self._sealer.proven(entry.position)
        except Conflict as error:  # halted, or a database that is slow: the next one has it all
            log.warning("ledger.no_state", size=cut.size, reason=str(error))
            return spent_ms
        self.committed = Committed(entry, frozen)
        self._changed.set()
        self._changed = asyncio.Event()
        return spent_ms

    def _entry(self, at_ms: int, cut: Cut, frozen: Frozen) -> StateEntry:
        return StateEntry(
            self._log.next_position,
            format_instant(at_ms),
            self._accounts.book,
            cut.size,
            cut.root,
            frozen.balances.root,
            frozen.serials.root,
        )

    def _cut(self) -> Cut:
        """What may have changed since the last one; the first time everything."""
        checker = self._checker
        places, serials = checker.moved.take()
        if self._whole:
            balances = {place: checker.balances.get(place, 0) for place in places}
        else:
            balances = dict.fromkeys(checker.liens.places.values(), 0)
            balances.update(checker.balances)
            serials = {key: [(1, batch.last)] for key, batch in checker.batches.items()}
            self._whole = True
        pieces = {key: statuses(checker.batches[key], ranges) for key, ranges in serials.items()}
        return Cut(self._accounts.next_position, self._accounts.root(), balances, pieces)
