"""Tokens: who is believed, for how long, and with which roles (design section 6)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import key_id, public_bytes
from kernel.auth import CLOCK_SKEW_S, MAX_TOKEN_CHARS, TokenVerifier, mint_token
from kernel.clock import FixedClock
from kernel.errors import Kind, Refused
from kernel.identities import Identities, TokenKey
from kernel.values import Actor

CITY = "https://login.lanzhou.example"
SERVICE = "service:accounts"
CITY_KEY = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
SERVICE_KEY = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)
STRANGERS_KEY = Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32)
NOW_MS = 1_795_163_400_000
NOW_S = NOW_MS // 1000
TTL_S = 600
FARM = "h-qinwangchuanfarm"


def token_key(key: Ed25519PrivateKey, iss: str, *roles: str) -> TokenKey:
    return TokenKey(iss, base64.b64encode(public_bytes(key)).decode(), list(roles))


IDENTITIES = Identities(
    frames=[],
    tokens=[token_key(CITY_KEY, CITY, "*"), token_key(SERVICE_KEY, SERVICE, "follow:ledger")],
    v=1,
)


def verifier(now_ms: int = NOW_MS) -> TokenVerifier:
    return TokenVerifier(IDENTITIES, FixedClock(now_ms))


def farmers_token(**changed: Any) -> str:
    fields: dict[str, Any] = {
        "iss": CITY,
        "sub": "farmer 王",
        "roles": ["cashier", "registrar"],
        "holders": [FARM],
        "now_ms": NOW_MS,
        "ttl_s": TTL_S,
    }
    return mint_token(changed.pop("key", CITY_KEY), **{**fields, **changed})


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


CLAIMS = {
    "aud": "tanzhang",
    "exp": NOW_S + TTL_S,
    "holders": [FARM],
    "iat": NOW_S,
    "iss": CITY,
    "roles": ["cashier"],
    "sub": "farmer 王",
}
HEADER = {"alg": "Ed25519", "kid": key_id(public_bytes(CITY_KEY))}


def hand_made(header: dict[str, Any], claims: Any, key: Ed25519PrivateKey = CITY_KEY) -> str:
    """A token put together by hand (RFC 7515), so that it can say anything."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(payload)}"
    return f"{signed}.{encoded(key.sign(signed.encode()))}"


def refusal(token: str, now_ms: int = NOW_MS) -> str:
    with pytest.raises(Refused) as caught:
        verifier(now_ms).verify(token)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    return caught.value.reason


def test_a_good_token_says_who_calls_and_what_they_may() -> None:
    caller = verifier().verify(farmers_token())
    assert caller.actor == Actor(CITY, "farmer 王")
    assert caller.roles == {"cashier", "registrar"}
    assert caller.holders == {FARM}
    assert caller.principal == f"{CITY} farmer 王"


def test_a_token_put_together_by_hand_from_the_rfcs_is_as_good() -> None:
    assert verifier().verify(hand_made(HEADER, CLAIMS)).roles == {"cashier"}


def test_a_token_ends_when_it_says_but_for_the_skew_of_clocks() -> None:
    token = farmers_token()
    assert verifier(NOW_MS + TTL_S * 1000).verify(token)
    assert refusal(token, NOW_MS + (TTL_S + CLOCK_SKEW_S) * 1000) == "TOKEN_EXPIRED"


def test_a_remembered_token_ends_too() -> None:
    clock = FixedClock(NOW_MS)
    verifier = TokenVerifier(IDENTITIES, clock)
    token = farmers_token()
    assert verifier.verify(token) == verifier.verify(token)
    clock.at_ms += (TTL_S + CLOCK_SKEW_S) * 1000
    with pytest.raises(Refused, match="expired"):
        verifier.verify(token)


def test_a_token_for_somebody_else_is_refused() -> None:
    for audience in ("another system", "", None, ["another system"], 7):
        assert refusal(hand_made(HEADER, {**CLAIMS, "aud": audience})) == "TOKEN_AUDIENCE"


def test_a_key_speaks_only_for_its_own_issuer() -> None:
    assert refusal(farmers_token(iss=SERVICE)) == "TOKEN_ISSUER"
    assert refusal(farmers_token(key=SERVICE_KEY)) == "TOKEN_ISSUER"


def test_a_key_nobody_listed_is_refused() -> None:
    assert refusal(farmers_token(key=STRANGERS_KEY)) == "TOKEN_ISSUER"
    assert refusal(hand_made({**HEADER, "kid": "0" * 16}, CLAIMS)) == "TOKEN_ISSUER"
    for kid in (None, 7, "", ["x"], {"a": 1}):
        assert refusal(hand_made({**HEADER, "kid": kid}, CLAIMS)) in {
            "TOKEN_ISSUER",
            "TOKEN_MALFORMED",
        }
    assert refusal(hand_made({"alg": "Ed25519"}, CLAIMS)) == "TOKEN_ISSUER"


def test_another_key_under_a_listed_id_is_refused() -> None:
    assert refusal(hand_made(HEADER, CLAIMS, STRANGERS_KEY)) == "TOKEN_MALFORMED"


def test_a_token_that_asks_not_to_be_checked_is_refused() -> None:
    for alg in ("none", "None", "NONE", "nOnE", ""):
        header = encoded(json.dumps({**HEADER, "alg": alg}).encode())
        signed = f"{header}.{encoded(json.dumps(CLAIMS).encode())}"
        assert refusal(f"{signed}.") == "TOKEN_MALFORMED"
        assert refusal(signed) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("secret", ["raw", "base64", "base64url"])
def test_a_public_key_is_not_a_shared_secret(secret: str) -> None:
    public = public_bytes(CITY_KEY)
    secrets = {
        "raw": public,
        "base64": base64.b64encode(public),
        "base64url": encoded(public).encode(),
    }
    header = encoded(json.dumps({**HEADER, "alg": "HS256"}).encode())
    signed = f"{header}.{encoded(json.dumps(CLAIMS).encode())}"
    mac = hmac.new(secrets[secret], signed.encode(), hashlib.sha256).digest()
    assert refusal(f"{signed}.{encoded(mac)}") == "TOKEN_MALFORMED"


@pytest.mark.parametrize("alg", ["EdDSA", "Ed448", "ES256", "RS256", 7, None])
def test_no_algorithm_but_the_named_curve_is_taken(alg: object) -> None:
    assert refusal(hand_made({**HEADER, "alg": alg}, CLAIMS)) == "TOKEN_MALFORMED"


def test_a_key_that_came_with_the_token_is_not_used() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encoded(public_bytes(STRANGERS_KEY))}
    assert refusal(hand_made({**HEADER, "jwk": jwk}, CLAIMS, STRANGERS_KEY)) == "TOKEN_MALFORMED"


def test_an_extension_we_do_not_understand_is_refused() -> None:
    header = {**HEADER, "crit": ["mandate"], "mandate": "x"}
    assert refusal(hand_made(header, CLAIMS)) == "TOKEN_MALFORMED"


def test_roles_a_key_may_not_assert_are_not_granted() -> None:
    token = farmers_token(key=SERVICE_KEY, iss=SERVICE, roles=["follow:ledger", "cashier", "*"])
    assert verifier().verify(token).roles == {"follow:ledger"}


def test_a_services_key_cannot_speak_for_a_person() -> None:
    """Whoever stole it must not get at anybody's account (kernel/identities.py)."""
    token = farmers_token(key=SERVICE_KEY, iss=SERVICE, roles=["follow:ledger"], holders=[FARM])
    assert verifier().verify(token).holders == frozenset()


def test_an_issuer_of_people_with_few_roles_may_still_say_for_whom_they_act() -> None:
    listed = Identities(frames=[], tokens=[token_key(CITY_KEY, CITY, "cashier", "holders")], v=1)
    caller = TokenVerifier(listed, FixedClock(NOW_MS)).verify(farmers_token())
    assert caller.roles == {"cashier"}
    assert caller.holders == {FARM}


def test_a_changed_payload_or_header_is_refused() -> None:
    header, payload, signature = farmers_token().split(".")
    richer = encoded(json.dumps({**CLAIMS, "roles": ["auditor"]}).encode())
    assert refusal(f"{header}.{richer}.{signature}") == "TOKEN_MALFORMED"
    other = encoded(json.dumps({**HEADER, "typ": "JWT"}).encode())
    assert refusal(f"{other}.{payload}.{signature}") == "TOKEN_MALFORMED"


def test_no_changed_character_of_a_token_is_believed() -> None:
    token = farmers_token()
    for at in range(0, len(token) - 1, 7):
        letter = "A" if token[at] != "A" else "B"
        with pytest.raises(Refused):
            verifier().verify(token[:at] + letter + token[at + 1 :])


def test_a_token_too_long_is_refused_before_it_is_read() -> None:
    assert refusal("x" * (MAX_TOKEN_CHARS + 1)) == "TOKEN_MALFORMED"
    assert refusal(farmers_token(sub="x" * MAX_TOKEN_CHARS)) == "TOKEN_MALFORMED"


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "令牌", "\ud800", "e30.e30.", "e30.e30.e30", "\x00" * 9],
)
def test_what_is_no_token_is_refused_and_does_not_break(token: str) -> None:
    assert refusal(token) in {"TOKEN_MALFORMED", "TOKEN_ISSUER"}


@pytest.mark.parametrize(
    "changed",
    [
        {"sub": ""},
        {"sub": None},
        {"sub": 7},
        {"sub": "x" * 201},
        {"exp": None},
        {"exp": str(NOW_S + TTL_S)},
        {"exp": NOW_S + 0.5},
        {"exp": True},
        {"roles": "auditor"},
        {"roles": [7]},
        {"roles": None},
        {"holders": FARM},
        {"holders": {"a": 1}},
    ],
)
def test_claims_of_another_shape_are_refused(changed: dict[str, Any]) -> None:
    assert refusal(hand_made(HEADER, {**CLAIMS, **changed})) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("claims", [b"", b"[]", b"null", b'"text"', b"\xff", b"{", b"[" * 5000])
def test_claims_that_are_no_object_are_refused(claims: bytes) -> None:
    assert refusal(hand_made(HEADER, claims)) in {"TOKEN_MALFORMED", "TOKEN_ISSUER"}


def test_a_header_nested_without_end_is_refused() -> None:
    header = encoded(b'{"kid":' + b"[" * 5000)
    assert refusal(f"{header}.e30.e30") == "TOKEN_MALFORMED"


def test_a_token_without_roles_is_still_somebody() -> None:
    claims = {name: CLAIMS[name] for name in ("aud", "exp", "iss", "sub")}
    caller = verifier().verify(hand_made(HEADER, claims))
    assert (caller.roles, caller.holders) == (frozenset(), frozenset())


def test_a_refused_token_is_refused_again() -> None:
    once = verifier()
    for _ in range(2):
        with pytest.raises(Refused):
            once.verify(farmers_token(key=STRANGERS_KEY))
