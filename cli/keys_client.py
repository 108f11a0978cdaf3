"""What the ledger is asked about keys: its logs' own, institutions', and pinned identities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tanzhang.ledger.v1 import ledger_pb2 as pb
from tanzhang.ledger.v1 import ledger_pb2_grpc

from cli.clients import Books, Outcome, Persona, outcome_of


@dataclass(frozen=True)
class LogKeyRow:
    vkey: str
    standing: str
    reason: str
    here: bool


@dataclass(frozen=True)
class LogKeyRows:
    """Of one log; `statement` is the note of its last change, empty before the first."""

    keys: tuple[LogKeyRow, ...]
    statement: str

    def one(self, standing: str) -> str:
        """The verifier key with that standing; empty if there is none."""
        return next((key.vkey for key in self.keys if key.standing == standing), "")


async def log_keys(books: Books) -> dict[str, LogKeyRows]:
    """By book."""
    response = await books.call(_stub(books).ListLogKeys, pb.ListLogKeysRequest())
    return {
        one.book: LogKeyRows(
            tuple(LogKeyRow(key.vkey, key.standing, key.reason, key.here) for key in one.keys),
            one.statement.decode(),
        )
        for one in response.books
    }


async def propose_log_key(books: Books, who: Persona, id: str, book: str, vkey: str) -> Outcome:
    asked = pb.LogKeyAnnouncement(book=book, new_vkey=vkey)
    return await _propose(books, who, pb.ProposeRequest(id=id, announce_log_key=asked))


async def propose_log_key_retirement(
    books: Books, who: Persona, id: str, book: str, vkey: str, successor: str, reason: str
) -> Outcome:
    asked = pb.LogKeyRetirement(book=book, vkey=vkey, successor=successor, reason=reason)
    return await _propose(books, who, pb.ProposeRequest(id=id, retire_log_key=asked))


async def propose_revocation(books: Books, who: Persona, id: str, key_id: str) -> Outcome:
    asked = pb.KeyRevocation(key_id=key_id)
    return await _propose(books, who, pb.ProposeRequest(id=id, revoke_key=asked))


async def propose_identities(books: Books, who: Persona, id: str, digest: str) -> Outcome:
    asked = pb.IdentitiesChange(digest=bytes.fromhex(digest))
    return await _propose(books, who, pb.ProposeRequest(id=id, pin_identities=asked))


async def _propose(books: Books, who: Persona, request: pb.ProposeRequest) -> Outcome:
    return outcome_of((await books.call(_stub(books).Propose, request, who)).result)


def _stub(books: Books) -> Any:
    return ledger_pb2_grpc.LedgerServiceStub(books.channel("ledger"))
