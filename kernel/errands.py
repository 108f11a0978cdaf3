"""What our book asks of another one (design section 3, "Between books", b).

A process over two books is a state machine in one of them: `...Requested` is recorded here, an
RPC with a derived id asks the other book, `...Completed` or `...Refused` is recorded here with the
other book's event as its cause. Open ones are found in the state, so after a restart they are
simply sent again; both ids derive from the request, so nothing happens twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from kernel.crash import crash_point
from kernel.errors import Conflict, InvariantBroken, Refused
from kernel.ids import derived_id, uuid7_ms
from kernel.logs import get_logger
from kernel.values import Actor, Caller
from kernel.writer import Ask, Writer

MAX_ERRANDS: Final = 500  # of one call: a message far below the largest gRPC takes
RETRY_FIRST_S: Final = 0.1
RETRY_LAST_S: Final = 5.0  # the other book may be halted for days: asked again for ever

log = get_logger(__name__)

E = TypeVar("E")


class Errand(NamedTuple, Generic[E]):
    """An open request: `id` is the UUIDv7 of the command that recorded it, `position` its event's.

    `what` is everything the other book has to be told.
    """

    id: str
    position: int
    what: E


class Done(NamedTuple):
    """How an errand ended: our command, and the other book's event if there is one."""

    command: msgspec.Struct
    cause: tuple[str, int] | None


class Errands(Generic[E]):
    """Sends what is open, in its order, and records how it ended. `run` for as long as we write.

    `open_ones` reads the state: requests without an end, oldest first. `send` asks the other book
    for all of a batch under `errand_id`s and answers one Done each, in order; it raises Conflict or
    Refused (as when that book is halted) when nothing is to be concluded yet.
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

    async def run(self) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            seen = self._writer.committed_next
            batch = self._open_ones(self._writer.state)[:MAX_ERRANDS]
            # Nobody is asked for what could still be lost with us.
            batch = [one for one in batch if one.position < seen]
            if not batch:
                await self._writer.committed(seen + 1)
                continue
            try:
                ended = await self._send(batch)
                # A crash here: the other book has done it, we ask again and hear the same.
                crash_point("errand.answered")
                await self._record(batch, ended)
                delay_s = RETRY_FIRST_S
            except (Conflict, Refused) as error:
                log.warning("errand.postponed", errand=self._name, reason=error.reason)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_LAST_S)

    async def _record(self, batch: Sequence[Errand[E]], ended: Sequence[Done]) -> None:
        asks = [
            Ask(
                id=errand_id(self._writer, errand, "ended"),
                caller=self._caller,
                command=done.command,
                cause=done.cause,
            )
            for errand, done in zip(batch, ended, strict=True)
        ]
        for result in await self._writer.submit(asks, while_halted=True):
            if result.outcome.refusal is not None:
                raise InvariantBroken(
                    f"{self._writer.book}: an errand must end in an event, it was refused:"
                    f" {result.outcome.refusal.message}"
                )


def errand_id(writer: Writer[Any], errand: Errand[Any], step: str = "asked") -> str:
    """The id of an errand's command: the same however often it is sent."""
    book_id = writer.progress.book_id.hex()
    return derived_id(uuid7_ms(errand.id), writer.book, book_id, errand.position, step)
