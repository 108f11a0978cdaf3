"""From a snapshot and the tail of the journal to the state: how a book is read at its start.

A snapshot is believed when the service's own frame key has signed it, for this book, this shape of
the state and this very history: the event before it has to stand in the journal under the
commitment that was signed, in a frame that verifies. Whatever does not hold is refused with a line
in the log, and an older snapshot or position 0 is where replaying begins: never a reason not to
start. What lies before a believed snapshot is not read again; `verify` reads it.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kernel.clock import monotonic_ms
from kernel.errors import InvariantBroken
from kernel.frames import Frame, FrameError, FrameSigner, KeyLookup, StoredEvent, verify_frame
from kernel.journal.port import Journal
from kernel.journal.snapshots import Head, Snapshots
from kernel.logs import get_logger
from kernel.record import decode_record
from kernel.replica import Progress
from kernel.snapshot.image import DIGEST_BYTES, Image, hash_of, state_hash
from kernel.values import parse_instant
from kernel.writer import Writer

PROGRESS_EVERY_MS: Final = 2000
_DOMAIN: Final = "tanzhang-snapshot/v1"
# What reading bytes of another shape can end in, should a version ever have lied.
_UNREADABLE: Final = (msgspec.MsgspecError, TypeError, ValueError, LookupError, StopIteration)

S = TypeVar("S")

log = get_logger(__name__)


class NotBelieved(Exception):
    """Why a snapshot is not read."""


class OtherVersion(NotBelieved):
    """Nothing is wrong with it, but this code has another state."""


Heard = Callable[[int, int], None]  # something more was read: how much of how much


def recover(
    writer: Writer[Any], store: Snapshots, keys: KeyLookup, heard: Heard | None = None
) -> int:
    """Newest snapshot and tail, into a writer that has read nothing yet; blocks.

    Answers where replaying began. Raises FrameError like Writer.catch_up.
    """
    heard = heard or show_progress(writer.book)
    # Millions of things are made and none is given up: looking for garbage among them took two
    # thirds of the time it takes to load a million accounts.
    gc.disable()
    try:
        begun = restore(writer, store, keys, heard)
        writer.catch_up(heard)
    finally:
        gc.enable()
    return begun


def restore(
    writer: Writer[Any], store: Snapshots, keys: KeyLookup, heard: Heard | None = None
) -> int:
    """The newest snapshot that can be believed; answers its position, 0 when there is none."""
    for head in store.heads():
        try:
            _adopt(writer, store, keys, head, heard)
        except NotBelieved as why:
            log.warning(
                "snapshot.refused", book=writer.book, position=head.position, reason=str(why)
            )
            continue
        log.info("snapshot.restored", book=writer.book, position=head.position)
        return head.position
    return 0


def show_progress(book: str) -> Callable[[int, int], None]:
    """A line in the log every two seconds, for whoever waits."""
    shown_ms = monotonic_ms()

    def show(done: int, total: int) -> None:
        nonlocal shown_ms
        if monotonic_ms() - shown_ms > PROGRESS_EVERY_MS:
            shown_ms = monotonic_ms()
            log.info("book.replaying", book=book, done=done, total=total)

    return show


def make(writer: Writer[Any], store: Snapshots, signer: FrameSigner) -> Head:
    """A snapshot of where a writer stands; it must have read something, and must stand still."""
    _, before = _event_at(writer.journal, writer.progress.next_position - 1)
    image = Image(writer.book, writer.domain)
    return write(image, writer.state, writer.progress, store, signer, before.commitment)


def write(
    image: Image[S],
    state: S,
    progress: Progress,
    store: Snapshots,
    signer: FrameSigner,
    commitment: bytes,
) -> Head:
    """Chunk by chunk, then signed; `commitment` says which history it is of."""
    digests: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        for chunk in image.chunks(state, progress):
            digests.append(hashlib.sha256(chunk).digest())
            yield chunk

    def sign() -> Head:
        unsigned = Head(
            store.book,
            progress.book_id,
            progress.next_position,
            image.version,
            commitment,
            b"".join(digests),
            signer.key_id,
            b"",
        )
        return unsigned._replace(signature=signer.sign(_statement(unsigned)))

    return store.save(progress.next_position, chunks(), sign)


def same_state(writer: Writer[Any], store: Snapshots, keys: KeyLookup, head: Head) -> bool:
    """Does a writer that stands at a snapshot's position hold what the snapshot says?

    Raises NotBelieved when the snapshot itself does not hold.
    """
    version = Image(writer.book, writer.domain).version
    check(head, writer.journal, keys, version)
    for number, digest in enumerate(split(head.digests)):
        _chunk(store, head, number, digest)
    actual = hash_of(writer.book, writer.domain, writer.state, writer.progress)
    return actual == state_hash(split(head.digests))


def check(head: Head, journal: Journal, keys: KeyLookup, version: bytes) -> Frame:
    """All that can be said of a snapshot without its chunks; answers the frame before it.

    Raises NotBelieved.
    """
    check_signed(head, keys(head.book, head.key_id), version)
    if not 0 < head.position <= journal.head():
        raise NotBelieved(f"expected a position up to {journal.head()}, the end of the journal")
    frame, event = _event_at(journal, head.position - 1)
    try:
        verify_frame(frame, keys)
    except FrameError as error:
        raise NotBelieved(f"the frame before it does not verify: {error}") from error
    if (frame.book_id, event.commitment) != (head.book_id, head.commitment):
        raise NotBelieved("it is of another history")
    return frame


def check_signed(head: Head, public_key: bytes | None, version: bytes) -> None:
    """Is it of this shape, and signed by this key? Raises NotBelieved."""
    if head.version != version:
        raise OtherVersion("made by another version of the state")
    if public_key is None:
        raise NotBelieved(f"{head.key_id} is no key of the book's service")
    try:
        verified = Ed25519PublicKey.from_public_bytes(public_key)
        verified.verify(head.signature, _statement(head))
    except InvalidSignature:
        raise NotBelieved(f"the signature is not by {head.key_id}") from None


def read(
    image: Image[S], store: Snapshots, head: Head, heard: Heard | None = None
) -> tuple[S, Progress]:
    """Of a snapshot whose signature was checked: what it says, without `last_at_ms`."""

    def chunks_as_signed() -> Iterator[bytes]:
        digests = split(head.digests)
        for i, digest in enumerate(digests):
            chunk = _chunk(store, head, i, digest)
            if heard is not None:
                heard(i, len(digests))
            yield chunk

    chunks = chunks_as_signed()
    try:
        state, progress = image.read(chunks)
    except _UNREADABLE as error:
        raise NotBelieved(f"it cannot be read: {error}") from error
    if (progress.book_id, progress.next_position) != (head.book_id, head.position):
        raise NotBelieved(f"expected a state at {head.position}, got {progress.next_position}")
    return state, progress


def _adopt(
    writer: Writer[Any], store: Snapshots, keys: KeyLookup, head: Head, heard: Heard | None
) -> None:
    image = Image(writer.book, writer.domain)
    frame = check(head, writer.journal, keys, image.version)
    state, progress = read(image, store, head, heard)
    # Times of a book never go back, so the last record's is the latest.
    last = decode_record(frame.events[head.position - 1 - frame.first].record)
    progress.last_at_ms = parse_instant(last.at)
    writer.begin_at(state, progress)


def _chunk(store: Snapshots, head: Head, number: int, digest: bytes) -> bytes:
    """Nothing of a chunk is read before its digest was found to be the signed one."""
    data = store.chunk(head.position, number)
    if data is None or hashlib.sha256(data).digest() != digest:
        raise NotBelieved(f"chunk {number} is not what was signed")
    return data


def split(digests: bytes) -> list[bytes]:
    return [digests[i : i + DIGEST_BYTES] for i in range(0, len(digests), DIGEST_BYTES)]


def _event_at(journal: Journal, position: int) -> tuple[Frame, StoredEvent]:
    for frame in journal.read_frames(position, position + 1):
        return frame, frame.events[position - frame.first]
    raise InvariantBroken(f"{journal.book}: expected an event at {position}, found none")


def _statement(head: Head) -> bytes:
    """What the signature covers, as 32 bytes; of the chunks, the hash of the state."""
    said = msgspec.msgpack.encode(
        (
            _DOMAIN,
            head.book,
            head.book_id,
            head.position,
            head.version,
            head.commitment,
            state_hash(split(head.digests)),
        )
    )
    return hashlib.sha256(said).digest()
