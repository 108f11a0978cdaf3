"""The vault: whose a pseudonym is, and the key that opens her sealed records.

Sealed: base64 of nonce (12) || AES-256-GCM ciphertext and tag, bound to the pseudonym. The nonce is
HMAC-SHA256(key, plaintext)[:12], so the same trip gives the same bytes and no nonce serves two
texts. Nothing here decides anything: rules read the command, never what was sealed.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kernel.ids import Entropy
from kernel.journal.database import Engine
from services.inclusive import queries
from services.inclusive.queries import Known, Linked, Person, Rider, Wish

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class SealedTrip(msgspec.Struct, frozen=True):
    """What only the citizen's key opens. Fields in sorted order: the text is canonical JSON."""

    distance_m: int
    ended_ms: int | None
    evidence: str
    from_place: str
    order: str
    started_ms: int | None
    to_place: str


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(SealedTrip)


def new_citizen(entropy: Entropy = os.urandom) -> Known:
    """A key, and a pseudonym that says nothing of the person: `c-` and 80 random bits in base32."""
    name = "c-" + base64.b32encode(entropy(10)).decode().lower()
    return Known(name, entropy(KEY_BYTES))


def seal(known: Known, trip: SealedTrip) -> str:
    text = _encode(trip)
    nonce = hmac.digest(known.key, text, "sha256")[:NONCE_BYTES]
    closed = AESGCM(known.key).encrypt(nonce, text, known.citizen.encode())
    return base64.b64encode(nonce + closed).decode()


def unseal(known: Known, sealed: str) -> SealedTrip | None:
    """None when this key does not open it, or it is no trip."""
    try:
        data = base64.b64decode(sealed, validate=True)
        text = AESGCM(known.key).decrypt(
            data[:NONCE_BYTES], data[NONCE_BYTES:], known.citizen.encode()
        )
        return _decoder.decode(text)
    except (InvalidTag, ValueError, msgspec.MsgspecError):
        return None


class Vault:
    """The rows, off the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def person(self, person: Person) -> str | None:
        return await asyncio.to_thread(queries.find_person, self._engine, person)

    async def riders(self, operator: str, refs: Sequence[str]) -> dict[str, Known]:
        return await asyncio.to_thread(queries.find_riders, self._engine, operator, refs)

    async def keys(self, citizens: Sequence[str]) -> dict[str, bytes]:
        return await asyncio.to_thread(queries.find_keys, self._engine, citizens)

    async def link(self, wishes: Sequence[Wish]) -> list[Linked]:
        return await asyncio.to_thread(queries.link_citizens, self._engine, wishes)

    async def unlink(self, riders: Sequence[Rider]) -> None:
        await asyncio.to_thread(queries.unlink_riders, self._engine, riders)

    async def destroy(self, citizens: Sequence[str]) -> None:
        """After the event that says so; a crash in between is made good at the next start."""
        await asyncio.to_thread(queries.destroy_citizens, self._engine, citizens)
