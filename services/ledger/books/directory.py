"""Keys of institutions at one moment of a book, and their signatures on its events."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from kernel.acts import verify_act
from kernel.record import RawRecord
from kernel.values import Act
from services.ledger.books.port import RuleBroken

SUITES: Final = frozenset({"ed25519"})  # what `statement` can verify


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

    def statement(self, raw: RawRecord, subjects: Sequence[str], kind: str) -> dict[str, object]:
        """The one statement on a record that each subject's key has signed, one act each.

        Raises RuleBroken: ACT_MISSING, ACT_KEY, ACT_SIGNATURE, ACT_DIFFERS, ACT_CANONICAL,
        ACT_KIND.
        """
        acts = acts_of(raw)
        if len(acts) != len(subjects):
            wanted = f"one signed {kind} of {' and of '.join(subjects)}"
            raise RuleBroken("ACT_MISSING", wanted, f"{len(acts)} acts")
        known = [self.keys.get(act.key_id) for act in acts]
        signers = [None if key is None else key.subject for key in known]
        others = [i for i, signer in enumerate(signers) if signer not in subjects]
        for i, subject in enumerate(subjects):
            # Without one of its own, what is shown is the act of somebody who has no part in this.
            place = signers.index(subject) if subject in signers else (others or [i])[0]
            self._require_signed(acts[place], known[place], subject)
        for act in acts[1:]:
            if act.statement != acts[0].statement:
                raise RuleBroken("ACT_DIFFERS", acts[0].statement[:200], act.statement[:200])
        return _read(acts[0], kind)

    @staticmethod
    def _require_signed(act: Act, entry: Entry | None, subject: str) -> None:
        if entry is None or entry.subject != subject:
            found = "an unknown key" if entry is None else f"a key of {entry.subject}"
            raise RuleBroken("ACT_KEY", f"a key of {subject}", found)
        if not verify_act(entry.public_key, act):
            raise RuleBroken("ACT_SIGNATURE", f"a signature by {subject}", "another signature")


def _read(act: Act, kind: str) -> dict[str, object]:
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


def acts_of(raw: RawRecord) -> list[Act]:
    return raw.acts if isinstance(raw.acts, list) else []


def check_no_acts(raw: RawRecord, event: msgspec.Struct) -> None:
    """The step of events that nobody's signature stands under."""
    require_no_acts(raw)


def require_no_acts(raw: RawRecord) -> None:
    """A signature that no rule looks at would pass, in the log, for one that holds."""
    if isinstance(raw.acts, list):
        raise RuleBroken("ACT_UNEXPECTED", "no signed statement", f"{len(raw.acts)} acts")
