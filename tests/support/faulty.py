"""Builds of the services with one rule switched off, as a bug, or who owns the process, would.

Runs as `python -m tests.support.faulty <service>`, in place of `python -m services <service>`:

accounts   forgets to look whether the money is there
registry   lets a lien go without the pledgee's word
market     makes its trades a fen dearer than the listed price
inclusive  sells what was measured by a report
ledger     lets one person propose and approve
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import msgspec

from kernel.values import Actor, Context
from services.__main__ import main
from services.accounts.domain import decide as accounts
from services.accounts.domain.state import AccountKey
from services.inclusive.domain import commands as inclusive_commands
from services.inclusive.domain import decide as inclusive
from services.inclusive.domain.events import TripCredited
from services.ledger.domain import commands as ledger_commands
from services.ledger.domain import decide as ledger
from services.market.domain import commands as market_commands
from services.market.domain import decide as market
from services.market.domain.events import TradesMade
from services.registry.domain import commands as registry_commands
from services.registry.domain import decide as registry
from services.registry.domain.events import ReleaseRequested

ENOUGH_FEN = 10**12

Decide = Callable[[Any, Any, Context], Sequence[msgspec.Struct]]


class GenerousDraft(accounts.Draft):
    """Every account seems to hold more than anybody asks for."""

    def _balance(self, key: AccountKey) -> int:
        return super()._balance(key) + ENOUGH_FEN


def let_go(
    state: Any, command: registry_commands.ReleasePledge, context: Context
) -> list[msgspec.Struct]:
    return [ReleaseRequested(command.lien, command.quantity_t, command.release)]


def dearer(state: Any, command: market_commands.PickOrders, context: Context) -> list[Any]:
    return [_a_fen_more(event) for event in market.pick_orders(state, command, context)]


def _a_fen_more(event: msgspec.Struct) -> msgspec.Struct:
    if not isinstance(event, TradesMade):
        return event
    trades = [
        msgspec.structs.replace(trade, price_fen_per_t=trade.price_fen_per_t + 1)
        for trade in event.trades
    ]
    return msgspec.structs.replace(event, trades=trades)


def saleable(state: Any, command: inclusive_commands.ReportTrip, context: Context) -> list[Any]:
    return [
        msgspec.structs.replace(event, because="", saleable=True)
        if isinstance(event, TripCredited)
        else event
        for event in inclusive.report_trip(state, command, context)
    ]


def alone(state: Any, command: ledger_commands.Approve, context: Context) -> Any:
    """The decision believes that somebody else asks; the record says who it was."""
    other = msgspec.structs.replace(context.caller, actor=Actor("lanzhou", "somebody else"))
    return ledger.approve(state, command, msgspec.structs.replace(context, caller=other))


def instead(module: Any, command: type[Any], decide: Decide) -> AbstractContextManager[Any]:
    return patch.dict(module._DECIDE, {command: decide})


FAULTS: dict[str, AbstractContextManager[Any]] = {
    "accounts": patch.object(accounts, "Draft", GenerousDraft),
    "registry": instead(registry, registry_commands.ReleasePledge, let_go),
    "market": instead(market, market_commands.PickOrders, dearer),
    "inclusive": instead(inclusive, inclusive_commands.ReportTrip, saleable),
    "ledger": instead(ledger, ledger_commands.Approve, alone),
}

if __name__ == "__main__":
    with FAULTS[sys.argv[1]]:
        sys.exit(main(sys.argv[1:]))
