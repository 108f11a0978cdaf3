"""Frames: consecutive events of one commit, signed by the service that owns the book.

A frame is cut when it is written, below the bus's message limit, so the row in the journal, the
message on NATS and the answer of ReadEvents are one and the same thing. Its digest covers book id,
first position and the commitments in order; the commitments travel along so that one changed event
can be named instead of the whole frame being distrusted.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError
from tanzhang.kernel.v1 import frames_pb2

from kernel.acts import key_id, public_bytes
from kernel.errors import TanzhangError
from kernel.record import COMMITMENT_BYTES, SALT_BYTES, commit

MAX_FRAME_BYTES: Final = 480 * 1024  # half of what NATS accepts by default, with room for headers
# Per event on top of record and salt: commitment and protobuf tags.
_EVENT_OVERHEAD_BYTES: Final = COMMITMENT_BYTES + SALT_BYTES + 16
_DOMAIN: Final = b"tanzhang-frame/v1\n"


class FrameError(TanzhangError):
    """A frame that must not be believed. `position` is the first one it speaks ill of."""

    def __init__(self, rule: str, position: int, expected: str, actual: str) -> None:
        super().__init__(f"{rule} at {position}: expected {expected}, got {actual}")
        self.rule = rule
        self.position = position
        self.expected = expected
        self.actual = actual


class StoredEvent(NamedTuple):
    """An event's bytes, as they were made once."""

    position: int
    record: bytes
    salt: bytes
    commitment: bytes


class Frame(NamedTuple):
    """A signed run of events first..last of one book."""

    book: str
    book_id: bytes
    first: int
    events: Sequence[StoredEvent]
    digest: bytes
    key_id: str
    signature: bytes

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1


class FrameSigner:
    """Cuts and signs; holds the service's frame key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = key_id(public_bytes(key))

    def cut(self, book: str, book_id: bytes, events: Sequence[StoredEvent]) -> list[Frame]:
        """Splits consecutive events into signed frames below MAX_FRAME_BYTES each."""
        frames: list[Frame] = []
        start = size = 0
        for i, event in enumerate(events):
            grown = len(event.record) + _EVENT_OVERHEAD_BYTES
            if size + grown > MAX_FRAME_BYTES:
                frames.append(self._sign(book, book_id, events[start:i]))
                start, size = i, 0
            size += grown
        if start < len(events):
            frames.append(self._sign(book, book_id, events[start:]))
        return frames

    def _sign(self, book: str, book_id: bytes, events: Sequence[StoredEvent]) -> Frame:
        first = events[0].position
        digest = frame_digest(book_id, first, b"".join(event.commitment for event in events))
        return Frame(book, book_id, first, events, digest, self.key_id, self.sign(digest))

    def sign(self, digest: bytes) -> bytes:
        """Of 32 bytes that were hashed with their own domain: of a frame, or of a snapshot."""
        return self._key.sign(digest)


def frame_digest(book_id: bytes, first: int, commitments: bytes) -> bytes:
    """What a frame's signature covers (frames.proto)."""
    return hashlib.sha256(_DOMAIN + book_id + struct.pack(">Q", first) + commitments).digest()


KeyLookup = Callable[[str, str], bytes | None]  # (book, key id) -> Ed25519 public key


def verify_frame(frame: Frame, keys: KeyLookup) -> None:
    """Signature first, then every event against its signed commitment; raises FrameError.

    With the signature good and an event off, the error names exactly that event; with the
    signature off, nothing in the frame can be believed and it names the first.
    """
    public_key = keys(frame.book, frame.key_id)
    if public_key is None:
        raise FrameError("FRAME_KEY", frame.first, "a key of the book's service", frame.key_id)
    events = frame.events
    commitments = b"".join([event.commitment for event in events])
    digest = frame_digest(frame.book_id, frame.first, commitments)
    if digest != frame.digest:
        raise FrameError("FRAME_DIGEST", frame.first, frame.digest.hex(), digest.hex())
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(frame.signature, digest)
    except InvalidSignature:
        raise FrameError(
            "FRAME_SIGNATURE", frame.first, f"a signature by {frame.key_id}", "another signature"
        ) from None
    # All at once: every follower does this for every event, and next to none is ever off.
    if b"".join([commit(salt, record) for _, record, salt, _ in events]) == commitments:
        return
    for event in events:
        actual = commit(event.salt, event.record)
        if actual != event.commitment:
            raise FrameError(
                "EVENT_COMMITMENT", event.position, event.commitment.hex(), actual.hex()
            )


def frame_to_message(frame: Frame) -> frames_pb2.Frame:
    """The protobuf form, for the bus and for ReadEvents."""
    return frames_pb2.Frame(
        book=frame.book,
        book_id=frame.book_id,
        first_position=frame.first,
        events=[frames_pb2.Event(record=e.record, salt=e.salt) for e in frame.events],
        commitments=b"".join(event.commitment for event in frame.events),
        digest=frame.digest,
        key_id=frame.key_id,
        signature=frame.signature,
    )


def frame_from_message(message: frames_pb2.Frame) -> Frame:
    """The inverse; raises FrameError when the shape alone is wrong."""
    first, count = message.first_position, len(message.events)
    commitments = message.commitments
    if not count or len(commitments) != count * COMMITMENT_BYTES:
        raise FrameError(
            "FRAME_SHAPE",
            first,
            f"{count * COMMITMENT_BYTES} bytes of commitments for {count} events, at least one",
            f"{len(commitments)} bytes",
        )
    events = [
        StoredEvent(first + i, event.record, event.salt, commitments[i * 32 : i * 32 + 32])
        for i, event in enumerate(message.events)
    ]
    return Frame(
        message.book,
        message.book_id,
        first,
        events,
        message.digest,
        message.key_id,
        message.signature,
    )


def encode_frame(frame: Frame) -> bytes:
    return frame_to_message(frame).SerializeToString()


def decode_frame(data: bytes) -> Frame:
    """A frame from the bus's bytes; raises FrameError when they are not one."""
    try:
        return frame_from_message(frames_pb2.Frame.FromString(data))
    except DecodeError as error:
        raise FrameError("FRAME_SHAPE", 0, "a protobuf frame", str(error)) from error
