"""NATS with JetStream, and nowhere else (design section 3).

Transport, not truth: JetStream acknowledges before it syncs, so nothing here is ever the only copy.
Subjects: `tanzhang.<book>.frames` (stream, file storage, 7 days, no delete, no purge) and
`tanzhang.<book>.head` (not stored). The operator makes the streams;
one that has vanished is made again, empty, and followers read from the owner meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NoStreamResponseError, NotFoundError

from kernel.errors import Conflict
from kernel.logs import get_logger

STREAM_MAX_AGE_S: Final = 7 * 24 * 3600
STREAM_MAX_BYTES: Final = 2 * 1024**3
DUPLICATE_WINDOW_S: Final = 120
PUBLISH_TIMEOUT_S: Final = 5.0
PENDING_MESSAGES: Final = 512  # per subscription: what does not fit is a gap, and is back-filled
PENDING_BYTES: Final = 128 * 1024 * 1024

log = get_logger(__name__)

Handler = Callable[[bytes], Awaitable[None]]


class BusDown(Conflict):
    """The bus cannot take or give anything now; the journal has it all, try again."""

    def __init__(self, message: str) -> None:
        super().__init__("BUS_DOWN", message)


def frames_subject(book: str) -> str:
    return f"tanzhang.{book}.frames"


def head_subject(book: str) -> str:
    return f"tanzhang.{book}.head"


def stream_name(book: str) -> str:
    return f"TANZHANG_{book.upper().replace('-', '_')}"


class Bus:
    """One connection of one service, which reconnects for ever."""

    def __init__(self, client: Client, connecting: asyncio.Task[None] | None = None) -> None:
        self._client = client
        self._connecting = connecting
        self._js: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_S)

    @classmethod
    async def connect(cls, url: str, service: str, *, wait: bool = True) -> Bus:
        """The url carries user and password; inbox subjects lie under the service's own prefix.

        Without waiting it connects in the background, and everything is BusDown until it has:
        a book is written and read without its bus.
        """

        async def lost() -> None:
            log.warning("bus.disconnected")

        async def back() -> None:
            log.info("bus.reconnected")

        async def failed(error: Exception) -> None:
            log.warning("bus.error", error=repr(error))

        client = Client()
        connecting = asyncio.ensure_future(
            client.connect(
                url,
                name=service,
                inbox_prefix=f"_INBOX.{service}".encode(),
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                ping_interval=5,
                max_outstanding_pings=2,
                disconnected_cb=lost,
                reconnected_cb=back,
                error_cb=failed,
                allow_reconnect=True,
            )
        )
        if wait:
            await connecting
        return cls(client, connecting)

    def _require_connected(self, book: str) -> None:
        if self._connecting is not None and not self._connecting.done():
            raise BusDown(f"{book}: not connected yet")

    async def publish_frames(self, book: str, frames: Sequence[tuple[str, bytes]]) -> None:
        """Publishes (message id, bytes) in order, all acknowledged; raises BusDown otherwise."""
        self._require_connected(book)
        subject = frames_subject(book)
        try:
            await asyncio.gather(
                *(
                    self._js.publish(
                        subject,
                        data,
                        timeout=PUBLISH_TIMEOUT_S,
                        stream=stream_name(book),
                        headers={"Nats-Msg-Id": message_id},
                    )
                    for message_id, data in frames
                )
            )
        except NoStreamResponseError as error:
            raise BusDown(f"{book}: there is no stream {stream_name(book)}") from error
        except (NatsError, TimeoutError, OSError) as error:
            raise BusDown(f"{book}: {error!r}") from error

    async def announce(self, book: str, head: bytes) -> None:
        self._require_connected(book)
        try:
            await self._client.publish(head_subject(book), head)
        except (NatsError, OSError) as error:
            raise BusDown(f"{book}: {error!r}") from error

    async def ensure_stream(self, book: str, replicas: int = 1) -> None:
        """Makes the book's stream, or brings its limits up to date. A cluster wants 3 replicas.

        For the operator alone: a service that may make streams could let one of its own copy
        another service's frames.
        """
        config = StreamConfig(
            name=stream_name(book),
            subjects=[frames_subject(book)],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=STREAM_MAX_AGE_S,
            max_bytes=STREAM_MAX_BYTES,
            duplicate_window=DUPLICATE_WINDOW_S,
            num_replicas=replicas,
            deny_delete=True,
            deny_purge=True,
        )
        try:
            try:
                await self._js.stream_info(stream_name(book))
                await self._js.update_stream(config)
            except NotFoundError:
                await self._js.add_stream(config)
        except (NatsError, TimeoutError, OSError) as error:
            raise BusDown(f"{book}: {error!r}") from error

    async def follow_frames(self, book: str, handle: Handler) -> BusSubscription:
        """New frames of a book from now on, in stream order, through an ordered consumer."""

        async def deliver(message: Msg) -> None:
            await handle(message.data)

        self._require_connected(book)
        try:
            subscription = await self._js.subscribe(
                frames_subject(book),
                stream=stream_name(book),
                cb=deliver,
                ordered_consumer=True,
                config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW, ack_policy=AckPolicy.NONE),
                pending_msgs_limit=PENDING_MESSAGES,
                pending_bytes_limit=PENDING_BYTES,
            )
        except (NatsError, TimeoutError, OSError) as error:
            raise BusDown(f"{book}: {error!r}") from error
        return BusSubscription(subscription)

    async def follow_heads(self, book: str, handle: Handler) -> BusSubscription:
        async def deliver(message: Msg) -> None:
            await handle(message.data)

        self._require_connected(book)
        try:
            return BusSubscription(await self._client.subscribe(head_subject(book), cb=deliver))
        except (NatsError, OSError) as error:
            raise BusDown(f"{book}: {error!r}") from error

    async def close(self) -> None:
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
            return
        await self._client.close()


class BusSubscription:
    """Something to end."""

    def __init__(self, subscription: Subscription | Any) -> None:
        self._subscription = subscription

    async def end(self) -> None:
        try:
            await self._subscription.unsubscribe()
        except (NatsError, TimeoutError, OSError) as error:
            log.info("bus.unsubscribe", error=repr(error))
