"""Statements over HTTP: as JSON, CSV or Parquet, streamed as the book is read.

What would refuse one is found before the first byte is sent. What breaks later ends the connection
without an end, which every HTTP client tells from a whole answer; each format says so as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from gateway.clients import PURPOSES, Services, Values
from gateway.entrance import VisitorDependency
from gateway.models.accounts import OfAccounts
from gateway.models.parts import Count, Day, Instant
from gateway.resources import MAX_PATH_PART_CHARS, services_of
from gateway.sse import LongResponse, Streams
from kernel.errors import TanzhangError
from kernel.rpc.statements import head_of, part_of
from kernel.statement.formats import (
    MEDIA_TYPES,
    StatementFile,
    make_file,
    unknown_format,
    write_part,
)
from kernel.statement.plain import Adding, Head

METHOD: Final = "accounts.GetStatement"
ANYTHING: Final = ("*/*", "application/*", "text/*")
_WORDS: Final = {media_type: format for format, media_type in MEDIA_TYPES.items()}


class Statement(OfAccounts):
    """Days in Shanghai, the last one included, or instants, the last one not."""

    from_: Day | Instant = Field(alias="from", description="First business day, or an instant.")
    to: Day | Instant | None = Field(
        None, description="Last business day, or the instant before which it ends. Absent: now."
    )
    by: Literal["at", "on"] = Field("at", description="Time of recording, or business time.")
    position: Count | None = Field(
        None, description="Only by business time: as it was known after this event."
    )
    format: Literal["json", "csv", "parquet"] | None = Field(
        None, description="Absent: what Accept asks for."
    )
    bom: bool = Field(False, description="Mark CSV as UTF-8, for Excel in Chinese.")

    def request(self, holder: str) -> Values:
        return {
            "holder": holder,
            "asset": self.asset,
            "purpose": self.purpose,
            "ref": self.ref,
            "moment": self.by,
            "min_position": self.min_position,
            "position": self.position,
            **_end("from", self.from_),
            **({} if self.to is None else _end("to", self.to)),
        }


def _end(name: str, text: str) -> Values:
    return {f"{name}_instant" if "T" in text else f"{name}_day": text}


def add_statements(router: APIRouter) -> None:
    content = {media: {"schema": {"type": "string"}} for media in MEDIA_TYPES.values()}

    @router.get(
        "/v1/holders/{holder}/statements",
        summary="Opening, movements and closing of a period, streamed",
        operation_id="get_holders_holder_statements",
        response_class=StreamingResponse,
        responses={200: {"description": "The statement, whole or cut off", "content": content}},
    )
    async def statements(
        request: Request,
        visitor: VisitorDependency,
        holder: Annotated[str, Path(min_length=1, max_length=MAX_PATH_PART_CHARS)],
        query: Annotated[Statement, Query()],
    ) -> Response:
        format = query.format or accepted_format(request.headers.get("accept", ""))
        file = make_file(format, bom=query.bom)
        streams: Streams = request.app.state.streams
        principal = visitor.caller.principal
        streams.enter(principal)
        try:
            services = services_of(request)
            messages = services.stream(METHOD, query.request(holder), visitor.token)
            head = head_of((await anext(messages)).head, PURPOSES, query.by)
            head = await _with_proof(services, head)
        except BaseException:
            streams.leave(principal)
            raise
        name = f'attachment; filename="statement-{head.as_of_position}.{format}"'
        return LongResponse(
            _written(file, head, messages),
            streams,
            principal,
            media_type=MEDIA_TYPES[format],
            headers={"Content-Disposition": name},
        )


def accepted_format(accept: str) -> str:
    """The first format that Accept names; JSON for who takes anything. Raises Refused."""
    wanted = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    for one in wanted:
        if one in _WORDS:
            return _WORDS[one]
    if not accept or any(one in ANYTHING for one in wanted):
        return "json"
    raise unknown_format(accept)


async def _with_proof(services: Services, head: Head) -> Head:
    """Without a word about it when the ledger is away: a statement does not need it."""
    with suppress(TanzhangError):
        answer = await services.ask("ledger.GetStatus", {}, None)
        for status in answer["books"]:
            if status["book"] == head.book:
                return msgspec.structs.replace(head, proven=status["proven"] > head.as_of_position)
    return head


async def _written(
    file: StatementFile, head: Head, messages: AsyncIterator[Any]
) -> AsyncIterator[bytes]:
    adding = Adding()
    yield file.begin(head)
    async for message in messages:
        part = part_of(message, PURPOSES)
        adding.add(part)
        yield write_part(file, part)
    adding.check_ended()
