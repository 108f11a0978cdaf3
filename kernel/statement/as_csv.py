"""A statement as CSV (RFC 4180): UTF-8, a header, CRLF. Its first row says of what it is.

The column `row` tells rows apart: statement, opening, line, closing, end; without the last one it
was cut off. Text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP,
CSV injection); numbers do not.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from kernel.statement.plain import Balance, Head, Line, Range

COLUMNS: Final = (
    *("row", "position", "leg", "at", "on", "type", "asset", "purpose", "ref"),
    *("amount", "balance", "counterpart", "counterpart_purpose", "counterpart_ref"),
    *("serials", "note"),
)
# What begins a formula, with the full-width forms that Chinese and Japanese spreadsheets take too.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


class CsvStatement:
    def __init__(self, bom: bool = False) -> None:
        self._bom = codecs.BOM_UTF8 if bom else b""

    def begin(self, head: Head) -> bytes:
        said = msgspec.to_builtins(head)
        note = "; ".join(f"{name}={_shown(value)}" for name, value in said.items())
        row = _row(row="statement", position=head.as_of_position, note=note)
        return self._bom + _written([COLUMNS, row])

    def openings(self, rows: Sequence[Balance]) -> bytes:
        return _written(_balance("opening", one) for one in rows)

    def lines(self, rows: Sequence[Line]) -> bytes:
        return _written(_line(one) for one in rows)

    def closings(self, rows: Sequence[Balance]) -> bytes:
        return _written(_balance("closing", one) for one in rows)

    def end(self, total: int) -> bytes:
        return _written([_row(row="end", note=f"lines={total}")])


def _line(line: Line) -> tuple[Any, ...]:
    """In the order of COLUMNS: the hot path of a long statement."""
    other = line.counterpart
    return (
        "line",
        line.position,
        line.leg,
        line.at,
        line.on,
        _safe(line.type),
        _safe(line.asset),
        _safe(line.purpose),
        _safe(line.ref),
        line.amount,
        line.balance,
        _safe(other.holder),
        _safe(other.purpose),
        _safe(other.ref),
        _safe(_serials(line.serials)) if line.serials else "",
        "",
    )


def _balance(row: str, one: Balance) -> tuple[Any, ...]:
    return _row(
        row=row,
        asset=_safe(one.asset),
        purpose=_safe(one.purpose),
        ref=_safe(one.ref),
        balance=one.amount,
    )


def _row(**cells: Any) -> tuple[Any, ...]:
    return tuple(cells.get(name, "") for name in COLUMNS)


def _serials(ranges: Sequence[Range]) -> str:
    return "; ".join(f"{one.batch} {one.first}..{one.last}" for one in ranges)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _shown(value: Any) -> str:
    """As JSON shows it, text without its marks."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _written(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
