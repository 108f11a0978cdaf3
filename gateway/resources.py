"""Rows of the REST surface: a write is one item of a service's batch call, a read is one query.

Who may ask without a token is what the contract says. Path parts, parameters and body fields carry
the names of the contract's fields; `me` is the calling citizen.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from gateway.clients import (
    Services,
    Values,
    answer_model,
    is_number,
    is_open,
    one_model,
    recorded_model,
)
from gateway.entrance import KeyDependency, VisitorDependency
from gateway.models.parts import Recorded
from gateway.problems import MEDIA_TYPE
from kernel.errors import Kind, Refused
from kernel.values import MAX_INTEGER

MAX_PATH_PART_CHARS: Final = 200
CITIZEN: Final = "citizen"
ME: Final = "me"

_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "A problem, RFC 9457",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


class StrictRequest(Request):
    """JSON that means one thing: a name twice in one object is refused, NaN is no number."""

    async def json(self) -> Any:
        text = (await self.body()).decode()
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise json.JSONDecodeError("a name stands twice in one object", "", 0)
    return made


def _no_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is no JSON number", "", 0)


class StrictRoute(APIRoute):
    """A route that reads its body strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def make_router(tag: str) -> APIRouter:
    return APIRouter(tags=[tag], route_class=StrictRoute, responses=_PROBLEMS)


def _as_it_is(body: Any) -> Values:
    return body.model_dump()  # type: ignore[no-any-return]


def _own_item(body: Any) -> Values:
    return body.item()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Write:
    """POST `path`: the body and the key are one item of `method`."""

    path: str
    method: str
    body: type[BaseModel]
    summary: str
    # A process over two books begins: it is recorded here and ends elsewhere. Answered 202.
    begins: bool = False

    @property
    def shape(self) -> Callable[[Any], Values]:
        """A body that does not look like the contract's item says itself how it becomes one."""
        return _own_item if hasattr(self.body, "item") else _as_it_is


@dataclass(frozen=True)
class Read:
    """GET `path`: path parts and parameters are the fields of `method`'s request."""

    path: str
    method: str
    query: type[BaseModel]
    summary: str
    # The path names one of many: answer that one of this field, or that there is none.
    one: str | None = None
    # Path parts whose field is named otherwise, or is a list.
    fields: Mapping[str, str] = field(default_factory=dict)


def services_of(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


def json_response(values: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(values), status, media_type="application/json")


def add_writes(router: APIRouter, rows: Iterable[Write]) -> None:
    for row in rows:
        _add(
            router,
            "POST",
            row.path,
            _write_handler(row),
            [
                *_path_parameters(row.path),
                _parameter("body", row.body),
                _parameter("key", KeyDependency),
                _parameter("visitor", VisitorDependency),
            ],
            row.summary,
            recorded_model(row.method, Recorded),
            202 if row.begins else 201,
        )


def _write_handler(row: Write) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def handle(request: Request, body: Any, key: str, visitor: Any, **parts: Any) -> Response:
        item = {**row.shape(body), **_fields_of(parts, {}), "id": key}
        accepted = await services_of(request).write(row.method, item, visitor.token)
        values = {
            "id": accepted.id,
            "book": accepted.book,
            "position": accepted.position,
            "events": accepted.events,
            "repeated": accepted.repeated,
            **accepted.rest,
        }
        return json_response(values, 202 if row.begins else 200 if accepted.repeated else 201)

    return handle


def add_reads(router: APIRouter, rows: Iterable[Read]) -> None:
    for row in rows:
        parameters = [
            *_path_parameters(row.path, _numbers_of(row)),
            _parameter("query", Annotated[row.query, Query()]),
        ]
        if not is_open(row.method):
            parameters.append(_parameter("visitor", VisitorDependency))
        model = answer_model(row.method) if row.one is None else one_model(row.method, row.one)
        _add(router, "GET", row.path, _read_handler(row), parameters, row.summary, model, 200)


def _read_handler(row: Read) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def handle(request: Request, query: Any, visitor: Any = None, **parts: Any) -> Response:
        values = {**query.model_dump(), **_fields_of(parts, row.fields)}
        token = None if visitor is None else visitor.token
        answer = await services_of(request).ask(row.method, values, token)
        return json_response(answer if row.one is None else _only(answer, row.one))

    return handle


def _only(answer: Values, name: str) -> Values:
    if not answer[name]:
        raise Refused("UNKNOWN_RESOURCE", "there is nothing of this name", Kind.UNKNOWN)
    return {**answer[name][0], "as_of_position": answer["as_of_position"]}


def _fields_of(parts: Mapping[str, Any], names: Mapping[str, str]) -> Values:
    """Path parts as request fields; a part that goes by another name is one of a list."""
    values: Values = {}
    for part, value in parts.items():
        if part in names:
            values[names[part]] = [value]
        else:
            values[part] = "" if part == CITIZEN and value == ME else value
    return values


# ---- what FastAPI reads off a handler -----------------------------------------------------------


def _add(
    router: APIRouter,
    verb: str,
    path: str,
    handler: Callable[..., Coroutine[Any, Any, Response]],
    parameters: list[inspect.Parameter],
    summary: str,
    answer: type[BaseModel],
    status: int,
) -> None:
    handler.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_parameter("request", Request), *parameters]
    )
    responses: dict[int | str, dict[str, Any]] = {}
    if verb == "POST" and status == 201:
        responses[200] = {"model": answer, "description": "It had been recorded before"}
    router.add_api_route(
        path,
        handler,
        methods=[verb],
        summary=summary,
        operation_id=_operation_id(verb, path),
        response_model=None,
        status_code=status,
        responses={status: {"model": answer}, **responses},
    )


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)


def _path_parameters(path: str, numbers: Collection[str] = ()) -> list[inspect.Parameter]:
    text = Annotated[str, Path(min_length=1, max_length=MAX_PATH_PART_CHARS)]
    number = Annotated[int, Path(ge=0, le=MAX_INTEGER)]
    return [_parameter(name, number if name in numbers else text) for name in _parts_of(path)]


def _parts_of(path: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", path)


def _numbers_of(row: Read) -> list[str]:
    return [
        part
        for part in _parts_of(row.path)
        if part not in row.fields and is_number(row.method, part)
    ]


def _operation_id(verb: str, path: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", path.removeprefix("/v1")).strip("_")
    return f"{verb.lower()}_{words}"
