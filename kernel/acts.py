"""Acts: an institution's own signature over what binds it (design section 5, domain 2.9).

A statement is one canonical JSON object (sorted keys, no spaces, integers below 2^53, UTF-8); the
institution signs `tanzhang-act/v1\\n` || statement with its own key, on its own side. The command
carries both, the event stores both, the ledger checks both again. Ed25519 is the one suite so far;
the key directory names the suite of each key, so that SM2 can follow.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kernel.values import Act

SUITE_ED25519: Final = "ed25519"
_DOMAIN: Final = b"tanzhang-act/v1\n"


def key_id(public_key: bytes) -> str:
    """The id of a public key everywhere in this product: 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def sign_act(key: Ed25519PrivateKey, statement: dict[str, Any]) -> Act:
    """Signs a statement on the institution's own side. Values: text, integers, lists, objects."""
    text = msgspec.json.encode(statement, order="sorted")
    signature = base64.b64encode(key.sign(_DOMAIN + text)).decode()
    return Act(key_id=key_id(public_bytes(key)), signature=signature, statement=text.decode())


def verify_act(public_key: bytes, act: Act) -> bool:
    """Does this key's signature over the statement hold? Malformed signatures do not."""
    try:
        signature = base64.b64decode(act.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            signature, _DOMAIN + act.statement.encode()
        )
    except (InvalidSignature, ValueError):
        return False
    return True
