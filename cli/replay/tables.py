"""A published CSV table, read record by record: a row is good or refused by name, none is dropped.

Format: CSV (RFC 4180, UTF-8, a byte order mark allowed). `row` is the record's number plus one,
which is what a spreadsheet shows (the header is row 1) even where quoted cells hold newlines. What
a cell may hold is the data set's own affair: see vrod_rows.py and shenzhen_rows.py.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from kernel.errors import Kind, Refused

MAX_INTEGER = 2**53 - 1  # the largest integer an event record may hold
MAX_TEXT_CHARS = 1_000  # five times the longest text of our sources; an event is at most 64 KiB
MAX_SHOWN_CHARS = 80  # of what a cell holds, in a refusal

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class RefusedRow(msgspec.Struct, frozen=True):
    """A row that goes nowhere, and why. `reason` is stable; `message` says expected and actual."""

    file: str
    row: int
    reason: str
    message: str


class Cells(msgspec.Struct, frozen=True):
    """One record by column name, with what identifies it."""

    row: int
    digest: str
    """SHA-256 of all cells by column name: the row's identity whatever its place in the file."""
    ordinal: int
    """1 for the first row with this digest, 2 for the second one equal to it in every column."""
    by_column: dict[str, str]

    def text(self, column: str) -> str:
        """The cell with runs of white space folded to one blank; it may be empty."""
        text = " ".join(self.by_column[column].split())
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise bad_cell("TEXT_NOT_UTF8", column, "UTF-8 text", text)
        if _UNPRINTABLE.search(text):
            raise bad_cell("TEXT_UNPRINTABLE", column, "text without control characters", text)
        if len(text) > MAX_TEXT_CHARS:
            expected = f"at most {MAX_TEXT_CHARS} characters"
            raise bad_cell("TEXT_TOO_LONG", column, expected, f"{len(text)} characters")
        return text

    def value(self, column: str) -> str:
        text = self.text(column)
        if not text:
            raise bad_cell("VALUE_MISSING", column, "a value", text)
        return text


Row = TypeVar("Row")
Read = TypeVar("Read", bound=Cells)


def read_table(
    path: Path, columns: tuple[str, ...], cells: type[Read], parse: Callable[[Read], Row]
) -> Iterator[Row | RefusedRow]:
    """Yield every row in file order, as `parse` makes it of `cells`, or refused.

    Raises Refused (FILE_MISSING, HEADER_BROKEN) when there is no telling what the cells mean.
    """
    try:
        # undecodable bytes become lone surrogates, so that one bad cell refuses one row
        lines = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        message = f"{path.name}: expected a readable file, got {error.strerror}"
        raise Refused("FILE_MISSING", message, Kind.INVALID) from error
    with lines:
        yield from _parse(path.name, lines, columns, cells, parse)


def bounded(column: str, digits: str) -> int:
    """A number of a cell that an event record may hold."""
    # the length goes first: int() of a very long string is slow, and refuses with its own error
    significant = digits.lstrip("0") or "0"
    if len(significant) > 16 or int(significant) > MAX_INTEGER:
        raise bad_cell("NUMBER_TOO_LARGE", column, f"at most {MAX_INTEGER}", digits)
    return int(significant)


def bad_cell(reason: str, column: str, expected: str, actual: str) -> Refused:
    shown = repr(actual)
    if len(shown) > MAX_SHOWN_CHARS:
        shown = shown[: MAX_SHOWN_CHARS - 3] + "..."
    return Refused(reason, f"{column.lower()}: expected {expected}, got {shown}", Kind.INVALID)


def _parse(
    file: str,
    lines: Iterable[str],
    columns: tuple[str, ...],
    cells: type[Read],
    parse: Callable[[Read], Row],
) -> Iterator[Row | RefusedRow]:
    reader = csv.reader(lines, strict=True)  # strict: an open quote must not swallow rows silently
    header = _header(file, reader, columns)
    seen: Counter[str] = Counter()
    row = 1
    while True:
        row += 1
        began = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            message = f"lines {began} to {reader.line_num}: expected quoted csv, got {error}"
            yield RefusedRow(file, row, "CSV_BROKEN", message)
            continue
        if record is None:
            return
        if not any(record):
            yield RefusedRow(file, row, "ROW_BLANK", "expected a row, got only empty cells")
            continue
        if len(record) != len(header):
            message = (
                f"lines {began} to {reader.line_num}: expected {len(header)} cells,"
                f" got {len(record)}"
            )
            yield RefusedRow(file, row, "CELLS_MISSING_OR_EXTRA", message)
            continue
        by_column = dict(zip(header, record, strict=True))
        digest = hashlib.sha256(json.dumps(by_column, sort_keys=True).encode()).hexdigest()
        seen[digest] += 1
        try:
            yield parse(cells(row, digest, seen[digest], by_column))
        except Refused as refusal:
            yield RefusedRow(file, row, refusal.reason, refusal.message)


def _header(file: str, reader: Iterator[list[str]], columns: tuple[str, ...]) -> list[str]:
    try:
        header = [" ".join(name.split()) for name in next(reader, [])]
    except csv.Error as error:
        message = f"{file}: expected a csv header, got {error}"
        raise Refused("HEADER_BROKEN", message, Kind.INVALID) from error
    missing = [name for name in columns if name not in header]
    if missing or len(set(header)) != len(header):
        wanted = ", ".join(missing) if missing else "each name once"
        message = f"{file}: expected a header with {wanted}, got {len(header)} columns"
        raise Refused("HEADER_BROKEN", message, Kind.INVALID)
    return header
