"""The application: every route, every error as a problem document, the edge around it all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from gateway.clients import Services
from gateway.edge import Edge
from gateway.entrance import KEY_HEADER
from gateway.problems import FieldError, Problem, problem_response
from gateway.routes import (
    accounts,
    banks,
    disclosure,
    health,
    holders,
    inclusive,
    logs,
    market,
    orders,
    pages,
    receipts,
    registry,
    settling,
    states,
)
from gateway.sse import Streams
from kernel.auth import TokenVerifier
from kernel.clock import Clock
from kernel.errors import Conflict, Kind, Refused

VERSION: Final = "1"
MAX_ERRORS: Final = 20  # of one request, shown
AREAS: Final = (
    *(accounts, holders, orders, settling, banks),
    *(registry, market, inclusive, logs, receipts, states, disclosure, health, pages),
)
DESCRIPTION: Final = (
    "Carbon accounts: one ledger for carbon assets and their trading that strangers can check."
    " See docs/reference/rest.md."
)


class Api(FastAPI):
    """With the shape of problems in its document, which no route answers as a model."""

    def openapi(self) -> dict[str, Any]:
        made = super().openapi()
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = made["components"]["schemas"]
        schemas.update(problem.pop("$defs"), Problem=problem)
        return made


def make_api() -> FastAPI:
    """All routes, wired to nothing yet: enough for the OpenAPI document."""
    api = Api(
        title="Tanzhang",
        version=VERSION,
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    for area in AREAS:
        api.include_router(area.make_routes())
    api.add_exception_handler(Refused, _known)
    api.add_exception_handler(Conflict, _known)
    api.add_exception_handler(RequestValidationError, _malformed)
    api.add_exception_handler(HTTPException, _unrouted)
    api.add_exception_handler(Exception, _known)
    return api


def make_app(
    services: Services,
    verifier: TokenVerifier,
    streams: Streams,
    clock: Clock,
    policy: Path | None = None,
) -> ASGIApp:
    """What a server serves; `policy` is the file the verify page suggests."""
    api = make_api()
    api.state.services = services
    api.state.verifier = verifier
    api.state.streams = streams
    api.state.policy = policy
    return Edge(api, clock, verifier)


async def _known(request: Request, error: Exception) -> Response:
    return problem_response(error)  # a fault goes on to the edge, which logs it


async def _malformed(request: Request, error: Any) -> Response:
    """What pydantic found, with the place of each error and none of the values."""
    found = error.errors()
    errors = [FieldError(pointer=_pointer(one["loc"]), detail=one["msg"]) for one in found]
    kinds = {one["type"] for one in found}
    places = {str(one["loc"][-1]).lower() for one in found if one["loc"][0] == "header"}
    return problem_response(_as_refusal(kinds, places), errors[:MAX_ERRORS])


def _as_refusal(kinds: set[str], headers: set[str]) -> Refused:
    if KEY_HEADER.lower() in headers:
        return Refused("IDEMPOTENCY_KEY_MISSING", f"expected {KEY_HEADER}: a UUIDv7", Kind.INVALID)
    if "extra_forbidden" in kinds:
        return Refused("UNKNOWN_FIELD", "expected only fields of the contract", Kind.INVALID)
    return Refused("REQUEST_MALFORMED", "the request is not as the contract says", Kind.INVALID)


def _pointer(place: tuple[str | int, ...]) -> str:
    """RFC 6901 below the body; `query`, `path` and `header` say themselves."""
    source, *rest = place
    path = "".join(f"/{str(one).replace('~', '~0').replace('/', '~1')}" for one in rest)
    return f"#{path}" if source == "body" else f"{source}{path}"


async def _unrouted(request: Request, error: Any) -> Response:
    if error.status_code == 405:
        refused = Refused("METHOD_NOT_ALLOWED", "this address takes another method", Kind.INVALID)
    elif error.status_code == 404:
        refused = Refused("UNKNOWN_RESOURCE", "there is nothing at this address", Kind.UNKNOWN)
    else:
        refused = Refused("REQUEST_MALFORMED", "the body cannot be read", Kind.INVALID)
    response = problem_response(refused)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response
