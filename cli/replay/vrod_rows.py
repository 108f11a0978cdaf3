"""Rows of the ACR tables in the Voluntary Registry Offsets Database, read and checked one by one.

Format: CSV as Berkeley published it in 2021, read by tables.py; dates are m/d/yy, numbers may carry
thousands separators. A row is either good or refused with a stable reason; none is dropped. What
rows mean together is decided in `vrod_plan`, not here.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cli.replay.tables import Cells, RefusedRow, bad_cell, bounded, read_table

ISSUANCES_FILE = "ACR_issuances.csv"
RETIREMENTS_FILE = "ACR_retirements.csv"

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
    yield from read_table(directory / ISSUANCES_FILE, _ISSUANCE_COLUMNS, _Cells, _issuance)


def read_retirements(directory: Path) -> Iterator[RetirementRow | RefusedRow]:
    """Yield every row of ACR_retirements.csv in file order; raises as `read_issuances` does."""
    path = directory / RETIREMENTS_FILE
    yield from read_table(path, _RETIREMENT_COLUMNS, _Cells, _retirement)


class _Cells(Cells, frozen=True):
    """One record of either table."""

    def date(self, column: str) -> dt.date:
        text = self.value(column)
        match = _DATE.fullmatch(text)
        if match is None:
            raise bad_cell("DATE_UNREADABLE", column, "m/d/yy", text)
        month, day, year = (int(group) for group in match.groups())
        if len(match[3]) == 2:  # no registry of this kind existed before 1990
            year += 1900 if year >= 90 else 2000
        try:
            return dt.date(year, month, day)
        except ValueError as error:
            raise bad_cell(
                "DATE_UNREADABLE", column, "a day of the calendar as m/d/yy", text
            ) from error

    def year_of(self, date: dt.date, column: str) -> None:
        """Check the year column, the only witness of the century a two-digit year leaves out."""
        text = self.value(column)
        if text != str(date.year):
            raise bad_cell("YEAR_DISAGREES", column, str(date.year), text)

    def tonnes(self, column: str) -> int:
        text = self.value(column)
        if _NUMBER.fullmatch(text) is not None:
            return bounded(column, text.replace(",", ""))
        if _NEGATIVE.fullmatch(text) is not None:
            raise bad_cell("NUMBER_NEGATIVE", column, "zero or more tonnes", text)
        if _FRACTION.fullmatch(text) is not None and text != ".":
            raise bad_cell("NUMBER_FRACTIONAL", column, "whole tonnes", text)
        raise bad_cell("NUMBER_UNREADABLE", column, "a whole number", text)

    def project(self) -> str:
        text = self.value("Project ID")
        if _PROJECT.fullmatch(text) is None:
            raise bad_cell("PROJECT_UNREADABLE", "Project ID", "ACR and a number", text)
        return text

    def vintage(self) -> int:
        text = self.value("Vintage")
        if _VINTAGE.fullmatch(text) is None:
            raise bad_cell("VINTAGE_UNREADABLE", "Vintage", "a year", text)
        return int(text)


def _issuance(cells: _Cells) -> IssuanceRow:
    issued_on = cells.date("Date Issued")
    cells.year_of(issued_on, "Issuance Year")
    total_t = cells.tonnes("Total Credits Issued")
    project_t = cells.tonnes("Credits Issued to Project")
    buffer_t = cells.tonnes("Credits Issued to Buffer Pool")
    if total_t == 0:
        raise bad_cell("QUANTITY_ZERO", "Total Credits Issued", "at least 1 t", "0")
    if project_t + buffer_t != total_t:
        parts = f"project {project_t} + buffer {buffer_t} = {project_t + buffer_t}"
        raise bad_cell("TOTAL_NOT_SUM", "Total Credits Issued", parts, str(total_t))
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
        raise bad_cell(
            "QUANTITY_NOT_RANGE", "Quantity of Offset Credits", expected, str(quantity_t)
        )
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
        raise bad_cell("SERIALS_UNREADABLE", column, grammar, text)
    prefix, serial_project, serial_vintage, batch = match.group(1, 2, 3, 4)
    if f"ACR{serial_project}" != project or int(serial_vintage) != vintage:
        expected = f"serials of {project} {vintage}"
        raise bad_cell("SERIALS_DISAGREE", column, expected, text)
    first, last = bounded(column, match[5]), bounded(column, match[6])
    if not 1 <= first <= last:
        raise bad_cell("SERIALS_REVERSED", column, "1 <= first <= last", text)
    return prefix, int(batch), first, last
