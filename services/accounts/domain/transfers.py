"""Non-trade transfers: by an authority's or a court's order, or by what two holders have agreed.

An order moves at once: it is signed, and stands before liens and before the freezes that it names
and may override: those of whoever signed it, and for a court those of an authority; never another
court's. What it takes out of a lien is free of it, and the event names lien and pledgee. A merger
or a split that both holders have signed is filed by one registrar and confirmed by another; it
takes only what the holder itself could give.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from kernel.errors import Kind, Refused
from kernel.keyring import check_same, signed_by_all, signed_statement
from kernel.values import Context, check_role, check_text
from services.accounts.domain import operators, rules, standing
from services.accounts.domain.acts import (
    AgreedMove,
    OrderedMove,
    TransferAgreement,
    TransferOrder,
    check_once,
)
from services.accounts.domain.changes import Right
from services.accounts.domain.commands import ConfirmTransfer, PostTransfer, WithdrawTransfer
from services.accounts.domain.destinations import check_another
from services.accounts.domain.events import (
    Account,
    FreezeName,
    Leg,
    Pledge,
    Purpose,
    TransferFiled,
    TransferPosted,
    TransferWithdrawn,
)
from services.accounts.domain.freezes import AUTHORITY, COURT, programme_of
from services.accounts.domain.freezing import ordering
from services.accounts.domain.state import FreezeKey, State

BY_ORDER: Final = frozenset({"court", "merger", "split", "succession"})
BY_AGREEMENT: Final = frozenset({"merger", "split"})


# (state, legs, freezes that make way) -> the legs with their serials, or a refusal
MoveAll = Callable[[State, Sequence[Leg], Collection[FreezeKey]], list[Leg]]


def post_transfer(
    move_all: MoveAll, state: State, command: PostTransfer, context: Context
) -> list[TransferPosted] | list[TransferFiled]:
    """One act is an order, two are the two holders' agreement."""
    check_role(context, "registrar")
    if len(context.acts) == 2:
        return [_file(state, context)]
    authority = ordering(state, context)
    signed = signed_statement(state.keyring, context, TransferOrder, authority)
    check_same("authority", signed.authority, authority)
    _check_document(signed)
    _check_nature(signed.nature, BY_ORDER)
    if signed.nature == "court" and not authority.startswith(COURT):
        raise Refused("NOT_A_COURT", f"{authority} is no court", Kind.FORBIDDEN)
    check_once(
        (authority, signed.transfer) in state.transfers,
        "TRANSFER_BOOKED",
        f"transfer {signed.transfer}",
    )
    legs = [_leg(signed.source, signed.target, move, move.lien) for move in signed.moves]
    _check_legs(state, legs, context)
    _check_programme(state, authority, legs)
    yielding, liens = _yielding(state, authority, signed), _ended(state, signed.moves)
    return [
        TransferPosted(
            authority=authority,
            document=signed.document,
            freezes=[FreezeName(*name) for name in yielding],
            legs=move_all(state, legs, yielding),
            liens=liens,
            nature=signed.nature,
            source=signed.source,
            target=signed.target,
            transfer=signed.transfer,
        )
    ]


def _file(state: State, context: Context) -> TransferFiled:
    """Both holders have signed; another registrar has to confirm."""
    subjects = [
        key.subject
        for act in context.acts
        if (key := state.keyring.keys.get(act.key_id)) is not None
    ]
    if len(subjects) != len(context.acts):
        raise Refused("ACT_KEY_UNKNOWN", "no such key in the directory")
    signed = signed_by_all(state.keyring, context, TransferAgreement, subjects)
    check_same("parties", {f"holder:{signed.source}", f"holder:{signed.target}"}, set(subjects))
    _check_document(signed)
    _check_nature(signed.nature, BY_AGREEMENT)
    check_once(
        ("", signed.transfer) in state.transfers, "TRANSFER_BOOKED", f"transfer {signed.transfer}"
    )
    legs = [_leg(signed.source, signed.target, move, "") for move in signed.moves]
    _check_legs(state, legs, context)
    return TransferFiled(
        document=signed.document,
        filer=context.caller.actor,
        moves=legs,
        nature=signed.nature,
        source=signed.source,
        target=signed.target,
        transfer=signed.transfer,
    )


def confirm_transfer(
    move_all: MoveAll, state: State, command: ConfirmTransfer, context: Context
) -> list[TransferPosted]:
    check_role(context, "registrar")
    filed = _filed(state, command.transfer)
    check_another(filed.filer, context.caller.actor)
    _check_legs(state, filed.moves, context)
    standing.check_moves(state, filed.moves, context)
    return [
        TransferPosted(
            document=filed.document,
            legs=move_all(state, filed.moves, ()),
            nature=filed.nature,
            source=filed.source,
            target=filed.target,
            transfer=filed.transfer,
        )
    ]


def withdraw_transfer(
    state: State, command: WithdrawTransfer, context: Context
) -> list[TransferWithdrawn]:
    """By a registrar, or by who operates for either holder."""
    filed = _filed(state, command.transfer)
    sides = [one for one in (filed.source, filed.target) if operators.is_named(context, one)]
    if sides:
        operators.check_right(state, context, sides[0], Right.TRANSFER)
    else:
        check_role(context, "registrar")
    return [TransferWithdrawn(filed.source, filed.target, filed.transfer)]


def _filed(state: State, transfer: str) -> TransferFiled:
    filed = state.filed.get(transfer)
    if filed is None:
        raise Refused("UNKNOWN_TRANSFER", f"no transfer {transfer[:60]!r} waits here", Kind.UNKNOWN)
    return filed


def _check_document(signed: TransferOrder | TransferAgreement) -> None:
    check_text(signed.transfer, "transfer", 80)
    check_text(signed.document, "document", 200)


def _check_nature(nature: str, allowed: frozenset[str]) -> None:
    if nature not in allowed:
        raise Refused(
            "UNKNOWN_VALUE",
            f"nature: expected one of {sorted(allowed)}, got {nature[:40]!r}",
            Kind.INVALID,
            field="nature",
            actual=nature[:40],
        )


def _leg(source: str, target: str, move: OrderedMove | AgreedMove, lien: str) -> Leg:
    purpose = Purpose.PLEDGED if lien else Purpose.AVAILABLE
    to = Account(target, Purpose.AVAILABLE, "")
    return Leg(move.amount, move.asset, to, Account(source, purpose, lien), move.serials)


def _check_legs(state: State, legs: list[Leg], context: Context) -> None:
    rules.check_count(legs)
    for leg in legs:
        rules.check_leg(state, leg)
        rules.check_business_time(state.assets[leg.asset], context)
        if leg.debit.holder == leg.credit.holder:
            raise Refused("SAME_ACCOUNT", "expected two different holders", Kind.INVALID)


def _check_programme(state: State, authority: str, legs: list[Leg]) -> None:
    programme = programme_of(authority)
    for leg in legs:
        if programme and state.assets[leg.asset].programme != programme:
            raise Refused(
                "NOT_ITS_PROGRAMME",
                f"{authority} has no say over {leg.asset}",
                Kind.FORBIDDEN,
                asset=leg.asset,
            )


def _yielding(state: State, authority: str, signed: TransferOrder) -> list[FreezeKey]:
    """The live freezes that the order names, and may override."""
    names = [(one.authority, one.freeze) for one in signed.freezes]
    for name in names:
        if name not in state.frozen.live or names.count(name) > 1:
            raise Refused("UNKNOWN_FREEZE", f"no live freeze {name[1][:60]!r}", Kind.UNKNOWN)
        own = name[0] == authority
        if not own and not (authority.startswith(COURT) and name[0].startswith(AUTHORITY)):
            raise Refused(
                "FREEZE_STANDS",
                f"{authority} does not override a freeze of {name[0]}",
                Kind.FORBIDDEN,
            )
    return names


def _ended(state: State, moves: Sequence[OrderedMove]) -> list[Pledge]:
    """The liens that end on what is moved, by name."""
    names = sorted({move.lien for move in moves if move.lien})
    for name in names:
        if name not in state.liens:
            raise Refused("UNKNOWN_LIEN", f"no lien {name[:40]!r}", Kind.UNKNOWN)
    return [Pledge(lien=name, pledgee=state.liens[name].pledgee) for name in names]


def deciders(
    move_all: MoveAll,
) -> dict[type[msgspec.Struct], Callable[[State, Any, Context], Sequence[msgspec.Struct]]]:
    return {
        PostTransfer: partial(post_transfer, move_all),
        ConfirmTransfer: partial(confirm_transfer, move_all),
        WithdrawTransfer: withdraw_transfer,
    }
