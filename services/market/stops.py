"""Whether the market takes orders: not while what it settles in is halted, or unproven too long.

Watches three things: halts of the accounts log (through the ledger's book), how long events of the
accounts book that we have seen go without a checkpoint, and whether the ledger answers at all.
Until the ledger has been heard, and its book read as far as it then was, no orders are taken: a
halt may stand that we have not read of. Nothing is built on what nobody can check (design 5).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from kernel import metrics
from kernel.clock import monotonic_ms
from kernel.errors import Conflict, Fault, Refused
from kernel.logs import get_logger
from services.market.config import BOOK

SOURCE: Final = "accounts"  # the book that trades are settled in
UNPROVEN_MS: Final = 10_000  # so long may it go without a checkpoint, or the ledger be away
POLL_S: Final = 1.0
MAX_UNPROVEN: Final = 600  # observations kept: the first decides, ten minutes of them are plenty

log = get_logger(__name__)


class Progress(Protocol):
    """Of a book at the ledger, as next positions."""

    @property
    def folded(self) -> int: ...

    @property
    def proven(self) -> int: ...


class TradingStops:
    """Why the market takes no orders now; `run` for as long as it is open."""

    def __init__(
        self,
        progress: Callable[[], Awaitable[Mapping[str, Progress]]],
        accounts: Callable[[], int],
        ledger: Callable[[], int],
        own_halt: Callable[[], str | None],
        now_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        """`accounts` and `ledger`: how far we have read those two books."""
        self._progress = progress
        self._accounts = accounts
        self._ledger = ledger
        self._own_halt = own_halt
        self._now_ms = now_ms
        self._started_ms = now_ms()
        self._source_halt: str | None = None
        self._heard_ms: int | None = None
        self._must_read = 0  # of the ledger's book, before a missing halt means that there is none
        # (when seen, next position) of accounts events that are not proven yet, oldest first.
        self._unproven: deque[tuple[int, int]] = deque()

    def halted(self, why: str | None) -> None:
        """The log of the accounts book is halted, or no longer."""
        self._source_halt = why

    def reasons(self) -> list[str]:
        """In words; empty: orders are taken."""
        found = []
        if self._source_halt is not None:
            found.append(f"the {SOURCE} log is halted: {self._source_halt}")
        if (own := self._own_halt()) is not None:
            found.append(f"the {BOOK} log is halted: {own}")
        if self._heard_ms is None:
            found.append("the ledger has not been heard yet")
        elif self._ledger() < self._must_read:
            found.append("the ledger's book has not been read to its end yet")
        elif (away_ms := self._now_ms() - self._heard_ms) > UNPROVEN_MS:
            found.append(f"the ledger has not answered for {away_ms // 1000} s")
        if self._unproven and (waited_ms := self._now_ms() - self._unproven[0][0]) > UNPROVEN_MS:
            found.append(f"events of the {SOURCE} book are unproven for {waited_ms // 1000} s")
        return found

    def check(self) -> None:
        """Raises Refused MARKET_STOPPED with the reasons, Conflict while we are only starting."""
        reasons = self.reasons()
        if not reasons:
            return
        if self._is_starting():
            raise Conflict("STARTING", f"the market is only just starting: {'; '.join(reasons)}")
        raise Refused("MARKET_STOPPED", f"no orders are taken: {'; '.join(reasons)}")

    def _is_starting(self) -> bool:
        """Not for longer than the ledger may be away at any other time."""
        informed = self._heard_ms is not None and self._ledger() >= self._must_read
        return not informed and self._now_ms() - self._started_ms <= UNPROVEN_MS

    async def run(self) -> None:
        before: list[str] | None = None
        while True:
            self.observe(await self._ask())
            reasons = self.reasons()
            if before is None or bool(reasons) != bool(before):
                log.warning("market.state", takes_orders=not reasons, reasons=reasons)
            before = reasons
            metrics.market_stopped.labels(BOOK).set(bool(reasons))
            await asyncio.sleep(POLL_S)

    async def _ask(self) -> Mapping[str, Progress] | None:
        try:
            return await self._progress()
        except (Conflict, Refused, Fault) as error:
            log.info("market.ledger_away", error=str(error))
            return None

    def observe(self, books: Mapping[str, Progress] | None) -> None:
        """One answer of the ledger; None: there was none."""
        now_ms, seen = self._now_ms(), self._accounts()
        known = self._unproven[-1][1] if self._unproven else 0
        if known < seen and len(self._unproven) < MAX_UNPROVEN:
            self._unproven.append((now_ms, seen))
        if books is None:
            return
        if self._heard_ms is None and "ledger" in books:
            self._must_read = books["ledger"].folded
        self._heard_ms = now_ms
        proven = books[SOURCE].proven if SOURCE in books else 0
        while self._unproven and self._unproven[0][1] <= proven:
            self._unproven.popleft()
