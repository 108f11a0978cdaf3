"""The ledger's own book folded again: where logs halted, and what two persons let pass."""

from __future__ import annotations

from typing import Final

import msgspec

from cli.audit.findings import Findings
from cli.audit.records import Opened

BOOK: Final = "ledger"


class Override(msgspec.Struct, frozen=True):
    book: str
    position: int
    rule: str


class LedgerBook(msgspec.Struct):
    halts: int = 0
    overrides: list[Override] = []
    keys_registered: int = 0

    def fold(self, event: Opened, findings: Findings) -> None:
        body = event.body
        if event.type == "OverrideAccepted":
            self.overrides.append(Override(body["book"], body["position"], body["rule"]))
        self.halts += event.type == "BookHalted"
        self.keys_registered += event.type == "KeyRegistered"
