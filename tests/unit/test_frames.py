"""Frames: cut below the bus's limit, signed, and naming exactly what was changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.acts import key_id, public_bytes
from kernel.frames import (
    MAX_FRAME_BYTES,
    Frame,
    FrameError,
    FrameSigner,
    StoredEvent,
    decode_frame,
    encode_frame,
    frame_to_message,
    verify_frame,
)
from kernel.record import MAX_RECORD_BYTES, commit

BOOK = "accounts"
BOOK_ID = bytes(range(16))
KEY = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
PUBLIC = public_bytes(KEY)
SIGNER = FrameSigner(KEY)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes([8]) * 32)
MESSAGE_LIMIT = 512 * 1024  # design section 3: a message stays below it


def keys(book: str, wanted: str) -> bytes | None:
    """The accounts service's key, for its own book alone."""
    return PUBLIC if (book, wanted) == (BOOK, key_id(PUBLIC)) else None


def stored(first: int, records: Sequence[bytes]) -> list[StoredEvent]:
    events = []
    for i, record in enumerate(records):
        salt = (first + i).to_bytes(16, "big")
        events.append(StoredEvent(first + i, record, salt, commit(salt, record)))
    return events


def a_frame(count: int = 5, first: int = 10) -> Frame:
    (frame,) = SIGNER.cut(BOOK, BOOK_ID, stored(first, [b"{%d}" % i for i in range(count)]))
    return frame


def changed(frame: Frame, i: int, **fields: Any) -> Frame:
    events = list(frame.events)
    events[i] = events[i]._replace(**fields)
    return frame._replace(events=events)


def complaint(frame: Frame) -> FrameError:
    with pytest.raises(FrameError) as caught:
        verify_frame(frame, keys)
    return caught.value


def test_a_frame_as_it_was_cut_is_believed() -> None:
    frame = a_frame()
    verify_frame(frame, keys)
    assert (frame.first, frame.last, frame.key_id) == (10, 14, key_id(PUBLIC))


def test_a_frame_comes_back_from_the_bus_as_it_went() -> None:
    frame = a_frame()
    again = decode_frame(encode_frame(frame))
    assert again == frame
    verify_frame(again, keys)


sizes = st.lists(st.integers(1, MAX_RECORD_BYTES), max_size=40)


@settings(deadline=None, max_examples=30)
@given(sizes)
def test_frames_hold_every_event_once_in_order_and_fit_the_bus(lengths: list[int]) -> None:
    events = stored(3, [b"x" * length for length in lengths])
    frames = SIGNER.cut(BOOK, BOOK_ID, events)
    assert [event for frame in frames for event in frame.events] == events
    assert all(len(encode_frame(frame)) < MESSAGE_LIMIT for frame in frames)
    for frame in frames:
        verify_frame(frame, keys)


@pytest.mark.parametrize("length", [1, 2, 1000, MAX_FRAME_BYTES // 8 - 64, MAX_RECORD_BYTES])
def test_full_frames_of_equal_events_fit_the_bus(length: int) -> None:
    count = 3 * MAX_FRAME_BYTES // (length + 64) + 1
    frames = SIGNER.cut(BOOK, BOOK_ID, stored(0, [b"x" * length] * min(count, 9000)))
    assert all(len(encode_frame(frame)) < MESSAGE_LIMIT for frame in frames)
    assert [frame.first for frame in frames[1:]] == [frame.last + 1 for frame in frames[:-1]]


def test_nothing_makes_no_frame() -> None:
    assert SIGNER.cut(BOOK, BOOK_ID, []) == []


@pytest.mark.parametrize("i", range(5))
def test_a_changed_record_is_named_by_its_position(i: int) -> None:
    error = complaint(changed(a_frame(), i, record=b"{9}"))
    assert (error.rule, error.position) == ("EVENT_COMMITMENT", 10 + i)


@pytest.mark.parametrize("i", range(5))
def test_a_changed_salt_is_named_by_its_position(i: int) -> None:
    error = complaint(changed(a_frame(), i, salt=bytes(16)))
    assert (error.rule, error.position) == ("EVENT_COMMITMENT", 10 + i)


def test_of_two_changed_events_the_first_is_named() -> None:
    error = complaint(changed(changed(a_frame(), 3, record=b"x"), 1, record=b"y"))
    assert error.position == 11


def test_a_record_changed_with_its_commitment_breaks_the_frame() -> None:
    frame = a_frame()
    record, salt = b"{9}", frame.events[2].salt
    error = complaint(changed(frame, 2, record=record, commitment=commit(salt, record)))
    assert (error.rule, error.position) == ("FRAME_DIGEST", 10)


def test_a_digest_made_to_fit_fails_on_the_signature() -> None:
    frame = a_frame()
    record, salt = b"{9}", frame.events[2].salt
    forged = changed(frame, 2, record=record, commitment=commit(salt, record))
    digest = FrameSigner(OTHER_KEY).cut(BOOK, BOOK_ID, forged.events)[0].digest
    assert complaint(forged._replace(digest=digest)).rule == "FRAME_SIGNATURE"


@pytest.mark.parametrize("signature", [b"", bytes(64), b"\xff" * 64, bytes(63), bytes(65)])
def test_a_forged_signature_is_not_believed(signature: bytes) -> None:
    error = complaint(a_frame()._replace(signature=signature))
    assert (error.rule, error.position) == ("FRAME_SIGNATURE", 10)


def test_another_key_under_our_id_is_not_believed() -> None:
    frame = a_frame()
    other = FrameSigner(OTHER_KEY).cut(BOOK, BOOK_ID, frame.events)[0]
    assert complaint(other._replace(key_id=frame.key_id)).rule == "FRAME_SIGNATURE"


def test_a_key_nobody_listed_is_not_believed() -> None:
    frame = FrameSigner(OTHER_KEY).cut(BOOK, BOOK_ID, a_frame().events)[0]
    error = complaint(frame)
    assert (error.rule, error.actual) == ("FRAME_KEY", frame.key_id)


def test_a_service_may_not_sign_another_services_book() -> None:
    frame = SIGNER.cut("registry", BOOK_ID, a_frame().events)[0]
    assert complaint(frame).rule == "FRAME_KEY"


def test_a_frame_moved_to_another_place_or_book_is_not_believed() -> None:
    frame = a_frame()
    moved = frame._replace(
        first=11, events=[e._replace(position=e.position + 1) for e in frame.events]
    )
    assert complaint(moved).rule == "FRAME_DIGEST"
    assert complaint(frame._replace(book_id=bytes(16))).rule == "FRAME_DIGEST"


def test_a_left_out_event_breaks_the_frame() -> None:
    frame = a_frame()
    assert complaint(frame._replace(events=frame.events[:-1])).rule == "FRAME_DIGEST"
    assert complaint(frame._replace(events=frame.events[1:])).rule == "FRAME_DIGEST"


def test_a_frame_whose_shape_has_a_gap_is_refused() -> None:
    message = frame_to_message(a_frame())
    del message.events[2]
    with pytest.raises(FrameError) as caught:
        decode_frame(message.SerializeToString())
    assert (caught.value.rule, caught.value.position) == ("FRAME_SHAPE", 10)


def test_a_frame_without_events_is_refused() -> None:
    message = frame_to_message(a_frame())
    del message.events[:]
    message.commitments = b""
    with pytest.raises(FrameError, match="FRAME_SHAPE"):
        decode_frame(message.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"not a frame at all", bytes(1000)])
def test_garbage_from_the_bus_is_refused_as_a_frame(data: bytes) -> None:
    with pytest.raises(FrameError, match="FRAME_SHAPE"):
        decode_frame(data)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_changed_byte_of_a_message_is_believed(data: st.DataObject) -> None:
    message = bytearray(encode_frame(a_frame()))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameError):
        verify_frame(decode_frame(bytes(message)), keys)
