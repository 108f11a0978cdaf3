"""Who comes in: bearer tokens verified before any service is called, and forwarded to it.

The services decide what a caller may do; here only nobody is turned away early. Idempotency-Key
is checked here too: it becomes the id of the item (draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from kernel.auth import TokenVerifier
from kernel.errors import Kind, Refused
from kernel.ids import check_uuid7
from kernel.values import Caller

KEY_HEADER = "Idempotency-Key"

_bearer = HTTPBearer(
    bearerFormat="JWT",
    auto_error=False,
    scheme_name="bearer",
    description="EdDSA, of an issuer in the identities file.",
)


class Visitor(msgspec.Struct, frozen=True):
    """A caller that has been verified, and the token that goes along to the services."""

    token: str
    caller: Caller


def verify_visitor(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Visitor:
    """Raises Refused UNAUTHENTICATED for who has no token of ours."""
    if credentials is None:
        raise _missing()
    verifier: TokenVerifier = request.app.state.verifier
    return Visitor(credentials.credentials, verifier.verify(credentials.credentials))


def verify_authorization(verifier: TokenVerifier, authorization: str) -> Caller:
    """The same of a bare header, before anything else of a request is read."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _missing()
    return verifier.verify(token.strip())


def _missing() -> Refused:
    return Refused("TOKEN_MISSING", "expected Authorization: Bearer <token>", Kind.UNAUTHENTICATED)


def item_id(
    key: Annotated[
        str,
        Header(
            alias=KEY_HEADER,
            description="A UUIDv7 made by the caller and kept until there is an answer: the same"
            " key is carried out once, for ever. It is the item's id in the book.",
            json_schema_extra={"format": "uuid"},
        ),
    ],
) -> str:
    """The item's id. A missing one is refused by gateway/app.py."""
    return check_uuid7(key, KEY_HEADER)


VisitorDependency: Any = Annotated[Visitor, Depends(verify_visitor)]
KeyDependency: Any = Annotated[str, Depends(item_id)]
