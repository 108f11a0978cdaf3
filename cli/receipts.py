"""Receipts made by the tools: disclosed by a book's owner, proven by the ledger, put in files.

One file per event, `<folder>/<book>-<position>.receipt` (kernel/tlog/receipt.py). Asks for many
at a time: a thousand are a handful of calls. Verifying them needs none of this: cli/verify.py.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cli.clients import MAX_POSITIONS, Books, Persona, in_parts
from kernel.errors import InvariantBroken
from kernel.tlog.receipt import make_receipt


async def fetch_receipts(
    books: Books, who: Persona, book: str, positions: Sequence[int]
) -> AsyncIterator[tuple[int, bytes]]:
    """(position, receipt file) of each event, in order; `who` is a party of each, or an auditor.

    Raises Refused(NOT_A_PARTY) and the like as the services do. Does not verify.
    """
    for part in in_parts(positions, MAX_POSITIONS):
        disclosed = {one.position: one for one in await books.disclose(who, book, part)}
        proofs = (await books.proofs(book, part)).by_position
        for position in part:
            if position not in disclosed or position not in proofs:
                raise InvariantBroken(f"{book}: expected a record and a proof of {position}")
            event = disclosed[position]
            yield position, make_receipt(event.record, event.salt, proofs[position])


def write_receipt(folder: Path, book: str, position: int, data: bytes) -> Path:
    """Puts a receipt into its file, whole or not at all; an older one gives way."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{book}-{position}.receipt"
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    os.replace(fresh, path)
    return path
