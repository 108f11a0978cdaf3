"""How things stand: the newest state, and files that prove a holding or a lien out of it.

The formats are docs/reference/state-proofs.md; the log of states is served beside the books' logs.
A state is there within seconds of the event that is asked for; who waits for one waits bounded.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from gateway.entrance import VisitorDependency
from gateway.models import parts
from gateway.resources import Read, add_reads, make_router, services_of
from kernel.values import MAX_INTEGER

FILE: Final = "application/zip"
MAX_NAME_CHARS: Final = 200

READS = (
    Read("/v1/state", "states.GetState", parts.Query, "The newest state and its proof"),
    Read(
        "/v1/map-key",
        "states.GetMapKey",
        parts.Nothing,
        "The secret that the balance map is made with, to an auditor",
    ),
)

Named = Annotated[str, Path(min_length=1, max_length=MAX_NAME_CHARS)]
After = Annotated[
    int,
    Query(ge=0, le=MAX_INTEGER, description="A state that has this event of the accounts book."),
]


def make_routes() -> APIRouter:
    router = make_router("states")
    add_reads(router, READS)

    @router.get(
        "/v1/liens/{lien}/proof",
        summary="A lien, its serials and the entry that made it, in one file, to its parties",
        responses=_file(),
        response_class=Response,
        operation_id="get_liens_lien_proof",
    )
    async def lien(
        request: Request, visitor: VisitorDependency, lien: Named, min_position: After = 0
    ) -> Response:
        values = {"lien": lien, "min_position": min_position}
        answer = await services_of(request).ask("states.GetLien", values, visitor.token)
        return _download(answer["file"], f"{lien}.lien")

    @router.get(
        "/v1/holders/{holder}/holding-proof",
        summary="What an account of a holder holds, in one file, to who may see it",
        responses=_file(),
        response_class=Response,
        operation_id="get_holders_holder_holding_proof",
    )
    async def holding(
        request: Request,
        visitor: VisitorDependency,
        holder: Named,
        asset: Annotated[str, Query(min_length=1, max_length=MAX_NAME_CHARS)],
        purpose: Annotated[str, Query(max_length=MAX_NAME_CHARS)] = "available",
        ref: Annotated[str, Query(max_length=MAX_NAME_CHARS)] = "",
        min_position: After = 0,
    ) -> Response:
        account = {"holder": holder, "asset": asset, "purpose": purpose, "ref": ref}
        values = {"accounts": [account], "min_position": min_position}
        answer = await services_of(request).ask("states.GetHoldings", values, visitor.token)
        return _download(answer["holdings"][0]["file"], f"{holder}-{asset}-{purpose}.holding")

    return router


def _file() -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "The file", "content": {FILE: {"schema": schema}}}}


def _download(encoded: str, name: str) -> Response:
    safe = "".join(
        one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in name
    )
    headers = {"Content-Disposition": f'attachment; filename="{safe}"', "Cache-Control": "no-store"}
    return Response(base64.b64decode(encoded), media_type=FILE, headers=headers)
