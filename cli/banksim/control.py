"""The bank's counter: a few requests over HTTP on loopback, for people and tests who pay in.

    POST /pay-in    {"holder": "h-…", "amount_fen": 100}             one line, and soon its advice
    POST /accounts  {"holder": "h-…", "uscc": "…"}                   the account, and the bank's act
    GET  /lines     GET /statements     GET /state

Loopback alone and without a token, as a counter is open to whoever stands at it: what it does to
the clearing house goes through the bank's own signature. It answers once its books have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec

from cli.banksim.bank import Bank
from cli.banksim.words import Words
from kernel.clock import Clock
from kernel.errors import Refused

MAX_BODY_BYTES: Final = 64 * 1024

Json = dict[str, Any]


class PayIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    amount_fen: int


class OpenAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    uscc: str


class Counter:
    """What can be asked; every answer is JSON."""

    def __init__(self, bank: Bank, words: Words, clock: Clock) -> None:
        self._bank = bank
        self._words = words
        self._clock = clock
        self.reads: Mapping[str, Callable[[], Json]] = {
            "/lines": self.lines,
            "/statements": self.statements,
            "/state": self.state,
        }
        self.writes: Mapping[str, Callable[[bytes], Json]] = {
            "/pay-in": self.pay_in,
            "/accounts": self.open_account,
        }

    def pay_in(self, body: bytes) -> Json:
        asked = msgspec.json.decode(body, type=PayIn)
        line = self._bank.pay_in(asked.holder, asked.amount_fen, self._clock.now_ms())
        return {"line": line.line, "day": line.day}

    def open_account(self, body: bytes) -> Json:
        asked = msgspec.json.decode(body, type=OpenAccount)
        account = self._bank.open_account(asked.holder, asked.uscc)
        act = self._words.binding(account, asked.holder, asked.uscc)
        return {"account": account, "act": msgspec.to_builtins(act)}

    def lines(self) -> Json:
        return {"lines": [vars(one) for one in self._bank.store.lines()]}

    def statements(self) -> Json:
        store = self._bank.store
        found = []
        for day in store.statement_days(""):
            balances = store.statement(day)
            if balances is not None:
                opening_fen, closing_fen = balances
                found.append(
                    {
                        "day": day,
                        "opening_fen": opening_fen,
                        "closing_fen": closing_fen,
                        "lines": len(store.of_day(day)),
                    }
                )
        return {"statements": found}

    def state(self) -> Json:
        terms = msgspec.to_builtins(self._bank.terms)
        counts = self._bank.store.counts()
        return {"terms": terms, "balance_fen": self._bank.store.balance_fen(), "counts": counts}


def make_server(counter: Counter, port: int) -> ThreadingHTTPServer:
    """Bound and not serving yet; 0 takes a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            read = counter.reads.get(self.path)
            self._answer(read)

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            write = counter.writes.get(self.path)
            if write is None or not 0 <= size <= MAX_BODY_BYTES:
                self._answer(None)
                return
            body = self.rfile.read(size)
            self._answer(lambda: write(body))

        def _answer(self, make: Callable[[], Json] | None) -> None:
            status, said = HTTPStatus.OK, {}
            try:
                if make is None:
                    status, said = HTTPStatus.NOT_FOUND, {"error": f"nothing at {self.path}"}
                else:
                    said = make()
            except (Refused, msgspec.MsgspecError) as error:
                status, said = HTTPStatus.BAD_REQUEST, {"error": str(error)}
            data = json.dumps(said, ensure_ascii=False).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *values: object) -> None:
            """Nothing: the bank's books say what was asked."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)
