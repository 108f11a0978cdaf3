"""Pages of a list: how many rows, and from which place on.

A token is the place of the last row of the page before: whole numbers, `<position>` or
`<position>.<leg>`. It says nothing that the rows do not, and is checked like any input.
"""

from __future__ import annotations

from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import MAX_INTEGER

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000
MAX_TOKEN_CHARS: Final = 40


def page_limit(asked: int, usual: int = DEFAULT_PAGE, most: int = MAX_PAGE) -> int:
    """How many rows; 0 asks for the usual number, more than the most gets the most."""
    limit = min(asked or usual, most)
    if limit < 1:
        raise Refused("PAGE_SIZE", f"expected 1..{most}, got {limit}", Kind.INVALID)
    return limit


def page_token(*place: int) -> str:
    return ".".join(map(str, place))


def page_place(token: str, numbers: int) -> tuple[int, ...]:
    """The numbers of a token; all -1, before every row, for the first page."""
    if not token:
        return (-1,) * numbers
    parts = token.split(".") if len(token) <= MAX_TOKEN_CHARS and token.isascii() else []
    place = tuple(int(part) for part in parts if part.isdecimal())
    if not len(place) == len(parts) == numbers or max(place) > MAX_INTEGER:
        raise Refused(
            "PAGE_TOKEN_MALFORMED",
            f"expected the next_page_token of an earlier answer, got {token[:60]!r}",
            Kind.INVALID,
        )
    return place
