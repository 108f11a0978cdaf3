"""The relay on a real NATS and a real PostgreSQL: exactly the stored frames, each at least once.

JetStream drops what comes twice under one message id within its window; after that, followers know
positions. What is on the stream is read back with a client that is not ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats
import pytest
from nats.aio.client import Client
from nats.js.client import JetStreamContext
from tanzhang.kernel.v1 import frames_pb2

import kernel.relay
from cli.stack.nats import EmbeddedNats, operator, service_permissions, stream_name
from cli.stack.ports import free_port
from kernel.bus import Bus
from kernel.frames import Frame, decode_frame, encode_frame, verify_frame
from kernel.journal.memory import MemoryJournal
from kernel.journal.port import Batch
from kernel.journal.watermarks import Bookmark
from kernel.relay import Relay, message_id
from kernel.replica import Progress
from kernel.tail import MAX_KEPT_FRAMES, MAX_TAKEN_FRAMES, Tail
from tests.support.database import Database
from tests.support.ending import end
from tests.support.ledgers import BOOK_ID, cut, frame_keys, long_history

BOOK = "accounts"
EPOCH = 3
HISTORY = long_history(BOOK, 400)
FRAMES = [cut(BOOK, BOOK_ID, HISTORY[i : i + 2])[0] for i in range(0, 400, 2)]
PATIENCE_S = 15.0  # a shared machine; what is awaited normally takes milliseconds


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNats]:
    users = [
        operator("op-secret"),
        service_permissions("accounts", ["accounts"], [], "acc-secret"),
    ]
    with EmbeddedNats(tmp_path_factory.mktemp("bus"), free_port(), users) as server:
        yield server


@pytest.fixture
async def outside(broker: EmbeddedNats) -> AsyncIterator[Client]:
    """The operator's own client, with a fresh and empty stream of the book."""
    client = await nats.connect(broker.url("operator"), reconnect_time_wait=0.1)
    if stream_name(BOOK) in [one.config.name for one in await client.jetstream().streams_info()]:
        await client.jetstream().delete_stream(stream_name(BOOK))
    maker = await Bus.connect(broker.url("operator"), "operator")
    await maker.ensure_stream(BOOK)
    await maker.close()
    yield client
    await client.close()


@pytest.fixture
async def bus(broker: EmbeddedNats, outside: Client) -> AsyncIterator[Bus]:
    connected = await Bus.connect(broker.url("accounts"), "accounts")
    yield connected
    await connected.close()


@dataclass
class Book:
    """What a book's process has: a journal, a tail on it, and how far its relay has noted."""

    journal: MemoryJournal
    tail: Tail
    bookmark: Bookmark

    def commit(self, frames: Sequence[Frame]) -> None:
        """As the writer: into the journal, then to who listens."""
        for frame in frames:
            nobody = [None] * len(frame.events)
            self.journal.append(Batch(EPOCH, frame.events, nobody, [], [frame]))
        self.tail.offer(frames)

    def relay(self, bus: Bus) -> Relay:
        known = Progress(book_id=BOOK_ID, next_position=self.journal.head(), epoch=EPOCH)
        return Relay(BOOK, self.bookmark, self.tail, bus, known)

    def restarted(self) -> Book:
        """Memory is gone, the journal and the bookmark are there."""
        return Book(self.journal, Tail(self.journal, self.journal.head()), self.bookmark)


@pytest.fixture
def book(database: Database) -> Book:
    journal = MemoryJournal(BOOK)
    journal.epoch = EPOCH
    return Book(journal, Tail(journal, 0), Bookmark(database.engine("accounts"), "relay", BOOK))


@asynccontextmanager
async def relaying(book: Book, bus: Bus) -> AsyncIterator[asyncio.Task[None]]:
    running = asyncio.create_task(book.relay(bus).run())
    try:
        yield running
    finally:
        await end(running)


def streams_of(client: Client) -> JetStreamContext:
    return client.jetstream(timeout=PATIENCE_S)


async def on_the_stream(client: Client) -> list[tuple[str, bytes]]:
    """(message id, bytes) of everything stored, in order."""
    streams = streams_of(client)
    count = (await streams.stream_info(stream_name(BOOK))).state.messages
    found = []
    for sequence in range(1, count + 1):
        message = await streams.get_msg(stream_name(BOOK), sequence)
        assert message.headers is not None
        assert message.data is not None
        found.append((message.headers["Nats-Msg-Id"], message.data))
    return found


async def stored(client: Client, frames: int) -> None:
    """Waits until the stream holds that many messages."""

    async def count() -> int:
        return (await streams_of(client).stream_info(stream_name(BOOK))).state.messages

    deadline = time.monotonic() + PATIENCE_S
    while (have := await count()) < frames:
        assert time.monotonic() < deadline, f"expected {frames} messages, there are {have}"
        await asyncio.sleep(0.01)
    assert await count() == frames


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "what was awaited did not happen"
        await asyncio.sleep(0.01)


def as_stored(frames: Sequence[Frame]) -> list[tuple[str, bytes]]:
    return [
        (f"{BOOK_ID.hex()}:{frame.first}-{frame.last}", encode_frame(frame)) for frame in frames
    ]


async def test_it_publishes_exactly_the_stored_frames_byte_for_byte(
    book: Book, bus: Bus, outside: Client
) -> None:
    book.commit(FRAMES[:5])
    async with relaying(book, bus):
        await stored(outside, 5)
        for frame in FRAMES[5:10]:
            book.commit([frame])
        await stored(outside, 10)
    found = await on_the_stream(outside)
    assert found == as_stored(FRAMES[:10])
    for (id, data), kept in zip(found, book.journal.read_frames(0), strict=True):
        frame = decode_frame(data)
        verify_frame(frame, frame_keys)
        assert (frame, id) == (kept, message_id(kept))


async def test_a_backlog_longer_than_memory_comes_from_the_journal_in_order(
    book: Book, bus: Bus, outside: Client
) -> None:
    assert len(FRAMES) > MAX_KEPT_FRAMES + MAX_TAKEN_FRAMES
    book.commit(FRAMES)
    async with relaying(book, bus):
        await stored(outside, len(FRAMES))
    assert await on_the_stream(outside) == as_stored(FRAMES)


async def test_it_goes_on_where_it_was_noted(book: Book, bus: Bus, outside: Client) -> None:
    book.commit(FRAMES[:4])
    async with relaying(book, bus):
        await stored(outside, 4)
        await until(lambda: book.bookmark.load() == 8)
    again = book.restarted()
    again.commit(FRAMES[4:6])
    async with relaying(again, bus):
        await stored(outside, 6)
    assert await on_the_stream(outside) == as_stored(FRAMES[:6])


class Died(Exception):
    """Stands for the end of the process at a named place (kernel/crash.py)."""


async def test_what_was_published_and_not_noted_is_published_again_and_held_once(
    book: Book, bus: Bus, outside: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(name: str) -> None:
        assert name == "relay.published"
        raise Died

    book.commit(FRAMES[:7])
    with monkeypatch.context() as dying:
        dying.setattr(kernel.relay, "crash_point", die)
        async with relaying(book, bus) as running:
            with pytest.raises(Died):
                await asyncio.wait_for(running, PATIENCE_S)
    await stored(outside, 7)
    assert book.bookmark.load() == 0

    sent: list[str] = []
    publish = bus.publish_frames

    async def noting(of: str, frames: Sequence[tuple[str, bytes]]) -> None:
        sent.extend(id for id, _ in frames)
        await publish(of, frames)

    monkeypatch.setattr(bus, "publish_frames", noting)
    again = book.restarted()
    async with relaying(again, bus):
        await until(lambda: again.bookmark.load() == 14)
        again.commit(FRAMES[7:8])
        await stored(outside, 8)
    assert sent == [id for id, _ in as_stored(FRAMES[:8])]  # all of them, under the same ids
    assert await on_the_stream(outside) == as_stored(FRAMES[:8])  # each held once


async def test_two_relays_at_once_publish_one_stream(book: Book, bus: Bus, outside: Client) -> None:
    """An old writer that does not know yet that its lease is gone."""
    second = book.restarted()
    book.commit(FRAMES[:20])
    second.tail.offer(FRAMES[:20])
    async with relaying(book, bus), relaying(second, bus):
        await stored(outside, 20)
        await until(lambda: book.bookmark.load() == 40)
        await asyncio.sleep(0.1)
    found = await on_the_stream(outside)
    assert sorted(found) == sorted(as_stored(FRAMES[:20]))


async def test_what_is_committed_while_the_bus_is_away_is_published_when_it_is_back(
    book: Book, bus: Bus, outside: Client, broker: EmbeddedNats
) -> None:
    book.commit(FRAMES[:3])
    async with relaying(book, bus) as running:
        await stored(outside, 3)
        await asyncio.to_thread(broker.stop)
        book.commit(FRAMES[3:6])
        await asyncio.sleep(0.3)
        book.commit(FRAMES[6:9])
        await asyncio.to_thread(broker.start)
        await until(lambda: outside.is_connected)
        await stored(outside, 9)
        book.commit(FRAMES[9:10])
        await stored(outside, 10)
        assert not running.done()
    found = await on_the_stream(outside)
    assert found == as_stored(FRAMES[:10])


async def test_without_its_stream_it_waits_and_then_publishes_what_the_stream_has_missed(
    book: Book, bus: Bus, outside: Client, broker: EmbeddedNats
) -> None:
    book.commit(FRAMES[:3])
    async with relaying(book, bus) as running:
        await stored(outside, 3)
        await streams_of(outside).delete_stream(stream_name(BOOK))
        book.commit(FRAMES[3:6])
        await asyncio.sleep(0.3)
        assert not running.done()
        maker = await Bus.connect(broker.url("operator"), "operator")
        await maker.ensure_stream(BOOK)
        await maker.close()
        await stored(outside, 3)
    # The first three are gone with the old stream: followers read them from the owner.
    assert await on_the_stream(outside) == as_stored(FRAMES[3:6])


async def test_the_head_is_announced_every_second_with_book_epoch_and_position(
    book: Book, bus: Bus, outside: Client
) -> None:
    heads = await outside.subscribe(f"tanzhang.{BOOK}.head")
    await outside.flush()
    async with relaying(book, bus):
        first = frames_pb2.Head.FromString((await heads.next_msg(PATIENCE_S)).data)
        book.commit(FRAMES[:2])
        second = frames_pb2.Head.FromString((await heads.next_msg(PATIENCE_S)).data)
    assert (first.book, first.book_id, first.epoch) == (BOOK, BOOK_ID, EPOCH)
    assert (first.next_position, second.next_position) == (0, 4)


async def test_heads_are_announced_also_while_there_is_no_stream(
    book: Book, bus: Bus, outside: Client
) -> None:
    """So that followers see that they are behind, and read from the owner."""
    await streams_of(outside).delete_stream(stream_name(BOOK))
    heads = await outside.subscribe(f"tanzhang.{BOOK}.head")
    await outside.flush()
    book.commit(FRAMES[:2])
    async with relaying(book, bus):
        for _ in range(2):
            head = frames_pb2.Head.FromString((await heads.next_msg(PATIENCE_S)).data)
            assert head.next_position == 4


# ---- the tail it reads through ------------------------------------------------------------------


async def test_a_tail_gives_frames_from_memory_or_from_the_journal_alike(book: Book) -> None:
    book.commit(FRAMES)
    assert len(FRAMES) > MAX_KEPT_FRAMES
    seen: list[Frame] = []
    at = 0
    while at < len(HISTORY):
        assert await book.tail.wait(at, 0.0)
        taken = await book.tail.take(at)
        assert 1 <= len(taken) <= MAX_TAKEN_FRAMES
        seen += taken
        at = taken[-1].last + 1
    assert seen == FRAMES
    assert not await book.tail.wait(at, 0.01)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 201, 398, 399])
async def test_a_tail_begins_with_the_frame_that_holds_the_position(book: Book, at: int) -> None:
    book.commit(FRAMES)
    taken = await book.tail.take(at)
    assert taken[0].first <= at <= taken[0].last


async def test_who_waits_at_a_tail_is_woken_by_the_next_commit(book: Book) -> None:
    waiting = asyncio.create_task(book.tail.wait(0, PATIENCE_S))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    book.commit(FRAMES[:1])
    assert await asyncio.wait_for(waiting, 1)
    book.tail.offer([])  # a commit of refusals alone
    assert not await book.tail.wait(2, 0.01)
