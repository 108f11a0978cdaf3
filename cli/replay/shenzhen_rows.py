"""Rows of the Shenzhen Tong card data, read and checked one by one.

Format: CSV as Shenzhen's open data published it in 2018, read by tables.py; instants are
Shanghai time, money is in fen: `deal_value` is the tariff's fare, `deal_money` what was charged
after the card's discount. Card numbers are codes already and personal all the same: no message
here shows one. What taps mean together is decided in `shenzhen_plan`, not here.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from cli.replay.tables import Cells, RefusedRow, bad_cell, bounded, read_table
from kernel.values import SHANGHAI_MS

ENTRY, EXIT, BUS = "地铁入站", "地铁出站", "巴士"
MAX_FARE_FEN: Final = 20_000  # ten times the dearest metro ride: beyond it the cell is no fare

_COLUMNS = (
    *("deal_date", "card_no", "deal_value", "deal_type", "company_name"),
    *("station", "deal_money", "equ_no"),
)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_CARD = re.compile(r"[A-Z]{6,12}")
_DEVICE = re.compile(r"[0-9]{9}")
_FEN = re.compile(r"[0-9]+", re.ASCII)
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - both sides of the difference are Shanghai time


class Tap(msgspec.Struct, frozen=True):
    """One good row: a card held to a gate, or to the reader of a bus."""

    row: int
    digest: str
    at_ms: int
    card: str
    kind: str
    """ENTRY, EXIT or BUS."""
    line: str
    """The company's name: a metro line, or who runs the bus."""
    station: str
    """As the source writes it; of a bus its route. `-` where the gate did not say."""
    device: str
    fare_fen: int
    """By the tariff, before any discount; 0 at an entry."""
    paid_fen: int

    @property
    def gates(self) -> str:
        """The first six digits of the device: all gates of one station on one line share them."""
        return self.device[:6]


def read_taps(path: Path) -> Iterator[Tap | RefusedRow]:
    """Yield every row in file order; raises Refused as `read_table` does."""
    yield from read_table(path, _COLUMNS, _Cells, _tap)


class _Cells(Cells, frozen=True):
    def instant_ms(self, column: str) -> int:
        text = self.value(column)
        try:
            if not _INSTANT.fullmatch(text):
                raise ValueError(text)
            at = dt.datetime.fromisoformat(text)
        except ValueError as error:
            raise bad_cell("INSTANT_UNREADABLE", column, "YYYY-MM-DD hh:mm:ss", text) from error
        at_ms = (at - _EPOCH) // dt.timedelta(milliseconds=1) - SHANGHAI_MS
        if at_ms < 0:
            raise bad_cell("INSTANT_UNREADABLE", column, "an instant since 1970", text)
        return at_ms

    def card(self, column: str) -> str:
        text = self.value(column)
        if not _CARD.fullmatch(text):
            shown = f"{len(text)} characters"  # never the number itself
            raise bad_cell("CARD_UNREADABLE", column, "6 to 12 capital letters", shown)
        return text

    def device(self, column: str) -> str:
        text = self.value(column)
        if not _DEVICE.fullmatch(text):
            raise bad_cell("DEVICE_UNREADABLE", column, "9 digits", text)
        return text

    def fare_fen(self, column: str) -> int:
        text = self.value(column)
        if not _FEN.fullmatch(text):
            raise bad_cell("FARE_UNREADABLE", column, "whole fen", text)
        fare_fen = bounded(column, text)
        if fare_fen > MAX_FARE_FEN:
            raise bad_cell("FARE_TOO_LARGE", column, f"at most {MAX_FARE_FEN} fen", text)
        return fare_fen


def _tap(cells: _Cells) -> Tap:
    if cells.ordinal > 1:
        raise bad_cell("ROW_REPEATED", "row", "a tap of its own", f"one seen {cells.ordinal} times")
    kind = cells.value("deal_type")
    if kind not in (ENTRY, EXIT, BUS):
        raise bad_cell("TYPE_UNKNOWN", "deal_type", f"{ENTRY}, {EXIT} or {BUS}", kind)
    fare_fen, paid_fen = cells.fare_fen("deal_value"), cells.fare_fen("deal_money")
    if paid_fen > fare_fen:
        raise bad_cell(
            "PAID_ABOVE_FARE", "deal_money", f"at most the fare, {fare_fen}", str(paid_fen)
        )
    if kind == ENTRY and fare_fen:
        raise bad_cell("FARE_AT_ENTRY", "deal_value", "0 at an entry", str(fare_fen))
    return Tap(
        row=cells.row,
        digest=cells.digest,
        at_ms=cells.instant_ms("deal_date"),
        card=cells.card("card_no"),
        kind=kind,
        line=cells.value("company_name"),
        station=cells.value("station"),
        device=cells.device("equ_no"),
        fare_fen=fare_fen,
        paid_fen=paid_fen,
    )
