"""The two text encodings every log format shares: canonical base64 and canonical decimals.

RFC 4648 section 4 with padding; a value has exactly one accepted spelling, so that a signed text
cannot be rewritten into another text that means the same. Does not do URL-safe base64.
"""

from __future__ import annotations

import binascii
import re

from kernel.tlog.errors import FormatError

HASH_BYTES = 32
MAX_UINT63 = 2**63 - 1  # sizes, indexes and timestamps: what Go's int64 and the C2SP pages allow
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding, without newline."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode_base64(text: str, what: str) -> bytes:
    """The bytes of canonical base64; FormatError on anything another encoder would not write."""
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:  # binascii.Error and UnicodeEncodeError are both ValueErrors
        raise FormatError(f"{what}: expected base64, got {shorten(text)}: {error}") from error
    if encode_base64(data) != text:  # stray low bits in the last character
        raise FormatError(
            f"{what}: expected canonical base64 {shorten(encode_base64(data))}, got {shorten(text)}"
        )
    return data


def decode_hash(text: str, what: str) -> bytes:
    """A 32-byte SHA-256 value from its base64 line."""
    data = decode_base64(text, what)
    if len(data) != HASH_BYTES:
        raise FormatError(f"{what}: expected {HASH_BYTES} bytes, got {len(data)}")
    return data


def parse_decimal(text: str, what: str, limit: int = MAX_UINT63) -> int:
    """ASCII decimal without sign, spaces or leading zeroes, 0..limit."""
    if not _DECIMAL.fullmatch(text) or int(text) > limit:
        raise FormatError(
            f"{what}: expected a decimal in 0..{limit} without leading zeroes, got {shorten(text)}"
        )
    return int(text)


def shorten(text: str, limit: int = 80) -> str:
    """A quoted piece of foreign text that is fit for an error message."""
    return repr(text if len(text) <= limit else text[:limit] + "…")
