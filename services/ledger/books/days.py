"""Business days of Asia/Shanghai, as the books reckon them: UTC+8, the year round."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from services.ledger.books.port import RuleBroken, instant_ms

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHANGHAI: Final = timedelta(hours=8)


def day_of(instant: str) -> date:
    """The Shanghai day of an instant in a record."""
    try:
        return (_EPOCH + timedelta(milliseconds=instant_ms(instant)) + _SHANGHAI).date()
    except OverflowError as error:
        raise RuleBroken("DAY", "a day of the calendar", instant) from error


def parse_day(text: str) -> date:
    """A day like 2026-11-20, in this one spelling."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise RuleBroken("DAY", "a day like 2026-11-20", text) from error
    if day.isoformat() != text:
        raise RuleBroken("DAY", day.isoformat(), text)
    return day
