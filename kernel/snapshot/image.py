"""A state as bytes: chunks that can be written, hashed and read one after the other.

The first chunk is what the kernel knows of the book, then come the fields of the state in their
order, big ones in several chunks, so that a state of any size needs the memory of one chunk. The
hash of a state is the hash of the digests of its chunks: two processes that have folded the same
events have the same, whether they began at a snapshot or at zero.
"""

from __future__ import annotations

import dataclasses
import hashlib
import typing
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from kernel.replica import Progress
from kernel.snapshot.shape import Codec, Form

CHUNK_ITEMS: Final = 4096  # of accounts: about half a megabyte
DIGEST_BYTES: Final = 32
_FORMAT: Final = 1  # of the chunks themselves
_DOMAIN: Final = b"tanzhang-state/v1\n"

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Shaped(Protocol[S_co]):
    """What has states: a domain, or whoever keeps another kind of them."""

    @property
    def new_state(self) -> Callable[[], S_co]: ...
    @property
    def version(self) -> int: ...


class Image(Generic[S]):
    """Writes and reads the states of one domain. For one state at a time: make a new one each."""

    def __init__(self, book: str, domain: Shaped[S]) -> None:
        self._book = book
        self._codec = Codec(type(domain.new_state()))
        said = f"{_FORMAT} {domain.version}\n{self._codec.shape}"
        self.version = hashlib.sha256(said.encode()).digest()

    def chunks(self, state: S, progress: Progress) -> Iterator[bytes]:
        """Lazily: the state must not change meanwhile."""
        yield _encode(
            [
                self._book,
                progress.book_id,
                progress.next_position,
                progress.epoch,
                # Not `last_at_ms`: a writer's runs on with the clock; the last record has it.
                sorted(progress.watermarks.items()),
            ]
        )
        for name, (hint, form) in self._codec.fields.items():
            for part in _parts(getattr(state, name), hint, form):
                yield _encode([name, part])

    def read(self, chunks: Iterable[bytes]) -> tuple[S, Progress]:
        """The inverse, without `last_at_ms`. Raises ValueError for another book's."""
        rest = iter(chunks)
        book, book_id, next_position, epoch, watermarks = _decode(next(rest))
        if book != self._book:
            raise ValueError(f"expected a state of {self._book}, got one of {book}")
        fields: dict[str, Any] = {}
        for chunk in rest:
            name, plain = _decode(chunk)
            form = self._codec.fields[name][1]
            _join(fields, name, plain if form.read is None else form.read(plain))
        state: S = typing.cast(Any, self._codec.state_type)(**fields)
        return state, Progress(book_id, next_position, epoch, 0, dict(watermarks))


def size_of(state: Any) -> int:
    """How much there is to be hashed: members of the state's containers, not of those inside."""
    values = [getattr(state, one.name) for one in dataclasses.fields(state)]
    return sum(len(value) for value in values if isinstance(value, Sized))


def state_hash(digests: Iterable[bytes]) -> bytes:
    """Of the digests of all chunks, in order."""
    return hashlib.sha256(_DOMAIN + b"".join(digests)).digest()


def hash_of(book: str, domain: Shaped[S], state: S, progress: Progress) -> bytes:
    """The hash of a state as it stands. A million accounts take some seconds."""
    chunks = Image(book, domain).chunks(state, progress)
    return state_hash(hashlib.sha256(chunk).digest() for chunk in chunks)


def _parts(value: Any, hint: Any, form: Form) -> Iterator[Any]:
    """The plain values of a field; of a container in parts, at least one."""
    kind = typing.get_origin(hint) or hint
    if kind is set:
        value, kind, form = form.write and form.write(value), list, Form("", None, None)
    if kind not in (dict, OrderedDict, list):
        yield value if form.write is None else form.write(value)
        return
    items = iter(value if kind is list else value.items())
    while True:
        part = kind(islice(items, CHUNK_ITEMS))
        yield part if form.write is None else form.write(part)
        if len(part) < CHUNK_ITEMS:
            return


def _join(fields: dict[str, Any], name: str, part: Any) -> None:
    before = fields.setdefault(name, part)
    if before is part:
        return
    if isinstance(before, list):
        before.extend(part)
    else:
        before.update(part)
