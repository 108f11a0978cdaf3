"""Who calls: JWTs (RFC 7519, EdDSA over Ed25519) from issuers that the identities file names.

A token says issuer, subject, audience, expiry, roles, and the holders its subject operates for.
Roles an issuer's key may not assert are not granted. Verified tokens are remembered until they
expire, so that a caller's signature is checked once and not for every call.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from kernel.acts import key_id, public_bytes
from kernel.clock import Clock
from kernel.errors import Kind, Refused
from kernel.identities import Identities
from kernel.values import Actor, Caller, check_text

AUDIENCE: Final = "tanzhang"
ALGORITHM: Final = "Ed25519"  # RFC 9864: the curve is named, nothing is negotiated
MAX_TOKEN_CHARS: Final = 8 * 1024
MAX_SUBJECT_CHARS: Final = 200
MAX_REMEMBERED: Final = 10_000
CLOCK_SKEW_S: Final = 5
SERVICE_TOKEN_TTL_S: Final = 3600
HOLDERS: Final = "holders"  # listed beside a key's roles: it may say for whom its subjects act
SYSTEM_ROLE: Final = "system"  # timers and reactions inside a process; no token ever grants it

_registry = jws.JWSRegistry(algorithms=[ALGORITHM])


def _refuse(reason: str, message: str) -> Refused:
    return Refused(reason, message, Kind.UNAUTHENTICATED)


class TokenVerifier:
    """Turns tokens into callers; raises Refused with a reason that says what is wrong."""

    def __init__(self, identities: Identities, clock: Clock) -> None:
        self._clock = clock
        self._issuers: dict[str, tuple[str, OKPKey, frozenset[str]]] = {}
        for entry in identities.tokens:
            public = base64.b64decode(entry.public_key)
            self._issuers[key_id(public)] = (entry.iss, _okp(public), frozenset(entry.roles))
        self._remembered: OrderedDict[bytes, tuple[int, Caller]] = OrderedDict()

    def verify(self, token: str) -> Caller:
        """The caller a token stands for."""
        now_s = self._clock.now_ms() // 1000
        if len(token) > MAX_TOKEN_CHARS:
            raise _refuse("TOKEN_MALFORMED", f"expected a token below {MAX_TOKEN_CHARS} characters")
        fingerprint = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        remembered = self._remembered.get(fingerprint)
        if remembered is None:
            remembered = self._check(token, now_s)
            self._remembered[fingerprint] = remembered
            while len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        expires_s, caller = remembered
        if now_s >= expires_s + CLOCK_SKEW_S:
            raise _refuse("TOKEN_EXPIRED", f"token expired at {expires_s}, it is {now_s}")
        return caller

    def _check(self, token: str, now_s: int) -> tuple[int, Caller]:
        try:
            header = jws.extract_compact(token.encode()).headers()
            iss, key, allowed = self._issuers[str(header.get("kid"))]
            claims = jwt.decode(token, key, registry=_registry).claims
        except KeyError:
            raise _refuse("TOKEN_ISSUER", "the token's key is not in the identities file") from None
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise _refuse("TOKEN_MALFORMED", f"not a token of ours: {error}") from error
        if claims.get("iss") != iss:
            raise _refuse("TOKEN_ISSUER", f"expected issuer {iss}, got {claims.get('iss')}")
        if claims.get("aud") != AUDIENCE:
            raise _refuse("TOKEN_AUDIENCE", f"expected {AUDIENCE}, got {claims.get('aud')}")
        return _claims_to_caller(claims, allowed, now_s)


def _claims_to_caller(
    claims: Mapping[str, Any], allowed: frozenset[str], now_s: int
) -> tuple[int, Caller]:
    sub, exp, nbf = claims.get("sub"), claims.get("exp"), claims.get("nbf")
    roles, holders = claims.get("roles", []), claims.get("holders", [])
    if not isinstance(sub, str) or type(exp) is not int:
        raise _refuse("TOKEN_MALFORMED", "expected sub as text and exp as whole seconds")
    try:  # it becomes part of records and of the journal's keys
        check_text(sub, "sub", MAX_SUBJECT_CHARS)
    except Refused as refused:
        raise _refuse("TOKEN_MALFORMED", refused.message) from refused
    begins = [nbf, claims.get("iat")]
    if any(
        begin is not None and (type(begin) is not int or begin > now_s + CLOCK_SKEW_S)
        for begin in begins
    ):
        raise _refuse("TOKEN_NOT_YET_VALID", f"token is valid from {begins}, it is {now_s}")
    for claim in (roles, holders):
        if not isinstance(claim, list) or not all(isinstance(item, str) for item in claim):
            raise _refuse("TOKEN_MALFORMED", "expected roles and holders as lists of text")
    granted = frozenset(
        role for role in roles if role != SYSTEM_ROLE and ("*" in allowed or role in allowed)
    )
    # Only who may speak for anybody may name holders: a service's stolen key opens no account.
    operated = frozenset(holders) if "*" in allowed or HOLDERS in allowed else frozenset()
    return exp, Caller(Actor(claims["iss"], sub), granted, operated)


def check_may_see(caller: Caller, holder: str) -> None:
    """What is a holder's is shown to who operates for it, and to auditors."""
    if holder not in caller.holders and "auditor" not in caller.roles:
        raise Refused(
            "NOT_YOUR_ACCOUNT",
            f"{caller.actor.sub} does not operate for {holder[:40]}",
            Kind.FORBIDDEN,
            holder=holder[:40],
        )


def mint_token(
    key: Ed25519PrivateKey,
    *,
    iss: str,
    sub: str,
    roles: Iterable[str],
    holders: Iterable[str] = (),
    now_ms: int,
    ttl_s: int,
) -> str:
    """Signs a token; what an issuer does, or a service for its own calls."""
    claims = {
        "iss": iss,
        "sub": sub,
        "aud": AUDIENCE,
        "iat": now_ms // 1000,
        "exp": now_ms // 1000 + ttl_s,
        "roles": sorted(roles),
        "holders": sorted(holders),
    }
    header = {"alg": ALGORITHM, "kid": key_id(public_bytes(key))}
    jwk = OKPKey.import_key(_jwk(key.public_key(), key.private_bytes_raw()))
    return jwt.encode(header, claims, jwk, registry=_registry)


def service_tokens(
    key: Ed25519PrivateKey, service: str, roles: Iterable[str], clock: Clock
) -> Callable[[], str]:
    """Makes the tokens of a service's own calls; its key asserts no more than identities allow."""
    granted = sorted(roles)

    def mint() -> str:
        return mint_token(
            key,
            iss=f"service:{service}",
            sub=service,
            roles=granted,
            now_ms=clock.now_ms(),
            ttl_s=SERVICE_TOKEN_TTL_S,
        )

    return mint


def _okp(public: bytes) -> OKPKey:
    return OKPKey.import_key(_jwk(Ed25519PublicKey.from_public_bytes(public), None))


def _jwk(public: Ed25519PublicKey, private: bytes | None) -> dict[str, str | list[str]]:
    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    jwk: dict[str, str | list[str]] = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": text(public.public_bytes_raw()),
    }
    if private is not None:
        jwk["d"] = text(private)
    return jwk
