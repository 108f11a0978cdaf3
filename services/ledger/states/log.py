"""The log of states in memory: one entry now and then, and no journal behind it.

An entry that was signed and is lost cannot be made again: it says what was at a time. A database
that went back behind the last signed state therefore signs no further state until the entries are
put back from a mirror; the books' own logs go on.
"""

from __future__ import annotations

from kernel.tlog.merkle import leaf_hash
from kernel.tlog.states import STATE_BOOK
from kernel.tlog.tiles import Tile, TileTree
from services.ledger.log import Halt, Pending


class StateLog:
    """`tree` comes from the store."""

    book = STATE_BOOK

    def __init__(self, tree: TileTree) -> None:
        self.halt: Halt | None = None
        self.known = tree.size  # what was there at this start
        self._tree = tree
        self._unstored: list[bytes] = []
        self._tiles: list[Tile] = []

    @property
    def next_position(self) -> int:
        return self._tree.size

    def append(self, entry: bytes) -> None:
        self._tiles.extend(self._tree.append([leaf_hash(entry)]))
        self._unstored.append(entry)

    def take_pending(self) -> Pending | None:
        """What has to be stored before it is signed; None when there is nothing."""
        if not self._unstored:
            return None
        size = self._tree.size
        tiles = [*self._tiles, *self._tree.edge()]
        first = size - len(self._unstored)
        pending = Pending(self.book, first, size, b"", tiles, self._tree.root(), self._unstored)
        self._unstored, self._tiles = [], []
        return pending
