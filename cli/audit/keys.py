"""The institutions' keys as a book admitted them, and what they signed (domain 2.9).

Of every opened event with acts the signatures are checked, each with the key as it stood in that
book then. Which act an event must carry, the books' own modules say.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from cli.audit.findings import Findings
from cli.audit.records import Opened
from kernel.acts import verify_act
from kernel.values import Act


class Key(msgspec.Struct):
    subject: str
    public_key: str
    withdrawn: bool = False


class Keys(msgspec.Struct):
    """By key id, of one book."""

    book: str
    known: dict[str, Key] = {}
    verified: int = 0

    def fold(self, event: Opened, findings: Findings) -> None:
        body = event.body
        if event.type == "KeyAdmitted":
            self.known[body["key_id"]] = Key(body["subject"], body["public_key"])
        elif event.type == "KeyWithdrawn" and body["key_id"] in self.known:
            self.known[body["key_id"]].withdrawn = True
        for act in event.acts:
            self._check(event, act, findings)

    def _check(self, event: Opened, act: dict[str, Any], findings: Findings) -> None:
        key = self.known.get(act["key_id"])
        if key is None or key.withdrawn:
            findings.add(
                "ACT_KEY", self.book, event.position, "a key this book believes", act["key_id"]
            )
            return
        signed = Act(act["key_id"], act["signature"], act["statement"])
        if not verify_act(base64.b64decode(key.public_key), signed):
            findings.add(
                "ACT_SIGNATURE", self.book, event.position, f"a signature of {key.subject}", "none"
            )
            return
        self.verified += 1

    def statement(self, event: Opened, subject: str, kind: str) -> dict[str, Any] | None:
        """What an institution says in an event; its signature has been looked at by `fold`."""
        for act in event.acts:
            key = self.known.get(act["key_id"])
            if key is not None and key.subject == subject and not key.withdrawn:
                said = msgspec.json.decode(act["statement"])
                if isinstance(said, dict) and said.get("kind") == kind:
                    return said
        return None
