"""A ZIP with exactly one spelling: members stored in a given order, fixed time, no extras.

Any tool opens it (PKWARE APPNOTE 4.3, methods 0 only); reading accepts only the bytes that writing
the same members would make, so nothing can hide in it: no second copy of a member, no comment, no
data before, between or after, nothing that unpacks to more than is there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from kernel.tlog.encoding import shorten
from kernel.tlog.errors import ReceiptError

CONTAINER = "container"
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_VERSION = 20
_UNIX = 3 << 8
_MODE = 0o100644 << 16
_DATE = (0 << 9) | (1 << 5) | 1  # 1980-01-01, the first day a ZIP can say
_STORED = 0


def pack_members(members: Mapping[str, bytes]) -> bytes:
    """The ZIP of these members in their order; names ASCII, members far below 4 GiB."""
    body, directory = b"", b""
    for name, data in members.items():
        encoded = name.encode("ascii")
        # version, flags, method, time, date, CRC, stored size, size, length of name, of extra
        shared = (_VERSION, 0, _STORED, 0, _DATE, zlib.crc32(data), len(data), len(data))
        central = (_VERSION | _UNIX, *shared, len(encoded), 0, 0, 0, 0, _MODE, len(body))
        directory += _CENTRAL.pack(b"PK\x01\x02", *central) + encoded
        body += _LOCAL.pack(b"PK\x03\x04", *shared, len(encoded), 0) + encoded + data
    count = len(members)
    end = _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + end


def unpack_members(data: bytes, limits: Mapping[str, int]) -> dict[str, bytes]:
    """The members of a ZIP that `pack_members` made: exactly those of `limits`, in that order.

    `limits` gives each member's largest size in bytes. ReceiptError names the member that is
    extra, missing, doubled, compressed, too large or damaged, else the container.
    """
    members: dict[str, bytes] = {}
    expected = list(limits)
    at = 0
    while data[at : at + 4] == b"PK\x03\x04" and len(data) - at >= _LOCAL.size:
        _, _, flags, method, _, _, crc, stored, size, name_length, extra_length = (
            _LOCAL.unpack_from(data, at)
        )
        start = at + _LOCAL.size + name_length
        name = data[at + _LOCAL.size : start].decode("ascii", "replace")
        if name in members:
            raise ReceiptError(CONTAINER, f"expected {name} once, got it again")
        if name not in limits:
            raise ReceiptError(CONTAINER, f"expected {', '.join(expected)}, got {shorten(name)}")
        if name != expected[len(members)]:
            raise ReceiptError(CONTAINER, f"expected {expected[len(members)]} next, got {name}")
        if method != _STORED or flags or stored != size or extra_length:
            raise ReceiptError(
                CONTAINER, f"{name}: expected a plain stored member, got method {method}"
            )
        if size > limits[name]:
            raise ReceiptError(name, f"expected at most {limits[name]} bytes, got {size}")
        at = start + size
        if at > len(data):
            raise ReceiptError(CONTAINER, f"{name}: expected {size} bytes, the file ends before")
        content = data[start:at]
        if zlib.crc32(content) != crc:
            # tells accidents apart by member; who means harm can make any CRC fit
            raise ReceiptError(
                name, f"damaged: expected CRC {crc:08x}, got {zlib.crc32(content):08x}"
            )
        members[name] = content
    if missing := expected[len(members) :]:
        raise ReceiptError(CONTAINER, f"expected a ZIP with {', '.join(missing)}, got none")
    canonical = pack_members(members)
    if data != canonical:
        if data.startswith(canonical):
            extra = len(data) - len(canonical)
            raise ReceiptError(CONTAINER, f"expected {len(canonical)} bytes, got {extra} more")
        raise ReceiptError(
            CONTAINER, "expected the one spelling of these members, got other ZIP headers"
        )
    return members
