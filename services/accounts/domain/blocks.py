"""Serial blocks: the ordered list of ranges that one ledger account holds of one asset.

Oldest first. Taking splits blocks, putting joins what continues the last one, so a batch that
moves as a whole stays one block however large it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.errors import Refused
from services.accounts.domain.events import SerialRange


def take_oldest(blocks: list[SerialRange], amount: int) -> list[SerialRange]:
    """Removes `amount` units from the front; the caller has checked that they are there."""
    taken: list[SerialRange] = []
    used = 0
    while amount:
        block = blocks[used]
        if block.amount > amount:
            cut = block.first + amount
            taken.append(SerialRange(block.batch, block.first, cut - 1))
            blocks[used] = SerialRange(block.batch, cut, block.last)
            break
        taken.append(block)
        amount -= block.amount
        used += 1
    del blocks[:used]
    return taken


def take_named(blocks: list[SerialRange], ranges: Sequence[SerialRange]) -> None:
    """Removes exactly these ranges; raises Refused(SERIALS_NOT_HELD) for the first that is not.

    A range may span several blocks. On a refusal `blocks` is half done: work on a copy.
    """
    for wanted in ranges:
        left = wanted.first
        while left <= wanted.last:
            i = _find(blocks, wanted, left)
            block = blocks[i]
            end = min(block.last, wanted.last)
            rest = []
            if block.first < left:
                rest.append(SerialRange(block.batch, block.first, left - 1))
            if end < block.last:
                rest.append(SerialRange(block.batch, end + 1, block.last))
            blocks[i : i + 1] = rest
            left = end + 1


def _find(blocks: list[SerialRange], wanted: SerialRange, serial: int) -> int:
    for i, block in enumerate(blocks):
        if block.batch == wanted.batch and block.first <= serial <= block.last:
            return i
    raise _not_held(wanted, serial)


def _not_held(wanted: SerialRange, serial: int) -> Refused:
    return Refused(
        "SERIALS_NOT_HELD",
        f"{wanted.batch} {wanted.first}..{wanted.last}: serial {serial} is not in the account",
        batch=wanted.batch,
        first=wanted.first,
        last=wanted.last,
        serial=serial,
    )


def put(blocks: list[SerialRange], ranges: Sequence[SerialRange]) -> None:
    """Adds ranges at the end, joined to the last block where they continue it."""
    for block in ranges:
        if blocks and blocks[-1].batch == block.batch and blocks[-1].last + 1 == block.first:
            blocks[-1] = SerialRange(block.batch, blocks[-1].first, block.last)
        else:
            blocks.append(block)


def without(blocks: Sequence[SerialRange], taken: Sequence[SerialRange]) -> list[SerialRange]:
    """What is left of ranges when these serials, whether in them or not, are taken away."""
    rest = list(blocks)
    for gone in taken:
        rest = [piece for block in rest for piece in _without_one(block, gone)]
    return rest


def _without_one(block: SerialRange, gone: SerialRange) -> list[SerialRange]:
    if gone.batch != block.batch or gone.last < block.first or block.last < gone.first:
        return [block]
    pieces = []
    if block.first < gone.first:
        pieces.append(SerialRange(block.batch, block.first, gone.first - 1))
    if gone.last < block.last:
        pieces.append(SerialRange(block.batch, gone.last + 1, block.last))
    return pieces
