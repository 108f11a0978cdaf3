"""Puts entries of the log of states back that a restored database has lost.

They cannot be made again, but whoever mirrors the log has them (`tanzhang ledger mirror`). A mirror
is not believed: what it has must lead to the very root that was signed last.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kernel.errors import Misconfigured
from kernel.journal.database import Engine
from kernel.tlog.checkpoint import Checkpoint, parse_checkpoint
from kernel.tlog.encoding import encode_base64
from kernel.tlog.errors import TlogError
from kernel.tlog.note import parse_note
from kernel.tlog.tiles import TILE_WIDTH, decode_bundle, entries_path
from services.ledger.projections import store_pending
from services.ledger.states.log import StateLog


def put_back(own: StateLog, engine: Engine, signed: Checkpoint, mirror: Path) -> None:
    """Stores what is missing up to the last signed checkpoint. Raises Misconfigured.

    Blocks. In one transaction: a crash leaves all of it to be done again.
    """
    if signed.size <= own.next_position:
        return
    for entry in _entries(mirror, own.next_position, signed.size):
        own.append(entry)
    pending = own.take_pending()
    if pending is None or (pending.size, pending.root) != (signed.size, signed.root):
        found = "nothing" if pending is None else encode_base64(pending.root)
        raise Misconfigured(
            f"{mirror}: expected entries that lead to {encode_base64(signed.root)}, the root signed"
            f" at {signed.size}, got {found}"
        )
    store_pending(engine, pending)
    own.known = own.next_position


def _entries(mirror: Path, begin: int, end: int) -> Iterator[bytes]:
    try:
        size = parse_checkpoint(parse_note((mirror / "checkpoint").read_bytes())[0]).size
        if size < end:
            raise Misconfigured(f"{mirror}: expected {end} entries, got {size}")
        for n in range(begin // TILE_WIDTH, -(-end // TILE_WIDTH)):
            first, width = n * TILE_WIDTH, min(TILE_WIDTH, size - n * TILE_WIDTH)
            bundle = decode_bundle((mirror / entries_path(n, width)).read_bytes(), width)
            yield from bundle[max(begin - first, 0) : end - first]
    except (OSError, TlogError) as error:
        raise Misconfigured(f"{mirror}: expected the mirror of a log: {error}") from error
