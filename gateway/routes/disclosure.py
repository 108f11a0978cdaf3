"""Events by ranges, with the salts that open what the logs commit to: for who audits them.

Public facts to everybody, without a token; everything to auditors, and noted by the book's owner.
`tanzhang audit` reads them in pages and believes none of it: every event is held to its leaf.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from gateway.clients import answer_model
from gateway.entrance import VisitorDependency
from gateway.resources import json_response, make_router, services_of
from kernel.errors import Kind, Refused
from kernel.values import MAX_INTEGER

BOOKS: Final = ("accounts", "registry", "market", "inclusive", "ledger")
MAX_RANGE: Final = 1000

Book = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Begin = Annotated[int, Query(ge=0, le=MAX_INTEGER, description="The first position.")]
Limit = Annotated[int, Query(ge=1, le=MAX_RANGE, description="Events looked at, at most.")]


def make_routes() -> APIRouter:
    router = make_router("logs")

    @router.get(
        "/v1/logs/{book}/public-events",
        summary="A book's public facts from a position on, each with its salt",
        responses={200: {"model": answer_model("registry.ListPublicEvents")}},
        operation_id="get_logs_book_public_events",
    )
    async def public_events(
        request: Request, book: Book, begin: Begin = 0, limit: Limit = MAX_RANGE
    ) -> Response:
        return await _range_of(request, "ListPublicEvents", book, begin, limit, None)

    @router.get(
        "/v1/logs/{book}/disclosed-events",
        summary="All events from a position on, each with its salt, to an auditor",
        responses={200: {"model": answer_model("registry.DiscloseRange")}},
        operation_id="get_logs_book_disclosed_events",
    )
    async def disclosed_events(
        request: Request,
        visitor: VisitorDependency,
        book: Book,
        begin: Begin = 0,
        limit: Limit = MAX_RANGE,
    ) -> Response:
        return await _range_of(request, "DiscloseRange", book, begin, limit, visitor.token)

    return router


async def _range_of(
    request: Request, method: str, book: str, begin: int, limit: int, token: str | None
) -> Response:
    if book not in BOOKS:
        raise Refused("UNKNOWN_BOOK", f"no book {book!r}", Kind.UNKNOWN, book=book)
    values: dict[str, Any] = {"book": book, "begin": begin, "limit": limit}
    return json_response(await services_of(request).ask(f"{book}.{method}", values, token))
