"""Lines for a terminal: padded and folded by the columns they take, Chinese included.

East Asian wide characters take two columns (Unicode Standard Annex 11), and a line may be folded
between them; elsewhere it is folded at spaces, and a word is never cut.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

WIDTH: Final = 80
INDENT: Final = 12

_WIDE = "\u2e80-\u303f\u3040-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
# An opening mark stays with what follows it, a closing one with what is before it.
_PIECES = re.compile(rf"\s+|[（【《“‘]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[、。，；：）】》”’]*")


def columns(text: str) -> int:
    """How many columns a text takes."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def pad(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def fold(head: str, text: str, indent: int = INDENT) -> list[str]:
    """The text after its head, in lines of WIDTH columns; a line that goes on is set in."""
    lines, line, bare = [], head, True
    for piece in _PIECES.findall(text):
        if not bare and columns(line) + columns(piece) > WIDTH:
            lines.append(line.rstrip())
            line, bare = " " * indent, True
        if not (bare and piece.isspace()):
            line, bare = line + piece, False
    return [*lines, line.rstrip() if lines else line]


def labelled(label: str, text: str, indent: int = 0) -> list[str]:
    """`loan        247,500.00 CNY`; with an indent the label is part of the text."""
    head = f"{' ' * indent}{label} " if indent else f"{pad(label, INDENT - 1)} "
    return fold(head, text, INDENT + 2 * bool(indent))
