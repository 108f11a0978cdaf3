"""Receipts: an event, its salt and its proof in one file, to a party of the event.

The ledger makes them (`ReceiptService`); whether somebody is a party is judged by the book's owner,
who notes what it has shown. Verifying one needs no gateway: `tanzhang verify`, or /verify/.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from gateway.clients import answer_model
from gateway.entrance import VisitorDependency
from gateway.resources import json_response, make_router, services_of
from kernel.errors import Kind, Refused
from kernel.values import MAX_INTEGER

MAX_BATCH: Final = 100  # positions that an address has room for
RECEIPT_TYPE: Final = "application/zip"
COSE_TYPE: Final = "application/cose"  # RFC 9052, section 11.3.1

Book = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Position = Annotated[int, Path(ge=0, le=MAX_INTEGER)]
Positions = Annotated[
    list[Annotated[int, Query(ge=0, le=MAX_INTEGER)]], Query(min_length=1, max_length=MAX_BATCH)
]
Cose = Annotated[bool, Query(description="And a COSE receipt (RFC 9942) beside each.")]


def make_routes() -> APIRouter:
    router = make_router("logs")

    @router.get(
        "/v1/logs/{book}/receipts",
        summary="Receipts of many events, to a party of each; a refusal where the visitor is none",
        responses={200: {"model": answer_model("receipts.GetReceipts")}},
        operation_id="get_logs_book_receipts",
    )
    async def receipts(
        request: Request,
        visitor: VisitorDependency,
        book: Book,
        positions: Positions,
        cose: Cose = False,
    ) -> Response:
        return json_response(await _asked(request, visitor.token, book, positions, cose=cose))

    @router.get(
        "/v1/logs/{book}/receipts/{position}",
        summary="An event, its salt and its proof in one file, to a party of the event",
        responses=_file(RECEIPT_TYPE),
        response_class=Response,
        operation_id="get_logs_book_receipts_position",
    )
    async def receipt(
        request: Request, visitor: VisitorDependency, book: Book, position: Position
    ) -> Response:
        found = await _one(request, visitor.token, book, position, cose=False)
        return _attachment(found["file"], RECEIPT_TYPE, f"{book}-{position}.receipt")

    @router.get(
        "/v1/logs/{book}/receipts/{position}/cose",
        summary="The COSE receipt (RFC 9942) of an event, to a party of the event",
        responses=_file(COSE_TYPE),
        response_class=Response,
        operation_id="get_logs_book_receipts_position_cose",
    )
    async def cose_receipt(
        request: Request, visitor: VisitorDependency, book: Book, position: Position
    ) -> Response:
        found = await _one(request, visitor.token, book, position, cose=True)
        return _attachment(found["cose"], COSE_TYPE, f"{book}-{position}.cose")

    return router


async def _asked(
    request: Request, token: str, book: str, positions: list[int], *, cose: bool
) -> dict[str, Any]:
    values = {"book": book, "positions": positions, "cose": cose}
    return await services_of(request).ask("receipts.GetReceipts", values, token)


async def _one(
    request: Request, token: str, book: str, position: int, *, cose: bool
) -> dict[str, Any]:
    answer = await _asked(request, token, book, [position], cose=cose)
    found: dict[str, Any] = answer["receipts"][0]
    if found["refused"] is not None:
        raise _as_owner_said(found["refused"])
    return found


def _as_owner_said(refusal: dict[str, Any]) -> Refused:
    """The address names this one event: its refusal is the answer to the request."""
    kind = Kind(refusal["kind"] or Kind.RULE)
    return Refused(refusal["reason"], refusal["message"], kind, **refusal["details"])


def _attachment(data: str, media_type: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(base64.b64decode(data), media_type=media_type, headers=headers)


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "The bytes", "content": {media_type: {"schema": schema}}}}
