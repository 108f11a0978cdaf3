"""Is this gateway alive, and can it do anything: for balancers and for people."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.resources import json_response, services_of
from gateway.sse import Streams


def make_routes() -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="The process lives", operation_id="get_healthz")
    async def alive() -> Response:
        return json_response({"status": "ok"})

    @router.get(
        "/readyz",
        summary="It can serve; which services do, says the answer",
        operation_id="get_readyz",
        responses={503: {"description": "It stops, or no service can be reached"}},
    )
    async def ready(request: Request) -> Response:
        # One service away must not take every gateway out of service with it.
        streams: Streams = request.app.state.streams
        found = await services_of(request).health()
        serves = any(found.values()) and not streams.closing.is_set()
        words = {name: "serving" if up else "away" for name, up in found.items()}
        status = "ok" if serves else "not ready"
        return json_response({"status": status, "services": words}, 200 if serves else 503)

    return router
