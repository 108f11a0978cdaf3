"""What every part of the accounts service's RPCs stands on: its writer, read models and clock."""

from __future__ import annotations

from collections.abc import Iterable

from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.clock import Clock
from kernel.journal.database import Engine
from kernel.projection import Projector
from kernel.rpc.interceptors import current_caller
from kernel.values import Caller
from kernel.writer import Writer
from services.accounts import holders
from services.accounts.domain.operators import may_view
from services.accounts.domain.state import State
from services.accounts.moments import Moments


class AccountsPart(accounts_pb2_grpc.AccountsServiceServicer):
    """One area of the service; AccountsRpc is all of them."""

    def __init__(
        self, writer: Writer[State], engine: Engine, movements: Projector, clock: Clock
    ) -> None:
        self._writer = writer
        self._engine = engine
        self._movements = movements
        self._clock = clock
        self._moments = Moments(writer, engine, movements, clock)

    def _check_may_view(self, holder: str, asset: str) -> None:
        holders.check_may_view(
            self._writer.state, current_caller(), holder, asset, self._clock.now_ms()
        )

    def _views_any(self, caller: Caller, parties: Iterable[str], asset: str) -> bool:
        state, now_ms = self._writer.state, self._clock.now_ms()
        return any(may_view(state, caller, party, asset, now_ms) for party in parties)
