"""Which files a statement can be, by the word a caller uses and by media type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from kernel.errors import Kind, Refused
from kernel.statement.as_csv import CsvStatement
from kernel.statement.as_json import JsonStatement
from kernel.statement.plain import Balance, Head, Line, Part


class StatementFile(Protocol):
    """Writes one statement, in this order, each part as it comes: the bytes to be written next.

    Bounded: keeps no lines but those of a block that is not full yet. Deterministic: the same
    statement, the same bytes.
    """

    def begin(self, head: Head) -> bytes: ...
    def openings(self, rows: Sequence[Balance]) -> bytes: ...
    def lines(self, rows: Sequence[Line]) -> bytes: ...
    def closings(self, rows: Sequence[Balance]) -> bytes: ...
    def end(self, total: int) -> bytes: ...


def _parquet() -> StatementFile:
    try:
        from kernel.statement.as_parquet import ParquetStatement  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise Refused(
            "EXTRA_MISSING",
            "parquet needs pyarrow, which comes with the extra tanzhang[arrow]",
            Kind.INVALID,
            extra="tanzhang[arrow]",
        ) from error
    return ParquetStatement()


MEDIA_TYPES: Final = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}
_MAKE: Final[dict[str, Callable[[bool], StatementFile]]] = {
    "json": lambda bom: JsonStatement(),
    "csv": CsvStatement,
    "parquet": lambda bom: _parquet(),
}


def make_file(format: str, *, bom: bool = False) -> StatementFile:
    """`bom` marks CSV as UTF-8 for spreadsheets that would take it for GBK. Raises Refused."""
    make = _MAKE.get(format)
    if make is None:
        raise unknown_format(format)
    return make(bom)


def unknown_format(format: str) -> Refused:
    return Refused(
        "FORMAT_UNKNOWN",
        f"expected one of {', '.join(_MAKE)}, got {format[:40]!r}",
        Kind.INVALID,
        actual=format[:40],
    )


def write_part(file: StatementFile, part: Part) -> bytes:
    """All of a part, in the order of a statement."""
    written = b""
    if part.openings:
        written += file.openings(part.openings)
    if part.lines:
        written += file.lines(part.lines)
    if part.closings:
        written += file.closings(part.closings)
    if part.total is not None:
        written += file.end(part.total)
    return written
