"""The signed logs: C2SP tlog-tiles for any monitor, status and proofs.

What a tile says never changes, so it may be kept for ever; the checkpoint must be asked for again,
and so must what is not there yet. Open to everyone, from any web page: a stranger's verifier needs
no account. `GET /log` names the logs; whether to believe their keys is the reader's policy's.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from gateway.clients import answer_model
from gateway.models import parts
from gateway.problems import problem_response
from gateway.resources import Read, add_reads, json_response, make_router, services_of
from kernel.errors import Kind, Refused
from kernel.tlog.errors import FormatError
from kernel.tlog.policy import parse_policy
from kernel.tlog.receipt import book_of
from kernel.tlog.tiles import parse_tile_path
from kernel.values import MAX_INTEGER

FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"
A_MOMENT: Final = "public, max-age=2"  # a tile that is not there may be there with the next entries
TEXT: Final = "text/plain; charset=utf-8"
BYTES: Final = "application/octet-stream"
WORTH_PACKING_BYTES: Final = 512  # below, the headers weigh more than what is saved

READS = (
    Read(
        "/v1/logs/status",
        "ledger.GetStatus",
        parts.Nothing,
        "How far every log is checked and signed, and where it halted",
    ),
    Read("/v1/keys", "ledger.ListKeys", parts.Nothing, "The institutions' public keys"),
    Read(
        "/v1/log-keys", "ledger.ListLogKeys", parts.Nothing, "The logs' own keys, and their notes"
    ),
)

Book = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


def make_routes() -> APIRouter:
    router = make_router("logs")
    add_reads(router, READS)
    _add_tiles(router)
    _add_proofs(router)
    return router


class KnownLog(BaseModel):
    """A log, its key and where it is read; what it is worth is for the reader's own policy."""

    origin: str
    verifier_key: str
    path: str


class KnownLogs(BaseModel):
    logs: list[KnownLog]


def _add_tiles(router: APIRouter) -> None:
    @router.get(
        "/log",
        summary="The logs: origin, verifier key, and where each is",
        responses={200: {"model": KnownLogs}},
        operation_id="get_log",
    )
    async def index(request: Request) -> Response:
        answer = await services_of(request).ask("ledger.GetStatus", {}, None)
        known = parse_policy(answer["policy"].encode()).logs
        found = [
            KnownLog(
                origin=log.key.name,
                verifier_key=log.key.vkey,
                path=f"/log/{book_of(log.key.name)}/",
            )
            for log in known
        ]
        data = KnownLogs(logs=found).model_dump_json().encode()
        return to_everyone(request, data, "application/json", ASK_AGAIN, False)

    @router.head("/log/{book}/checkpoint", include_in_schema=False)
    @router.get(
        "/log/{book}/checkpoint",
        summary="The log's last published checkpoint, a signed note",
        responses=_bytes("text/plain"),
        response_class=Response,
        operation_id="get_log_book_checkpoint",
    )
    async def checkpoint(request: Request, book: Book) -> Response:
        answer = await services_of(request).ask("ledger.GetCheckpoint", {"book": book}, None)
        return to_everyone(request, base64.b64decode(answer["checkpoint"]), TEXT, ASK_AGAIN, False)

    @router.head("/log/{book}/tile/{path:path}", include_in_schema=False)
    @router.get(
        "/log/{book}/tile/{path:path}",
        summary="A tile of hashes, or a bundle of entries",
        responses=_bytes(BYTES),
        response_class=Response,
        operation_id="get_log_book_tile_path",
    )
    async def tile(request: Request, book: Book, path: str) -> Response:
        try:
            asked = parse_tile_path(f"tile/{path}")
        except FormatError as error:
            return _not_there(
                Refused("TILE_PATH_MALFORMED", str(error), Kind.INVALID, path=path[:80])
            )
        try:
            answer = await services_of(request).ask(
                "ledger.GetTile", {"book": book, "path": f"tile/{path}"}, None
            )
        except Refused as refused:
            return _not_there(refused)
        # Entries are text and pack well; hashes do not.
        data, packs = base64.b64decode(answer["data"]), asked.level is None
        return to_everyone(request, data, BYTES, FOR_EVER, packs)


def _add_proofs(router: APIRouter) -> None:
    @router.get(
        "/v1/logs/{book}/proofs",
        summary="Inclusion proofs (C2SP tlog-proof, base64), once the log covers the positions",
        responses={200: {"model": answer_model("ledger.GetProofs")}},
        operation_id="get_logs_book_proofs",
    )
    async def proofs(
        request: Request,
        book: Book,
        positions: Annotated[list[Annotated[int, Query(ge=0, le=MAX_INTEGER)]], Query()],
    ) -> Response:
        values = {"book": book, "positions": positions}
        return json_response(await services_of(request).ask("ledger.GetProofs", values, None))


def _bytes(media_type: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "The bytes", "content": {media_type: {"schema": schema}}}}


def _not_there(refused: Refused) -> Response:
    """Any web page may read why, and nobody keeps it for long."""
    answer = problem_response(refused)
    answer.headers["Access-Control-Allow-Origin"] = "*"
    answer.headers["Cache-Control"] = A_MOMENT if refused.kind == Kind.UNKNOWN else "no-store"
    return answer


def to_everyone(request: Request, data: bytes, media_type: str, keep: str, packs: bool) -> Response:
    """For everyone, with a tag; packed when asked for and worth it (the tag then differs)."""
    headers = {
        "Cache-Control": keep,
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "ETag",
    }
    tag = hashlib.sha256(data).hexdigest()[:32]
    if packs:
        headers["Vary"] = "Accept-Encoding"
        if len(data) >= WORTH_PACKING_BYTES and _takes_gzip(request):
            data, tag = gzip.compress(data, 6, mtime=0), f"{tag}-gzip"
            headers["Content-Encoding"] = "gzip"
    headers["ETag"] = f'"{tag}"'
    known = [one.strip().removeprefix("W/") for one in _header(request, "if-none-match").split(",")]
    if headers["ETag"] in known or "*" in known:
        headers.pop("Content-Encoding", None)
        return Response(None, 304, headers)
    return Response(data, 200, headers, media_type)


def _takes_gzip(request: Request) -> bool:
    """RFC 9110 12.5.3: listed, and not with the weight 0."""
    for one in _header(request, "accept-encoding").lower().split(","):
        coding, _, weight = one.strip().partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _header(request: Request, name: str) -> str:
    return request.headers.get(name, "")
