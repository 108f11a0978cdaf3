"""The public identities of the services: frame keys and token keys, in one file the operator signs.

The file is a signed note (c2sp.org/signed-note) whose text is one line of canonical JSON. The
ledger pins its digest in its own book; a changed file is not used there until two persons have
accepted it. A token key may only assert the roles listed beside it, so that a service's stolen
key cannot speak for a person.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import msgspec

from kernel.acts import key_id
from kernel.errors import Misconfigured
from kernel.tlog.errors import TlogError
from kernel.tlog.note import Signer, load_verifier, open_note, sign_note


class FrameKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signs the frames of these books."""

    books: list[str]
    public_key: str


class TokenKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signs tokens of this issuer; `roles` are all it may assert, "*" is any.

    The holders a subject operates for count only from a key with "*" or "holders" in its roles.
    """

    iss: str
    public_key: str
    roles: list[str]


class Identities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    frames: list[FrameKey]
    tokens: list[TokenKey]
    v: int

    def frame_key(self, book: str, wanted: str) -> bytes | None:
        """The public key with this id, if it may sign this book's frames."""
        for entry in self.frames:
            public_key = base64.b64decode(entry.public_key)
            if book in entry.books and key_id(public_key) == wanted:
                return public_key
        return None


def sign_identities(identities: Identities, operator: Signer) -> bytes:
    """The signed file's bytes."""
    text = msgspec.json.encode(identities, order="sorted").decode() + "\n"
    return sign_note(text, [operator.line(text)])


def open_identities(data: bytes, operator_vkey: str) -> Identities:
    """Checks the operator's signature; raises Misconfigured for anything but a good file."""
    try:
        text = open_note(data, [load_verifier(operator_vkey)]).text
        return msgspec.json.decode(text, type=Identities)
    except (TlogError, msgspec.DecodeError) as error:
        raise Misconfigured(f"identities file: {error}") from error


def load_identities(path: Path, operator_vkey: str) -> Identities:
    return open_identities(path.read_bytes(), operator_vkey)


def identities_digest(data: bytes) -> str:
    """What the ledger pins: SHA-256 of the whole file, in hex."""
    return hashlib.sha256(data).hexdigest()
