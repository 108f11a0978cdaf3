"""Protobuf to a question about a state and back, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tanzhang.ledger.v1 import states_pb2 as pb
from tanzhang.ledger.v1 import states_pb2_grpc

from kernel.errors import Kind, Refused
from kernel.rpc.interceptors import current_token
from kernel.tlog.states import Account
from services.ledger.states.proofs import StateProofs

SERVICE: Final = "tanzhang.ledger.v1.StateService"
MAX_ACCOUNTS: Final = 100


class StateRpc(states_pb2_grpc.StateServiceServicer):
    def __init__(self, proofs: StateProofs) -> None:
        self._proofs = proofs

    async def GetState(self, request: pb.GetStateRequest, context: object) -> Any:
        _, state = await self._proofs.state(_size(request))
        return pb.GetStateResponse(entry=state.entry, tlog_proof=state.proof)

    async def GetHoldings(self, request: pb.GetHoldingsRequest, context: object) -> Any:
        if not 1 <= len(request.accounts) <= MAX_ACCOUNTS:
            raise Refused(
                "ACCOUNTS_COUNT",
                f"expected 1 to {MAX_ACCOUNTS} accounts, got {len(request.accounts)}",
                Kind.INVALID,
            )
        accounts = [
            Account(one.holder, one.asset, one.purpose, one.ref) for one in request.accounts
        ]
        files = await self._proofs.holdings(accounts, _size(request), current_token())
        return pb.GetHoldingsResponse(
            holdings=[
                pb.Holding(account=asked, amount=amount, file=file)
                for asked, (amount, file) in zip(request.accounts, files, strict=True)
            ]
        )

    async def GetLien(self, request: pb.GetLienRequest, context: object) -> Any:
        file = await self._proofs.lien(request.lien, _size(request), current_token())
        return pb.GetLienResponse(file=file)

    async def GetMapKey(self, request: pb.GetMapKeyRequest, context: object) -> Any:
        return pb.GetMapKeyResponse(map_key=self._proofs.map_key)


def _size(request: Any) -> int:
    """How many events a state must have to have the one that is asked for; any state has one."""
    return int(request.min_position) + 1


def register(servicer: StateRpc) -> Callable[[Any], None]:
    return lambda server: states_pb2_grpc.add_StateServiceServicer_to_server(servicer, server)
