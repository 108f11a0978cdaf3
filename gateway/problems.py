"""Errors as RFC 9457 problem documents: the one mapping from the three families to HTTP.

    Refused INVALID          400   Conflict, a position not there yet     409, Retry-After
    Refused UNAUTHENTICATED  401   Conflict, not done before the deadline 504, Retry-After
    Refused FORBIDDEN        403   Conflict otherwise                     503, Retry-After
    Refused UNKNOWN          404   anything else                          500, without words
    Refused RULE             422

An item that names something unknown is answered 422: what the address names is there. `type` is a
stable path made of the reason, so that programs may match on either.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from pydantic import BaseModel, Field
from starlette.responses import Response

from kernel.errors import Conflict, Kind, Refused
from kernel.values import MAX_INTEGER

MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.UNKNOWN: 404,
    Kind.RULE: 422,
}
# Refusals that HTTP has a status of its own for, and those that end without the caller's doing.
_STATUS_OF_REASON: Final = {
    "METHOD_NOT_ALLOWED": 405,
    "BODY_TOO_SLOW": 408,
    "BODY_TOO_LARGE": 413,
    "MEDIA_TYPE_UNKNOWN": 415,
    "TOO_MANY_STREAMS": 429,
    "BOOK_HALTED": 503,
    "JOURNAL_DIFFERS": 503,
}
_STATUS_OF_CONFLICT: Final = {
    "POSITION_NOT_REACHED": 409,
    "NOT_PROVEN_YET": 409,
    "DEADLINE": 504,
    "DEADLINE_EXCEEDED": 504,
}
_TITLES: Final = {
    400: "The request is malformed",
    401: "Nobody we know",
    403: "Not yours to do",
    404: "No such thing",
    405: "Not with this method",
    408: "The request came too slowly",
    409: "Not there yet: ask again",
    413: "The request is too large",
    415: "Not JSON",
    422: "A rule says no",
    429: "Too many at once",
    500: "A fault on our side",
    503: "Not now: ask again",
    504: "Not done in time: ask again with the same key",
}
HALTED_RETRY_S: Final = 30  # two persons have to act first

_NUMBERS: Final = frozenset(
    {
        *("needed", "available", "limit", "expected", "actual", "lowest", "highest"),
        *("position", "size", "at", "first", "last", "serial"),
    }
)
_UNITS: Final = ("_t", "_fen", "_fen_per_t", "_bp", "_mg", "_m", "_ms", "_s", "_days", "_min")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,15}", re.ASCII)


class FieldError(BaseModel):
    """One thing that is wrong with a request, and where (RFC 6901 for the body)."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """RFC 9457: what went wrong, for programs (`reason`, `details`) and for people (`detail`)."""

    type: str = Field(examples=["/problems/insufficient-balance"])
    title: str
    status: int
    detail: str = Field(examples=["available of h-…: needed 500, available 480"])
    reason: str = Field(
        examples=["INSUFFICIENT_BALANCE"], description="Stable; see docs/reference/errors.md."
    )
    details: dict[str, str | int] = Field(default_factory=dict)
    errors: list[FieldError] | None = None


class ItemRefused(Refused):
    """The book took the item and refused it: what the address names is there, the item is not."""


def problem_response(error: Exception, errors: list[FieldError] | None = None) -> Response:
    """The answer for an error; a fault says nothing of itself: its words are in the log."""
    status, reason, message = 500, "FAULT", "a fault on our side; it has been logged"
    details: dict[str, str | int] = {}
    headers: dict[str, str] = {}
    if isinstance(error, Refused):
        status, reason, message = _refusal_status(error), error.reason, error.message
        details = {name: _detail(name, value) for name, value in error.details.items()}
    elif isinstance(error, Conflict):
        status = _STATUS_OF_CONFLICT.get(error.reason, 503)
        reason, message = error.reason, error.message
        headers["Retry-After"] = str(max(1, -(-error.retry_after_ms // 1000)))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="tanzhang"'
    if isinstance(error, Refused) and status == 503:
        headers["Retry-After"] = str(HALTED_RETRY_S)
    body: dict[str, Any] = {
        "type": f"/problems/{reason.lower().replace('_', '-')}",
        "title": _TITLES[status],
        "status": status,
        "detail": message,
        "reason": reason,
        "details": details,
    }
    if errors is not None:
        body["errors"] = [one.model_dump() for one in errors]
    return Response(msgspec.json.encode(body), status, headers, MEDIA_TYPE)


def _refusal_status(error: Refused) -> int:
    if isinstance(error, ItemRefused) and error.kind is Kind.UNKNOWN:
        return 422
    return _STATUS_OF_REASON.get(error.reason, _STATUS[error.kind])


def _detail(name: str, value: str | int) -> str | int:
    """Numbers travel between the services as text; here they are numbers again, by their names."""
    if not isinstance(value, str) or not (name in _NUMBERS or name.endswith(_UNITS)):
        return value
    if _WHOLE.fullmatch(value) and abs(int(value)) <= MAX_INTEGER:
        return int(value)
    return value
