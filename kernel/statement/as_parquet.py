"""A statement as Apache Parquet: its lines as rows, everything else as JSON in the file's metadata.

Under the key `tanzhang.statement`: the object that the JSON format writes, without its lines. The
end of a Parquet file is what makes it one: what was cut off cannot be opened. Needs pyarrow, which
only the extra `arrow` brings.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from kernel.statement.plain import Balance, Head, Line
from kernel.values import parse_instant

KEY: Final = "tanzhang.statement"
GROUP_ROWS: Final = 65_536  # lines kept until a row group is written: some tens of megabytes

_WORD: Final = pa.dictionary(pa.int32(), pa.string())
_INSTANT: Final = pa.timestamp("ms", tz="UTC")
_RANGES: Final = pa.list_(
    pa.struct([("batch", pa.string()), ("first", pa.int64()), ("last", pa.int64())])
)
SCHEMA: Final = pa.schema(
    [
        ("position", pa.int64()),
        ("leg", pa.int32()),
        ("at", _INSTANT),
        ("on", _INSTANT),
        ("type", _WORD),
        ("asset", _WORD),
        ("purpose", _WORD),
        ("ref", pa.string()),
        ("amount", pa.int64()),
        ("balance", pa.int64()),
        ("counterpart", pa.string()),
        ("counterpart_purpose", _WORD),
        ("counterpart_ref", pa.string()),
        ("serials", _RANGES),
    ]
)


class ParquetStatement:
    def __init__(self) -> None:
        self._sink = _Sink()
        self._file = pq.ParquetWriter(self._sink, SCHEMA, compression="zstd")
        self._said: dict[str, Any] = {}
        self._openings: list[Balance] = []
        self._closings: list[Balance] = []
        self._waiting: list[Line] = []

    def begin(self, head: Head) -> bytes:
        self._said["statement"] = head
        return self._sink.taken()

    def openings(self, rows: Sequence[Balance]) -> bytes:
        self._openings += rows
        return b""

    def lines(self, rows: Sequence[Line]) -> bytes:
        self._waiting += rows
        while len(self._waiting) >= GROUP_ROWS:
            self._write(self._waiting[:GROUP_ROWS])
            del self._waiting[:GROUP_ROWS]
        return self._sink.taken()

    def closings(self, rows: Sequence[Balance]) -> bytes:
        self._closings += rows
        return b""

    def end(self, total: int) -> bytes:
        if self._waiting:
            self._write(self._waiting)
        self._said |= {
            "openings": self._openings,
            "closings": self._closings,
            "lines_total": total,
        }
        self._file.add_key_value_metadata({KEY: msgspec.json.encode(self._said).decode()})
        self._file.close()
        return self._sink.taken()

    def _write(self, lines: Sequence[Line]) -> None:
        columns = [
            [line.position for line in lines],
            [line.leg for line in lines],
            [parse_instant(line.at) for line in lines],
            [parse_instant(line.on) for line in lines],
            [line.type for line in lines],
            [line.asset for line in lines],
            [line.purpose for line in lines],
            [line.ref for line in lines],
            [line.amount for line in lines],
            [line.balance for line in lines],
            [line.counterpart.holder for line in lines],
            [line.counterpart.purpose for line in lines],
            [line.counterpart.ref for line in lines],
            [[msgspec.structs.asdict(one) for one in line.serials] for line in lines],
        ]
        arrays = [
            pa.array(values, type=field.type) for values, field in zip(columns, SCHEMA, strict=True)
        ]
        self._file.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))


class _Sink(io.RawIOBase):
    """Where pyarrow writes: what came is handed on, only the place in the file is remembered."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._place += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._place

    def taken(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken
