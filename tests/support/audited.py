"""Three small logs that an auditor may check, on a host of their own: and lies to plant in them.

A forest of Qinwangchuan: 10,000 t verified, issued, 6,000 t pledged to the bank, 1,000 t retired;
and the city group's money. What a gateway would serve, a plain HTTP server does, so that each lie
can be told by itself: in the events, in the tiles, in what is shown.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import key_id, public_bytes, sign_act
from kernel.tlog.balance_tree import BalanceTree, Row
from kernel.tlog.maps import Piece
from kernel.tlog.policy import NONE, Policy
from kernel.tlog.serial_tree import SerialTree
from kernel.tlog.states import Account, StateEntry, balance_leaf, status_text
from tests.support.small_log import FOREST, LANZHOU, SmallLog

TICKET: Final = "TICKET-LZXQ-1"
BATCH: Final = "LZXQ-2021"
PROGRAMME: Final = "h-lanzhoutickets01"
BANK: Final = "h-lanzhoubank00001"
LIEN: Final = "l-qinwangchuan0001"
VERIFIER_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"verifier of the forest in audits")
AUTHORITY_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"authority of lanzhou's tickets 1")
ISSUED_T, PLEDGED_T, RETIRED_T = 10_000, 6_000, 1_000
MAP_KEY: Final = bytes(range(32))
AFTER_THE_STORY: Final = {
    Account(PROGRAMME, TICKET, "issued", ""): -ISSUED_T,
    Account(FOREST, TICKET, "pledged", LIEN): PLEDGED_T,
    Account(FOREST, TICKET, "retired", ""): RETIRED_T,
    Account(FOREST, TICKET, "available", ""): ISSUED_T - PLEDGED_T - RETIRED_T,
    Account(PROGRAMME, "CNY", "external", BANK): -50_000,
    Account(LANZHOU, "CNY", "available", ""): 50_000,
}
PRIVATE: Final = ("PledgeRequested", "PledgeRegistered", "ReleaseRequested", "PledgeReleased")
TOKEN: Final = "an-auditor"

Body = dict[str, Any]


def account(holder: str, purpose: str = "available", ref: str = "") -> dict[str, str]:
    return {"holder": holder, "purpose": purpose, "ref": ref}


def person(sub: str) -> dict[str, str]:
    return {"iss": "tanzhang.test/issuer", "sub": sub}


def leg(
    debit: dict[str, str], credit: dict[str, str], amount: int, first: int = 0, asset: str = TICKET
) -> Body:
    serials = [{"batch": BATCH, "first": first, "last": first + amount - 1}] if first else []
    return {"amount": amount, "asset": asset, "credit": credit, "debit": debit, "serials": serials}


def act(key: Ed25519PrivateKey, kind: str, **said: Any) -> Body:
    signed = sign_act(key, {"kind": kind, **said})
    return {
        "key_id": signed.key_id,
        "signature": signed.signature,
        "statement": signed.statement,
    }


class Audited:
    """The logs, and what the host says of them. `shown` may change what it shows of an event."""

    def __init__(self, seed: bytes = b"") -> None:
        self.accounts = SmallLog("accounts", b"a" + seed)
        self.registry = SmallLog("registry", b"r" + seed)
        self.ledger = SmallLog("ledger", b"l" + seed)
        self.states: SmallLog | None = None
        self.shown: Callable[[str, int, Body], Body | None] = lambda book, position, event: event
        self.tile: Callable[[str, str, bytes], bytes] = lambda book, path, data: data
        self.checkpoint: Callable[[str, bytes], bytes] = lambda book, note: note
        self.gives_map_key = False
        self.asked: list[str] = []

    @property
    def logs(self) -> dict[str, SmallLog]:
        books = {"accounts": self.accounts, "registry": self.registry, "ledger": self.ledger}
        return books if self.states is None else {**books, "state": self.states}

    @property
    def policy(self) -> Policy:
        policy = Policy()
        for log in self.logs.values():
            policy.add_log(log.signer.verifier.vkey)
        policy.set_quorum(NONE)
        return policy

    # ---- the story ------------------------------------------------------------------------------

    def open(self) -> None:
        for book, log in self.logs.items():
            opened = {"book_id": "0" * 32, "origin": f"tanzhang.test/{book}", "version": 1}
            log.append(opened, "BookOpened")
        asset = {"backdating_days": 0, "programme": PROGRAMME}
        ticket = {"asset": TICKET, "name": "碳票", "serialised": True, "unit": "t"}
        self.accounts.append({**asset, **ticket}, "AssetDefined")
        money = {"asset": "CNY", "name": "人民币", "serialised": False, "unit": "fen"}
        self.accounts.append({**asset, **money}, "AssetDefined")
        for key, subject in (
            (VERIFIER_KEY, "holder:h-verifier"),
            (AUTHORITY_KEY, f"authority:{PROGRAMME}"),
        ):
            public = public_bytes(key)
            admitted = {
                "key_id": key_id(public),
                "public_key": base64.b64encode(public).decode(),
                "subject": subject,
                "suite": "ed25519",
            }
            self.registry.append(admitted, "KeyAdmitted")
            self.accounts.append(admitted, "KeyAdmitted")

    def verify(self, quantity_t: int = ISSUED_T) -> None:
        said = {
            "document": "d-1",
            "period_first": "2020-01-01",
            "period_last": "2020-12-31",
            "project": "LZXQ-QINWANGCHUAN",
            "quantity_t": quantity_t,
            "verification": "v-1",
            "verifier": "h-verifier",
        }
        signed = act(VERIFIER_KEY, "verification-statement", **said)
        self.registry.append(said, "ReductionVerified", acts=[signed])

    def issue(self, issued_t: int = ISSUED_T, first: int = 1, entered_t: int | None = None) -> int:
        """Proposed, approved, entered, completed; answers the entry's position."""
        owners = [{"holder": FOREST, "quantity_t": issued_t}]
        last = first + issued_t - 1
        proposed = {
            "asset": TICKET,
            "batch": BATCH,
            "document": "d-2",
            "first": first,
            "issuance": "i-1",
            "last": last,
            "lots": [{"quantity_t": issued_t, "verification": "v-1"}],
            "owners": owners,
            "programme": PROGRAMME,
        }
        self.registry.append(proposed, "IssuanceProposed", actor=person("wang.maker"))
        approval = act(
            AUTHORITY_KEY,
            "issuance-approval",
            asset=TICKET,
            batch=BATCH,
            checker="li.checker",
            document="d-2",
            first=first,
            last=last,
            owners=owners,
            programme=PROGRAMME,
        )
        asked = self.registry.append(
            {"issuance": "i-1"}, "IssuanceApproved", actor=person("li.checker"), acts=[approval]
        )
        amount = issued_t if entered_t is None else entered_t
        moved = leg(account(PROGRAMME, "issued"), account(FOREST), amount, first)
        entry = self.accounts.append({"legs": [moved]}, cause=["registry", asked], acts=[approval])
        self.registry.append({"issuance": "i-1"}, "IssuanceCompleted", cause=["accounts", entry])
        return entry

    def pledge(self, entered_first: int = 1) -> None:
        said = {"batch": BATCH, "first": 1, "last": PLEDGED_T}
        asked = self.registry.append(
            {
                "asset": TICKET,
                "levels": {"call_bp": 0, "enforcement_bp": 0, "warning_bp": 0},
                "lien": LIEN,
                "loan_fen": 1_000,
                "matures_on": "2030-01-01",
                "notice": "",
                "pledgee": BANK,
                "pledgor": FOREST,
                "programme": PROGRAMME,
                "quantity_t": PLEDGED_T,
                "rate_bp": 385,
                "serials": [],
                "valuation": {"price_fen_per_t": 4_194, "priced_at_ms": 0, "source": "last trade"},
            },
            "PledgeRequested",
        )
        moved = leg(account(FOREST), account(FOREST, "pledged", LIEN), PLEDGED_T, entered_first)
        body = {"legs": [moved], "pledge": {"lien": LIEN, "pledgee": BANK}}
        entry = self.accounts.append(body, cause=["registry", asked])
        self.registry.append(
            {"lien": LIEN, "serials": [said]}, "PledgeRegistered", cause=["accounts", entry]
        )

    def retire(self, told_t: int = RETIRED_T, first: int = 6_001) -> int:
        claim = {"beneficiary": "兰州新区城投", "details": "", "purpose": "annual meeting"}
        moved = leg(account(FOREST), account(FOREST, "retired"), RETIRED_T, first)
        entry = self.accounts.append({"claim": claim, "legs": [moved]})
        told = {
            "asset": TICKET,
            **claim,
            "holder": FOREST,
            "quantity_t": told_t,
            "serials": [{"batch": BATCH, "first": first, "last": first + told_t - 1}],
        }
        self.registry.append(told, "UnitsRetired", cause=["accounts", entry])
        return entry

    def pay_in(self, amount_fen: int = 50_000) -> None:
        moved = leg(account(PROGRAMME, "external", BANK), account(LANZHOU), amount_fen, asset="CNY")
        self.accounts.append({"legs": [moved]})

    def move(self, debit: dict[str, str], credit: dict[str, str], amount: int, first: int) -> int:
        return self.accounts.append({"legs": [leg(debit, credit, amount, first)]})

    def tell(self) -> None:
        """All of it, as it should be."""
        self.open()
        self.verify()
        self.issue()
        self.pledge()
        self.retire()
        self.pay_in()

    def commit_state(self, **said: Any) -> int:
        """The state after `tell`, by the trees that the ledger keeps; `said` may say otherwise."""
        self.states = self.states or SmallLog("state", b"s")
        balances, serials = BalanceTree(4), SerialTree()
        for where, amount in AFTER_THE_STORY.items():
            leaf, _ = balance_leaf(MAP_KEY, where, amount)
            balances.put({leaf.key: Row(leaf.value, amount)})
        pieces = [
            Piece(1, PLEDGED_T, status_text("pledged", LIEN)),
            Piece(PLEDGED_T + 1, PLEDGED_T + RETIRED_T, status_text("retired", "")),
            Piece(PLEDGED_T + RETIRED_T + 1, ISSUED_T, status_text("available", "")),
        ]
        serials.move(TICKET, BATCH, pieces)
        position, size = len(self.states.entries), len(self.accounts.entries)
        honest: dict[str, Any] = {
            "position": position,
            "at": "2026-11-20T08:30:10.000Z",
            "book": "accounts",
            "size": size,
            "root": self.accounts.root(size),
            "balances": balances.freeze().root,
            "serials": serials.freeze().root,
        }
        self.states.append_entry(StateEntry(**{**honest, **said}).encode())
        return position

    # ---- what the host answers ------------------------------------------------------------------

    def answer(self, path: str, token: str | None) -> tuple[int, bytes]:
        self.asked.append(path)
        url = urlsplit(path)
        match url.path.strip("/").split("/", 3):
            case ["log", book, "checkpoint"] if book in self.logs:
                return 200, self.checkpoint(book, self.logs[book].checkpoint())
            case ["log", book, "tile", rest] if book in self.logs:
                return self._tile(book, f"tile/{rest}")
            case ["v1", "map-key"] if token == f"Bearer {TOKEN}" and self.gives_map_key:
                return 200, json.dumps({"map_key": base64.b64encode(MAP_KEY).decode()}).encode()
            case ["v1", "logs", book, name] if book in self.logs:
                return self._events(book, name, parse_qs(url.query), token)
        return 404, b""

    def _tile(self, book: str, path: str) -> tuple[int, bytes]:
        try:
            return 200, self.tile(book, path, self.logs[book].tile(path))
        except ValueError:
            return 404, b""

    def _events(
        self, book: str, name: str, query: dict[str, list[str]], token: str | None
    ) -> tuple[int, bytes]:
        everything = name == "disclosed-events"
        if everything and token != f"Bearer {TOKEN}":
            return 401, b""
        begin = int(query["begin"][0])
        end = min(begin + int(query["limit"][0]), len(self.logs[book].records))
        found = []
        for position in range(begin, end):
            event = self._event(book, position)
            private = event["type"] in PRIVATE or book != "registry"
            said = None if private and not everything else self.shown(book, position, event["raw"])
            if said is not None:
                found.append(said)
        answer = {"events": found, "next_position": max(begin, end)}
        return 200, json.dumps(answer).encode()

    def _event(self, book: str, position: int) -> Body:
        log = self.logs[book]
        record, salt = log.records[position], log.salt(position)
        raw = {
            "position": position,
            "record": base64.b64encode(record).decode(),
            "salt": base64.b64encode(salt).decode(),
        }
        return {"raw": raw, "type": json.loads(record)["type"]}


@contextmanager
def serve(audited: Audited) -> Iterator[str]:
    """The URL of a host that answers for it, as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = audited.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as host:
        host.daemon_threads = True
        thread = threading.Thread(target=host.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{host.server_port}"
        finally:
            host.shutdown()
            thread.join()
