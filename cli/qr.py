"""`tanzhang qr FILE`: a code that carries a receipt itself, for the verify page to open.

The code is an address, `<page>#r=<base64url of the file, raw deflate (RFC 1951)>`. What is behind
`#` stays in the browser: no server learns which receipt was opened. Verifies nothing.
Exit codes: 0 written, 1 it does not fit into one code, 2 could not try.
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from cli.errors import NO, CliError
from kernel.tlog.errors import ReceiptError
from kernel.tlog.receipt import split_receipt
from kernel.tlog.states import kind_of_file

MAX_CODE_BYTES: Final = 2953  # of the largest QR code (version 40) with the least error correction
MAX_FILE_BYTES: Final = 1024 * 1024  # far beyond what packs into a code
FORMATS: Final = (".svg", ".png")
SCALE: Final = 4  # dots for each of up to 177 modules: cameras want more than one
PARAMETER: Final = "r"


def qr(
    file: Annotated[Path, typer.Argument(help="a .receipt, .holding or .lien file")],
    out: Annotated[Path, typer.Option(help="where the code goes: FILE.svg or FILE.png")],
    page: Annotated[str, typer.Option(help="the verify page's address, https://<gateway>/verify/")],
) -> None:
    """Make a QR code that the verify page opens.

    Where the file fits into one.
    """
    import segno  # noqa: PLC0415 - who verifies loads no library for pictures

    if out.suffix not in FORMATS:
        raise CliError(f"--out: expected a name that ends in .svg or .png, got {out.name}")
    address = address_of(_read(file), page)
    if len(address) > MAX_CODE_BYTES:
        raise CliError(
            f"{file} makes an address of {len(address):,} bytes, and one code takes at most"
            f" {MAX_CODE_BYTES:,}: hand over the file itself",
            NO,
        )
    code = segno.make(address, error="l", mode="byte", micro=False, boost_error=True)
    code.save(str(out), scale=SCALE)
    typer.echo(f"{out}: {len(address):,} bytes in a code of version {code.version}")


def address_of(data: bytes, page: str) -> str:
    """The address that opens this file in the verify page."""
    parts = urlsplit(page)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment:
        raise CliError(f"--page: expected https://<gateway>/verify/, got {page}")
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return f"{page}#{PARAMETER}={base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise CliError(f"{path}: expected at most {MAX_FILE_BYTES:,} bytes", NO)
    data = path.read_bytes()
    if kind_of_file(data) is None:
        try:
            split_receipt(data)
        except ReceiptError as error:
            raise CliError(f"{path}: {error}") from error
    return data
