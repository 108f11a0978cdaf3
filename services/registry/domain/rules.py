"""What several commands of the registry must satisfy, and how a pledge is reckoned.

Days are Asia/Shanghai. A programme's terms are data, in force from an instant on: those of the
business time of a command judge it. Ratios are basis points, rounded half up; prices are fen.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from typing import Final

from kernel.errors import Kind, Refused
from kernel.values import (
    DAY_MS,
    MAX_INTEGER,
    check_text,
    day_start_ms,
    shanghai_day,
)
from services.registry.domain.events import Terms
from services.registry.domain.state import Programme, Project, State

MAX_NAME_CHARS: Final = 80  # of what callers choose: verifications, issuances, batches, releases
MAX_TEXT_CHARS: Final = 200
BP: Final = 10_000

_HOLDER = re.compile(r"h-[a-z2-7]{16}")
_ASSET = re.compile(r"[A-Z][A-Z0-9.]*(-[A-Za-z0-9.]+)*")


def check_name(name: str, what: str) -> None:
    check_text(name, what, MAX_NAME_CHARS)


def check_holder(holder: str, what: str) -> None:
    """The shape alone: whether there is such a holder, the accounts book knows."""
    if not _HOLDER.fullmatch(holder):
        raise Refused(
            "HOLDER_MALFORMED",
            f"{what}: expected h- and 16 characters of a-z, 2-7, got {holder[:40]!r}",
            Kind.INVALID,
        )


def check_asset(asset: str) -> None:
    if len(asset) > 60 or not _ASSET.fullmatch(asset):
        raise Refused(
            "ASSET_MALFORMED",
            f"expected an asset like TICKET-LZXQ-1, at most 60 characters, got {asset[:80]!r}",
            Kind.INVALID,
        )


def check_amount(amount: int, what: str) -> None:
    if not 1 <= amount <= MAX_INTEGER:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"{what}: expected an amount in 1..{MAX_INTEGER}, got {amount}",
            Kind.INVALID,
            actual=amount,
        )


def check_bound(number: int, what: str, limit: int) -> None:
    """A number of a programme, project or pledge that may be 0."""
    if not 0 <= number <= limit:
        raise Refused(
            "NUMBER_OUT_OF_RANGE",
            f"{what}: expected 0..{limit}, got {number}",
            Kind.INVALID,
            field=what,
            limit=limit,
            actual=number,
        )


def check_once(done: bool, reason: str, what: str) -> None:
    if done:
        raise Refused(reason, f"{what} is there already", what=what)


def find_programme(state: State, programme: str) -> Programme:
    found = state.programmes.get(programme)
    if found is None:
        raise Refused("UNKNOWN_PROGRAMME", f"no programme {programme[:40]!r}", Kind.UNKNOWN)
    return found


def find_project(state: State, project: str) -> Project:
    found = state.projects.get(project)
    if found is None:
        raise Refused(
            "UNKNOWN_PROJECT", f"no project {project[:60]!r}", Kind.UNKNOWN, project=project[:60]
        )
    return found


def terms_at(programme: Programme, on_ms: int) -> Terms:
    """The terms in force at a business time; the first ones reach back to the beginning."""
    later = bisect_right(programme.terms, on_ms, key=lambda one: one[0])
    return programme.terms[max(later - 1, 0)][1]


def days_between(from_ms: int, to_ms: int) -> int:
    """Calendar days in Shanghai from the day of one instant to that of another."""
    return (day_start_ms(shanghai_day(to_ms)) - day_start_ms(shanghai_day(from_ms))) // DAY_MS


def site_key(site: str) -> str:
    """One site has one spelling here: width, case and spaces do not make another."""
    return " ".join(unicodedata.normalize("NFKC", site).casefold().split())


def ltv_bp(loan_fen: int, value_fen: int) -> int:
    """Loan over value, rounded half up; 0 where there is no value."""
    if not value_fen:
        return 0
    return min((2 * BP * loan_fen + value_fen) // (2 * value_fen), MAX_INTEGER)


def break_even_fen_per_t(loan_fen: int, quantity_t: int) -> int:
    """The price at which the value is the loan, rounded up; 0 where nothing is pledged."""
    return -(-loan_fen // quantity_t) if quantity_t else 0
