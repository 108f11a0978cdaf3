"""A statement as one JSON object, a row to a text line: `jq` reads it whole, `grep` by the line.

What was cut off is no JSON: the last bracket is written with the number of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from kernel.statement.plain import Balance, Head, Line

_SECTIONS: Final = ("openings", "lines", "closings")
_encode = msgspec.json.Encoder().encode


class JsonStatement:
    def __init__(self) -> None:
        self._section = -1
        self._rows = 0  # of this section

    def begin(self, head: Head) -> bytes:
        return b'{"statement":' + _encode(head)

    def openings(self, rows: Sequence[Balance]) -> bytes:
        return self._write("openings", rows)

    def lines(self, rows: Sequence[Line]) -> bytes:
        return self._write("lines", rows)

    def closings(self, rows: Sequence[Balance]) -> bytes:
        return self._write("closings", rows)

    def end(self, total: int) -> bytes:
        return self._reach(len(_SECTIONS) - 1) + b'],\n"lines_total":%d}\n' % total

    def _write(self, section: str, rows: Sequence[Any]) -> bytes:
        opened = self._reach(_SECTIONS.index(section))
        written = b"".join(b",\n" + _encode(row) for row in rows)
        first = not self._rows
        self._rows += len(rows)
        return opened + (written[1:] if first else written)

    def _reach(self, section: int) -> bytes:
        """Ends what is open and begins everything up to this section."""
        written = b""
        while self._section < section:
            written += b"]" if self._section >= 0 else b""
            self._section += 1
            self._rows = 0
            written += b',\n"%s":[' % _SECTIONS[self._section].encode()
        return written
