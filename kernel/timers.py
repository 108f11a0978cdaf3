"""What falls due in a book becomes a command of its own (design section 3, "Time")."""

from __future__ import annotations

import asyncio
from typing import Any

from kernel.asks import Ask
from kernel.errors import Conflict, Refused
from kernel.ids import derived_id
from kernel.logs import get_logger
from kernel.writer import MAX_BATCH_ASKS, Writer

log = get_logger(__name__)


async def run_timers(writer: Writer[Any], every_s: float = 0.1) -> None:
    """Turns what has fallen due into commands; a repeat of the same id does nothing."""
    while True:
        if writer.halted is None and not writer.opening:
            book_id = writer.progress.book_id.hex()
            # The decision must not be earlier than this, or what is due would not be.
            at_ms = writer.take_instant()
            asks = [
                Ask(derived_id(when_ms, book_id, what), writer.system, command, when_ms)
                for when_ms, what, command in writer.domain.due(writer.state, at_ms)
            ]
            for i in range(0, len(asks), MAX_BATCH_ASKS):
                try:
                    await writer.submit(asks[i : i + MAX_BATCH_ASKS])
                except (Conflict, Refused) as error:  # full or just halted: due again next time
                    log.info("timers.postponed", book=writer.book, reason=error.reason)
        await asyncio.sleep(every_s)
