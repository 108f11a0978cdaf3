"""Identifiers: UUIDv7 for commands (RFC 9562), opaque holder ids, derived ids.

A derived id is the same for the same cause, for ever: it is how a reaction repeated after a crash
finds its first outcome. It carries the cause's own instant, so that it sorts beside it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable

from kernel.errors import Kind, Refused

Entropy = Callable[[int], bytes]

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def uuid7(at_ms: int, entropy: Entropy = os.urandom) -> str:
    """A UUIDv7 of an instant (ms since the epoch, below 2^48), canonical lower case text."""
    return _uuid7_text(at_ms, int.from_bytes(entropy(10), "big"))


def derived_id(at_ms: int, *parts: str | int) -> str:
    """The UUIDv7 that belongs to a cause: instant in front, the rest from a hash of the parts."""
    digest = hashlib.sha256("\x00".join(map(str, parts)).encode()).digest()
    return _uuid7_text(max(at_ms, 0), int.from_bytes(digest[:10], "big"))


def _uuid7_text(at_ms: int, random_80: int) -> str:
    if not 0 <= at_ms < 1 << 48:
        raise ValueError(f"expected milliseconds in 0..2^48-1, got {at_ms}")
    a, b = random_80 >> 62 & 0xFFF, random_80 & (1 << 62) - 1
    text = f"{at_ms << 80 | 0x7 << 76 | a << 64 | 0b10 << 62 | b:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid7_ms(text: str) -> int:
    """The instant inside a UUIDv7, in milliseconds."""
    return int(text[:8] + text[9:13], 16)


def check_uuid7(text: str, what: str = "id") -> str:
    """A canonical, lower case UUIDv7, or a refusal."""
    if not _UUID7.fullmatch(text):
        raise Refused(
            "ID_MALFORMED",
            f"{what}: expected a UUIDv7 in lower case, got {text[:60]!r}",
            Kind.INVALID,
            field=what,
            actual=text[:60],
        )
    return text


def new_holder_id(entropy: Entropy = os.urandom) -> str:
    """An opaque holder id: `h-` and 80 random bits in base32. Says nothing of the holder."""
    return "h-" + base64.b32encode(entropy(10)).decode().lower()


def derived_holder_id(*parts: str) -> str:
    """The holder id that belongs to a name in an outside data set; the same name, the same id."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()
    return "h-" + base64.b32encode(digest[:10]).decode().lower()
