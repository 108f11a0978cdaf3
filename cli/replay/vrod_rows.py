"""Rows of the ACR tables in the Voluntary Registry Offsets Database, read and checked one by one.

Format: CSV (RFC 4180, UTF-8) as Berkeley published it in 2021; dates are m/d/yy, numbers may carry
thousands separators. A row is either good or refused with a stable reason; none is dropped. `row`
is the record's number plus one, which is what a spreadsheet shows (the header is row 1) even where
quoted cells hold newlines. What rows mean together is decided in `vrod_plan`, not here.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from kernel.errors import Kind, Refused

ISSUANCES_FILE = "ACR_issuances.csv"
RETIREMENTS_FILE = "ACR_retirements.csv"

Row = TypeVar("Row")

MAX_INTEGER = 2**53 - 1  # the largest integer an event record may hold
MAX_TEXT_CHARS = 1_000  # five times the longest text of the source; an event is at most 64 KiB

_ISSUANCE_COLUMNS = (
    "Date Issued",
    "Project ID",
    "Project Name",
    "Vintage",
    "Issuance Year",
    "Total Credits Issued",
    "Credits Issued to Project",
    "Credits Issued to Buffer Pool",
)
_RETIREMENT_COLUMNS = (
    "Project ID",
    "Vintage",
    "Offset Credit Serial Numbers",
    "Quantity of Offset Credits",
    "Status Effective",
    "Account Holder",
    "Retirement Reason",
    "Retirement Reason Details",
    "Date Issued",
    "Retirement Year",
)

_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}|[0-9]{2})")
_NUMBER = re.compile(r"[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+")
_NEGATIVE = re.compile(r"[-−(][0-9.,]+\)?")
_FRACTION = re.compile(r"[0-9,]*\.[0-9]*")
_PROJECT = re.compile(r"ACR([0-9]{1,9})")
_VINTAGE = re.compile(r"(?:19|20)[0-9]{2}")
_SERIALS = re.compile(
    r"(ACR-[A-Z]{2,3}-([0-9]{1,9})-([0-9]{4})-([0-9]{1,9}))-([0-9]{1,20}) to ([0-9]{1,20})"
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class RefusedRow(msgspec.Struct, frozen=True):
    """A row that goes nowhere, and why. `reason` is stable; `message` says expected and actual."""

    file: str
    row: int
    reason: str
    message: str


class IssuanceRow(msgspec.Struct, frozen=True):
    """One good issuance row. Quantities are whole tonnes CO2e; total = project + buffer."""

    row: int
    digest: str
    """SHA-256 of all cells by column name: the row's identity whatever its place in the file."""
    ordinal: int
    """1 for the first row with this digest, 2 for the second one equal to it in every column."""
    issued_on: dt.date
    project: str
    project_name: str
    vintage: int
    total_t: int
    project_t: int
    buffer_t: int


class RetirementRow(msgspec.Struct, frozen=True):
    """One good retirement row: serials first..last of batch `prefix`, quantity = last - first + 1.

    `account_holder`, `reason` and `details` are the source's words; they may be empty.
    """

    row: int
    digest: str
    ordinal: int
    retired_on: dt.date
    issued_on: dt.date
    project: str
    vintage: int
    prefix: str
    batch_number: int
    first: int
    last: int
    quantity_t: int
    account_holder: str
    reason: str
    details: str


def read_issuances(directory: Path) -> Iterator[IssuanceRow | RefusedRow]:
    """Yield every row of ACR_issuances.csv in file order.

    Raises Refused (FILE_MISSING, HEADER_BROKEN) when there is no telling what the cells mean.
    """
    yield from _read(directory / ISSUANCES_FILE, _ISSUANCE_COLUMNS, _issuance)


def read_retirements(directory: Path) -> Iterator[RetirementRow | RefusedRow]:
    """Yield every row of ACR_retirements.csv in file order; raises as `read_issuances` does."""
    yield from _read(directory / RETIREMENTS_FILE, _RETIREMENT_COLUMNS, _retirement)


class _Cells(msgspec.Struct, frozen=True):
    """One record by column name, with what identifies it."""

    row: int
    digest: str
    ordinal: int
    by_column: dict[str, str]

    def text(self, column: str) -> str:
        """The cell with runs of white space folded to one blank; it may be empty."""
        text = " ".join(self.by_column[column].split())
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise _bad("TEXT_NOT_UTF8", column, "UTF-8 text", text)
        if _UNPRINTABLE.search(text):
            raise _bad("TEXT_UNPRINTABLE", column, "text without control characters", text)
        if len(text) > MAX_TEXT_CHARS:
            expected = f"at most {MAX_TEXT_CHARS} characters"
            raise _bad("TEXT_TOO_LONG", column, expected, f"{len(text)} characters")
        return text

    def value(self, column: str) -> str:
        text = self.text(column)
        if not text:
            raise _bad("VALUE_MISSING", column, "a value", text)
        return text

    def date(self, column: str) -> dt.date:
        text = self.value(column)
        match = _DATE.fullmatch(text)
        if match is None:
            raise _bad("DATE_UNREADABLE", column, "m/d/yy", text)
        month, day, year = (int(group) for group in match.groups())
        if len(match[3]) == 2:  # no registry of this kind existed before 1990
            year += 1900 if year >= 90 else 2000
        try:
            return dt.date(year, month, day)
        except ValueError as error:
            raise _bad(
                "DATE_UNREADABLE", column, "a day of the calendar as m/d/yy", text
            ) from error

    def year_of(self, date: dt.date, column: str) -> None:
        """Check the year column, the only witness of the century a two-digit year leaves out."""
        text = self.value(column)
        if text != str(date.year):
            raise _bad("YEAR_DISAGREES", column, str(date.year), text)

    def tonnes(self, column: str) -> int:
        text = self.value(column)
        if _NUMBER.fullmatch(text) is not None:
            return _bounded(column, text.replace(",", ""))
        if _NEGATIVE.fullmatch(text) is not None:
            raise _bad("NUMBER_NEGATIVE", column, "zero or more tonnes", text)
        if _FRACTION.fullmatch(text) is not None and text != ".":
            raise _bad("NUMBER_FRACTIONAL", column, "whole tonnes", text)
        raise _bad("NUMBER_UNREADABLE", column, "a whole number", text)

    def project(self) -> str:
        text = self.value("Project ID")
        if _PROJECT.fullmatch(text) is None:
            raise _bad("PROJECT_UNREADABLE", "Project ID", "ACR and a number", text)
        return text

    def vintage(self) -> int:
        text = self.value("Vintage")
        if _VINTAGE.fullmatch(text) is None:
            raise _bad("VINTAGE_UNREADABLE", "Vintage", "a year", text)
        return int(text)


def _issuance(cells: _Cells) -> IssuanceRow:
    issued_on = cells.date("Date Issued")
    cells.year_of(issued_on, "Issuance Year")
    total_t = cells.tonnes("Total Credits Issued")
    project_t = cells.tonnes("Credits Issued to Project")
    buffer_t = cells.tonnes("Credits Issued to Buffer Pool")
    if total_t == 0:
        raise _bad("QUANTITY_ZERO", "Total Credits Issued", "at least 1 t", "0")
    if project_t + buffer_t != total_t:
        parts = f"project {project_t} + buffer {buffer_t} = {project_t + buffer_t}"
        raise _bad("TOTAL_NOT_SUM", "Total Credits Issued", parts, str(total_t))
    return IssuanceRow(
        row=cells.row,
        digest=cells.digest,
        ordinal=cells.ordinal,
        issued_on=issued_on,
        project=cells.project(),
        project_name=cells.value("Project Name"),
        vintage=cells.vintage(),
        total_t=total_t,
        project_t=project_t,
        buffer_t=buffer_t,
    )


def _retirement(cells: _Cells) -> RetirementRow:
    retired_on = cells.date("Status Effective")
    cells.year_of(retired_on, "Retirement Year")
    project, vintage = cells.project(), cells.vintage()
    prefix, batch_number, first, last = _serials(cells, project, vintage)
    quantity_t = cells.tonnes("Quantity of Offset Credits")
    if quantity_t != last - first + 1:
        expected = f"{last - first + 1}, the size of {first} to {last}"
        raise _bad("QUANTITY_NOT_RANGE", "Quantity of Offset Credits", expected, str(quantity_t))
    return RetirementRow(
        row=cells.row,
        digest=cells.digest,
        ordinal=cells.ordinal,
        retired_on=retired_on,
        issued_on=cells.date("Date Issued"),
        project=project,
        vintage=vintage,
        prefix=prefix,
        batch_number=batch_number,
        first=first,
        last=last,
        quantity_t=quantity_t,
        account_holder=cells.text("Account Holder"),
        reason=cells.text("Retirement Reason"),
        details=cells.text("Retirement Reason Details"),
    )


def _serials(cells: _Cells, project: str, vintage: int) -> tuple[str, int, int, int]:
    """Prefix, batch number, first and last serial of the row."""
    column = "Offset Credit Serial Numbers"
    text = cells.value(column)
    match = _SERIALS.fullmatch(text)
    if match is None:
        grammar = "ACR-<country>-<project>-<vintage>-<batch>-<first> to <last>"
        raise _bad("SERIALS_UNREADABLE", column, grammar, text)
    prefix, serial_project, serial_vintage, batch = match.group(1, 2, 3, 4)
    if f"ACR{serial_project}" != project or int(serial_vintage) != vintage:
        expected = f"serials of {project} {vintage}"
        raise _bad("SERIALS_DISAGREE", column, expected, text)
    first, last = _bounded(column, match[5]), _bounded(column, match[6])
    if not 1 <= first <= last:
        raise _bad("SERIALS_REVERSED", column, "1 <= first <= last", text)
    return prefix, int(batch), first, last


def _bounded(column: str, digits: str) -> int:
    # the length goes first: int() of a very long string is slow, and refuses with its own error
    significant = digits.lstrip("0") or "0"
    if len(significant) > 16 or int(significant) > MAX_INTEGER:
        raise _bad("NUMBER_TOO_LARGE", column, f"at most {MAX_INTEGER}", digits)
    return int(significant)


def _bad(reason: str, column: str, expected: str, actual: str) -> Refused:
    shown = repr(actual)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return Refused(reason, f"{column.lower()}: expected {expected}, got {shown}", Kind.INVALID)


def _read(
    path: Path, columns: tuple[str, ...], parse: Callable[[_Cells], Row]
) -> Iterator[Row | RefusedRow]:
    try:
        # undecodable bytes become lone surrogates, so that one bad cell refuses one row
        lines = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        message = f"{path.name}: expected a readable file, got {error.strerror}"
        raise Refused("FILE_MISSING", message, Kind.INVALID) from error
    with lines:
        yield from _parse(path.name, lines, columns, parse)


def _parse(
    file: str, lines: Iterable[str], columns: tuple[str, ...], parse: Callable[[_Cells], Row]
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
            yield parse(_Cells(row, digest, seen[digest], by_column))
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
