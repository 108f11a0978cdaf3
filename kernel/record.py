"""The event record: what is stored, hashed, published and shown (design section 3).

UTF-8 JSON, sorted keys, no spaces, integers below 2^53, at most 64 KiB, made once and never
re-serialised. Structs declare their fields in sorted order, so the plain encoder is canonical;
tests/unit/test_record.py holds every event type to that. The commitment of a record is
SHA-256(salt || record): the only thing a public tree ever shows of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from kernel.errors import InvariantBroken, Refused
from kernel.values import MAX_INTEGER, Act, Actor

MAX_RECORD_BYTES: Final = 64 * 1024
SALT_BYTES: Final = 16
COMMITMENT_BYTES: Final = 32

B = TypeVar("B")

# Every digit becomes a 0, so that sixteen in a row are one search: a pattern costs ten times that.
_DIGITS_AS_ZERO: Final = bytes(0x30 if 0x30 <= one <= 0x39 else one for one in range(256))
_SIXTEEN: Final = b"0" * 16


class Record(msgspec.Struct, Generic[B], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The envelope, fields in canonical order; `body` is an event struct, or raw."""

    actor: Actor
    acts: list[Act] | msgspec.UnsetType = msgspec.UNSET
    at: str
    body: B
    book: str
    by: str
    cause: tuple[str, int] | None
    on: str
    position: int
    sealed: str | msgspec.UnsetType = msgspec.UNSET
    type: str
    v: int


# A record read back: everything decoded but the body, which waits for its own type.
RawRecord = Record[msgspec.Raw]


class BookOpened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Position 0 of every book: its identity, for ever."""

    book_id: str  # 32 hex digits, 128 random bits
    origin: str
    version: int


class WriterStarted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A writer took the lease: whatever an older one still tries collides with this position."""

    epoch: int


KERNEL_EVENTS: Final[tuple[type[msgspec.Struct], ...]] = (BookOpened, WriterStarted)

_encode = msgspec.json.Encoder().encode
# A struct's fields stand sorted already; the names in a refusal's `details` come in any order.
_encode_new = msgspec.json.Encoder(order="deterministic").encode
_raw_decoder = msgspec.json.Decoder(RawRecord)
# Malformed, not UTF-8, or nested without end: all of it is only "not a record".
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class RecordMaker:
    """The canonical bytes of the records of one batch, each made once.

    The envelope is put together by hand, around the body's own encoding: half of the cost of an
    event is here. tests/unit/test_record.py holds it to the plain encoding of a Record, and so
    does the ledger, for every event, when it reads them back (decode_canonical).
    """

    def __init__(self, book: str, at: str) -> None:
        self.at = at
        self._at = b',"at":' + _encode(at) + b',"body":'
        self._book = b',"book":' + _encode(book) + b',"by":"'
        # Of the last command: its neighbours in a batch are mostly the same person's, of one time.
        self._actor: Actor | None = None
        self._begin = b""
        self._on = ""
        self._end = b""

    def make(
        self,
        event: msgspec.Struct,
        actor: Actor,
        acts: Sequence[Act],
        by: str,
        cause: tuple[str, int] | None,
        on: str,
        position: int,
        sealed: str | None,
    ) -> bytes:
        """`by` is an id of ours: nothing in it needs escaping. Raises Refused(EVENT_TOO_LARGE)."""
        if actor is not self._actor:
            self._actor, self._begin = actor, b'{"actor":' + _encode(actor)
        if on != self._on:
            self._on, self._end = on, b',"on":' + _encode(on) + b',"position":'
        data = b"".join(
            (
                self._begin,
                b',"acts":' + _encode(sorted(acts)) if acts else b"",
                self._at,
                _encode_new(event),
                self._book,
                by.encode(),
                b'","cause":null' if cause is None else b'","cause":' + _encode(cause),
                self._end,
                b"%d" % position,
                b',"sealed":' + _encode(sealed) if sealed is not None else b"",
                b',"type":"%b","v":1}' % type(event).__name__.encode(),
            )
        )
        return _checked(data)


def encode_record(record: Record[Any]) -> bytes:
    """The canonical bytes of a whole record."""
    return _checked(_encode(record))


def _checked(data: bytes) -> bytes:
    _refuse_long_integers(data)
    if len(data) > MAX_RECORD_BYTES:
        raise Refused(
            "EVENT_TOO_LARGE",
            f"expected an event of at most {MAX_RECORD_BYTES} bytes, got {len(data)}",
            limit=MAX_RECORD_BYTES,
            actual=len(data),
        )
    return data


def _refuse_long_integers(data: bytes) -> None:
    """Integers below 2^53, so that every JSON reader reads them exactly; raises InvariantBroken.

    Sixteen digits in a row are rare: only then is the record walked.
    """
    if _SIXTEEN in data.translate(_DIGITS_AS_ZERO) and not _integers_fit(msgspec.json.decode(data)):
        raise InvariantBroken("expected integers below 2^53 in an event record")


def _integers_fit(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_integers_fit, value.values()))
    if isinstance(value, list):
        return all(map(_integers_fit, value))
    return not isinstance(value, int) or -MAX_INTEGER <= value <= MAX_INTEGER


def decode_record(data: bytes) -> RawRecord:
    """The envelope of a stored record; raises InvariantBroken when it is not one."""
    try:
        return _raw_decoder.decode(data)
    except _UNREADABLE as error:
        raise InvariantBroken(f"expected an event record, got {data[:200]!r}: {error}") from error


def commit(salt: bytes, record: bytes) -> bytes:
    """SHA-256(salt || record)."""
    return hashlib.sha256(salt + record).digest()


# The last member but one of every record: a key, unlike text, has quotes without a backslash.
_TYPE_KEY: Final = b'"type":"'


class EventTypes:
    """The event structs a book knows, by name: decodes records, refuses unknown types."""

    def __init__(self, *events: type[msgspec.Struct]) -> None:
        self.by_name = {event.__name__: event for event in (*KERNEL_EVENTS, *events)}
        self._decoders: dict[bytes, msgspec.json.Decoder[Record[Any]]] = {
            name.encode(): msgspec.json.Decoder(Record[event])  # type: ignore[valid-type]
            for name, event in self.by_name.items()
        }

    def decode(self, data: bytes) -> Record[Any]:
        """A record with its typed body; raises InvariantBroken for a type or shape not known.

        In one pass: its type is looked for in the bytes first, and must then be what is decoded.
        """
        begin = data.rfind(_TYPE_KEY) + len(_TYPE_KEY)
        name = data[begin : data.find(b'"', begin)]
        decoder = self._decoders.get(name)
        if decoder is None:
            raw = decode_record(data)
            raise InvariantBroken(
                f"position {raw.position}: expected one of {sorted(self.by_name)}, got {raw.type}"
            )
        try:
            record = decoder.decode(data)
        except _UNREADABLE as error:
            raw = decode_record(data)
            raise InvariantBroken(f"position {raw.position}: {raw.type}: {error}") from error
        if record.type.encode() != name:
            raise InvariantBroken(
                f"position {record.position}: expected {record.type}, got the shape of {name!r}"
            )
        return record

    def decode_canonical(self, data: bytes) -> tuple[Record[Any], msgspec.Struct]:
        """Record and body, and proof that these are the bytes we would have made.

        One round trip catches doubled, unsorted and unknown keys, spaces, floats and foreign
        escapes: no second spelling of an event is accepted. Raises InvariantBroken.
        """
        record = self.decode(data)
        _refuse_long_integers(data)
        if _encode(record) != data:
            raise InvariantBroken(
                f"position {record.position}: expected the canonical bytes of {record.type},"
                f" got another spelling of {len(data)} bytes"
            )
        return record, record.body
