"""The journal in PostgreSQL: one transaction per batch on one connection, events by COPY.

Follows kernel/journal/port.py. The writing connection is this object's own and is never replaced:
when it is lost the process stops, because only a fresh read of the journal says what was committed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import errors as pg_errors
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from kernel.crash import crash_point
from kernel.errors import InvariantBroken
from kernel.frames import Frame, StoredEvent
from kernel.journal.port import Batch, Fenced, Outcome, Refusal
from kernel.journal.schema import events, frames, outcomes
from kernel.values import MAX_INTEGER

READ_PAGE_FRAMES: Final = 64  # at most 64 x 480 KiB in memory at once

_COPY_EVENTS: Final = (
    "COPY events (book, position, record, salt, principal, command_id, digest)"
    " FROM STDIN (FORMAT BINARY)"
)
_COPY_FRAMES: Final = (
    "COPY frames (book, first, last, book_id, commitments, digest, key_id, signature) FROM STDIN"
    " (FORMAT BINARY)"
)
_COPY_OUTCOMES: Final = (
    "COPY outcomes (command_id, principal, book, digest, first, events, refusal) FROM STDIN"
    " (FORMAT BINARY)"
)
# One round trip: may we still write, and where? KEY SHARE does not wait for the lease's renewals.
_CHECK: Final = (
    "SELECT epoch, coalesce((SELECT max(position) + 1 FROM events WHERE book = %(book)s), 0)"
    " FROM leases WHERE book = %(book)s FOR KEY SHARE OF leases"
)

# PostgreSQL's binary COPY: a header, rows of (field count, then length and bytes each), a trailer.
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
_COPY_TRAILER: Final = struct.pack("!h", -1)
_NULL: Final = struct.pack("!i", -1)
_int4 = struct.Struct("!i").pack
_int8_field = struct.Struct("!iq").pack

_refusal_decoder = msgspec.json.Decoder(Refusal)


class PostgresJournal:
    """One book's journal. `engine` reads; `connection` is the single writing connection."""

    def __init__(
        self, engine: sa.Engine, book: str, connection: psycopg.Connection | None = None
    ) -> None:
        self.book = book
        self._engine = engine
        self._connection = connection

    def append(self, batch: Batch) -> None:
        connection = self._connection
        if connection is None:
            raise InvariantBroken(f"{self.book}: this journal was opened for reading")
        try:
            with connection.transaction(), connection.cursor() as cursor:
                self._check_turn(cursor, batch)
                self._copy(cursor, _COPY_EVENTS, self._event_rows(batch))
                self._copy(cursor, _COPY_FRAMES, self._frame_rows(batch.frames))
                if batch.outcomes:
                    self._copy(cursor, _COPY_OUTCOMES, self._outcome_rows(batch.outcomes))
                crash_point("journal.committing")
        except pg_errors.UniqueViolation as error:
            # The writer looked every id up and owns the head: a collision is our fault.
            raise InvariantBroken(f"{self.book}: {error}") from error

    def _check_turn(self, cursor: psycopg.Cursor, batch: Batch) -> None:
        found = cursor.execute(_CHECK, {"book": self.book}).fetchone()
        if found is None:
            raise InvariantBroken(f"{self.book}: no lease row")
        epoch, head = found
        if epoch != batch.epoch:
            raise Fenced(self.book, batch.epoch, epoch)
        for position, event in enumerate(batch.events, start=head):
            if event.position != position:
                raise InvariantBroken(
                    f"{self.book}: expected position {position}, got {event.position}"
                )

    @staticmethod
    def _copy(cursor: psycopg.Cursor, statement: str, rows: list[bytes]) -> None:
        if not rows:
            return
        with cursor.copy(statement) as copy:
            copy.write(_COPY_HEADER + b"".join(rows) + _COPY_TRAILER)

    def _event_rows(self, batch: Batch) -> list[bytes]:
        """The hot path: about one microsecond a row."""
        head = struct.pack("!h", 7) + _field(self.book.encode())
        no_key = _NULL * 3
        rows = []
        for event, key in zip(batch.events, batch.keys, strict=True):
            record, salt = event.record, event.salt
            rows.append(
                head
                + _int8_field(8, event.position)
                + _int4(len(record))
                + record
                + _int4(len(salt))
                + salt
                + (no_key if key is None else _key_fields(key))
            )
        return rows

    def _frame_rows(self, cut: Sequence[Frame]) -> list[bytes]:
        head = struct.pack("!h", 8) + _field(self.book.encode())
        return [
            head
            + _int8_field(8, frame.first)
            + _int8_field(8, frame.last)
            + _field(frame.book_id)
            + _field(b"".join(event.commitment for event in frame.events))
            + _field(frame.digest)
            + _field(frame.key_id.encode())
            + _field(frame.signature)
            for frame in cut
        ]

    def _outcome_rows(self, rows: Sequence[Outcome]) -> list[bytes]:
        book = _field(self.book.encode())
        return [
            struct.pack("!h", 7)
            + _field(_uuid_bytes(row.id))
            + _field(row.principal.encode())
            + book
            + _field(row.digest)
            + _int8_field(8, row.first)
            + struct.pack("!ii", 4, row.events)
            + (_NULL if row.refusal is None else _field(msgspec.json.encode(row.refusal)))
            for row in rows
        ]

    def head(self) -> int:
        with self._engine.connect() as connection:
            query = sa.select(sa.func.max(events.c.position)).where(events.c.book == self.book)
            last = connection.execute(query).scalar()
            return 0 if last is None else last + 1

    def read_frames(self, from_position: int, to_position: int | None = None) -> Iterator[Frame]:
        end = self.head() if to_position is None else to_position
        while from_position < end:
            page = self._frame_page(from_position, end)
            if not page:
                raise InvariantBroken(
                    f"{self.book}: expected a frame with position {from_position}, found none"
                )
            yield from page
            from_position = page[-1].last + 1

    def _frame_page(self, from_position: int, end: int) -> list[Frame]:
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(frames)
                .where(
                    frames.c.book == self.book,
                    frames.c.last >= from_position,
                    frames.c.first < end,
                    # The index is on first: the frame that holds from_position is the last to
                    # begin at or before it.
                    frames.c.first
                    >= sa.select(sa.func.coalesce(sa.func.max(frames.c.first), from_position))
                    .where(frames.c.book == self.book, frames.c.first <= from_position)
                    .scalar_subquery(),
                )
                .order_by(frames.c.first)
                .limit(READ_PAGE_FRAMES)
            ).all()
            if not rows:
                return []
            stored = {
                row.position: row
                for row in connection.execute(
                    sa.select(events.c.position, events.c.record, events.c.salt).where(
                        events.c.book == self.book,
                        events.c.position.between(rows[0].first, rows[-1].last),
                    )
                )
            }
        return [self._frame(row, stored) for row in rows]

    def _frame(self, row: sa.Row[tuple[object, ...]], stored: dict[int, sa.Row]) -> Frame:  # type: ignore[type-arg]
        found: list[StoredEvent] = []
        for i, position in enumerate(range(row.first, row.last + 1)):
            event = stored.get(position)
            # A removed row is sent as an empty event: it fails its signed commitment, by position.
            record, salt = (event.record, event.salt) if event is not None else (b"", b"")
            commitment = row.commitments[i * 32 : i * 32 + 32]
            found.append(StoredEvent(position, bytes(record), bytes(salt), bytes(commitment)))
        return Frame(
            self.book,
            bytes(row.book_id),
            row.first,
            found,
            bytes(row.digest),
            row.key_id,
            bytes(row.signature),
        )

    def read_events(self, positions: Sequence[int]) -> list[StoredEvent]:
        possible = [position for position in positions if 0 <= position <= MAX_INTEGER]
        wanted = sa.bindparam("positions", possible, type_=ARRAY(sa.BigInteger))
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(events.c.position, events.c.record, events.c.salt).where(
                    events.c.book == self.book, events.c.position == sa.any_(wanted)
                )
            ).all()
        by_position = {
            row.position: StoredEvent(row.position, bytes(row.record), bytes(row.salt), b"")
            for row in rows
        }
        return [by_position[p] for p in positions if p in by_position]

    def find_outcomes(self, ids: Sequence[str]) -> list[Outcome]:
        wanted = sa.bindparam("ids", list(ids), type_=ARRAY(UUID(as_uuid=False)))
        found = [
            *self._outcomes_of_events(events.c.command_id == sa.any_(wanted)),
            *self._other_outcomes(outcomes.c.command_id == sa.any_(wanted)),
        ]
        # A command with several events has both rows; the second one says how many.
        return list({(one.principal, one.id): one for one in found}.values())

    def newest_outcomes(self, id_floor: str, limit: int) -> tuple[list[Outcome], str]:
        keyed = self._outcomes_of_events(events.c.command_id > id_floor, limit + 1)
        others = self._other_outcomes(outcomes.c.command_id > id_floor, limit + 1)
        beyond = [rows[limit].id for rows in (keyed, others) if len(rows) > limit]
        floor = max([id_floor, *beyond])
        # A command with several events has both rows; the second one says how many.
        found = {(one.principal, one.id): one for one in (*keyed, *others) if one.id > floor}
        return list(found.values()), floor

    def _outcomes_of_events(
        self, condition: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[Outcome]:
        query = sa.select(
            events.c.command_id, events.c.principal, events.c.digest, events.c.position
        ).where(events.c.book == self.book, condition)
        return [
            Outcome(row.command_id, row.principal, bytes(row.digest), row.position, 1, None)
            for row in self._newest(query, events.c.command_id, limit)
        ]

    def _other_outcomes(
        self, condition: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[Outcome]:
        query = sa.select(outcomes).where(outcomes.c.book == self.book, condition)
        return [
            Outcome(
                row.command_id,
                row.principal,
                bytes(row.digest),
                row.first,
                row.events,
                None if row.refusal is None else _refusal_decoder.decode(bytes(row.refusal)),
            )
            for row in self._newest(query, outcomes.c.command_id, limit)
        ]

    def _newest(
        self,
        query: sa.Select,  # type: ignore[type-arg]
        by: sa.ColumnElement[str],
        limit: int | None,
    ) -> Sequence[sa.Row]:  # type: ignore[type-arg]
        """All rows, or those with the largest ids, the largest first."""
        if limit is not None:
            query = query.order_by(by.desc()).limit(limit)
        with self._engine.connect() as connection:
            return connection.execute(query).all()


def _field(data: bytes) -> bytes:
    return _int4(len(data)) + data


def _uuid_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))


def _key_fields(key: Outcome) -> bytes:
    principal = key.principal.encode()
    return b"".join(
        (
            _int4(len(principal)),
            principal,
            b"\x00\x00\x00\x10",
            _uuid_bytes(key.id),
            _int4(len(key.digest)),
            key.digest,
        )
    )
