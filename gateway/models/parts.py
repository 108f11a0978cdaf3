"""What several requests are made of: bounds, instants, serial ranges, signed acts, queries.

Unknown fields are refused, and nothing is guessed: "5" and 5.0 are no numbers. Text is bounded and
judged by the services, which know what it means.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from kernel.values import MAX_INTEGER

MAX_INT32: Final = 2**31 - 1
MAX_PAGE: Final = 1000
MAX_NAMED: Final = 200  # things named in one query
MAX_ACTS: Final = 8
MAX_RANGES: Final = 256

Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Amount = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Small = Annotated[int, Field(ge=0, le=MAX_INT32)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Instant = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$",
        json_schema_extra={"format": "date-time"},
        examples=["2026-11-20T08:30:00.000Z"],
    ),
]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$", examples=["2026-11-20"])]
HolderId = Annotated[str, Field(pattern=r"^h-[a-z2-7]{16}$", examples=["h-abcdefghijklmnop"])]
Base64 = Annotated[str, Field(max_length=200, json_schema_extra={"contentEncoding": "base64"})]


class Asked(BaseModel):
    """A request body, or a part of one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Timed(Asked):
    on: Instant | None = Field(None, description="Business time; absent: when it is recorded.")


class Act(Asked):
    """An institution's own signature over a canonical JSON statement (kernel/acts.py)."""

    key_id: Name
    signature: Base64 = Field(description='Ed25519 over "tanzhang-act/v1\\n" and the statement.')
    statement: Annotated[str, Field(max_length=65536)]


Acts = Annotated[list[Act], Field(max_length=MAX_ACTS)]


class SerialRange(Asked):
    """Serials first..last of one batch, both included."""

    batch: Name
    first: Amount
    last: Amount


Ranges = Annotated[
    list[SerialRange],
    Field(max_length=MAX_RANGES, description="Empty: the oldest blocks are taken."),
]


class Query(BaseModel):
    """Parameters of a read; one that nobody knows is refused, a typing error changes meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_position: Count = Field(
        0, description="Wait (bounded) until the book has come this far: read your own write."
    )


class Settled(Query):
    settled: bool = Field(False, description="Wait, at most five seconds, until it has ended.")


class Page(Query):
    page_size: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    page_token: Annotated[str, Field(max_length=200)] = Field(
        "", description="next_page_token of the page before."
    )


class Nothing(BaseModel):
    """A read without parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recorded(BaseModel):
    """The journal has it. Proven is another thing: see /v1/logs/{book}/proofs."""

    id: str = Field(description="The Idempotency-Key.")
    book: str
    position: int = Field(description="Of its first event; min_position of a read that shows it.")
    events: int
    repeated: bool = Field(description="It had been recorded before; nothing happened this time.")
