"""Snapshots of what the checkers know: where a start begins to fold the books, instead of at zero.

One snapshot is of all books at once (books/memory.py), by the mechanism of kernel/snapshot and
signed by the ledger's own frame key. It is believed only if it agrees with what was signed in
public: of each book it names an id and a position, a signed checkpoint covers that position, the
stored tree leads to the checkpoint, and has there the very root that the snapshot was signed with.
It says, too, which events two persons had accepted before it, and no halt may stand before it. Who
can write to the database can remove one, and the books are folded from zero; making one takes the
frame key.

What lies before a believed snapshot is not folded again at start: `verify` does it.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from kernel.errors import InvariantBroken
from kernel.frames import FrameSigner, KeyLookup
from kernel.journal.snapshots import Head, Snapshots
from kernel.logs import get_logger
from kernel.replica import Progress
from kernel.snapshot.image import Image, hash_of, state_hash
from kernel.snapshot.recovery import NotBelieved, check_signed, read, split, write
from kernel.tlog.checkpoint import open_under_any
from kernel.tlog.errors import TlogError
from kernel.tlog.tiles import root_at
from services.ledger.books.memory import Memory
from services.ledger.config import BOOK
from services.ledger.domain.state import State
from services.ledger.log import Standing
from services.ledger.logkeys import BookKeys
from services.ledger.queries import TileStore
from services.ledger.sealing import CheckpointFile

CHECKERS: Final = "checkers"  # no book has this name (config.py)
MEANING: Final = 1  # raised when a checker comes to mean something else by the same fields
_CUT: Final = "tanzhang-checkers/v1"
_NO_ID: Final = bytes(16)  # they are of many books

log = get_logger(__name__)


class ProvenTree(NamedTuple):
    """A log's stored tree, as far as a signed checkpoint covers it."""

    size: int
    tiles: TileStore

    def root(self, size: int) -> bytes:
        """Raises NotBelieved beyond what is covered."""
        if size > self.size:
            raise NotBelieved(f"no checkpoint covers {size}, the last one is of {self.size}")
        try:
            return root_at(size, self.tiles.read_tile)
        except (TlogError, InvariantBroken) as error:
            raise NotBelieved(f"the stored tree cannot be read: {error}") from error


def proven_tree(file: CheckpointFile, keys: BookKeys, tiles: TileStore, stored: int) -> ProvenTree:
    """Nothing is proven where file or tree is not what it should be: sealing will say so."""
    note = file.read()
    try:
        signed = None if note is None else open_under_any(note, keys.origin, keys.now.known)
        if signed is None or signed.size > stored:
            return ProvenTree(0, tiles)
        if root_at(signed.size, tiles.read_tile) == signed.root:
            return ProvenTree(signed.size, tiles)
    except (TlogError, InvariantBroken) as error:
        log.warning("snapshot.not_proven", reason=str(error))
    return ProvenTree(0, tiles)


class Proven(Protocol):
    def root(self, size: int) -> bytes:
        """Of a log at a size. Raises NotBelieved where nothing signed covers it."""
        ...


class _Shape(NamedTuple):
    new_state: Callable[[], Any]
    version: int = MEANING


class CheckerSnapshots:
    """Makes and reads them. `trees`: by book, as they are proven now."""

    def __init__(
        self,
        store: Snapshots,
        keys: KeyLookup,
        trees: Mapping[str, Proven],
        memory: Memory,
        state: State,
    ) -> None:
        self.store = store
        self._keys = keys
        self._trees = trees
        self._memory = memory
        self._state = state
        self._shape = _Shape(memory.new_state)

    def make(self, standings: Mapping[str, Standing], signer: FrameSigner) -> Head:
        """Of where the checkers stand. Raises NotBelieved beyond what is proven."""
        known, progress = self._memory.state(standings), progress_of(standings)
        image = Image(CHECKERS, self._shape)
        return write(image, known, progress, self.store, signer, self._cut(standings))

    def restore(self) -> dict[str, Standing]:
        """Fills checkers that know nothing from the newest that is believed, if there is one."""
        for head in self.store.heads():
            try:
                known = self.read(head)
            except NotBelieved as why:
                position, reason = head.position, str(why)
                log.warning("snapshot.refused", book=CHECKERS, position=position, reason=reason)
                continue
            self._memory.fill(known)
            log.info("snapshot.restored", book=CHECKERS, position=head.position)
            return dict(known.logs)
        return {}

    def read(self, head: Head) -> Any:
        """What it says, once it is believed. Raises NotBelieved."""
        image = Image(CHECKERS, self._shape)
        check_signed(head, self._keys(BOOK, head.key_id), image.version)
        gc.disable()  # as in kernel/snapshot/recovery.py:recover
        try:
            known, _ = read(image, self.store, head)
        finally:
            gc.enable()
        if known.logs.keys() != self._trees.keys():
            raise NotBelieved(f"it is of {sorted(known.logs)}, not of {sorted(self._trees)}")
        if self._cut(known.logs) != head.commitment:
            raise NotBelieved("it is of other logs than those that were signed")
        self._require_no_halt(known.logs)
        return known

    def equals(self, head: Head, standings: Mapping[str, Standing]) -> bool:
        """Do the checkers know what it says? Of one that was believed."""
        known, progress = self._memory.state(standings), progress_of(standings)
        found = hash_of(CHECKERS, self._shape, known, progress)
        return found == state_hash(split(head.digests))

    def _cut(self, standings: Mapping[str, Standing]) -> bytes:
        """Which histories these are, and what of them stands because two persons said so."""
        logs = [
            (book, one.book_id, one.next_position, self._trees[book].root(one.next_position))
            for book, one in sorted(standings.items())
        ]
        accepted = [
            (book, position, rule)
            for book, position, rule in sorted(self._state.overrides)
            if book in standings and position < standings[book].next_position
        ]
        return hashlib.sha256(msgspec.msgpack.encode((_CUT, logs, accepted))).digest()

    def _require_no_halt(self, standings: Mapping[str, Standing]) -> None:
        """A halt ends by two persons, and not because a start begins behind it."""
        for book, position, rule in sorted(self._state.halts):
            if book in standings and position < standings[book].next_position:
                raise NotBelieved(f"{book} stands halted at {position} by {rule}, before it")


def progress_of(standings: Mapping[str, Standing]) -> Progress:
    """The position of a snapshot of many books is the number of their events."""
    positions = {book: one.next_position for book, one in standings.items()}
    return Progress(_NO_ID, sum(positions.values()), 0, 0, positions)
