"""Snapshot and tail give the state that a replay from zero gives, in every book; and nothing that
was not signed for this very history is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from kernel.acts import verify_act
from kernel.asks import Domain
from kernel.clock import FixedClock
from kernel.frames import Frame, FrameSigner
from kernel.journal.memory import MemoryJournal
from kernel.journal.port import Batch
from kernel.journal.snapshots import Head, MemorySnapshots
from kernel.record import commit
from kernel.snapshot import image
from kernel.snapshot.image import hash_of
from kernel.snapshot.recovery import make, recover, restore
from kernel.writer import Writer
from tests.support.books import MORNING_MS
from tests.support.crossings import DOMAINS, Whole, tell_the_whole
from tests.support.lanzhou import seeded_key
from tests.support.ledgers import frame_key, frame_keys, origin_of

ACCOUNTS = "accounts"
STRANGER = FrameSigner(seeded_key("a stranger"))


@pytest.fixture(scope="module")
def whole() -> Whole:
    return tell_the_whole()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "CHUNK_ITEMS", 2)


def journal_of(frames: list[Frame]) -> MemoryJournal:
    journal = MemoryJournal(frames[0].book)
    events = [event for frame in frames for event in frame.events]
    journal.append(Batch(0, events, [None] * len(events), [], frames))
    return journal


def reader(frames: list[Frame], domain: Domain[Any] | None = None) -> Writer[Any]:
    book = frames[0].book
    return Writer(
        journal_of(frames),
        domain or DOMAINS[book],
        FrameSigner(frame_key(book)),
        frame_keys,
        FixedClock(MORNING_MS),
        origin=origin_of(book),
        verify=verify_act,
    )


def replayed(frames: list[Frame]) -> Writer[Any]:
    writer = reader(frames)
    writer.catch_up()
    return writer


def kept_at(frames: list[Frame], *ends: int) -> MemorySnapshots:
    """Snapshots after these many frames."""
    store = MemorySnapshots(frames[0].book)
    for end in ends:
        make(replayed(frames[:end]), store, FrameSigner(frame_key(store.book)))
    return store


def state_of(writer: Writer[Any]) -> bytes:
    return hash_of(writer.book, writer.domain, writer.state, writer.progress)


@pytest.mark.parametrize("book", DOMAINS)
def test_snapshot_and_tail_are_a_replay_from_zero_wherever_the_snapshot_was_made(
    whole: Whole, book: str
) -> None:
    frames = whole.frames[book]
    expected = replayed(frames)
    for end in range(1, len(frames) + 1):
        writer = reader(frames)
        begun = recover(writer, kept_at(frames, end), frame_keys)
        assert begun == frames[end - 1].last + 1
        assert state_of(writer) == state_of(expected)
        assert writer.state == expected.state
        assert writer.progress == expected.progress
        assert writer.committed_next == expected.committed_next


@pytest.mark.parametrize("book", DOMAINS)
def test_a_snapshot_of_a_restored_state_is_the_same_snapshot(whole: Whole, book: str) -> None:
    frames = whole.frames[book]
    store = kept_at(frames, len(frames) - 1)
    writer = reader(frames)
    recover(writer, store, frame_keys)
    from_restored = MemorySnapshots(book)
    head = make(writer, from_restored, FrameSigner(frame_key(book)))
    assert [head] == kept_at(frames, len(frames)).heads()


def test_one_event_more_is_another_hash(whole: Whole) -> None:
    frames = whole.frames[ACCOUNTS]
    hashes = {state_of(replayed(frames[:end])) for end in range(1, len(frames) + 1)}
    assert len(hashes) == len(frames)


def test_the_newest_snapshot_is_taken(whole: Whole) -> None:
    frames = whole.frames[ACCOUNTS]
    assert restore(reader(frames), kept_at(frames, 3, 9), frame_keys) == frames[8].last + 1


def test_without_a_snapshot_replaying_begins_at_zero(whole: Whole) -> None:
    writer = reader(whole.frames[ACCOUNTS])
    assert recover(writer, MemorySnapshots(ACCOUNTS), frame_keys) == 0
    assert state_of(writer) == state_of(replayed(whole.frames[ACCOUNTS]))


Lie = Callable[[MemorySnapshots, Head, list[Frame]], Head]


def edit_chunk(store: MemorySnapshots, head: Head, frames: list[Frame]) -> Head:
    chunks = store._kept[head.position][1]
    chunks[-1] = chunks[-1][:-1] + bytes([chunks[-1][-1] ^ 1])
    return head


def lose_chunk(store: MemorySnapshots, head: Head, frames: list[Frame]) -> Head:
    store._kept[head.position][1].pop()
    return head


def sign_as_stranger(store: MemorySnapshots, head: Head, frames: list[Frame]) -> Head:
    before = [frame for frame in frames if frame.last < head.position]
    return make(replayed(before), MemorySnapshots(store.book), STRANGER)


def borrow_name(store: MemorySnapshots, head: Head, frames: list[Frame]) -> Head:
    return sign_as_stranger(store, head, frames)._replace(key_id=head.key_id)


def changed(**fields: Any) -> Lie:
    return lambda store, head, frames: head._replace(**fields)


LIES: dict[str, tuple[Lie, str]] = {
    "a changed chunk": (edit_chunk, "is not what was signed"),
    "a lost chunk": (lose_chunk, "is not what was signed"),
    "another key": (sign_as_stranger, "no key of the book's service"),
    "the right key's name on another signature": (borrow_name, "the signature is not by"),
    "another position": (changed(position=20), "the signature is not by"),
    "another commitment": (changed(commitment=bytes(32)), "the signature is not by"),
    "other digests": (changed(digests=bytes(64)), "the signature is not by"),
    "another book": (changed(book="registry"), "no key of the book's service"),
    "another version": (changed(version=bytes(32)), "made by another version"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_was_not_signed_is_refused_and_replaying_begins_at_an_older_one(
    whole: Whole, lie: str
) -> None:
    frames = whole.frames[ACCOUNTS]
    store = kept_at(frames, 3, 9)
    newest = store.heads()[0]
    change, why = LIES[lie]
    head = change(store, newest, frames)
    store._kept[head.position] = (head, store._kept.pop(newest.position)[1])
    writer = reader(frames)
    with capture_logs() as logs:
        assert recover(writer, store, frame_keys) == frames[2].last + 1
    (refused,) = [one for one in logs if one["event"] == "snapshot.refused"]
    assert why in refused["reason"]
    assert state_of(writer) == state_of(replayed(frames))


def test_one_of_a_longer_history_than_the_journal_has_is_refused(whole: Whole) -> None:
    frames = whole.frames[ACCOUNTS]
    with capture_logs() as logs:
        assert restore(reader(frames[:5]), kept_at(frames, 9), frame_keys) == 0
    assert "the end of the journal" in logs[0]["reason"]


def test_one_of_another_history_of_the_same_book_is_refused(whole: Whole) -> None:
    """The same events under other salts: the states are equal, the commitments are not."""
    frames = whole.frames[ACCOUNTS]
    forked = [*frames[:8], resalted(frames[8])]
    with capture_logs() as logs:
        assert restore(reader(forked), kept_at(frames, 9), frame_keys) == 0
    assert logs[0]["reason"] == "it is of another history"


def resalted(frame: Frame) -> Frame:
    salt = bytes(16)
    events = [
        event._replace(salt=salt, commitment=commit(salt, event.record)) for event in frame.events
    ]
    (again,) = FrameSigner(frame_key(frame.book)).cut(frame.book, frame.book_id, events)
    return again


def test_one_that_was_made_before_evolve_meant_something_else_is_not_used(whole: Whole) -> None:
    frames = whole.frames[ACCOUNTS]
    domain = DOMAINS[ACCOUNTS]
    newer = Domain(
        domain.events, domain.new_state, domain.decide, domain.evolve, domain.due, version=2
    )
    assert restore(reader(frames, newer), kept_at(frames, 9), frame_keys) == 0
