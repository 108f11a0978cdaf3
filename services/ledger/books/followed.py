"""Which checker stands for which book; all of one ledger know the same keys and crossings.

A service may own several books: `market-lzxq` is a market's like `market`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from services.ledger.books.accounts import AccountsBook
from services.ledger.books.crossings import Crossings
from services.ledger.books.inclusive import InclusiveBook
from services.ledger.books.ledger import LedgerBook
from services.ledger.books.market import MarketBook
from services.ledger.books.port import Checker
from services.ledger.books.registry import RegistryBook

LEDGER: Final = "ledger"

_CHECKERS: Mapping[str, Callable[[str, LedgerBook, Crossings], Checker]] = {
    "accounts": lambda book, ledger, crossings: AccountsBook(ledger, crossings),
    "registry": lambda book, ledger, crossings: RegistryBook(ledger, crossings),
    "market": lambda book, ledger, crossings: MarketBook(book, crossings),
    "inclusive": lambda book, ledger, crossings: InclusiveBook(ledger),
    LEDGER: lambda book, ledger, crossings: ledger,
}
OWNERS: Final = tuple(_CHECKERS)


def owner_of(book: str) -> str:
    """The service that writes a book."""
    return book.partition("-")[0]


def make_checkers(books: Sequence[str]) -> dict[str, Checker]:
    """A fresh checker for each book. Their owners must be known ones."""
    ledger, crossings = LedgerBook(), Crossings(books)
    return {book: _CHECKERS[owner_of(book)](book, ledger, crossings) for book in books}
