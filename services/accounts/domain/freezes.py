"""What may not move because an authority or a court has frozen it (domain 2.6).

A freeze covers accounts of one holder, wholly or an amount of one account, or serials wherever they
lie. What is frozen moves only home, into its own holder's `available`, and only when the freeze
goes with it: a hold may end and a pledgee may release, and nothing comes free by that. The amounts
of several freezes add up: each order secures its own claim. Until its end is recorded it holds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import msgspec

from kernel.errors import Refused
from kernel.values import DAY_MS, day_start_ms
from services.accounts.domain import blocks, timers
from services.accounts.domain.commands import ExpireFreeze
from services.accounts.domain.events import (
    Account,
    FreezeExpired,
    Leg,
    Purpose,
    SerialRange,
    UnitsFrozen,
    UnitsUnfrozen,
)
from services.accounts.domain.state import (
    AccountKey,
    Freeze,
    FreezeKey,
    Frozen,
    State,
    account_key,
)

# Circulation: what was issued, came from a bank or is at its end is nobody's to be frozen.
FREEZABLE: Final = frozenset(
    {Purpose.AVAILABLE, Purpose.TRADING, Purpose.HELD, Purpose.PLEDGED, Purpose.CUSTODY}
)

AUTHORITY: Final = "authority:"
COURT: Final = "court:"


def check_leg(state: State, leg: Leg, left: int, yielding: Collection[FreezeKey] = ()) -> None:
    """Refuses what is frozen; `left` is what the debited account would keep.

    `yielding` names freezes that make way, for an order that says so.
    """
    if leg.credit.purpose is Purpose.EXTERNAL:
        return  # the bank has paid and signs for it: a fact, and no freeze here undoes it
    source = account_key(leg.debit, leg.asset)
    home = _goes_home(leg)
    floor = 0
    for name in state.frozen.by_holder.get(source[0], ()):
        freeze = state.frozen.live[name]
        if name in yielding or not covers(state, freeze, source):
            continue
        if freeze.amount is not None:
            floor += freeze.amount
        elif not (home and covers(state, freeze, account_key(leg.credit, leg.asset))):
            raise _refused(leg, name, 0)
    if leg.asset in state.frozen.by_batch and not home:
        floor += frozen_serials(state, source, yielding)
        for block in leg.serials:
            for first, last in overlaps(state.frozen, leg.asset, block, yielding):
                raise _serials_frozen(leg, block.batch, first, last)
    if floor and left < floor:  # an account that may be below zero is never covered
        raise _refused(leg, None, max(0, left + leg.amount - floor))


def take_oldest(
    state: State, held: list[SerialRange], leg: Leg, yielding: Collection[FreezeKey] = ()
) -> list[SerialRange]:
    """Removes the oldest units that are not frozen; check_leg has seen that they are there."""
    if leg.asset not in state.frozen.by_batch or _goes_home(leg):
        return blocks.take_oldest(held, leg.amount)
    taken: list[SerialRange] = []
    left = leg.amount
    for piece in _free_pieces(state.frozen, leg.asset, held, yielding):
        taken.append(SerialRange(piece.batch, piece.first, min(piece.last, piece.first + left - 1)))
        left -= taken[-1].amount
        if not left:
            break
    blocks.take_named(held, taken)
    return taken


def _goes_home(leg: Leg) -> bool:
    return leg.credit == Account(leg.debit.holder, Purpose.AVAILABLE, "")


def covers(state: State, freeze: Freeze, key: AccountKey) -> bool:
    """Does a freeze of accounts reach this one?"""
    holder, asset, purpose, ref = key
    return (
        freeze.holder == holder
        and freeze.asset in ("", asset)
        and freeze.purpose in ("", purpose)
        and freeze.ref in ("", ref)
        and purpose in FREEZABLE
        and freeze.programme in ("", state.assets[asset].programme)
    )


def frozen_amount(state: State, key: AccountKey) -> int:
    """How much of an account's balance lies still."""
    floor = frozen_serials(state, key)
    balance = state.accounts[key].balance
    for name in state.frozen.by_holder.get(key[0], ()):
        freeze = state.frozen.live[name]
        if covers(state, freeze, key):
            floor += balance if freeze.amount is None else freeze.amount
    return min(floor, balance)


def frozen_serials(state: State, key: AccountKey, yielding: Collection[FreezeKey] = ()) -> int:
    """How many of an account's units lie still by their serials."""
    holding = state.accounts.get(key)
    if holding is None or key[1] not in state.frozen.by_batch or key[2] not in FREEZABLE:
        return 0
    return sum(
        last - first + 1
        for block in holding.blocks
        for first, last in overlaps(state.frozen, key[1], block, yielding)
    )


def concerns(state: State, name: FreezeKey, holder: str) -> bool:
    """Is it over this holder's accounts, or over serials that lie there now?"""
    freeze = state.frozen.live[name]
    if freeze.holder:
        return freeze.holder == holder
    return any(
        one.batch == block.batch and one.first <= block.last and block.first <= one.last
        for key in state.keys_by_holder.get(holder, ())
        if key[1] == freeze.asset and key[2] in FREEZABLE
        for block in state.accounts[key].blocks
        for one in freeze.serials
    )


def overlaps(
    frozen: Frozen, asset: str, block: SerialRange, yielding: Collection[FreezeKey] = ()
) -> list[tuple[int, int]]:
    """The frozen parts of a range, in order and apart from one another."""
    names = frozen.by_batch.get(asset, {}).get(block.batch, ())
    found = sorted(
        (max(one.first, block.first), min(one.last, block.last))
        for name in names
        if name not in yielding
        for one in frozen.live[name].serials
        if one.batch == block.batch and one.first <= block.last and block.first <= one.last
    )
    apart: list[tuple[int, int]] = []
    for first, last in found:
        if apart and first <= apart[-1][1] + 1:
            apart[-1] = (apart[-1][0], max(last, apart[-1][1]))
        else:
            apart.append((first, last))
    return apart


def _free_pieces(
    frozen: Frozen, asset: str, held: list[SerialRange], yielding: Collection[FreezeKey]
) -> Iterator[SerialRange]:
    for block in list(held):
        first = block.first
        for begin, end in overlaps(frozen, asset, block, yielding):
            if first < begin:
                yield SerialRange(block.batch, first, begin - 1)
            first = end + 1
        if first <= block.last:
            yield SerialRange(block.batch, first, block.last)


def _refused(leg: Leg, name: FreezeKey | None, available: int) -> Refused:
    by = "" if name is None else f" by {name[0]} ({name[1]})"
    return Refused(
        "FROZEN",
        f"{leg.asset} in {leg.debit.purpose} of {leg.debit.holder} is frozen{by}:"
        f" needed {leg.amount}, free {available}",
        needed=leg.amount,
        available=available,
        asset=leg.asset,
        holder=leg.debit.holder,
    )


def _serials_frozen(leg: Leg, batch: str, first: int, last: int) -> Refused:
    return Refused(
        "SERIALS_FROZEN",
        f"{leg.asset} {batch}: serials {first}..{last} are frozen",
        asset=leg.asset,
        batch=batch,
        first=first,
        last=last,
    )


def end_ms(until: str) -> int:
    """The first instant after the last day."""
    return day_start_ms(until) + DAY_MS


def due(state: State, at_ms: int) -> list[tuple[int, str, ExpireFreeze]]:
    """Freezes whose last day is over, soonest first."""
    return [
        (when_ms, f"expire freeze {name[0]} {name[1]}", ExpireFreeze(*name))
        for when_ms, name in timers.passed(state.frozen.ends, at_ms)
        if name in state.frozen.live
    ]


def on_units_frozen(state: State, event: UnitsFrozen) -> None:
    name = (event.authority, event.freeze)
    state.frozen.names.add(name)
    _enter(state.frozen, name, freeze_of(event))
    if event.until:
        heapq.heappush(state.frozen.ends, (end_ms(event.until), name))


def _enter(frozen: Frozen, name: FreezeKey, freeze: Freeze) -> None:
    frozen.live[name] = freeze
    if freeze.holder:
        frozen.by_holder.setdefault(freeze.holder, []).append(name)
    for batch in {block.batch for block in freeze.serials}:
        frozen.by_batch.setdefault(freeze.asset, {}).setdefault(batch, []).append(name)


def freeze_of(event: UnitsFrozen) -> Freeze:
    return Freeze(
        event.holder,
        event.asset,
        event.purpose,
        event.ref,
        event.amount,
        list(event.serials),
        programme_of(event.authority),
        event.until,
        event.document,
        event.reason,
    )


def programme_of(authority: str) -> str:
    """An authority reaches the assets of its own programme, a court everything."""
    return authority.removeprefix(AUTHORITY) if authority.startswith(AUTHORITY) else ""


def on_units_unfrozen(state: State, event: UnitsUnfrozen) -> None:
    end(state.frozen, (event.authority, event.freeze))


def on_freeze_expired(state: State, event: FreezeExpired) -> None:
    end(state.frozen, (event.authority, event.freeze))


def give_way(state: State, name: FreezeKey, legs: Sequence[Leg]) -> None:
    """An order has moved these: an amount shrinks by it, serials leave; what is left goes on."""
    frozen = state.frozen
    freeze = frozen.live[name]
    if freeze.serials:
        moved = [block for leg in legs if leg.asset == freeze.asset for block in leg.serials]
        rest = blocks.without(freeze.serials, moved)
        _take_out(frozen, name)
        if rest:
            freeze.serials = rest
            _enter(frozen, name, freeze)
    elif freeze.amount is not None:
        covered = (
            leg.amount for leg in legs if covers(state, freeze, account_key(leg.debit, leg.asset))
        )
        freeze.amount -= sum(covered)
        if freeze.amount <= 0:
            _take_out(frozen, name)
    _clear_ends(frozen)


def end(frozen: Frozen, name: FreezeKey) -> None:
    _take_out(frozen, name)
    _clear_ends(frozen)


def _clear_ends(frozen: Frozen) -> None:
    while frozen.ends and frozen.ends[0][1] not in frozen.live:
        heapq.heappop(frozen.ends)


def _take_out(frozen: Frozen, name: FreezeKey) -> None:
    freeze = frozen.live.pop(name)
    if freeze.holder:
        _leave(frozen.by_holder, freeze.holder, name)
    batches = frozen.by_batch.get(freeze.asset, {})
    for batch in {block.batch for block in freeze.serials}:
        _leave(batches, batch, name)
    if not batches:
        frozen.by_batch.pop(freeze.asset, None)


def _leave(index: dict[str, list[FreezeKey]], key: str, name: FreezeKey) -> None:
    index[key].remove(name)
    if not index[key]:
        del index[key]


EVOLVE: dict[type[msgspec.Struct], Callable[[State, Any], None]] = {
    UnitsFrozen: on_units_frozen,
    UnitsUnfrozen: on_units_unfrozen,
    FreezeExpired: on_freeze_expired,
}
