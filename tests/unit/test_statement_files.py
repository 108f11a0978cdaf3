"""Statements as files: what each format says, and that none of them hides a cut."""

from __future__ import annotations

import builtins
import csv
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from kernel.errors import Conflict, InvariantBroken, Refused
from kernel.statement import as_parquet
from kernel.statement.formats import MEDIA_TYPES, make_file, write_part
from kernel.statement.plain import Adding, Balance, Counterpart, Head, Line, Part, Range

FARM, GROUP = "h-qinwangchuanlinc", "h-lanzhouchengtouu"
HEAD = Head(
    book="accounts",
    book_id="00" * 16,
    holder=GROUP,
    asset=None,
    purpose=None,
    ref=None,
    by="at",
    from_="2026-10-31T16:00:00.000Z",
    to="2026-11-30T16:00:00.000Z",
    as_of_position=41,
    proven=True,
)


def line(position: int, amount: int, balance: int, **changed: Any) -> Line:
    made = Line(
        position,
        0,
        "2026-11-20T01:30:00.000Z",
        "2026-11-19T01:30:00.250Z",
        "EntryPosted",
        "CNY",
        "available",
        "",
        amount,
        balance,
        Counterpart(FARM, "available", ""),
        [],
    )
    return msgspec.structs.replace(made, **changed)


UNITS = line(
    9,
    3,
    3,
    asset="TICKET-LZXQ-1",
    purpose="held",
    ref="=HYPERLINK(1)",
    serials=[Range("LZXQ-2021", 1, 2), Range("碳, “一”", 7, 7)],
)
PARTS = (
    Part(openings=[Balance("CNY", "available", "", 500)]),
    Part(lines=[line(3, -200, 300), UNITS]),
    Part(lines=[line(12, 40, 340)]),
    Part(
        closings=[
            Balance("CNY", "available", "", 340),
            Balance("TICKET-LZXQ-1", "held", "=HYPERLINK(1)", 3),
        ]
    ),
    Part(total=3),
)
NOTHING = (Part(total=0),)


def written(format: str, parts: Sequence[Part] = PARTS, **options: Any) -> bytes:
    file = make_file(format, **options)
    return file.begin(HEAD) + b"".join(write_part(file, part) for part in parts)


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_json_is_one_object_with_a_row_to_a_text_line() -> None:
    data = written("json")
    made = json.loads(data)
    assert list(made) == ["statement", "openings", "lines", "closings", "lines_total"]
    assert made["statement"]["from"] == HEAD.from_
    assert [one["balance"] for one in made["lines"]] == [300, 3, 340]
    assert made["lines"][1]["serials"][1] == {"batch": "碳, “一”", "first": 7, "last": 7}
    assert [one["amount"] for one in made["closings"]] == [340, 3]
    assert made["lines_total"] == 3
    assert data.count(b"\n") == 3 + 6 + 2  # sections, rows, the number of lines, the end


@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_statement_without_a_movement_is_a_statement(format: str) -> None:
    data = written(format, NOTHING)
    if format == "json":
        made = json.loads(data)
        assert (made["openings"], made["lines"], made["closings"]) == ([], [], [])
    else:
        assert [row["row"] for row in rows_of(data)] == ["statement", "end"]


def test_a_json_statement_that_was_cut_off_anywhere_is_no_json() -> None:
    data = written("json")
    for end in range(len(data) - 2):
        with pytest.raises(ValueError):
            json.loads(data[:end])


def test_csv_has_a_header_and_says_what_each_row_is() -> None:
    data = written("csv")
    assert data.endswith(b"\r\n")
    rows = rows_of(data)
    assert [row["row"] for row in rows] == [
        *("statement", "opening", "line", "line", "line", "closing", "closing", "end")
    ]
    assert rows[0]["position"] == "41"
    assert "proven=true" in rows[0]["note"]
    assert [row["amount"] for row in rows if row["row"] == "line"] == ["-200", "3", "40"]
    assert rows[3]["serials"] == "LZXQ-2021 1..2; 碳, “一” 7..7"
    assert rows[-1]["note"] == "lines=3"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", "＠SUM(A1)"])
def test_no_text_of_ours_is_a_formula_to_a_spreadsheet(text: str) -> None:
    hostile = line(1, 1, 1, ref=text, asset=text, counterpart=Counterpart(FARM, "held", text))
    rows = rows_of(written("csv", [Part(lines=[hostile]), Part(total=1)]))
    cells = [rows[1][name] for name in ("asset", "ref", "counterpart_ref")]
    assert cells == [f"'{text}"] * 3


def test_a_mark_tells_a_chinese_spreadsheet_that_it_is_utf_8() -> None:
    assert written("csv", bom=True) == b"\xef\xbb\xbf" + written("csv")


def test_parquet_has_the_lines_in_columns_and_the_rest_beside_them() -> None:
    file = pq.ParquetFile(io.BytesIO(written("parquet")))
    table = file.read().to_pydict()
    assert table["position"] == [3, 9, 12]
    assert table["amount"] == [-200, 3, 40]
    assert table["on"][0].isoformat() == "2026-11-19T01:30:00.250000+00:00"
    assert table["serials"][1] == [
        {"batch": "LZXQ-2021", "first": 1, "last": 2},
        {"batch": "碳, “一”", "first": 7, "last": 7},
    ]
    said = json.loads(file.metadata.metadata[as_parquet.KEY.encode()])
    assert said["statement"]["as_of_position"] == 41
    assert [one["amount"] for one in said["closings"]] == [340, 3]
    assert said["lines_total"] == 3


def test_parquet_is_written_in_groups_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_parquet, "GROUP_ROWS", 2)
    file = make_file("parquet")
    pieces = [file.begin(HEAD), *(write_part(file, part) for part in PARTS)]
    assert pieces[2], "the first two lines are a group: they wait for nobody"
    made = pq.ParquetFile(io.BytesIO(b"".join(pieces)))
    assert made.metadata.num_row_groups == 2
    assert made.read().column("position").to_pylist() == [3, 9, 12]


@pytest.mark.parametrize("format", MEDIA_TYPES)
def test_the_same_statement_is_the_same_bytes(format: str) -> None:
    assert written(format) == written(format)


def test_without_the_extra_parquet_says_which_one_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imports = builtins.__import__

    def without_arrow(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
        return imports(name, *rest)

    monkeypatch.delitem(sys.modules, as_parquet.__name__)
    monkeypatch.setattr(builtins, "__import__", without_arrow)
    with pytest.raises(Refused) as refused:
        make_file("parquet")
    assert refused.value.reason == "EXTRA_MISSING"
    assert "tanzhang[arrow]" in refused.value.message


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(Refused) as refused:
        make_file("xlsx")
    assert refused.value.reason == "FORMAT_UNKNOWN"


# ---- adding up ----------------------------------------------------------------------------------


def add(*parts: Part) -> None:
    adding = Adding()
    for part in parts:
        adding.add(part)
    adding.check_ended()


def test_a_statement_that_adds_up_passes() -> None:
    add(*PARTS)


@pytest.mark.parametrize(
    "parts",
    [
        (PARTS[0], Part(lines=[line(3, -200, 301)])),
        (*PARTS[:2], *PARTS[3:]),
        (PARTS[0], Part(total=0)),
        (*PARTS[:3], Part(closings=[Balance("CNY", "available", "", 340)]), PARTS[4]),
        (*PARTS[:4], Part(total=4)),
    ],
    ids=[
        "a balance that is not the one before and the amount",
        "lines left out",
        "an account that has disappeared",
        "a closing left out",
        "fewer lines than are said",
    ],
)
def test_a_statement_that_does_not_add_up_is_not_taken(parts: tuple[Part, ...]) -> None:
    with pytest.raises(InvariantBroken):
        add(*parts)


def test_a_statement_without_its_end_was_cut_off() -> None:
    with pytest.raises(Conflict) as conflict:
        add(*PARTS[:4])
    assert conflict.value.reason == "STATEMENT_CUT_OFF"
