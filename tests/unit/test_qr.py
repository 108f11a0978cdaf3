"""`tanzhang qr`: a code that carries a receipt, and what it says when one does not fit."""

from __future__ import annotations

import base64
import random
import zlib
from pathlib import Path

import pytest

from cli.app import run
from cli.qr import MAX_CODE_BYTES, address_of
from tests.support.small_log import SmallLog, sale_body

PAGE = "https://tanzhang.example/verify/"


@pytest.fixture
def sale(tmp_path: Path) -> Path:
    log = SmallLog()
    log.append(sale_body())
    log.fill(2)
    path = tmp_path / "sale.receipt"
    path.write_bytes(log.receipt(0))
    return path


def test_the_address_holds_the_receipt_behind_its_hash(sale: Path) -> None:
    page, _, packed = address_of(sale.read_bytes(), PAGE).partition("#r=")
    assert page == PAGE
    padded = packed + "=" * (-len(packed) % 4)
    inflated = zlib.decompress(base64.urlsafe_b64decode(padded), wbits=-zlib.MAX_WBITS)
    assert inflated == sale.read_bytes()


@pytest.mark.parametrize(("name", "head"), [("code.svg", b"<?xml"), ("code.png", b"\x89PNG")])
def test_a_code_is_written_as_a_picture(sale: Path, name: str, head: bytes) -> None:
    out = sale.parent / name
    assert run(["qr", str(sale), "--out", str(out), "--page", PAGE]) == 0
    assert out.read_bytes().startswith(head)


def test_a_receipt_too_large_for_one_code_says_so_and_suggests_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = SmallLog()
    log.append({"note": random.Random(5).randbytes(MAX_CODE_BYTES).hex(), "legs": []})
    log.fill(1)
    large, out = tmp_path / "large.receipt", tmp_path / "code.svg"
    large.write_bytes(log.receipt(0))
    assert run(["qr", str(large), "--out", str(out), "--page", PAGE]) == 1
    assert "one code takes at most 2,953: hand over the file itself" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("data", "out", "page", "said"),
    [
        (b"no receipt", "code.svg", PAGE, "container"),
        (None, "code.pdf", PAGE, "ends in .svg or .png"),
        (None, "code.svg", "tanzhang.example/verify/", "--page: expected https://"),
    ],
)
def test_what_cannot_be_made_into_a_code_is_not_tried(
    sale: Path,
    data: bytes | None,
    out: str,
    page: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if data is not None:
        sale.write_bytes(data)
    assert run(["qr", str(sale), "--out", str(sale.parent / out), "--page", page]) == 2
    assert said in capsys.readouterr().err
