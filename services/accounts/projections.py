"""Events of the accounts book into the read models that queries.py reads.

Every event whose body has `legs` moves value, whatever its type: a new one is projected without a
line here. What is read of a record is only what a move says, in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from kernel.errors import InvariantBroken
from kernel.frames import StoredEvent
from kernel.journal.database import copy_rows, copy_text
from kernel.values import parse_instant
from services.accounts.holdings import encode_holdings
from services.accounts.queries import holdings_at
from services.accounts.tables import (
    anchors,
    moved_serials,
    moves,
    public_transfers,
    settlement_parts,
)

READER: Final = "accounts.moves"

# A balance of any moment adds up at most about so many moves: below a millisecond.
ANCHOR_EVERY: Final = 1000
# Who has many accounts or ranges is anchored more rarely: at most one row of it in four moves.
MOVES_PER_ANCHORED: Final = 4
# Beyond so many holders all are counted anew; an anchor then comes a little later, that is all.
MAX_COUNTED: Final = 200_000

_TRANSFER: Final = b'"type":"TransferPosted","v":1}'  # how such a record ends
_NOT_BACKDATED: Final = r"\N"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class _Account(msgspec.Struct, gc=False):
    holder: str
    purpose: str
    ref: str


class _Range(msgspec.Struct, gc=False):
    batch: str
    first: int
    last: int


class _Leg(msgspec.Struct, gc=False):
    amount: int
    asset: str
    credit: _Account
    debit: _Account
    serials: list[_Range]


class _Body(msgspec.Struct, gc=False):
    """`part` is above 0 in a part of a settlement file alone."""

    legs: list[_Leg] = []
    part: int = 0
    session: str = ""
    unsettled: list[int] | int = 0  # places of a part's trades, or the number of a session's
    venue: str = ""


class _Transfer(msgspec.Struct, gc=False):
    document: str
    nature: str
    authority: str = ""


class _Transferred(msgspec.Struct, gc=False):
    body: _Transfer


class Moving(msgspec.Struct, gc=False):
    """What a record says of moves; nothing when its event has no legs."""

    at: str
    body: _Body
    on: str
    position: int
    plain: bool = True  # no character of it means anything to COPY
    transfer: _Transfer | None = None  # without a trade: what the public may know of it


_decoder = msgspec.json.Decoder(Moving)


def decode_moves(event: StoredEvent) -> Moving:
    """Raises InvariantBroken for a record that is not shaped like one of this book."""
    try:
        moving = _decoder.decode(event.record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvariantBroken(f"position {event.position}: expected a record: {error}") from error
    # JSON writes every control character, and the backslash itself, with a backslash.
    moving.plain = b"\\" not in event.record
    if event.record.endswith(_TRANSFER):
        moving.transfer = msgspec.json.decode(event.record, type=_Transferred).body
    return moving


class MovesProjection:
    """`project_moves` with what it remembers: how many moves each holder had since its anchor."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}
        self._spacing: dict[str, int] = {}  # of those with more than the usual
        self._next = -1

    def project_moves(self, connection: sa.Connection, events: Sequence[Moving]) -> None:
        """Two rows per leg and one per serial range, by COPY; then the anchors that are due."""
        if not events:
            return
        if events[0].position != self._next:  # a transaction of ours failed, or another's came
            self._since.clear()
        self._next = -1
        moving = [event for event in events if event.body.legs]
        copy_text(connection, moves, [line for event in moving for line in _lines(event)])
        copy_rows(connection, moved_serials, [row for event in moving for row in _ranges(event)])
        transfers = [row for event in moving if event.transfer for row in _public_rows(event)]
        copy_rows(connection, public_transfers, transfers)
        copy_rows(
            connection, settlement_parts, [_part(event) for event in events if event.body.part]
        )
        for holder, position in self._due(moving):
            self._anchor(connection, holder, position)
        self._next = events[-1].position + 1

    def _due(self, moving: Sequence[Moving]) -> list[tuple[str, int]]:
        """Whom to anchor after which position, in order."""
        due: list[tuple[str, int]] = []
        since, spacing = self._since, self._spacing
        for event in moving:
            for leg in event.body.legs:
                for holder in (leg.debit.holder, leg.credit.holder):
                    count = since.get(holder, 0) + 1
                    if count >= ANCHOR_EVERY and count >= spacing.get(holder, 0):
                        due.append((holder, event.position))
                        count = 0
                    since[holder] = count
        if len(since) > MAX_COUNTED:
            since.clear()
        return list(dict.fromkeys(due))

    def _anchor(self, connection: sa.Connection, holder: str, position: int) -> None:
        holdings = holdings_at(connection, holder, position)
        self._spacing.pop(holder, None)
        if holdings.size * MOVES_PER_ANCHORED > ANCHOR_EVERY:
            self._spacing[holder] = holdings.size * MOVES_PER_ANCHORED
        row = {"holder": holder, "position": position, "holdings": encode_holdings(holdings)}
        connection.execute(sa.insert(anchors), row)


def _lines(event: Moving) -> Iterator[str]:
    """The hot path: the rows of one event as COPY reads them."""
    position = event.position
    on = _NOT_BACKDATED if event.on == event.at else parse_instant(event.on)
    for n, leg in enumerate(event.body.legs):
        for account, amount in ((leg.debit, -leg.amount), (leg.credit, leg.amount)):
            holder, asset, ref = account.holder, leg.asset, account.ref
            if not event.plain:
                holder, asset, ref = (text.translate(_ESCAPES) for text in (holder, asset, ref))
            yield f"{holder}\t{position}\t{n}\t{amount}\t{asset}\t{account.purpose}\t{ref}\t{on}\n"


def _ranges(event: Moving) -> Iterator[tuple[Any, ...]]:
    for n, leg in enumerate(event.body.legs):
        for range_no, block in enumerate(leg.serials):
            yield (event.position, n, range_no, leg.asset, block.batch, block.first, block.last)


def _public_rows(event: Moving) -> list[tuple[Any, ...]]:
    """A non-trade transfer as anyone may know it: not who, and not what they have."""
    said, amounts = event.transfer, dict[str, int]()
    if said is None:
        return []
    for leg in event.body.legs:
        amounts[leg.asset] = amounts.get(leg.asset, 0) + leg.amount
    what = (event.at, event.on, said.nature, said.document, said.authority)
    return [
        (event.position, line, *what, asset, amounts[asset])
        for line, asset in enumerate(sorted(amounts))
    ]


def _part(event: Moving) -> tuple[Any, ...]:
    body = event.body
    refused = body.unsettled if isinstance(body.unsettled, list) else []
    return (event.position, body.venue, body.session, len(refused))
