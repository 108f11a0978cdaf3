"""The follower on a real NATS: in order, each at least once, and nothing believed for its subject.

The owner of the book is a double of the port `FrameSource`, which can be away, lag or lie; frames,
signatures, streams and consumers are the real ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import nats
import pytest
from tanzhang.kernel.v1 import frames_pb2

import kernel.follower
from cli.stack.nats import EmbeddedNats, operator, service_permissions, stream_name
from cli.stack.ports import free_port
from kernel import metrics
from kernel.bus import Bus
from kernel.errors import Conflict
from kernel.follower import Follower
from kernel.frames import Frame, FrameError, encode_frame
from kernel.relay import message_id
from tests.support.ending import end
from tests.support.ledgers import BOOK_ID, cut, frame_keys, long_history

BOOK = "accounts"
HISTORY = long_history(BOOK, 60)
FRAMES = [cut(BOOK, BOOK_ID, HISTORY[i : i + 5])[0] for i in range(0, 60, 5)]
PATIENCE_S = 10.0  # a shared machine; everything awaited normally takes milliseconds
SOON_MS = 300  # instead of two seconds, where the waiting itself is not what is tested


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNats]:
    users = [
        operator("op-secret"),
        service_permissions("accounts", ["accounts"], [], "acc-secret"),
        service_permissions("ledger", [], ["accounts"], "led-secret"),
    ]
    with EmbeddedNats(tmp_path_factory.mktemp("bus"), free_port(), users) as server:
        yield server


class Lines:
    """Who speaks on the bus in these tests: the operator, the book's owner, its follower."""

    def __init__(self, operator: Bus, owner: Bus, reader: Bus) -> None:
        self.operator, self.owner, self.reader = operator, owner, reader

    async def publish(self, frames: Sequence[Frame], id: str = "") -> None:
        named = [(id + message_id(frame), encode_frame(frame)) for frame in frames]
        await self.owner.publish_frames(BOOK, named)

    async def announce(self, next_position: int) -> None:
        head = frames_pb2.Head(book=BOOK, book_id=BOOK_ID, next_position=next_position, epoch=1)
        await self.owner.announce(BOOK, head.SerializeToString())

    @asynccontextmanager
    async def announcing(self, owner: Owner) -> AsyncIterator[None]:
        """The owner's head every 100 ms, as its relay would say it every second."""

        async def speak() -> None:
            while True:
                await self.announce(owner.head)
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        try:
            yield
        finally:
            speaking.cancel()


class Owner:
    """The port's double: the book's journal, as far as `head`, when it is not away."""

    def __init__(self, frames: Sequence[Frame] = FRAMES, known: int = 0) -> None:
        self.all = list(frames)
        self.known = known  # frames it has, of all there will be
        self.away = False
        self.asked: list[int] = []

    @property
    def head(self) -> int:
        return self.all[self.known - 1].last + 1 if self.known else 0

    async def frames(self, book: str, from_position: int) -> AsyncIterator[Frame]:
        self.asked.append(from_position)
        if self.away:
            raise Conflict("UNAVAILABLE", f"{book}: the owner does not answer")
        for frame in self.all[: self.known]:
            if frame.last >= from_position:
                yield frame


class Heard:
    """A handler that remembers; it stops the follower at a bad frame, as reactions do."""

    def __init__(self, *, deals_with_bad_frames: bool = False) -> None:
        self.taken: list[int] = []
        self.repeated: list[int] = []
        self.bad: list[tuple[int, str]] = []
        self._deals = deals_with_bad_frames

    async def frame(self, frame: Frame) -> None:
        self.taken += [event.position for event in frame.events if event.position not in self.taken]

    async def bad_frame(self, frame: Frame, error: FrameError) -> None:
        self.bad.append((error.position, error.rule))
        if not self._deals:
            raise error

    async def repeated_frame(self, frame: Frame) -> None:
        self.repeated.append(frame.first)


@pytest.fixture
async def lines(broker: EmbeddedNats) -> AsyncIterator[Lines]:
    """A fresh, empty stream, made by the operator."""
    await remove_stream(broker)
    buses = [
        await Bus.connect(broker.url(user), user) for user in ("operator", "accounts", "ledger")
    ]
    await buses[0].ensure_stream(BOOK)
    try:
        yield Lines(*buses)
    finally:
        for bus in buses:
            await bus.close()


async def remove_stream(broker: EmbeddedNats) -> None:
    client = await nats.connect(broker.url("operator"), allow_reconnect=False)
    streams = client.jetstream()
    if stream_name(BOOK) in [one.config.name for one in await streams.streams_info()]:
        await streams.delete_stream(stream_name(BOOK))
    await client.close()


@asynccontextmanager
async def following(
    lines: Lines, owner: Owner, heard: Heard, next_position: int = 0
) -> AsyncIterator[asyncio.Task[None]]:
    """A follower at work, which has subscribed and has read from the owner once."""
    follower = Follower("ledger.log", BOOK, lines.reader, owner, frame_keys, heard, next_position)
    running = asyncio.create_task(follower.run())
    try:
        await until(lambda: running.done() or bool(owner.asked))
        await asyncio.sleep(0.05)
        yield running
    finally:
        await end(running)


async def until(true: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, "what was awaited did not happen"
        await asyncio.sleep(0.005)


async def taken(heard: Heard, frames: int) -> None:
    """Waits for that many frames from the beginning, and looks that they came in order."""
    await until(lambda: len(heard.taken) >= 5 * frames)
    assert heard.taken == list(range(5 * frames))


def counted(rule: str) -> int:
    return int(metrics.bad_frames_total.labels(BOOK, rule)._value.get())


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel.follower, "BEHIND_AFTER_MS", SOON_MS)
    monkeypatch.setattr(kernel.follower, "POLL_S", 0.05)
    monkeypatch.setattr(kernel.follower, "OWNER_RETRY_S", 0.05)


async def test_it_reads_from_the_owner_up_to_its_head_and_goes_on_from_the_bus(
    lines: Lines,
) -> None:
    owner, heard = Owner(known=4), Heard()
    async with following(lines, owner, heard):
        await taken(heard, 4)
        await lines.publish(FRAMES[4:])
        await taken(heard, 12)
    assert owner.asked == [0]
    assert (heard.repeated, heard.bad) == ([], [])


async def test_it_begins_where_its_reader_left_off(lines: Lines) -> None:
    owner, heard = Owner(known=4), Heard()
    async with following(lines, owner, heard, next_position=10):
        await lines.publish(FRAMES[4:6])
        await until(lambda: len(heard.taken) == 20)
    assert heard.taken == list(range(10, 30))
    assert owner.asked == [10]


async def test_frames_published_while_it_still_reads_from_the_owner_are_not_missed(
    lines: Lines,
) -> None:
    """Subscribed first, read second: what both have comes twice, what one has comes once."""
    heard = Heard()

    class Slow(Owner):
        async def frames(self, book: str, from_position: int) -> AsyncIterator[Frame]:
            async for frame in super().frames(book, from_position):
                await lines.publish([FRAMES[len(heard.taken) // 5 + 2]])
                await asyncio.sleep(0.02)
                yield frame

    owner = Slow(known=6)
    async with following(lines, owner, heard):
        await taken(heard, 8)
    assert owner.asked == [0]
    assert heard.repeated == [frame.first for frame in FRAMES[2:6]]


async def test_a_forged_frame_is_dropped_counted_and_read_from_the_owner_instead(
    lines: Lines,
) -> None:
    owner, heard = Owner(known=1), Heard()
    before = {rule: counted(rule) for rule in ("FRAME_SIGNATURE", "EVENT_COMMITMENT", "FRAME_KEY")}
    async with following(lines, owner, heard):
        owner.known = 2
        await lines.publish([FRAMES[1]._replace(signature=bytes(64))], "forged ")
        await taken(heard, 2)
        owner.known = 3
        first, *others = FRAMES[2].events
        changed = first._replace(record=first.record.replace(b"10", b"99", 1))
        await lines.publish([FRAMES[2]._replace(events=[changed, *others])], "changed ")
        await taken(heard, 3)
        owner.known = 4
        await lines.publish([FRAMES[3]._replace(key_id="00" * 8)], "a stranger's ")
        await taken(heard, 4)
        await lines.publish([FRAMES[4]])  # and the true ones are believed as before
        await taken(heard, 5)
    assert owner.asked == [0, 5, 10, 15]
    assert {rule: counted(rule) - had for rule, had in before.items()} == dict.fromkeys(before, 1)
    assert heard.bad == []  # nobody may hold the bus against the owner


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"not a frame"])
async def test_garbage_on_the_subject_costs_one_look_at_the_owner(
    lines: Lines, data: bytes
) -> None:
    owner, heard = Owner(known=1), Heard()
    before = counted("FRAME_SHAPE")
    async with following(lines, owner, heard) as running:
        await lines.owner.publish_frames(BOOK, [("garbage", data)])
        await until(lambda: owner.asked == [0, 5])
        await asyncio.sleep(0.05)
        await lines.publish([FRAMES[1]])
        await taken(heard, 2)
        assert not running.done()
    assert counted("FRAME_SHAPE") == before + 1


async def test_a_frame_of_another_book_on_our_subject_is_not_taken(lines: Lines) -> None:
    owner, heard = Owner(known=1), Heard()
    other = cut("ledger", BOOK_ID, HISTORY[5:10])
    async with following(lines, owner, heard):
        await lines.publish(other, "another book's ")
        await until(lambda: owner.asked == [0, 5])
    assert heard.taken == list(range(5))


async def test_a_gap_is_filled_from_the_owner(lines: Lines) -> None:
    owner, heard = Owner(known=2), Heard()
    async with following(lines, owner, heard):
        owner.known = 6
        await lines.publish(FRAMES[4:6])  # 2 and 3 never came
        await taken(heard, 6)
        await until(lambda: len(owner.asked) == 2)
        await asyncio.sleep(0.1)
        await lines.publish(FRAMES[6:7])
        await taken(heard, 7)
    assert owner.asked == [0, 10]


async def test_the_bus_may_be_ahead_of_what_the_owner_answers(lines: Lines) -> None:
    """A gap whose missing frame the owner has not got yet either: it is asked until it has."""
    owner, heard = Owner(known=2), Heard()
    async with following(lines, owner, heard):
        await lines.publish(FRAMES[3:5])
        await until(lambda: len(owner.asked) >= 2)
        owner.known = 5
        await asyncio.sleep(0.1)
        await lines.publish(FRAMES[5:6])
        owner.known = 6
        await taken(heard, 6)


async def test_replayed_frames_are_handed_on_as_repeated_and_change_nothing(lines: Lines) -> None:
    owner, heard = Owner(known=3), Heard()
    async with following(lines, owner, heard):
        await lines.publish(FRAMES[:3], "a second relay's ")
        await lines.publish([FRAMES[1]], "a thief's ")
        await lines.publish(FRAMES[3:4])
        await taken(heard, 4)
    assert heard.repeated == [0, 5, 10, 5]
    assert owner.asked == [0]


async def test_a_frame_that_overlaps_is_taken_from_where_the_reader_is(lines: Lines) -> None:
    owner, heard = Owner(known=2), Heard()
    async with following(lines, owner, heard):
        await lines.publish(cut(BOOK, BOOK_ID, HISTORY[7:15]))
        await taken(heard, 3)
    assert owner.asked == [0]
    assert heard.repeated == []


async def test_two_seconds_behind_the_announced_head_it_reads_from_the_owner(
    lines: Lines,
) -> None:
    owner, heard = Owner(known=2), Heard()
    async with following(lines, owner, heard):
        owner.known = 4  # the relay has died: nothing is published
        async with lines.announcing(owner):
            started = time.monotonic()
            await until(lambda: owner.asked == [0, 10])
            waited_s = time.monotonic() - started
        await taken(heard, 4)
    assert waited_s >= kernel.follower.BEHIND_AFTER_MS / 1000


@pytest.mark.usefixtures("soon")
async def test_in_step_with_the_announced_head_the_owner_is_left_alone(lines: Lines) -> None:
    owner, heard = Owner(known=2), Heard()
    async with lines.announcing(owner), following(lines, owner, heard):
        for known in range(3, 7):
            owner.known = known
            await lines.publish([FRAMES[known - 1]])
            await asyncio.sleep(SOON_MS / 2000)
        await taken(heard, 6)
        await asyncio.sleep(2 * SOON_MS / 1000)
    assert owner.asked == [0]


async def test_a_head_of_another_book_or_no_head_at_all_is_not_heard(lines: Lines) -> None:
    owner, heard = Owner(known=1), Heard()
    async with following(lines, owner, heard) as running:
        await lines.owner.announce(BOOK, b"\xff\xff\xff")
        stranger = frames_pb2.Head(book="ledger", book_id=BOOK_ID, next_position=99, epoch=1)
        await lines.owner.announce(BOOK, stranger.SerializeToString())
        await lines.publish(FRAMES[1:2])
        await taken(heard, 2)
        assert not running.done()


@pytest.mark.usefixtures("soon")
async def test_without_its_stream_it_goes_on_through_the_owner_and_comes_back(
    lines: Lines, broker: EmbeddedNats
) -> None:
    owner, heard = Owner(known=2), Heard()
    async with following(lines, owner, heard) as running, lines.announcing(owner):
        await lines.publish(FRAMES[2:3])
        owner.known = 3
        await taken(heard, 3)
        await remove_stream(broker)
        for known in (4, 5):
            owner.known = known  # recorded; no stream to publish it on
            await taken(heard, known)
        asked = len(owner.asked)
        assert asked >= 3
        await lines.operator.ensure_stream(BOOK)
        owner.known = 6
        await taken(heard, 6)  # behind once more, and with that it has subscribed again
        await asyncio.sleep(0.2)
        asked = len(owner.asked)
        for known in range(7, 11):
            owner.known = known
            await lines.publish([FRAMES[known - 1]])
            await taken(heard, known)
            await asyncio.sleep(SOON_MS / 1000)
        assert len(owner.asked) == asked  # from the bus again
        assert not running.done()


@pytest.mark.usefixtures("soon")
async def test_without_a_stream_at_the_start_it_reads_from_the_owner(
    lines: Lines, broker: EmbeddedNats
) -> None:
    await remove_stream(broker)
    owner, heard = Owner(known=2), Heard()
    async with following(lines, owner, heard), lines.announcing(owner):
        await taken(heard, 2)
        owner.known = 4
        await taken(heard, 4)


@pytest.mark.usefixtures("soon")
async def test_while_nobody_announces_anything_the_owner_is_asked_now_and_then(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole bus may be away: the journal goes on, and so does who follows it."""
    monkeypatch.setattr(kernel.follower, "SILENT_AFTER_MS", SOON_MS)
    owner, heard = Owner(known=2), Heard()
    async with following(lines, owner, heard):
        for known in (3, 4):
            owner.known = known
            await taken(heard, known)


@pytest.mark.usefixtures("soon")
async def test_a_bus_that_was_away_is_used_again(lines: Lines, broker: EmbeddedNats) -> None:
    owner, heard = Owner(known=2), Heard()
    async with following(lines, owner, heard) as running:
        await asyncio.to_thread(broker.stop)
        owner.known = 4
        await asyncio.to_thread(broker.start)
        async with lines.announcing(owner):
            await taken(heard, 4)
            await asyncio.sleep(0.2)
            await lines.publish(FRAMES[4:5])
            owner.known = 5
            await taken(heard, 5)
        assert not running.done()


@pytest.mark.usefixtures("soon")
async def test_while_the_owner_is_away_it_waits_and_then_misses_nothing(lines: Lines) -> None:
    owner, heard = Owner(known=3), Heard()
    owner.away = True
    async with following(lines, owner, heard) as running:
        await lines.publish(FRAMES[3:5])
        await until(lambda: len(owner.asked) >= 4)
        assert heard.taken == []  # from the bus alone it would not know where it stands
        assert not running.done()
        owner.away = False
        await taken(heard, 5)


async def test_an_owner_that_goes_away_half_way_is_asked_for_the_rest(
    lines: Lines, soon: None
) -> None:
    class Breaking(Owner):
        async def frames(self, book: str, from_position: int) -> AsyncIterator[Frame]:
            async for frame in super().frames(book, from_position):
                yield frame
                if frame.first == 5 and len(self.asked) == 1:
                    raise Conflict("UNAVAILABLE", "the connection broke")

    owner, heard = Breaking(known=4), Heard()
    async with following(lines, owner, heard):
        await taken(heard, 4)
    assert owner.asked == [0, 10]


async def test_a_bad_frame_from_the_owner_itself_stops_the_follower(lines: Lines) -> None:
    before = counted("EVENT_COMMITMENT")
    first, *others = FRAMES[1].events
    changed = first._replace(record=first.record.replace(b"5", b"6", 1))
    lying = [FRAMES[0], FRAMES[1]._replace(events=[changed, *others]), *FRAMES[2:]]
    owner, heard = Owner(lying, known=3), Heard()
    async with following(lines, owner, heard) as running:
        with pytest.raises(FrameError, match="EVENT_COMMITMENT at 5"):
            await asyncio.wait_for(running, PATIENCE_S)
    assert heard.taken == list(range(5))
    assert heard.bad == [(5, "EVENT_COMMITMENT")]
    assert counted("EVENT_COMMITMENT") == before + 1


async def test_a_handler_that_deals_with_a_bad_frame_is_told_what_follows_it(
    lines: Lines,
) -> None:
    lying = [FRAMES[0], FRAMES[1]._replace(signature=bytes(64)), *FRAMES[2:]]
    owner, heard = Owner(lying, known=3), Heard(deals_with_bad_frames=True)
    async with following(lines, owner, heard):
        await until(lambda: len(heard.taken) == 10)
        await lines.publish(FRAMES[3:4])
        await until(lambda: len(heard.taken) == 15)
    assert heard.taken == [*range(5), *range(10, 20)]
    assert heard.bad == [(5, "FRAME_SIGNATURE")]


@pytest.mark.parametrize(
    "lying", [[FRAMES[0], FRAMES[2]], cut("ledger", BOOK_ID, HISTORY[:5])], ids=["a gap", "a book"]
)
async def test_an_owner_that_leaves_something_out_stops_the_follower(
    lines: Lines, lying: list[Frame]
) -> None:
    owner, heard = Owner(lying, known=len(lying)), Heard()
    async with following(lines, owner, heard) as running:
        with pytest.raises(FrameError, match="FRAME_GAP"):
            await asyncio.wait_for(running, PATIENCE_S)


async def test_what_the_handler_raises_ends_the_follower(lines: Lines) -> None:
    class Failing(Heard):
        async def frame(self, frame: Frame) -> None:
            if frame.first == 10:
                raise RuntimeError("the book of 兰州新区 does not add up")
            await super().frame(frame)

    owner, heard = Owner(known=1), Failing()
    async with following(lines, owner, heard) as running:
        await lines.publish(FRAMES[1:4])
        with pytest.raises(RuntimeError, match="兰州新区"):
            await asyncio.wait_for(running, PATIENCE_S)
    assert heard.taken == list(range(10))
