"""Protobuf to command and back, and nothing else."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from tanzhang.kernel.v1 import items_pb2
from tanzhang.ledger.v1 import ledger_pb2 as pb
from tanzhang.ledger.v1 import ledger_pb2_grpc

from kernel.asks import Ask
from kernel.errors import Kind, Refused
from kernel.ids import check_uuid7
from kernel.journal.database import Engine
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import disclosed_messages, timestamp_of
from kernel.rpc.problems import to_item_result
from kernel.writer import Writer
from services.ledger import queries
from services.ledger.domain import commands
from services.ledger.domain.state import State
from services.ledger.logkeys_rpc import LogKeyRequests
from services.ledger.proving import ServedLog, prove, published_note
from services.ledger.witnessing import Feeder

SERVICE: Final = "tanzhang.ledger.v1.LedgerService"
MAX_POSITIONS: Final = 1000


class LedgerRpc(ledger_pb2_grpc.LedgerServiceServicer):
    def __init__(
        self,
        writer: Writer[State],
        logs: Mapping[str, ServedLog[Any]],
        engine: Engine,
        log_keys: LogKeyRequests,
        identities_digest: str,
    ) -> None:
        self._writer = writer
        self._logs = logs
        self._engine = engine
        self._log_keys = log_keys
        self._identities_digest = identities_digest

    def _served(self, book: str) -> ServedLog[Any]:
        served = self._logs.get(book)
        if served is None:
            raise Refused(
                "UNKNOWN_BOOK",
                f"expected one of {sorted(self._logs)}, got {book[:60]!r}",
                Kind.UNKNOWN,
                book=book[:60],
            )
        return served

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: object) -> Any:
        return pb.GetCheckpointResponse(checkpoint=published_note(self._served(request.book)))

    async def GetTile(self, request: pb.GetTileRequest, context: object) -> Any:
        served = self._served(request.book)
        # All that is signed, though no quorum may have seen it yet: right after a start none has
        # seen anything, and a mirror that is on its way must not lose what it was shown before.
        size = served.sealer.published.size
        data = await asyncio.to_thread(queries.read_path, served.tiles, request.path, size)
        return pb.GetTileResponse(data=data)

    async def GetProofs(self, request: pb.GetProofsRequest, context: object) -> Any:
        served = self._served(request.book)
        positions = list(request.positions)
        if not 1 <= len(positions) <= MAX_POSITIONS:
            raise Refused(
                "POSITIONS_COUNT",
                f"expected 1 to {MAX_POSITIONS} positions, got {len(positions)}",
                Kind.INVALID,
            )
        proofs = await prove(served, positions)
        at_ms = await asyncio.to_thread(
            queries.proven_at_ms, self._engine, request.book, max(positions)
        )
        return pb.GetProofsResponse(
            proofs=[
                pb.Proof(position=position, tlog_proof=proof)
                for position, proof in zip(positions, proofs, strict=True)
            ],
            proven_at=None if at_ms is None else timestamp_of(at_ms),
        )

    async def GetStatus(self, request: pb.GetStatusRequest, context: object) -> Any:
        return pb.GetStatusResponse(
            books=[_status(book, served) for book, served in sorted(self._logs.items())],
            policy=self._log_keys.policy(),
            identities_pinned=self._writer.state.identities == self._identities_digest,
        )

    async def ListKeys(self, request: pb.ListKeysRequest, context: object) -> Any:
        keys, position = await self._writer.read(
            lambda state: [
                pb.Key(
                    key_id=id,
                    subject=key.subject,
                    suite=key.suite,
                    public_key=key.public_key,
                    revoked=key.revoked,
                    position=key.position,
                )
                for id, key in state.keys.items()
            ]
        )
        return pb.ListKeysResponse(keys=keys, as_of_position=position)

    async def ListLogKeys(self, request: pb.ListLogKeysRequest, context: object) -> Any:
        return await self._log_keys.listing()

    async def Propose(self, request: pb.ProposeRequest, context: object) -> Any:
        command = await self._log_keys.proposal(request) or _proposal(request)
        return pb.ProposeResponse(result=await self._carry_out(request.id, command))

    async def Approve(self, request: pb.ApproveRequest, context: object) -> Any:
        # The note that may go with it is made anew when the request is repeated.
        same = commands.Approve(request.proposal_id)
        command = await self._log_keys.approval(request.proposal_id, current_caller().actor)
        return pb.ApproveResponse(result=await self._carry_out(request.id, command, same))

    async def Withdraw(self, request: pb.WithdrawRequest, context: object) -> Any:
        command = commands.Withdraw(request.proposal_id)
        return pb.WithdrawResponse(result=await self._carry_out(request.id, command))

    async def _carry_out(
        self, id: str, command: msgspec.Struct, same: msgspec.Struct | None = None
    ) -> items_pb2.ItemResult:
        ask = Ask(check_uuid7(id), current_caller(), command, same=same)
        (result,) = await self._writer.submit([ask])
        return to_item_result(result)

    async def DiscloseEvents(self, request: pb.DiscloseEventsRequest, context: object) -> Any:
        """The ledger's book names keys, halts and the persons behind them: any known caller."""
        if len(request.positions) > MAX_POSITIONS:
            raise Refused("POSITIONS_COUNT", f"expected at most {MAX_POSITIONS}", Kind.INVALID)
        stored = await asyncio.to_thread(self._writer.journal.read_events, list(request.positions))
        return pb.DiscloseEventsResponse(events=disclosed_messages(stored))


def _status(book: str, served: ServedLog[Any]) -> pb.BookStatus:
    halt = served.log.halt
    published = served.sealer.published
    return pb.BookStatus(
        book=book,
        folded=served.log.next_position,
        proven=published.size,
        root=base64.b64encode(published.root).decode(),
        halt=None
        if halt is None
        else pb.Halt(
            position=halt.position, rule=halt.rule, expected=halt.expected, actual=halt.actual
        ),
        waiting_for="" if served.reader is None else served.reader.waiting_for,
        missing_keys=served.sealer.missing_keys,
        witnesses=[_witness(one) for one in served.witnesses],
        witnessed=served.shown.published.size,
    )


def _witness(feeder: Feeder) -> pb.WitnessStatus:
    standing = feeder.standing
    return pb.WitnessStatus(
        names=feeder.peer.names,
        cosigned=standing.cosigned or 0,
        cosigned_at=timestamp_of(standing.cosigned_at_s * 1000) if standing.cosigned_at_s else None,
        said=standing.said,
        alarm=standing.alarm,
    )


def _proposal(request: pb.ProposeRequest) -> msgspec.Struct:
    match request.WhichOneof("proposal"):
        case "register_key":
            asked = request.register_key
            return commands.ProposeKey(asked.subject, asked.suite, asked.public_key)
        case "revoke_key":
            return commands.ProposeKeyRevocation(request.revoke_key.key_id)
        case "accept_override":
            override = request.accept_override
            return commands.ProposeOverride(
                override.book, override.position, override.rule, override.justification
            )
        case "pin_identities":
            return commands.ProposeIdentities(request.pin_identities.digest.hex())
        case _:
            raise Refused("PROPOSAL_MISSING", "expected one proposal, got none", Kind.INVALID)


def register(servicer: LedgerRpc) -> Callable[[Any], None]:
    return lambda server: ledger_pb2_grpc.add_LedgerServiceServicer_to_server(servicer, server)
