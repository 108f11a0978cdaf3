"""What our book asks of another one (design section 3, "Between books", b).

A process over two books is a state machine in one of them: `...Requested` is recorded here, an
RPC with a derived id asks the other book, `...Completed` or `...Refused` is recorded here with the
other book's event as its cause. Open ones are found in the state, so after a restart they are
simply sent again; both ids derive from the request, so nothing happens twice.

A refusal ends an errand, but not one that speaks of the moment or of us (NOT_YET): it stands in
the other book's journal under its id, so the same is asked again under the next one, a while long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from kernel.asks import Ask
from kernel.clock import monotonic_ms
from kernel.crash import crash_point
from kernel.errors import Conflict, Fault, InvariantBroken, Refused
from kernel.ids import derived_id, uuid7_ms
from kernel.logs import get_logger
from kernel.values import Actor, Caller
from kernel.writer import Writer

MAX_ERRANDS: Final = 500  # of one batch: a message far below the largest gRPC takes
RETRY_FIRST_S: Final = 0.1
RETRY_LAST_S: Final = 5.0  # the other book may be halted for days: asked again for ever
# A key on its way from the directory (or ended: then it stays so), a clock behind ours, a right
# that our token lacks. To unwind a trade or a pledge for one of these would cost its parties.
NOT_YET: Final = frozenset({"ACT_KEY_UNKNOWN", "ON_IN_FUTURE", "ROLE_MISSING"})
MAX_ATTEMPTS: Final = 30  # at NOT_YET, some two minutes in all: then it is the answer

log = get_logger(__name__)

E = TypeVar("E")


class Errand(NamedTuple, Generic[E]):
    """An open request: `id` is the UUIDv7 of the command that recorded it, `position` its event's.

    `what` is everything the other book has to be told; `attempt` counts those refused as NOT_YET.
    """

    id: str
    position: int
    what: E
    attempt: int = 0


class Done(NamedTuple):
    """How an errand ended: our command, and the other book's event, or the reason it refused.

    One command may end several: `errands` of them, in the order in which they were asked for.
    """

    command: msgspec.Struct
    cause: tuple[str, int] | None
    reason: str = ""
    errands: int = 1


Concluded: TypeAlias = tuple[Sequence[Errand[E]], Done]  # what a command of ours ends


class Errands(Generic[E]):
    """Sends what is open, in its order, and records how it ended. `run` for as long as we write.

    `open_ones` reads the state: requests without an end, oldest first, some twice MAX_ERRANDS of
    them: while the ends of one batch are recorded the next is asked for. `send` asks the other book
    for a batch under `errand_id`s and answers how its errands ended, in order; those at the end of
    the batch that no Done speaks of are asked for again. It raises Conflict or Refused (as when
    that book is halted) when nothing is to be concluded yet.
    """

    def __init__(
        self,
        name: str,
        writer: Writer[Any],
        open_ones: Callable[[Any], Sequence[Errand[E]]],
        send: Callable[[Sequence[Errand[E]]], Awaitable[Sequence[Done]]],
    ) -> None:
        self._name = name
        self._writer = writer
        self._open_ones = open_ones
        self._send = send
        self._caller = Caller(
            Actor(f"book:{writer.book}", f"errand:{name}"), frozenset({"system"}), frozenset()
        )
        # What was not to be done yet, by position: the next attempt, and when (monotonic ms).
        self._put_off: dict[int, tuple[int, int]] = {}
        # The ends of one batch on their way into our journal, and whose they are.
        self._recording: asyncio.Task[None] | None = None
        self._ending: set[int] = set()

    async def run(self) -> None:
        delay_s = RETRY_FIRST_S
        try:
            while True:
                seen = self._writer.committed_next
                # Nobody is asked for what could still be lost with us.
                found = [one for one in self._open_ones(self._writer.state) if one.position < seen]
                waiting = [one for one in found if one.position not in self._ending][:MAX_ERRANDS]
                batch = self._due(waiting)
                if not batch and self._recording is None:
                    await self._something_new(seen + 1, waiting)
                    continue
                try:
                    await self._carry_out(batch)
                    delay_s = RETRY_FIRST_S
                except (Conflict, Refused, Fault) as error:
                    if isinstance(error, InvariantBroken):
                        raise  # of ours; a fault of the other book is its own to mend
                    log.warning("errand.postponed", errand=self._name, error=str(error))
                    await asyncio.sleep(delay_s)
                    delay_s = min(delay_s * 2, RETRY_LAST_S)
        finally:
            if self._recording is not None:
                self._recording.cancel()
                await asyncio.gather(self._recording, return_exceptions=True)

    async def _carry_out(self, batch: Sequence[Errand[E]]) -> None:
        """Asks for a batch while the ends of the one before it are recorded."""
        concluded: list[Concluded[E]] = []
        if batch:
            ended = await self._send(batch)
            # A crash here: the other book has done it, we ask again and hear the same.
            crash_point("errand.answered")
            concluded = self._conclude(batch, ended)
        recording, self._recording = self._recording, None
        if recording is not None:
            await recording
        if concluded:
            self._ending = {errand.position for ended, _ in concluded for errand in ended}
            self._recording = asyncio.create_task(self._end(concluded))

    async def _end(self, concluded: Sequence[Concluded[E]]) -> None:
        """What ends is asked for no more; if that could not be recorded, it is asked for again."""
        try:
            await self._record(concluded)
        finally:
            self._ending = set()

    def _due(self, waiting: Sequence[Errand[E]]) -> list[Errand[E]]:
        now_ms, due = monotonic_ms(), []
        for errand in waiting:
            attempt, when_ms = self._put_off.get(errand.position, (0, 0))
            if when_ms <= now_ms:
                due.append(errand._replace(attempt=attempt))
        return due

    async def _something_new(self, next_position: int, waiting: Sequence[Errand[E]]) -> None:
        """Returns once there is more in the journal, or something put off is due."""
        due_ms = [self._put_off[one.position][1] for one in waiting]
        pause_s = max(min(due_ms) - monotonic_ms(), 0) / 1000 if due_ms else None
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._writer.committed(next_position)

    def _conclude(self, batch: Sequence[Errand[E]], ended: Sequence[Done]) -> list[Concluded[E]]:
        """Those that have ended; the others are put off."""
        concluded: list[Concluded[E]] = []
        begin = 0
        for done in ended:
            errands = batch[begin : begin + done.errands]
            if len(errands) != done.errands:
                raise InvariantBroken(f"expected ends of {len(batch)} errands, got more")
            begin += done.errands
            if done.reason in NOT_YET and errands[0].attempt + 1 < MAX_ATTEMPTS:
                for errand in errands:
                    self._put(errand, done)
            else:
                for errand in errands:
                    self._put_off.pop(errand.position, None)
                concluded.append((errands, done))
        return concluded

    def _put(self, errand: Errand[E], done: Done) -> None:
        log.warning("errand.not_yet", errand=self._name, id=errand.id, reason=done.reason)
        pause_s = min(RETRY_FIRST_S * 2**errand.attempt, RETRY_LAST_S)
        due_ms = monotonic_ms() + round(pause_s * 1000)
        self._put_off[errand.position] = (errand.attempt + 1, due_ms)

    async def _record(self, concluded: Sequence[Concluded[E]]) -> None:
        asks = [
            Ask(
                id=errand_id(self._writer, errands[0], "ended"),
                caller=self._caller,
                command=done.command,
                cause=done.cause,
            )
            for errands, done in concluded
        ]
        for result in await self._writer.submit(asks, while_halted=True):
            if result.outcome.refusal is not None:
                raise InvariantBroken(
                    f"{self._writer.book}: an errand must end in an event, it was refused:"
                    f" {result.outcome.refusal.message}"
                )


def errand_id(writer: Writer[Any], errand: Errand[Any], step: str = "asked") -> str:
    """The id of an errand's command: the same however often it is sent.

    Each attempt is asked under an id of its own; there is one end, however many there were.
    """
    book_id = writer.progress.book_id.hex()
    if step == "asked" and errand.attempt:
        step = f"asked again {errand.attempt}"
    return derived_id(uuid7_ms(errand.id), writer.book, book_id, errand.position, step)
