"""One book's log in memory: the independent book, the tree, and what is not stored yet.

The hot path of the ledger: decode, check, apply, hash, append. Nothing here waits or writes;
projections.py stores what `take_pending` hands out, sealing.py signs what is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from kernel.errors import InvariantBroken
from kernel.frames import StoredEvent
from kernel.record import KERNEL_EVENTS, BookOpened, RawRecord, WriterStarted
from kernel.tlog.receipt import leaf_data
from kernel.tlog.tiles import Tile, TileTree
from services.ledger.books.port import Checker, RuleBroken, Step, instant_ms, require

RECORD_VERSION: Final = 1


class Halt(NamedTuple):
    """Why a log is not signed beyond `position`."""

    book: str
    position: int
    rule: str
    expected: str
    actual: str


class Halted(Exception):
    def __init__(self, halt: Halt) -> None:
        super().__init__(f"{halt.book} at {halt.position}: {halt.rule}")
        self.halt = halt


class Standing(NamedTuple):
    """How far a book has been folded, and what of its envelopes the next one is checked by."""

    next_position: int
    book_id: bytes
    epoch: int
    last_at: str


class Pending(NamedTuple):
    """What one transaction stores: everything up to `size`.

    A book's leaves follow from their commitments; a log without a journal brings its `entries`.
    """

    book: str
    first: int
    size: int
    commitments: bytes
    tiles: Sequence[Tile]  # full ones, and the right edge
    root: bytes
    entries: Sequence[bytes] = ()


class StoredCommitments(Protocol):
    def commitment(self, position: int) -> bytes | None:
        """What the log already holds at a position."""
        ...

    def commitments(self, begin: int, end: int) -> bytes:
        """The same for begin..end-1, or as many of them as are stored. Blocks."""
        ...


class BookLog:
    """`tree` comes from the store; the book itself is folded again from 0 and compared with it."""

    def __init__(
        self, book: str, origin: str, checker: Checker, tree: TileTree, stored: StoredCommitments
    ) -> None:
        self.book = book
        self.next_position = 0
        self.halt: Halt | None = None
        self._origin = origin
        self._checker = checker
        self._tree = tree
        self.stored = stored
        self.known = tree.size  # positions below were in the tree before this start
        self._book_id = b""
        self._epoch = 0
        self._last_at = ""
        self._fresh: list[bytes] = []  # commitments not on the tree yet
        self._unstored: list[bytes] = []  # on the tree, not handed out for storing yet
        self._tiles: list[Tile] = []
        self._steps: dict[type[msgspec.Struct], Sequence[Step]] = {}

    def standing(self) -> Standing:
        return Standing(self.next_position, self._book_id, self._epoch, self._last_at)

    def begin_at(self, standing: Standing) -> None:
        """Of a book whose checker was given what it had known there (books/memory.py)."""
        if standing.next_position > self.known:
            raise InvariantBroken(
                f"{self.book}: expected at most {self.known}, got {standing.next_position}"
            )
        self.next_position, self._book_id, self._epoch, self._last_at = standing

    def root(self) -> bytes:
        """Of everything that is on the tree."""
        self.grow()
        return self._tree.root()

    def decode(self, event: StoredEvent) -> tuple[RawRecord, msgspec.Struct]:
        """Envelope and body; only the canonical bytes of a known event are accepted."""
        try:
            raw, body = self._checker.types.decode_canonical(event.record)
        except InvariantBroken as error:
            raise RuleBroken("RECORD", "a canonical record of a known type", error) from error
        require("RECORD_VERSION", RECORD_VERSION, raw.v)
        require("POSITION", self.next_position, raw.position)
        require("BOOK", self.book, raw.book)
        return raw, body

    def compare(self, commitment: bytes) -> None:
        """Of a position the tree holds already: the journal must still say the same."""
        if self.next_position < self.known:
            signed = self.stored.commitment(self.next_position)
            if signed != commitment:
                was = "nothing" if signed is None else signed.hex()
                raise RuleBroken("JOURNAL_DIFFERS", was, commitment.hex())

    def check(self, raw: RawRecord, body: msgspec.Struct, book_id: bytes) -> None:
        """Raises RuleBroken and changes nothing."""
        self.check_identity(raw, body, book_id)
        for step in self.steps(type(body)):
            step(raw, body)

    def steps(self, kind: type[msgspec.Struct]) -> Sequence[Step]:
        """Further checks in groups: what two persons accept in one waives nothing of another."""
        known = self._steps.get(kind)
        if known is None:
            own = () if kind in KERNEL_EVENTS else self._checker.steps(kind)
            known = self._steps[kind] = (self._check_time, *own)
        return known

    def _check_time(self, raw: RawRecord, body: msgspec.Struct) -> None:
        if raw.at != self._last_at:
            instant_ms(raw.at)
        if raw.on != raw.at:
            instant_ms(raw.on)
        if raw.at < self._last_at:  # one fixed form of instant: text order is time order
            raise RuleBroken("TIME_BACKWARDS", f"at least {self._last_at}", raw.at)

    def check_identity(self, raw: RawRecord, body: msgspec.Struct, claimed: bytes) -> None:
        """`claimed` is the book id that the frame names."""
        kind = type(body)
        require("BOOK_OPENED", raw.position == 0, kind is BookOpened)
        if isinstance(body, BookOpened):
            require("BOOK_ID", claimed.hex(), body.book_id)
            require("ORIGIN", self._origin, body.origin)
            return
        if self._book_id != claimed:
            raise RuleBroken("BOOK_ID", self._book_id.hex(), claimed.hex())
        if isinstance(body, WriterStarted) and body.epoch <= self._epoch:
            raise RuleBroken("EPOCH", f"more than {self._epoch}", body.epoch)

    def apply(self, raw: RawRecord, body: msgspec.Struct, book_id: bytes) -> None:
        """Takes a decoded event into the book."""
        self._last_at = max(self._last_at, raw.at)
        if type(body) not in KERNEL_EVENTS:
            self._checker.apply(raw, body)
        elif isinstance(body, BookOpened):
            self._book_id = book_id
        elif isinstance(body, WriterStarted):
            self._epoch = body.epoch

    def append(self, commitment: bytes) -> None:
        """The event's leaf, unless the tree has it already."""
        if self.next_position >= self.known:
            self._fresh.append(commitment)
        self.next_position += 1

    def grow(self) -> None:
        """Puts what was appended on the tree, a frame at a time."""
        if not self._fresh:
            return
        first, book = self._tree.size, self.book
        leaves = [
            hashlib.sha256(b"\x00" + leaf_data(book, first + i, commitment)).digest()
            for i, commitment in enumerate(self._fresh)
        ]
        self._tiles.extend(self._tree.append(leaves))
        self._unstored.extend(self._fresh)
        self._fresh.clear()

    def take_pending(self) -> Pending | None:
        """Everything on the tree that was not handed out before; None when there is nothing."""
        if not self._unstored:
            return None
        size = self._tree.size
        pending = Pending(
            self.book,
            size - len(self._unstored),
            size,
            b"".join(self._unstored),
            [*self._tiles, *self._tree.edge()],
            self._tree.root(),
        )
        self._unstored, self._tiles = [], []
        return pending
