"""Keys of institutions at one moment of a book, and their signatures on its events."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

import msgspec

from kernel.acts import verify_act
from kernel.record import RawRecord
from services.ledger.books.port import RuleBroken


@dataclass(slots=True)
class Entry:
    subject: str
    public_key: bytes


class Directory:
    """Live keys by id, as the events of one book have added and ended them."""

    def __init__(self) -> None:
        self.keys: dict[str, Entry] = {}

    def add(self, key_id: str, subject: str, public_key: str) -> None:
        self.keys[key_id] = Entry(subject, _decoded(public_key))

    def remove(self, key_id: str) -> None:
        self.keys.pop(key_id, None)

    def statement(self, raw: RawRecord, subject: str, kind: str) -> dict[str, object]:
        """The one signed statement on a record, if this subject's key signed it.

        Raises RuleBroken: ACT_MISSING, ACT_KEY, ACT_SIGNATURE, ACT_CANONICAL, ACT_KIND.
        """
        acts = raw.acts if isinstance(raw.acts, list) else []
        if len(acts) != 1:
            raise RuleBroken("ACT_MISSING", f"one signed {kind} of {subject}", f"{len(acts)} acts")
        act = acts[0]
        entry = self.keys.get(act.key_id)
        if entry is None or entry.subject != subject:
            found = "an unknown key" if entry is None else f"a key of {entry.subject}"
            raise RuleBroken("ACT_KEY", f"a key of {subject}", found)
        if not verify_act(entry.public_key, act):
            raise RuleBroken("ACT_SIGNATURE", f"a signature by {subject}", "another signature")
        try:
            statement = msgspec.json.decode(act.statement)
            again = msgspec.json.encode(statement, order="sorted").decode()
        except (msgspec.MsgspecError, RecursionError) as error:
            raise RuleBroken("ACT_KIND", f"a {kind} in JSON", str(error)) from error
        if again != act.statement:  # one spelling only: nobody may read it otherwise than we do
            raise RuleBroken("ACT_CANONICAL", again[:200], act.statement[:200])
        if not isinstance(statement, dict) or statement.get("kind") != kind:
            raise RuleBroken("ACT_KIND", kind, act.statement[:200])
        return statement


def key_id_of(public_key: str) -> str:
    return hashlib.sha256(_decoded(public_key)).hexdigest()[:16]


def _decoded(public_key: str) -> bytes:
    """What is not base64 is no key: it has no signature that holds, and stops no fold."""
    try:
        return base64.b64decode(public_key, validate=True)
    except ValueError:
        return b""
