"""Freezing and lifting: what an authority or a court has signed, each statement once.

Asked by a registrar; what makes it right is the signature. An authority reaches the assets of its
own programme, a court everything, money too. Only who froze lifts; else the last day ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from kernel.errors import Kind, Refused
from kernel.keyring import check_same, signed_statement
from kernel.values import Context, check_day, check_on, check_role, check_text
from services.accounts.domain import freezes, rules
from services.accounts.domain.acts import FreezeStatement, UnfreezeStatement, check_once
from services.accounts.domain.commands import ExpireFreeze, FreezeUnits, UnfreezeUnits
from services.accounts.domain.events import (
    FreezeExpired,
    Pledge,
    Purpose,
    UnitsFrozen,
    UnitsUnfrozen,
)
from services.accounts.domain.state import AccountKey, Freeze, State

# An amount is kept in one account; of a hold only all, for it ends by itself.
OF_AMOUNTS: Final = frozenset({Purpose.AVAILABLE, Purpose.TRADING, Purpose.PLEDGED})


def freeze_units(state: State, command: FreezeUnits, context: Context) -> list[UnitsFrozen]:
    check_role(context, "registrar")
    check_on(context)
    authority = ordering(state, context)
    signed = signed_statement(state.keyring, context, FreezeStatement, authority)
    check_same("authority", signed.authority, authority)
    check_text(signed.freeze, "freeze", 80)
    check_once(
        (authority, signed.freeze) in state.frozen.names, "FREEZE_BOOKED", f"freeze {signed.freeze}"
    )
    check_text(signed.document, "document", 200)
    check_text(signed.reason, "reason", 300)
    _check_reach(state, signed)
    if signed.until and freezes.end_ms(check_day(signed.until, "until")) <= context.at_ms:
        raise Refused("FREEZE_OVER", f"expected a last day to come, got {signed.until}")
    frozen = UnitsFrozen(
        signed.amount,
        signed.asset,
        authority,
        signed.document,
        signed.freeze,
        signed.holder,
        [],
        signed.purpose,
        signed.reason,
        signed.ref,
        signed.serials,
        signed.until,
    )
    return [msgspec.structs.replace(frozen, liens=_liens_under(state, freezes.freeze_of(frozen)))]


def ordering(state: State, context: Context) -> str:
    """The authority or court whose key stands under the one act; that it holds is checked next."""
    keys = [state.keyring.keys.get(act.key_id) for act in context.acts]
    if len(keys) != 1:
        raise Refused(
            "ACT_MISSING",
            f"expected one signed order of an authority or a court, got {len(keys)} acts",
            needed="an order",
        )
    (key,) = keys
    if key is None:
        raise Refused("ACT_KEY_UNKNOWN", f"no key {context.acts[0].key_id[:40]} in the directory")
    if not key.subject.startswith((freezes.AUTHORITY, freezes.COURT)):
        raise Refused(
            "ACT_SUBJECT",
            f"expected a key of an authority or a court, got one of {key.subject}",
            expected="authority or court",
            actual=key.subject,
        )
    return key.subject


def _check_reach(state: State, signed: FreezeStatement) -> None:
    """A holder's accounts or an amount of one, or serials: never both, and within its right."""
    if bool(signed.holder) == bool(signed.serials):
        raise _malformed("either a holder or serials")
    if signed.asset and signed.asset not in state.assets:
        asset = signed.asset[:60]
        raise Refused("UNKNOWN_ASSET", f"no asset {asset!r}", Kind.UNKNOWN, asset=asset)
    programme = freezes.programme_of(signed.authority)
    if programme and signed.asset and state.assets[signed.asset].programme != programme:
        raise Refused(
            "NOT_ITS_PROGRAMME",
            f"{signed.authority} has no say over {signed.asset}",
            Kind.FORBIDDEN,
            asset=signed.asset,
        )
    if signed.serials:
        _check_serials(state, signed)
    else:
        _check_accounts(state, signed)


def _check_serials(state: State, signed: FreezeStatement) -> None:
    if signed.purpose or signed.ref or signed.amount is not None or not signed.asset:
        raise _malformed("serials of an asset, and nothing else")
    total = sum(block.amount for block in signed.serials)
    rules.check_ranges(state.assets[signed.asset], total, signed.serials)
    for block in signed.serials:
        if (signed.asset, block.batch) not in state.batches:
            raise Refused(
                "UNKNOWN_BATCH",
                f"no batch {block.batch} of {signed.asset} was issued",
                Kind.UNKNOWN,
                batch=block.batch,
            )


def _check_accounts(state: State, signed: FreezeStatement) -> None:
    rules.check_holder(state, signed.holder)
    check_text(signed.ref, "ref", 80, required=False)
    if signed.purpose and signed.purpose not in OF_AMOUNTS:
        raise _malformed(f"one of {sorted(OF_AMOUNTS)} or every purpose")
    if signed.ref and signed.purpose not in (Purpose.TRADING, Purpose.PLEDGED):
        raise _malformed("a ref only with trading or pledged")
    if signed.amount is None:
        return
    rules.check_amount(signed.amount)
    one_account = signed.purpose == Purpose.AVAILABLE or signed.ref
    if not (signed.asset and signed.purpose and one_account):
        raise _malformed("an amount of one account: asset, purpose, and the venue or lien")


def _malformed(expected: str) -> Refused:
    return Refused("FREEZE_MALFORMED", f"a freeze: expected {expected}", Kind.INVALID)


def _liens_under(state: State, freeze: Freeze) -> list[Pledge]:
    """The live liens that a freeze lies over, in the order of their names."""
    return [
        Pledge(lien=name, pledgee=state.liens[name].pledgee)
        for name, key in _pledged_accounts(state)
        if (freezes.covers(state, freeze, key) if freeze.holder else _touches(state, freeze, key))
    ]


def _pledged_accounts(state: State) -> Iterator[tuple[str, AccountKey]]:
    for name in sorted(state.liens):
        lien = state.liens[name]
        key = (lien.pledgor, lien.asset, Purpose.PLEDGED.value, name)
        if key in state.accounts:
            yield name, key


def _touches(state: State, freeze: Freeze, key: AccountKey) -> bool:
    return key[1] == freeze.asset and any(
        one.batch == block.batch and one.first <= block.last and block.first <= one.last
        for one in freeze.serials
        for block in state.accounts[key].blocks
    )


def unfreeze_units(state: State, command: UnfreezeUnits, context: Context) -> list[UnitsUnfrozen]:
    check_role(context, "registrar")
    check_on(context)
    authority = ordering(state, context)
    signed = signed_statement(state.keyring, context, UnfreezeStatement, authority)
    check_same("authority", signed.authority, authority)
    check_text(signed.document, "document", 200)
    check_text(signed.reason, "reason", 300)
    freeze = _live(state, authority, signed.freeze)
    return [
        UnitsUnfrozen(
            authority,
            signed.document,
            signed.freeze,
            freeze.holder,
            _liens_under(state, freeze),
            signed.reason,
        )
    ]


def expire_freeze(state: State, command: ExpireFreeze, context: Context) -> list[FreezeExpired]:
    check_role(context, "system")
    freeze = _live(state, command.authority, command.freeze)
    if not freeze.until or freezes.end_ms(freeze.until) > context.at_ms:
        raise Refused("FREEZE_NOT_OVER", f"freeze {command.freeze} has not come to its end")
    liens = _liens_under(state, freeze)
    return [FreezeExpired(command.authority, command.freeze, freeze.holder, liens)]


def _live(state: State, authority: str, name: str) -> Freeze:
    freeze = state.frozen.live.get((authority, name))
    if freeze is None:
        raise Refused(
            "UNKNOWN_FREEZE",
            f"no live freeze {name[:60]!r} of {authority}: it never was, or has ended",
            Kind.UNKNOWN,
        )
    return freeze


DECIDE: dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]] = {
    FreezeUnits: freeze_units,
    UnfreezeUnits: unfreeze_units,
    ExpireFreeze: expire_freeze,
}
