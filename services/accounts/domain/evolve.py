"""Events into state. Never refuses, never looks at a clock: it is what replays the book."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import msgspec

from kernel.keyring import KeyAdmitted, KeyWithdrawn
from services.accounts.domain import bank_evolve, blocks, destinations, freezes, safeguards
from services.accounts.domain.events import (
    AssetDefined,
    EntryPosted,
    HolderKind,
    HolderRegistered,
    HoldExpired,
    HoldPlaced,
    HoldPosted,
    HoldReleased,
    Leg,
    Pledge,
    Purpose,
    SessionClosed,
    SettlementReceived,
    TradeUnsettled,
    TransferApproved,
    TransferFiled,
    TransferPosted,
    TransferProposed,
    TransferRefused,
    TransferWithdrawn,
)
from services.accounts.domain.sessions import (
    on_session_closed,
    on_settlement_received,
    on_trade_settled,
    on_trade_unsettled,
)
from services.accounts.domain.state import (
    AccountKey,
    Control,
    Hold,
    Holding,
    Lien,
    State,
    account_key,
)
from services.accounts.domain.take_effect import EVOLVE_CHANGES


def evolve(state: State, event: msgspec.Struct) -> None:
    """Applies one event."""
    _EVOLVE[type(event)](state, event)


def on_holder_registered(state: State, event: HolderRegistered) -> None:
    state.holders[event.holder] = event.kind
    if event.uscc:
        state.holder_by_uscc[event.uscc] = event.holder
    if event.kind == HolderKind.FUND:
        state.controls[event.holder] = Control(manager="")
    elif event.kind == HolderKind.PROGRAMME:
        state.programmes.append(event.holder)


def on_asset_defined(state: State, event: AssetDefined) -> None:
    state.assets[event.asset] = event


def on_entry_posted(state: State, event: EntryPosted) -> None:
    for leg in event.legs:
        move(state, leg)
        if leg.debit.purpose is Purpose.ISSUED:
            state.batches.update((leg.asset, block.batch) for block in leg.serials)
    if event.bank_line is not None:
        (leg,) = event.legs
        bank_evolve.on_line_booked(state, leg, leg.debit, event.bank_line, event.bank_day)
    if event.pledge is not None:
        _follow_lien(state, event.pledge, event.legs[0])
    if event.spent_on is not None:
        destinations.spend(state, event.legs, event.spent_on)
    if event.session is not None:
        on_trade_settled(state, event, event.session)
        return
    for trade in event.trades:
        state.trades.add((event.legs[0].debit.ref, trade))


def _follow_lien(state: State, pledge: Pledge, leg: Leg) -> None:
    if pledge.release is None:
        state.liens[pledge.lien] = Lien(pledge.pledgee, set(), leg.debit.holder, leg.asset)
    else:
        state.liens[pledge.lien].releases.add(pledge.release)


def on_hold_placed(state: State, event: HoldPlaced) -> None:
    (leg,) = event.legs
    move(state, leg)
    state.holds[event.hold] = Hold(
        leg.debit.holder, leg.asset, leg.amount, event.to, event.expires_at_ms
    )
    if event.expires_at_ms is not None:
        heapq.heappush(state.expiries, (event.expires_at_ms, event.hold))


def on_hold_posted(state: State, event: HoldPosted) -> None:
    if not event.rest_held:
        _end_hold(state, event.hold, event.legs)
        return
    for leg in event.legs:
        move(state, leg)
    state.holds[event.hold].amount = event.rest_held


def on_hold_released(state: State, event: HoldReleased) -> None:
    _end_hold(state, event.hold, event.legs)


def on_hold_expired(state: State, event: HoldExpired) -> None:
    _end_hold(state, event.hold, event.legs)


def _end_hold(state: State, hold: str, legs: list[Leg]) -> None:
    for leg in legs:
        move(state, leg)
    del state.holds[hold]
    # Its place in the heap goes when it comes to the top: see due().
    while state.expiries and state.expiries[0][1] not in state.holds:
        heapq.heappop(state.expiries)


def on_transfer_proposed(state: State, event: TransferProposed) -> None:
    (leg,) = event.legs
    move(state, leg)
    state.holds[event.hold] = Hold(
        leg.debit.holder, leg.asset, leg.amount, event.to, event.expires_at_ms, event.proposer
    )
    heapq.heappush(state.expiries, (event.expires_at_ms, event.hold))


def on_transfer_approved(state: State, event: TransferApproved) -> None:
    _end_hold(state, event.hold, event.legs)


def on_transfer_refused(state: State, event: TransferRefused) -> None:
    _end_hold(state, event.hold, event.legs)


def on_transfer_filed(state: State, event: TransferFiled) -> None:
    state.transfers.add(("", event.transfer))
    state.filed[event.transfer] = event


def on_transfer_posted(state: State, event: TransferPosted) -> None:
    for name in event.freezes:
        freezes.give_way(state, (name.authority, name.freeze), event.legs)
    for leg in event.legs:
        move(state, leg)
    if event.authority:
        state.transfers.add((event.authority, event.transfer))
    else:
        del state.filed[event.transfer]


def on_transfer_withdrawn(state: State, event: TransferWithdrawn) -> None:
    del state.filed[event.transfer]


def on_key_admitted(state: State, event: KeyAdmitted) -> None:
    state.keyring.on_key_admitted(event)


def on_key_withdrawn(state: State, event: KeyWithdrawn) -> None:
    state.keyring.on_key_withdrawn(event)


def _moved(follow: Callable[[State, Any], None]) -> Callable[[State, Any], None]:
    """The legs of an event first, then what follows from it elsewhere in the state."""

    def on(state: State, event: Any) -> None:
        for leg in event.legs:
            move(state, leg)
        follow(state, event)

    return on


def move(state: State, leg: Leg) -> None:
    """The hot path: one leg from account to account."""
    debit, credit = leg.debit, leg.credit
    source_key = account_key(debit, leg.asset)
    target_key = account_key(credit, leg.asset)
    source = state.accounts.get(source_key) or _open(state, source_key)
    target = state.accounts.get(target_key) or _open(state, target_key)
    source.balance -= leg.amount
    target.balance += leg.amount
    if leg.serials:
        if debit.purpose is not Purpose.ISSUED:
            blocks.take_named(source.blocks, leg.serials)
        blocks.put(target.blocks, leg.serials)
    if not source.balance:
        _close(state, source_key)
    if not target.balance:
        _close(state, target_key)


def _open(state: State, key: AccountKey) -> Holding:
    holding = state.accounts[key] = Holding()
    state.keys_by_holder.setdefault(key[0], set()).add(key)
    return holding


def _close(state: State, key: AccountKey) -> None:
    """An account at zero is not kept: a million spent holds cost nothing."""
    if state.accounts.pop(key, None) is not None:
        state.keys_by_holder[key[0]].discard(key)


_EVOLVE: dict[type[msgspec.Struct], Callable[[State, Any], None]] = {
    HolderRegistered: on_holder_registered,
    AssetDefined: on_asset_defined,
    EntryPosted: on_entry_posted,
    HoldPlaced: on_hold_placed,
    HoldPosted: on_hold_posted,
    HoldReleased: on_hold_released,
    HoldExpired: on_hold_expired,
    KeyAdmitted: on_key_admitted,
    KeyWithdrawn: on_key_withdrawn,
    **EVOLVE_CHANGES,
    **freezes.EVOLVE,
    **safeguards.EVOLVE,
    TransferProposed: on_transfer_proposed,
    TransferApproved: on_transfer_approved,
    TransferRefused: on_transfer_refused,
    TransferFiled: on_transfer_filed,
    TransferPosted: on_transfer_posted,
    TransferWithdrawn: on_transfer_withdrawn,
    SettlementReceived: on_settlement_received,
    TradeUnsettled: on_trade_unsettled,
    SessionClosed: on_session_closed,
    **bank_evolve.EVOLVE,
    **{event: _moved(follow) for event, follow in bank_evolve.MOVING.items()},
}
