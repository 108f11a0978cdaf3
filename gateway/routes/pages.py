"""The verify page: the built files of gateway/web, and the policy this deployment suggests.

The page checks receipts in the reader's browser and sends nothing here. What is served is what lay
in the folder when the process began. The suggested policy is read each time it is asked for: keys
are rotated while we run. Whoever controls this gateway can serve another page: docs/operating/
verify-page.md says what that means.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from gateway.routes.logs import ASK_AGAIN, FOR_EVER, TEXT, to_everyone
from kernel.errors import Kind, Refused

BUILT: Final = Path(__file__).parents[1] / "web" / "dist"
PLACE: Final = "/verify/"
NAMED_BY_CONTENT: Final = "assets/"  # the build puts a hash into these names
SUGGESTED: Final = "policy.txt"
# No script but the page's own files, no address but this one, and no markup from text.
PAGE_RULES: Final = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect", "manifest")),
        "worker-src 'self'",
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types worker",
    )
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": PAGE_RULES,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def make_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    files = _load(BUILT)

    @router.head("/verify")
    @router.get("/verify")
    async def to_the_page() -> Response:
        return Response(None, 308, {"Location": PLACE})

    @router.head("/verify/{name:path}")
    @router.get("/verify/{name:path}")
    async def page(request: Request, name: str) -> Response:
        if name == SUGGESTED:
            return _suggested(request)
        name = name or "index.html"
        if name not in files:
            told = "there is nothing at this address" if files else "not built: run make web"
            raise Refused("UNKNOWN_RESOURCE", told, Kind.UNKNOWN)
        keep = FOR_EVER if name.startswith(NAMED_BY_CONTENT) else ASK_AGAIN
        answer = to_everyone(request, files[name], _media_type(name), keep, packs=True)
        answer.headers.update(PAGE_HEADERS)
        return answer

    return router


def _load(folder: Path) -> dict[str, bytes]:
    """Every file by its address below the page; none where the page was not built."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _media_type(name: str) -> str:
    if name.endswith(".webmanifest"):
        return "application/manifest+json"
    found = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{found}; charset=utf-8" if found.startswith("text/") else found


def _suggested(request: Request) -> Response:
    """The deployment's own policy: its reader compares the fingerprint before trusting it."""
    policy: Path | None = request.app.state.policy
    try:
        data = policy.read_bytes() if policy is not None else None
    except OSError:
        data = None
    if data is None:
        raise Refused("UNKNOWN_RESOURCE", "this deployment suggests no policy", Kind.UNKNOWN)
    return to_everyone(request, data, TEXT, ASK_AGAIN, packs=False)
