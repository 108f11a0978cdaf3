"""Plain values that every domain shares: bounds, instants, who asks, what was signed.

Integers only, below 2^53, so that any JSON reader reads them exactly. Instants are milliseconds
since 1970-01-01 UTC inside and RFC 3339 with exactly three decimals in a record. The unified social
credit code follows GB 32100-2015. No I/O, no clock, no randomness.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from kernel.errors import Kind, Refused

MAX_INTEGER: Final = 2**53 - 1
FEN_PER_CNY: Final = 100
DAY_MS: Final = 86_400_000
# 9999-12-31T23:59:59.999Z: the last instant RFC 3339 can write with four digits for the year.
MAX_INSTANT_MS: Final = 253_402_300_799_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# re.ASCII: \d would also take the full-width digits of a Chinese keyboard.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class Actor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is answerable for a command, as the record names them: token issuer and subject."""

    iss: str
    sub: str


class Caller(msgspec.Struct, frozen=True):
    """An authenticated caller: the actor, and what the token lets them do."""

    actor: Actor
    roles: frozenset[str]
    # Opaque ids of the holders this person or system operates for.
    holders: frozenset[str]

    @property
    def principal(self) -> str:
        """The idempotency namespace: one per issuer and subject."""
        return f"{self.actor.iss} {self.actor.sub}"


class Act(msgspec.Struct, frozen=True, order=True):
    """An institution's signature (base64) over a canonical JSON statement, as recorded."""

    key_id: str
    signature: str
    statement: str


class Context(msgspec.Struct, frozen=True):
    """What `decide` may know besides state and command; all of it is passed in."""

    id: str
    at_ms: int
    on_ms: int
    caller: Caller
    acts: Sequence[Act]
    cause: tuple[str, int] | None
    # (public key, act) -> does the signature hold? Pure; passed in to keep domains plain.
    verify: Callable[[bytes, Act], bool]


class Envelope(msgspec.Struct, frozen=True):
    """What a record says around its event, as far as a domain may fold it: see Domain.told."""

    position: int
    id: str  # of the command
    actor: Actor
    on_ms: int
    cause: tuple[str, int] | None


def check_role(context: Context, *roles: str) -> None:
    """The caller has one of these roles."""
    if not context.caller.roles.intersection(roles):
        raise Refused(
            "ROLE_MISSING",
            f"expected role {' or '.join(roles)}",
            Kind.FORBIDDEN,
            needed=" ".join(roles),
        )


def check_operates(context: Context, holder: str) -> None:
    """The caller acts for this holder."""
    if holder not in context.caller.holders:
        raise Refused(
            "NOT_YOUR_ACCOUNT",
            f"{context.caller.actor.sub} does not operate for {holder[:40]}",
            Kind.FORBIDDEN,
            holder=holder[:40],
        )


def check_on(context: Context) -> None:
    """Business time is never later than the recording."""
    if context.on_ms > context.at_ms:
        raise Refused(
            "ON_IN_FUTURE",
            f"business time {format_instant(context.on_ms)} is after the recording"
            f" {format_instant(context.at_ms)}",
            at=format_instant(context.at_ms),
        )


@functools.lru_cache(maxsize=4096)  # a batch has one instant, a day of history few
def format_instant(at_ms: int) -> str:
    """Milliseconds since the epoch to `2026-11-20T08:30:00.000Z`."""
    if not -62_135_596_800_000 <= at_ms <= MAX_INSTANT_MS:
        raise ValueError(f"expected an instant in the years 1 to 9999, got {at_ms} ms")
    text = (_EPOCH + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text.zfill(19)}.{at_ms % 1000:03d}Z"


@functools.lru_cache(maxsize=4096)
def parse_instant(text: str) -> int:
    """The inverse of format_instant, for exactly that form."""
    if not _INSTANT.fullmatch(text):
        raise ValueError(f"expected an instant like 2026-11-20T08:30:00.000Z, got {text!r}")
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


SHANGHAI_MS: Final = 8 * 3_600_000  # Asia/Shanghai is UTC+8 the year round, since 1992
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@functools.lru_cache(maxsize=4096)
def shanghai_day(at_ms: int) -> str:
    """The business day of an instant, `2026-11-20`."""
    return format_instant((at_ms + SHANGHAI_MS) // DAY_MS * DAY_MS)[:10]


def shanghai_minute(at_ms: int) -> int:
    """Minutes since midnight in Shanghai."""
    return (at_ms + SHANGHAI_MS) % DAY_MS // 60_000


def shanghai_weekday(at_ms: int) -> int:
    """1 (Monday) to 7, in Shanghai; 1970-01-01 was a Thursday."""
    return ((at_ms + SHANGHAI_MS) // DAY_MS + 3) % 7 + 1


def day_start_ms(day: str) -> int:
    """The first instant of a business day; raises ValueError for what is no day."""
    return parse_instant(f"{day}T00:00:00.000Z") - SHANGHAI_MS


def check_day(day: str, what: str) -> str:
    """A day like 2026-11-20 that the calendar has, or a refusal."""
    try:
        if _DAY.fullmatch(day):
            day_start_ms(day)
            return day
    except ValueError:
        pass
    raise Refused(
        "DAY_MALFORMED",
        f"{what}: expected a day like 2026-11-20, got {day[:40]!r}",
        Kind.INVALID,
        field=what,
        actual=day[:40],
    )


def format_fen(amount_fen: int) -> str:
    """Fen to `503,280.00`."""
    sign = "-" if amount_fen < 0 else ""
    yuan, fen = divmod(abs(amount_fen), FEN_PER_CNY)
    return f"{sign}{yuan:,}.{fen:02d}"


def check_text(text: str, what: str, max_chars: int, *, required: bool = True) -> str:
    """Text for a record: bounded, no control characters, not empty unless allowed."""
    if required and not text:
        raise Refused("MISSING_VALUE", f"{what} is missing", Kind.INVALID, field=what)
    if len(text) > max_chars:
        raise Refused(
            "TEXT_TOO_LONG",
            f"{what}: expected at most {max_chars} characters, got {len(text)}",
            Kind.INVALID,
            field=what,
            limit=max_chars,
            actual=len(text),
        )
    if _UNPRINTABLE.search(text):
        raise Refused(
            "TEXT_NOT_PRINTABLE", f"{what} holds a control character", Kind.INVALID, field=what
        )
    return text


# Points of small order (RFC 8032 keys that anyone can sign for), the sign bit left out: y of order
# 1, 2, 4 and 8, and the two spellings of 0 and 1 beyond the field.
_SMALL_ORDER_KEYS: Final = frozenset(
    bytes.fromhex(y)
    for y in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


def is_small_order_key(public_key: bytes) -> bool:
    """Would this Ed25519 key accept signatures that nobody needs a private key for?"""
    return public_key[:31] + bytes([public_key[31] & 0x7F]) in _SMALL_ORDER_KEYS


# GB 32100-2015: 31 characters (no I, O, S, V, Z), weights 3^i mod 31 for the first seventeen.
_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_VALUE: Final = {ch: i for i, ch in enumerate(_USCC_ALPHABET)}
_USCC_WEIGHTS: Final = tuple(pow(3, i, 31) for i in range(17))
_USCC_SHAPE = re.compile(r"[0-9A-HJ-NP-RTUW-Y]{2}[0-9]{6}[0-9A-HJ-NP-RTUW-Y]{10}")


def uscc_check_character(first_17: str) -> str:
    """The eighteenth character of a unified social credit code (GB 32100-2015, 5.3)."""
    total = sum(
        _USCC_VALUE[ch] * weight for ch, weight in zip(first_17, _USCC_WEIGHTS, strict=True)
    )
    return _USCC_ALPHABET[-total % 31]


def check_uscc(code: str) -> str:
    """A unified social credit code (统一社会信用代码) whose check character holds, or a refusal."""
    if not _USCC_SHAPE.fullmatch(code):
        raise Refused(
            "USCC_MALFORMED",
            f"expected 18 characters of a unified social credit code, got {code!r}",
            Kind.INVALID,
            actual=code[:40],
        )
    expected = uscc_check_character(code[:17])
    if code[17] != expected:
        raise Refused(
            "USCC_CHECK_CHARACTER",
            f"check character of {code}: expected {expected}, got {code[17]}",
            Kind.INVALID,
            expected=expected,
            actual=code[17],
        )
    return code
