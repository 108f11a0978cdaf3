"""Protobuf to receipts and back: events of a book with their proofs, for the parties of each.

Whether a caller may see an event is judged by the book's owner, by the caller's own token, and the
owner notes what it has shown; the ledger adds what it has signed. Nothing is disclosed that is not
handed out in the same answer, unless the log does not get so far in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from tanzhang.kernel.v1 import items_pb2
from tanzhang.ledger.v1 import ledger_pb2, receipts_pb2_grpc
from tanzhang.ledger.v1 import receipts_pb2 as pb

from kernel.errors import Kind, Refused
from kernel.rpc.interceptors import current_token
from kernel.rpc.problems import refusal_message
from kernel.tlog.checkpoint import parse_checkpoint
from kernel.tlog.cose import make_cose_receipt
from kernel.tlog.note import parse_note
from kernel.tlog.proof import parse_proof
from kernel.tlog.receipt import make_receipt
from services.ledger.clients import Disclosed, Disclosure, Owners
from services.ledger.rpc import LedgerRpc
from services.ledger.sealing import Sealer

SERVICE: Final = "tanzhang.ledger.v1.ReceiptService"
MAX_POSITIONS: Final = 1000
# Events of one question to an owner: with their proofs 3.3 MB at most.
MAX_PART: Final = 25
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024  # with one more part still below what a message holds


class ReceiptRpc(receipts_pb2_grpc.ReceiptServiceServicer):
    def __init__(
        self,
        ledger: LedgerRpc,
        own_book: str,
        owners: Owners,
        sealers: Mapping[str, Sealer],
        overridden: Callable[[str, int], Sequence[int]],
    ) -> None:
        """`ledger` proves, and shows the events of its own book; `sealers` by book.

        `overridden`: where two persons have accepted an event that broke a rule.
        """
        self._overridden = overridden
        self._ledger = ledger
        self._own_book = own_book
        self._owners = owners
        self._sealers = sealers

    async def GetReceipts(self, request: pb.GetReceiptsRequest, context: object) -> Any:
        asked = list(dict.fromkeys(request.positions))
        _check(request.book, self._sealers, len(request.positions))
        found: list[pb.Receipt] = []
        size = 0
        for begin in range(0, len(asked), MAX_PART):
            part = await self._receipts(
                request.book, asked[begin : begin + MAX_PART], with_cose=request.cose
            )
            found += part
            size += sum(one.ByteSize() for one in part)
            if size > MAX_ANSWER_BYTES:
                break
        return pb.GetReceiptsResponse(receipts=found)

    async def _receipts(
        self, book: str, positions: Sequence[int], *, with_cose: bool
    ) -> list[pb.Receipt]:
        shown = await self._disclosed(book, positions)
        proofs: dict[int, bytes] = {}
        if shown.events:
            proofs = await self._prove(book, [event.position for event in shown.events])
        made = await asyncio.to_thread(self._made, book, shown.events, proofs, with_cose)
        made |= {
            position: pb.Receipt(position=position, refused=refusal)
            for position, refusal in shown.left_out.items()
        }
        return [made[position] for position in positions]

    async def _disclosed(self, book: str, positions: Sequence[int]) -> Disclosure:
        if book != self._own_book:
            return await self._owners.disclose_any(book, positions, current_token())
        request = ledger_pb2.DiscloseEventsRequest(positions=positions)
        answer = await self._ledger.DiscloseEvents(request, None)
        events = [Disclosed(one.position, one.record, one.salt) for one in answer.events]
        missing = set(positions).difference(event.position for event in events)
        return Disclosure(events, {position: _unknown(position) for position in missing})

    async def _prove(self, book: str, positions: Sequence[int]) -> dict[int, bytes]:
        request = ledger_pb2.GetProofsRequest(book=book, positions=positions)
        answer = await self._ledger.GetProofs(request, None)
        return {one.position: one.tlog_proof for one in answer.proofs}

    def _made(
        self, book: str, events: Iterable[Disclosed], proofs: Mapping[int, bytes], with_cose: bool
    ) -> dict[int, pb.Receipt]:
        """Blocks: a log's key may lie in hardware."""
        return {
            event.position: pb.Receipt(
                position=event.position,
                file=make_receipt(event.record, event.salt, proofs[event.position]),
                cose=self._cose(book, proofs[event.position]) if with_cose else b"",
                override_positions=self._overridden(book, event.position),
            )
            for event in events
        }

    def _cose(self, book: str, proof_file: bytes) -> bytes:
        """Over the root of the published checkpoint that is in the proof: the log signs no other.

        Empty of the only entry of a log: the RFC has no receipt with an empty path. And while the
        log's key is away.
        """
        proof, signer = parse_proof(proof_file), self._sealers[book].signer
        if not proof.path or signer is None:
            return b""
        head = parse_checkpoint(parse_note(proof.checkpoint)[0])
        subject = f"{head.origin}/{proof.index}"
        return make_cose_receipt(signer, subject, proof.index, head.size, proof.path, head.root)


def _unknown(position: int) -> items_pb2.Refusal:
    return refusal_message(
        Refused("UNKNOWN_POSITION", f"no event at {position}", Kind.UNKNOWN, position=position)
    )


def _check(book: str, known: Iterable[str], count: int) -> None:
    if book not in known:
        raise Refused("UNKNOWN_BOOK", f"no book {book[:60]!r} here", Kind.UNKNOWN, book=book[:60])
    if not 1 <= count <= MAX_POSITIONS:
        raise Refused(
            "POSITIONS_COUNT",
            f"expected 1 to {MAX_POSITIONS} positions, got {count}",
            Kind.INVALID,
        )


def register(servicer: ReceiptRpc) -> Callable[[Any], None]:
    return lambda server: receipts_pb2_grpc.add_ReceiptServiceServicer_to_server(servicer, server)
