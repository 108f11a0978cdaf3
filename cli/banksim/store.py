"""The bank's own books: a SQLite file, every change one transaction, synced before it is answered.

What is paid in or out and the message about it are written together: after a crash the bank owes
exactly the messages it has not noted as sent. Trust: this file is the bank. Lost, its statements
end; changed, the bank lies, and its clearing house sees a break.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

_TABLES: Final = """
create table if not exists terms (only_one integer primary key check (only_one = 1), said text);
create table if not exists accounts (account text primary key, holder text unique, uscc text);
create table if not exists lines (
    number integer primary key, line text unique not null, day text not null,
    at_ms integer not null, amount_fen integer not null, holder text not null,
    withdrawal text unique);
create index if not exists lines_day on lines (day);
create table if not exists answers (
    withdrawal text primary key, account text, amount_fen integer not null, reason text);
create table if not exists statements (
    day text primary key, opening_fen integer not null, closing_fen integer not null);
create table if not exists messages (
    name text primary key, kind text not null, subject text not null, made_ms integer not null,
    due_ms integer not null, sendings integer not null default 0, sent_ms integer,
    heard text);
create index if not exists messages_due on messages (sent_ms, due_ms);
create table if not exists counts (what text primary key, much integer not null);
"""

_LINES: Final = "select line, day, at_ms, amount_fen, holder, withdrawal from lines"


class Terms(msgspec.Struct, frozen=True):
    """Between this bank and its clearing house; `first_day` is "" until it is agreed."""

    bank: str
    clearing_house: str
    asset: str
    cutoff_minute: int
    document: str
    first_day: str = ""
    opening_fen: int = 0


@dataclass(frozen=True)
class Line:
    """A movement on the clearing house's account: in above zero, out below."""

    line: str
    day: str
    at_ms: int
    amount_fen: int
    holder: str
    withdrawal: str | None


@dataclass(frozen=True)
class Answer:
    """What the bank has made of an instruction; `reason` where it did not pay."""

    withdrawal: str
    account: str
    amount_fen: int
    reason: str | None


@dataclass(frozen=True)
class Message:
    """One thing to tell the clearing house: advice of a line, answer to a withdrawal, statement."""

    name: str
    kind: str
    subject: str
    made_ms: int
    sendings: int


class Store:
    """Safe for concurrent use: one connection, one lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """All of it or nothing, also when we are killed in the middle."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    # ---- terms and accounts ---------------------------------------------------------------------

    def terms(self) -> Terms | None:
        rows = self._rows("select said from terms")
        return msgspec.json.decode(rows[0][0], type=Terms) if rows else None

    def set_terms(self, terms: Terms) -> None:
        self._rows(
            "insert into terms values (1, ?) on conflict (only_one) do update set said ="
            " excluded.said",
            msgspec.json.encode(terms).decode(),
        )

    def account_of(self, holder: str) -> str | None:
        rows = self._rows("select account from accounts where holder = ?", holder)
        return str(rows[0][0]) if rows else None

    def open_account(self, account: str, holder: str, uscc: str) -> None:
        self._rows("insert into accounts values (?, ?, ?)", account, holder, uscc)

    # ---- lines ----------------------------------------------------------------------------------

    def next_number(self) -> int:
        return int(self._rows("select coalesce(max(number), 0) + 1 from lines")[0][0])

    def add_line(self, one: Line) -> None:
        self._rows(
            "insert into lines (line, day, at_ms, amount_fen, holder, withdrawal)"
            " values (?, ?, ?, ?, ?, ?)",
            *(one.line, one.day, one.at_ms, one.amount_fen, one.holder, one.withdrawal),
        )

    def lines(self) -> list[Line]:
        """All of them, the oldest first, as those below."""
        return [Line(*row) for row in self._rows(f"{_LINES} order by number")]

    def line(self, line: str) -> Line | None:
        return next((Line(*row) for row in self._rows(f"{_LINES} where line = ?", line)), None)

    def of_day(self, day: str) -> list[Line]:
        rows = self._rows(f"{_LINES} where day = ? order by number", day)
        return [Line(*row) for row in rows]

    def balance_fen(self) -> int:
        terms = self.terms()
        moved = self._rows("select coalesce(sum(amount_fen), 0) from lines")[0][0]
        return int(moved) + (0 if terms is None else terms.opening_fen)

    def days(self, after: str, until: str) -> list[str]:
        """Days with lines, after one and up to another."""
        rows = self._rows(
            "select distinct day from lines where day > ? and day <= ? order by day", after, until
        )
        return [str(row[0]) for row in rows]

    # ---- answers and statements -----------------------------------------------------------------

    def answer(self, withdrawal: str) -> Answer | None:
        rows = self._rows(
            "select withdrawal, account, amount_fen, reason from answers where withdrawal = ?",
            withdrawal,
        )
        return Answer(*rows[0]) if rows else None

    def add_answer(self, one: Answer) -> None:
        self._rows(
            "insert into answers values (?, ?, ?, ?)",
            *(one.withdrawal, one.account, one.amount_fen, one.reason),
        )

    def line_of(self, withdrawal: str) -> Line | None:
        rows = self._rows(f"{_LINES} where withdrawal = ?", withdrawal)
        return next((Line(*row) for row in rows), None)

    def last_statement(self) -> tuple[str, int] | None:
        """Its day and closing balance."""
        rows = self._rows("select day, closing_fen from statements order by day desc limit 1")
        return (str(rows[0][0]), int(rows[0][1])) if rows else None

    def statement(self, day: str) -> tuple[int, int] | None:
        """Opening and closing balance."""
        rows = self._rows("select opening_fen, closing_fen from statements where day = ?", day)
        return (int(rows[0][0]), int(rows[0][1])) if rows else None

    def add_statement(self, day: str, opening_fen: int, closing_fen: int) -> None:
        self._rows("insert into statements values (?, ?, ?)", day, opening_fen, closing_fen)

    def statement_days(self, after: str) -> list[str]:
        rows = self._rows("select day from statements where day > ? order by day", after)
        return [str(row[0]) for row in rows]

    # ---- messages -------------------------------------------------------------------------------

    def add_message(self, kind: str, subject: str, at_ms: int) -> None:
        self._rows(
            "insert into messages (name, kind, subject, made_ms, due_ms) values (?, ?, ?, ?, ?)",
            *(f"{kind} {subject}", kind, subject, at_ms, at_ms),
        )

    def due_messages(self, at_ms: int, limit: int) -> list[Message]:
        """Not sent yet, the oldest first."""
        rows = self._rows(
            "select name, kind, subject, made_ms, sendings from messages"
            " where sent_ms is null and due_ms <= ? order by made_ms, name limit ?",
            *(at_ms, limit),
        )
        return [Message(*row) for row in rows]

    def sending(self, names: Sequence[str]) -> None:
        """Counted before it goes out: a sending that a crash cuts off is not drawn for again."""
        with self.change():
            for name in names:
                self._rows("update messages set sendings = sendings + 1 where name = ?", name)

    def postpone(self, name: str, until_ms: int) -> None:
        self._rows("update messages set due_ms = ? where name = ?", until_ms, name)

    def sent(self, names: Sequence[str], at_ms: int, heard: str) -> None:
        with self.change():
            for name in names:
                self._rows(
                    "update messages set sent_ms = ?, heard = ? where name = ?",
                    *(at_ms, heard, name),
                )

    def send_again(self, name: str, at_ms: int, not_within_ms: int) -> bool:
        """Once more, if it was sent and that is a while ago."""
        rows = self._rows(
            "update messages set sent_ms = null, due_ms = ? where name = ? and sent_ms <= ?"
            " returning name",
            *(at_ms, name, at_ms - not_within_ms),
        )
        return bool(rows)

    def count(self, what: str, much: int = 1) -> None:
        self._rows(
            "insert into counts values (?, ?) on conflict (what) do update set much = much +"
            " excluded.much",
            *(what, much),
        )

    def counts(self) -> dict[str, int]:
        found = {str(what): int(much) for what, much in self._rows("select * from counts")}
        open_ones = self._rows("select count(*) from messages where sent_ms is null")
        return {**found, "waiting": int(open_ones[0][0])}
