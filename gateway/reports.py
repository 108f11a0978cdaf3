"""What became of the trades of a session, over HTTP: one JSON document, streamed as it is read.

What would refuse it is found before the first byte is sent. What breaks later ends the connection
without an end, and a document without its last brace is no JSON.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.clients import answer_model, to_values
from gateway.entrance import VisitorDependency
from gateway.models import parts
from gateway.resources import MAX_PATH_PART_CHARS, services_of
from gateway.sse import LongResponse, Streams
from kernel.errors import Fault

METHOD: Final = "accounts.ReportSettlements"
JSON: Final = "application/json"
PathPart = Annotated[str, Path(min_length=1, max_length=MAX_PATH_PART_CHARS)]


def add_reports(router: APIRouter) -> None:
    @router.get(
        "/v1/venues/{venue}/sessions/{session}/settlements",
        summary="What became of every trade of a session, and the sums, streamed",
        operation_id="get_venues_venue_sessions_session_settlements",
        response_class=StreamingResponse,
        responses={200: {"model": answer_model(METHOD), "description": "Whole or cut off"}},
    )
    async def settlements(
        request: Request,
        visitor: VisitorDependency,
        venue: PathPart,
        session: PathPart,
        query: Annotated[parts.Query, Query()],
    ) -> Response:
        streams: Streams = request.app.state.streams
        principal = visitor.caller.principal
        streams.enter(principal)
        try:
            values = {"venue": venue, "session": session, "min_position": query.min_position}
            messages = services_of(request).stream(METHOD, values, visitor.token)
            first = await anext(messages)
        except BaseException:
            streams.leave(principal)
            raise
        return LongResponse(_written(first, messages), streams, principal, media_type=JSON)


async def _written(first: Any, messages: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Rows as they come, then the sums, which end it."""
    between = b'{"rows":[\n'
    message = first
    while not message.HasField("totals"):
        if message.rows:
            rows = b",\n".join(msgspec.json.encode(to_values(row)) for row in message.rows)
            yield between + rows
            between = b",\n"
        if (message := await anext(messages, None)) is None:
            raise Fault("expected a report to end with its sums")
    begun = b"" if between == b",\n" else between
    yield begun + b'\n],"totals":' + msgspec.json.encode(to_values(message.totals)) + b"}\n"
