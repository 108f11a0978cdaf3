"""The accounts service: its parts, and what they have in common. Protobuf to command and back.

Each area has its module: entries_rpc.py, settling_rpc.py, reads_rpc.py, statements_rpc.py,
orders_rpc.py, safeguards_rpc.py, holders_rpc.py, bank_rpc.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.accounts.v1 import accounts_pb2_grpc

from kernel.record import decode_record
from kernel.rpc.batch import disclose, find_outcomes
from kernel.rpc.interceptors import current_caller
from kernel.values import Caller
from services.accounts.bank_rpc import BankRpc
from services.accounts.entries_rpc import EntriesRpc
from services.accounts.holders_rpc import HoldersRpc
from services.accounts.orders_rpc import OrdersRpc
from services.accounts.parties import parties_of
from services.accounts.reads_rpc import ReadsRpc
from services.accounts.safeguards_rpc import SafeguardsRpc
from services.accounts.settling_rpc import SettlingRpc
from services.accounts.statements_rpc import StatementsRpc

SERVICE: Final = "tanzhang.accounts.v1.AccountsService"


class AccountsRpc(
    EntriesRpc,
    SettlingRpc,
    ReadsRpc,
    StatementsRpc,
    OrdersRpc,
    SafeguardsRpc,
    HoldersRpc,
    BankRpc,
):
    """Every method of the service."""

    async def GetOutcomes(self, request: pb.GetOutcomesRequest, context: object) -> Any:
        principal = current_caller().principal
        found = await find_outcomes(self._writer, principal, request.ids)
        return pb.GetOutcomesResponse(results=found)

    async def DiscloseEvents(self, request: pb.DiscloseEventsRequest, context: object) -> Any:
        """Record and salt, to a party of the event; whoever else asks is refused."""
        found = await disclose(
            self._writer,
            self._engine,
            self._clock,
            request.positions,
            self._is_party,
            leave_out=request.leave_out,
        )
        return pb.DiscloseEventsResponse(events=found.events, left_out=found.left_out)

    async def _is_party(self, caller: Caller, record: bytes) -> bool:
        """The holders in the event, whoever asked for it, the venue it names, and auditors."""
        if "auditor" in caller.roles:
            return True
        raw = decode_record(record)
        if raw.actor == caller.actor:
            return True
        if raw.type == "AccountTermsSet":
            return True  # a programme's terms are everybody's to read
        parties, venues = parties_of(msgspec.json.decode(raw.body))
        return bool(venues & caller.roles) or self._views_any(caller, parties, "")


def register(servicer: AccountsRpc) -> Callable[[Any], None]:
    return lambda server: accounts_pb2_grpc.add_AccountsServiceServicer_to_server(servicer, server)
