"""What stands in signed statements: lists that are lists, whole numbers that are whole numbers."""

from __future__ import annotations

from typing import Any

import msgspec

from services.ledger.books.port import RuleBroken
from services.ledger.books.serials import Range


def rows_of(statement: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = statement.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RuleBroken("STATEMENT", f"a list of {name}", rows)
    return rows


def integer(value: object) -> int:
    if type(value) is not int:
        raise RuleBroken("STATEMENT", "a whole number", value)
    return value


def trades_of(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """The venue's rows, with numbers that are numbers."""
    rows = rows_of(statement, "trades")
    for row in rows:
        for name in ("quantity_t", "price_fen_per_t"):
            integer(row.get(name))
        for name in ("asset", "buyer", "seller", "trade"):
            if not isinstance(row.get(name), str):
                raise RuleBroken("STATEMENT", f"the {name} of a trade", row.get(name))
    return rows


def ranges_of(statement: dict[str, Any]) -> list[Range]:
    """The serials that the parties of a pledge have named."""
    try:
        return msgspec.convert(statement.get("serials"), list[Range])
    except msgspec.ValidationError as error:
        raise RuleBroken("STATEMENT", "a list of serials", statement.get("serials")) from error
